"""Which words of a document are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import documents, text

Compare = Literal["whole", "prompts", "answers"]
"""What of a conversation is compared: every turn but the system's, the user's turns, or the assistant's.

A plain document is always compared whole. The system's turns never count: a long prompt that a whole dataset shares would make all
its conversations look alike.
"""

SYSTEM_ROLES = ("system", "developer")
ANSWER_ROLE = "assistant"
PROMPT_ROLE = "user"


@dataclass(frozen=True)
class Pieces:
    """The compared pieces of text of n documents, a document's answers after its other turns.

    content  large_string[total]
    bounds   int64[n + 1]  the i-th document's pieces are ``bounds[i]`` up to ``bounds[i + 1]``
    answers  int64[n]      how many of them, at the end, are answers; -1 for a plain document
    apart    bool[n]       only a part of the document is compared, so that it equals no document that is compared whole
    """

    content: pa.LargeStringArray
    bounds: text.Rows
    answers: text.Rows
    apart: NDArray[np.bool_]


def pieces(batch: pa.RecordBatch, compare: Compare) -> Pieces:
    """The compared pieces of a batch that has the columns ``text`` and ``messages``."""
    turns = documents.turns(batch)
    plain = turns.message < 0
    answer = _of_role(turns, ANSWER_ROLE) & ~plain
    wanted = plain | {"whole": ~_of_role(turns, *SYSTEM_ROLES), "prompts": _of_role(turns, PROMPT_ROLE), "answers": answer}[compare]
    order = np.lexsort((turns.message, answer, turns.document))
    chosen = turns.take(order[wanted[order]])
    conversation = pc.is_valid(batch.column("messages")).to_numpy(zero_copy_only=False)
    return Pieces(
        content=chosen.content,
        bounds=np.searchsorted(chosen.document, np.arange(len(batch) + 1)).astype(np.int64),
        answers=np.where(conversation, np.bincount(turns.document[answer & wanted], minlength=len(batch)), -1),
        apart=conversation & (compare != "whole"),
    )


def _of_role(turns: documents.Turns, *roles: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.is_in(turns.role, pa.array(roles)).to_numpy(zero_copy_only=False)
    return found


def piece_words(compared: Pieces, compiled: bool) -> tuple[text.Ragged, text.Rows]:
    """The word hashes of each document, and int64[n] how many of them, at the end, are its answers' (-1: a plain document).

    The hashes of a document that is compared in part are changed, so that it shares none with one that is compared whole.
    """
    by_piece = _compiled_hashes(compared.content) if compiled else text.word_hashes(compared.content)
    by_document = by_piece.joined(compared.bounds)
    ends = compared.bounds[1:]
    answered = by_piece.offsets[ends] - by_piece.offsets[ends - np.maximum(compared.answers, 0)]
    if compared.apart.any():
        marked = np.where(np.repeat(compared.apart, by_document.lengths), text.mix(by_document.values), by_document.values)
        by_document = text.Ragged(marked, by_document.offsets)
    return by_document, np.where(compared.answers < 0, -1, answered)


def _compiled_hashes(texts: pa.LargeStringArray) -> text.Ragged:
    """What ``text.word_hashes`` gives."""
    from pipeline.dedup.kernels import hash_words

    hashed, lengths = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for piece in text.chunks(texts):
        data, offsets = text.folded_words(piece, _fold_bytes)
        padded, inside = _padded(data), np.zeros(len(data) + 8, np.uint8)
        most = len(padded) // 2
        values, starts, counts = np.empty(most, np.uint64), np.empty(most, np.int64), np.empty(len(piece), np.int64)
        about = (text.word_characters(), text.LONG_WORD_BYTES, inside, text.eights(inside))
        size = hash_words(padded, text.eights(padded), offsets, *about, values, starts, counts)
        long = np.flatnonzero(starts[:size] >= 0)
        if len(long):
            first, end = text.word_spans(padded, offsets)
            values[long] = text.span_hashes(padded, first[long], (end - first)[long])
        hashed.append(values[:size].copy())
        lengths.append(counts)
    return text.Ragged(np.concatenate(hashed), text.offsets_of(np.concatenate(lengths)))


def _padded(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """With 8 zeros behind, so that the 8 bytes from any one on can be read."""
    return np.concatenate([data, np.zeros(8, np.uint8)])


def _fold_bytes(data: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], text.Rows]:
    """A ``text.FoldBytes``."""
    from pipeline.dedup.kernels import fold_bytes

    padded, size = _padded(data), len(data)
    lower, hard, unknown = np.empty_like(padded), np.empty(size, np.int64), np.empty(size, np.int64)
    while True:
        tables = text.fold_tables()
        num_hard, num_unknown = fold_bytes(padded, text.eights(padded), size, *tables, lower, text.eights(lower), hard, unknown)
        if not num_unknown:
            return lower[:size], hard[:num_hard]
        text.learn(unknown[:num_unknown])


def visible_chars(texts: pa.LargeStringArray, compiled: bool) -> text.Rows:
    """``text.visible_chars``."""
    if not compiled:
        return text.visible_chars(texts)
    from pipeline.dedup.kernels import count_visible

    counts = np.empty(len(texts), np.int64)
    count_visible(*text.utf8(texts), counts)
    return counts
