"""What becomes of documents that are longer than a row, and of those that teach nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.packing.plan import counted

LINE, PARAGRAPH = 1, 2
"""What may end after a token; a document is rather cut at a paragraph's end than at a line's."""


@dataclass(frozen=True)
class Cuts:
    """The sequences that documents become, in the documents' order, and the documents that become none.

    document, start, size  int64[sequences]  document, first token within it, number of tokens
    context                int64[sequences]  how many of the first tokens only repeat the end of the sequence before
    too_long               int64[]           documents longer than a row that may be neither split nor truncated
    teaches_nothing        int64[]           documents none of whose tokens would be learned in a row
    """

    document: np.ndarray
    start: np.ndarray
    size: np.ndarray
    context: np.ndarray
    too_long: np.ndarray
    teaches_nothing: np.ndarray


def cut(
    offsets: np.ndarray,
    learned: np.ndarray,
    length: int,
    split: np.ndarray,
    truncate: np.ndarray,
    overlap: int = 0,
    breaks: np.ndarray | None = None,
) -> Cuts:
    """Fit documents into rows of ``length`` tokens.

    ``offsets`` (int64[documents + 1]) and ``learned`` (bool[tokens]) describe the documents' tokens; ``split`` and ``truncate``
    (bool[documents]) say what may be done to those that are too long. A piece after the first begins with the last ``overlap`` tokens of
    the piece before, as context. ``breaks`` (int8[tokens]): LINE or PARAGRAPH where one ends after the token. The first token of a sequence is
    never learned in a row (nothing stands before it), so a sequence teaches only when a later one is.
    """
    sizes = np.diff(offsets)
    is_long = sizes > length
    document, start, context = np.arange(len(sizes)), np.zeros(len(sizes), dtype=np.int64), np.zeros(len(sizes), dtype=np.int64)
    size = np.where(is_long & truncate, length, sizes)
    pieces = [
        (row, *piece)
        for row in np.flatnonzero(is_long & split & ~truncate).tolist()
        for piece in _pieces(int(sizes[row]), length, overlap, None if breaks is None else breaks[offsets[row] : offsets[row + 1]])
    ]
    whole = ~is_long | truncate
    more = np.array(pieces, dtype=np.int64).reshape(-1, 4)
    document, start, size, context = (
        np.concatenate([old[whole], new]) for old, new in zip((document, start, size, context), more.T, strict=True)
    )
    order = np.lexsort((start, document))
    document, start, size, context = document[order], start[order], size[order], context[order]
    before = counted(learned)
    first = offsets[document] + start
    teaches = (size > 1) & (before[first + size] > before[np.minimum(first + np.maximum(context, 1), first + size)])
    too_long = np.flatnonzero(is_long & ~split & ~truncate)
    silent = np.ones(len(sizes), dtype=bool)
    silent[document[teaches]] = silent[too_long] = False
    return Cuts(document[teaches], start[teaches], size[teaches], context[teaches], too_long, np.flatnonzero(silent))


def _pieces(num_tokens: int, length: int, overlap: int, breaks: np.ndarray | None) -> Iterator[tuple[int, int, int]]:
    """Start, size and context of the pieces: full rows and the rest, which is never a single token, since nothing would be learned of it."""
    start = context = 0
    while num_tokens - start > length:
        end = start + length
        if breaks is not None:
            end = _last_break(breaks, start + context + (length - context) // 2, end)
        if num_tokens - end == 1 and not overlap:
            end -= 1
        yield start, end - start, context
        start, context = end - overlap, overlap
    yield start, num_tokens - start, context


def _last_break(breaks: np.ndarray, first: int, end: int) -> int:
    """The last end of a paragraph, else of a line, in the second half of a row; the row's end when there is none."""
    for kind in (PARAGRAPH, LINE):
        found = np.flatnonzero(breaks[first:end] >= kind)
        if len(found):
            return first + int(found[-1]) + 1
    return end
