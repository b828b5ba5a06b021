"""How far a text compresses: repetition makes the ratio small, noise makes it large."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar, Self

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.quality.scorers import Find, scored_texts
from pipeline.settings import between


@dataclass(frozen=True)
class Compression:
    """Score the size of a text under zlib as a share of its bytes.

    compression_ratio  compressed bytes / bytes; English prose of some thousand characters has .4 to .5, a short text more, a repetitive one
                       less than .2. The last digits depend on the zlib that Python was built with.
    """

    level: int = between(6, 1, 9)
    """zlib's effort."""

    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def fields(self) -> dict[str, pa.DataType]:
        """One column of float32."""
        return {"compression_ratio": pa.float32()}

    def score(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """The ratio of each document; null for an empty one."""
        ratios = [len(zlib.compress(raw, self.level)) / len(raw) if raw else None for raw in _raw(scored_texts(batch))]
        return {"compression_ratio": pa.array(ratios, pa.float32())}


def _raw(texts: pa.LargeStringArray) -> list[bytes | None]:
    found: list[bytes | None] = pc.cast(texts, pa.large_binary()).to_pylist()
    return found
