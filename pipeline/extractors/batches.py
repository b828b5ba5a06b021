"""Rows of a table in batches of text columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BATCH_ROWS = 1000
BATCH_CHARS = 1 << 20
"""Rows read one by one are put together into batches of about this size."""


def as_arrow(values: np.ndarray) -> pa.Array:
    """An array of numbers or truths, none of them missing. ``pa.array`` would load numpy.ma for it, a fortieth of a CPU second."""
    is_truth = values.dtype == np.bool_
    data = np.packbits(values, bitorder="little") if is_truth else np.ascontiguousarray(values)
    kind = pa.bool_() if is_truth else pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(data)])


@dataclass(frozen=True)
class Rows:
    """Rows of a table: ``batch`` holds columns of text, ``numbers`` (int64[n]) the number of each row in its file."""

    batch: pa.RecordBatch
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def dicts(self, limit: int | None = None) -> list[dict[str, str | None]]:
        """Each row, or each of the first ``limit``, as a mapping."""
        columns = [column[:limit].to_pylist() for column in self.batch.columns]
        names = self.batch.schema.names
        return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]

    def part(self, start: int, num_rows: int) -> Rows:
        """The rows from ``start`` on, at most so many; of a larger batch nothing else stays in memory with them."""
        numbers = self.numbers[start : start + num_rows]
        if len(numbers) == len(self):
            return self
        return Rows(self.batch.take(as_arrow(np.arange(start, start + len(numbers)))), numbers)

    def take(self, mask: np.ndarray) -> Rows:
        """The rows where ``mask`` (bool[n]) is true."""
        return self if mask.all() else Rows(self.batch.filter(as_arrow(mask)), self.numbers[mask])


@dataclass(frozen=True)
class TableBatch:
    """Some rows of a table. ``batch``: nullable string columns, in the order of CREATE TABLE, the same in every batch of the table.

    ``key``: the columns of its primary key.
    """

    name: str
    batch: pa.RecordBatch
    key: tuple[str, ...] = ()


RELEASE_BYTES = 64 * 2**20


class Release:
    """Keeps the memory of this process low: Arrow takes it from the system, and what lies free is given back now and then.

    Arrow's own allocator keeps about as much as is used, and the system's is left with holes.
    """

    def __init__(self) -> None:
        pa.set_memory_pool(pa.system_memory_pool())
        self._num_bytes = 0

    def after(self, num_bytes: int) -> None:
        """So much was read and written."""
        self._num_bytes += num_bytes
        if self._num_bytes >= RELEASE_BYTES:
            self._num_bytes = 0
            pa.default_memory_pool().release_unused()


class BatchBuilder:
    """Rows that come one by one, put together into batches with these column names; cells that are one of ``nulls`` become null."""

    def __init__(self, names: Sequence[str], nulls: Sequence[str] = ()) -> None:
        self._schema = pa.schema([(name, pa.string()) for name in names])
        self._nulls = pa.array(nulls, pa.string())
        self._numbers: list[int] = []
        self._cells: list[Sequence[str | None]] = []
        self._num_chars = 0
        self._is_empty = True

    @property
    def is_full(self) -> bool:
        """Whether it is time to take a batch."""
        return len(self._numbers) >= BATCH_ROWS or self._num_chars >= BATCH_CHARS

    @property
    def is_wanted(self) -> bool:
        """Whether rows wait, or no batch was taken at all."""
        return self._is_empty or bool(self._numbers)

    def add(self, number: int, cells: Sequence[str | None]) -> None:
        """One more row, at least as wide as the table."""
        self._numbers.append(number)
        self._cells.append(cells)
        self._num_chars += sum(len(cell) for cell in cells if cell)

    def take(self) -> Rows:
        """The rows that wait."""
        columns = list(zip(*self._cells, strict=False)) if self._cells else [()] * len(self._schema)
        arrays = [self._with_nulls(pa.array(cells, pa.string())) for cells in columns[: len(self._schema)]]
        made = Rows(pa.RecordBatch.from_arrays(arrays, schema=self._schema), np.array(self._numbers, np.int64))
        self._numbers, self._cells, self._num_chars, self._is_empty = [], [], 0, False
        return made

    def with_batch(self, batch: pa.RecordBatch, number: int) -> Rows:
        """The rows that wait, and then those of ``batch``, of which the first has this number."""
        arrays = [self._with_nulls(column) for column in batch.columns]
        numbers = np.arange(number, number + len(batch))
        if self._numbers:
            waiting = self.take()
            arrays = [pa.concat_arrays(pair) for pair in zip(waiting.batch.columns, arrays, strict=True)]
            numbers = np.concatenate([waiting.numbers, numbers])
        self._is_empty = False
        return Rows(pa.RecordBatch.from_arrays(arrays, schema=self._schema), numbers)

    def _with_nulls(self, column: pa.StringArray) -> pa.StringArray:
        return pc.if_else(pc.is_in(column, self._nulls), pa.scalar(None, pa.string()), column) if len(self._nulls) else column
