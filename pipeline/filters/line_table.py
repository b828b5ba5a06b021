"""In how many documents of its source each line stands: counted in bounded memory, merged by ranges of hashes, then looked up.

A line is known by a 64-bit key of its bytes and its source alone. Counting writes sorted runs; merging reads the same range of all runs, so that no
step holds more than a block of lines, and the table is the same however the work was divided.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.commits import writing
from pipeline.text import Hashes, Rows

RUNS = pa.schema([("key", pa.uint64()), ("documents", pa.uint32()), ("inner", pa.uint32()), ("signs", pa.uint64())])
"""A sorted run: each key once, in how many documents it stands, in how many of them within the text, far from top and bottom, and a bit for each of
64 classes of documents that it was seen in."""

TABLE = pa.schema([("key", pa.uint64()), ("documents", pa.uint32())])
"""The lines that recur, by ascending key."""

BLOCK_LINES = 1 << 20
"""About so many lines are sorted or merged at once, which takes some 100 MB."""

_NUM_SIGNS = 64
_DOCUMENTS = b"documents"


@dataclass
class LineCounter:
    """Counts lines and hands sorted runs (``RUNS``) to ``write``; the last when ``close`` is called."""

    write: Callable[[pa.RecordBatch], None]
    num_written: int = 0
    _lines: list[tuple[Hashes, NDArray[np.bool_], Hashes]] = field(default_factory=list)
    _waiting: int = 0

    def add(self, keys: Hashes, inner: NDArray[np.bool_], signs: Hashes) -> None:
        """Count lines, each once a document: their keys, whether each stands within its text, and the sign of its document (0 to 63)."""
        self._lines.append((keys, inner, signs))
        self._waiting += len(keys)
        if self._waiting >= BLOCK_LINES:
            self.close()

    def close(self) -> None:
        """Write down what was counted since the last run."""
        if not self._waiting:
            return
        keys, inner, signs = (np.concatenate(column) for column in zip(*self._lines, strict=True))
        self._lines, self._waiting = [], 0
        run = _summed(keys, np.ones(len(keys), np.uint32), inner.astype(np.uint32), np.uint64(1) << signs)
        self.num_written += len(run)
        self.write(run)


def num_ranges(num_lines: int) -> int:
    """Into how many ranges of keys to divide the merging of so many counted lines."""
    return max(1, -(-num_lines // BLOCK_LINES))


def merge(paths: Sequence[Path], number: int, count: int, min_documents: int, max_inner: float) -> pa.RecordBatch:
    """The lines (``TABLE``) of the ``number``-th of ``count`` ranges of keys that recur, from the files of runs.

    Such a line stands in at least ``min_documents`` documents that differ, and in at most the share ``max_inner`` of them within the text.
    """
    low, high = ((2**64 * place) // count for place in (number, number + 1))
    nothing = pa.RecordBatch.from_pylist([], schema=RUNS)
    pieces = [_between(run, low, high) for run in chain([nothing], *map(_runs, paths))]
    merged = _summed(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))
    documents, inner, signs = (merged.column(name).to_numpy() for name in RUNS.names[1:])
    recurs = (documents >= min_documents) & (np.bitwise_count(signs) >= min_signs(min_documents)) & (inner <= max_inner * documents)
    return pa.RecordBatch.from_arrays([merged.column(name).filter(pa.array(recurs)) for name in TABLE.names], schema=TABLE)


def min_signs(min_documents: int) -> int:
    """How many classes of documents a line must have been seen in: what half of ``min_documents`` different documents are expected to fill.

    Copies of one document have the same sign. So the lines of an article that a source holds a hundred times recur no more than those of another.
    """
    different = min(min_documents, _NUM_SIGNS) // 2
    return max(1, int(_NUM_SIGNS * (1 - (1 - 1 / _NUM_SIGNS) ** different)))


def _runs(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _between(run: pa.RecordBatch, low: int, high: int) -> tuple[NDArray[Any], ...]:
    """The columns of the rows of a run whose keys are at least ``low`` and less than ``high`` (up to 2^64)."""
    keys = run.column("key").to_numpy()
    start = int(np.searchsorted(keys, np.uint64(low)))
    stop = len(keys) if high >= 2**64 else int(np.searchsorted(keys, np.uint64(high)))
    piece = run.slice(start, stop - start)
    return tuple(piece.column(name).to_numpy().copy() for name in RUNS.names)


def _summed(keys: Hashes, documents: NDArray[np.uint32], inner: NDArray[np.uint32], signs: Hashes) -> pa.RecordBatch:
    """A run (``RUNS``): each key once, its counts added and its signs joined."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.int64)
    if not len(first):
        return pa.RecordBatch.from_pylist([], schema=RUNS)
    sums = [np.add.reduceat(counts[order], first) for counts in (documents, inner)]
    columns = (keys[first], *sums, np.bitwise_or.reduceat(signs[order], first))
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=RUNS)


def write_table(path: Path, ranges: Sequence[pa.RecordBatch], documents: Mapping[str, int]) -> None:
    """Write the merged ranges, in order, and how many documents each source has, where ``read_table`` reads them."""
    schema = TABLE.with_metadata({_DOCUMENTS: json.dumps(documents)})
    table = pa.Table.from_batches(ranges, TABLE).combine_chunks().replace_schema_metadata(schema.metadata)
    with writing(path) as sink, pa.ipc.new_file(sink, schema) as file:
        file.write_table(table)


def read_table(path: Path) -> LineTable:
    """The table in a file, mapped into memory, so that all workers of a machine share it; the last one read is remembered."""
    return _read_table(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read_table(path: Path, modified: int) -> LineTable:
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        table = reader.read_all().combine_chunks()
        documents = json.loads(reader.schema.metadata[_DOCUMENTS])
    keys, counts = (table[name].chunk(0).to_numpy() if len(table) else np.zeros(0, np.uint64) for name in TABLE.names)
    return LineTable(keys, counts.astype(np.uint32, copy=False), documents)


@dataclass(frozen=True)
class LineTable:
    """The lines that recur.

    keys       uint64[n], ascending
    counts     uint32[n]: in how many documents each stands
    documents  how many documents each source has
    """

    keys: Hashes
    counts: NDArray[np.uint32]
    documents: Mapping[str, int]

    def lookup(self, keys: Hashes) -> Rows:
        """int64[]: in how many documents each line stands; 0 for one that does not recur."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.counts[place].astype(np.int64), 0)
