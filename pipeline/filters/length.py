"""Removes what is too short or too long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.documents import turns
from pipeline.filters.verdicts import Find, verdicts
from pipeline.settings import at_least


@dataclass(frozen=True)
class Length:
    """Remove documents of fewer than min_chars or more than max_chars characters.

    The whole document counts, every turn of a conversation: a one-word answer to a question is good, a lone word is not a document.
    """

    min_chars: int = at_least(20, 0)
    """Characters of all turns together."""
    max_chars: int | None = None
    """Left out: a document may have any length."""
    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def judge(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Verdicts with reason ``too short`` or ``too long`` and the number of characters as score."""
        view = turns(batch)
        chars = np.bincount(view.document, pc.utf8_length(view.content).to_numpy(zero_copy_only=False), len(batch)).astype(np.int64)
        long = chars > self.max_chars if self.max_chars is not None else np.zeros(len(batch), bool)
        reasons = {True: "too long", False: "too short"}
        wrong = np.flatnonzero((chars < self.min_chars) | long).tolist()
        return verdicts(len(batch), [(row, {"reason": reasons[bool(long[row])], "score": float(chars[row])}) for row in wrong])
