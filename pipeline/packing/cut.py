"""What becomes of documents that are longer than a row, and of those that teach nothing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Cuts:
    """The sequences that documents become, in the documents' order, and the documents that become none.

    document, start, size  int64[sequences]  document, first token within it, number of tokens
    too_long               int64[]           documents longer than a row that may be neither split nor truncated
    teaches_nothing        int64[]           documents none of whose tokens would be learned in a row
    """

    document: np.ndarray
    start: np.ndarray
    size: np.ndarray
    too_long: np.ndarray
    teaches_nothing: np.ndarray


def cut(offsets: np.ndarray, learned: np.ndarray, length: int, split: np.ndarray, truncate: np.ndarray) -> Cuts:
    """Fit documents into rows of ``length`` tokens.

    ``offsets`` (int64[documents + 1]) and ``learned`` (bool[tokens]) describe the documents' tokens; ``split`` and ``truncate``
    (bool[documents]) say what may be done to those that are too long. The first token of a sequence is never learned in a row (nothing
    stands before it), so a sequence teaches only when a later one is.
    """
    sizes = np.diff(offsets)
    is_long = sizes > length
    document, start = np.arange(len(sizes)), np.zeros(len(sizes), dtype=np.int64)
    size = np.where(is_long & truncate, length, sizes)
    pieces = [
        (row, first, end - first)
        for row in np.flatnonzero(is_long & split & ~truncate).tolist()
        for first, end in pairwise(_cut_points(int(sizes[row]), length))
    ]
    whole = ~is_long | truncate
    more = np.array(pieces, dtype=np.int64).reshape(-1, 3)
    document, start, size = (np.concatenate([old[whole], new]) for old, new in zip((document, start, size), more.T, strict=True))
    order = np.lexsort((start, document))
    document, start, size = document[order], start[order], size[order]
    before = np.concatenate([[0], np.cumsum(learned)])
    first = offsets[document] + start
    teaches = (size > 1) & (before[first + size] > before[np.minimum(first + 1, first + size)])
    too_long = np.flatnonzero(is_long & ~split & ~truncate)
    silent = np.ones(len(sizes), dtype=bool)
    silent[document[teaches]] = silent[too_long] = False
    return Cuts(document[teaches], start[teaches], size[teaches], too_long, np.flatnonzero(silent))


def _cut_points(num_tokens: int, length: int) -> list[int]:
    """Full rows and the rest, which is never a single token: nothing would be learned of it."""
    points = [*range(0, num_tokens, length), num_tokens]
    if points[-1] - points[-2] == 1:
        points[-2] -= 1
    return points
