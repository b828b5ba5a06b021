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


def piece_words(compared: Pieces) -> tuple[text.Ragged, text.Rows]:
    """The word hashes of each document, and int64[n] how many of them, at the end, are its answers' (-1: a plain document).

    The hashes of a document that is compared in part are changed, so that it shares none with one that is compared whole.
    """
    by_piece = text.word_hashes(compared.content)
    by_document = by_piece.joined(compared.bounds)
    ends = compared.bounds[1:]
    answered = by_piece.offsets[ends] - by_piece.offsets[ends - np.maximum(compared.answers, 0)]
    if compared.apart.any():
        marked = np.where(np.repeat(compared.apart, by_document.lengths), text.mix(by_document.values), by_document.values)
        by_document = text.Ragged(marked, by_document.offsets)
    return by_document, np.where(compared.answers < 0, -1, answered)
