"""Removes what has nothing to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.filters.verdicts import Find, verdicts


@dataclass(frozen=True)
class NoAnswer:
    """Remove conversations without an assistant turn to learn from, and documents without a letter or digit.

    A turn is learned from when its ``train`` says so, or by its role when ``train`` is null. A call of a tool counts as an answer.
    """

    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def judge(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Verdicts with reason ``no answer to learn from`` or ``no letters or digits``."""
        answered = _answered(batch.column("messages"))
        text = batch.column("text")
        words = pc.fill_null(pc.match_substring_regex(text, r"[\p{L}\p{N}]"), False).to_numpy(zero_copy_only=False)
        plain = pc.is_valid(text).to_numpy(zero_copy_only=False)
        found: list[tuple[int, dict[str, object]]] = []
        for row in np.flatnonzero(~np.where(plain, words, answered)).tolist():
            message = -1 if plain[row] else None
            found.append((row, {"reason": "no letters or digits" if plain[row] else "no answer to learn from", "message": message}))
        return verdicts(len(batch), found)


def _answered(messages: pa.ListArray) -> np.ndarray:
    """bool[documents]: whether a learned turn says something."""
    flat = messages.flatten()
    learned = pc.fill_null(pc.coalesce(flat.field("train"), pc.equal(flat.field("role"), "assistant")), False)
    says = pc.fill_null(pc.match_substring_regex(flat.field("content"), r"[^\s\p{Z}]"), False)
    calls = pc.fill_null(pc.match_substring(flat.field("extra"), '"tool_calls"'), False)
    good = pc.and_(learned, pc.or_(says, calls)).to_numpy(zero_copy_only=False)
    owner = np.repeat(np.arange(len(messages)), pc.fill_null(pc.list_value_length(messages), 0).to_numpy(zero_copy_only=False))
    return np.bincount(owner[good], minlength=len(messages)) > 0
