"""Which words of a document are compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import documents, text
from pipeline.dedup.native import loop

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
    hash_words, is_word = loop("hash_words"), text.word_characters().view(np.uint8)
    hashed, lengths = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for piece in text.chunks(texts):
        data, offsets = text.folded_words(piece, _fold_bytes)
        padded, size = _padded(data), len(data)
        inside, edges = np.empty(size + 64, np.uint8), np.empty(size + len(piece), np.int64)
        values, counts = np.empty(len(edges) // 2, np.uint64), np.empty(len(piece), np.int64)
        num_long = hash_words(padded, size, offsets, len(piece), is_word, _seeds(), text.LONG_WORD_BYTES, inside, edges, values, counts)
        values = values[: counts.sum()].copy()
        if num_long:
            starts, ends = edges[: 2 * len(values)].reshape(-1, 2).T
            long = np.flatnonzero(ends - starts > text.LONG_WORD_BYTES)
            values[long] = text.span_hashes(padded, starts[long], (ends - starts)[long])
        hashed.append(values)
        lengths.append(counts)
    return text.Ragged(np.concatenate(hashed), text.offsets_of(np.concatenate(lengths)))


@cache
def _seeds() -> text.Hashes:
    """What the hash of a word of each length begins with."""
    return text.mix(np.arange(text.LONG_WORD_BYTES + 1, dtype=np.uint64))


def _padded(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """With 8 zeros behind, so that the 8 bytes from any one on can be read."""
    return np.concatenate([data, np.zeros(8, np.uint8)])


def _fold_bytes(data: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], text.Rows]:
    """A ``text.FoldBytes``."""
    padded, size = _padded(data), len(data)
    lower, hard, unknown, counts = np.empty_like(padded), np.empty(size, np.int64), np.empty(size, np.int64), np.empty(2, np.int64)
    kinds, others = text.fold_tables()
    while True:
        loop("fold_bytes")(padded, size, kinds, others.reshape(-1), lower, hard, unknown, counts)
        num_hard, num_unknown = counts.tolist()
        if not num_unknown:
            return lower[:size], hard[:num_hard]
        text.learn(unknown[:num_unknown])


def visible_chars(texts: pa.LargeStringArray, compiled: bool) -> text.Rows:
    """``text.visible_chars``."""
    if not compiled:
        return text.visible_chars(texts)
    counts = np.empty(len(texts), np.int64)
    data, offsets = text.utf8(texts)
    loop("count_visible")(data, offsets, len(texts), counts)
    return counts
