"""The search for duplicates over a whole dataset, in steps of tasks that each see a bounded part of it.

    twins   a range of digests: exact duplicates, and which of them stands for the others
    pairs   a range of band hashes: candidate pairs among those that stand for themselves
    near    a range of documents: their pairs, measured on the documents' words, which are read again

The verdicts follow from what these leave. Every task writes one file whole or not at all; the same documents in the same order give the
same verdicts, however they are cut into files and batches and whoever runs the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.commits import writing
from pipeline.dedup.clusters import Edges, Twins, Verdicts, verdicts
from pipeline.dedup.collection import Collection, Stored
from pipeline.dedup.index import Index
from pipeline.dedup.near import MAX_BAND, NUM_BANDS, min_shared
from pipeline.dedup.pairs import LOW, candidates, likely, tally
from pipeline.dedup.signatures import Looks
from pipeline.dedup.similarity import measure
from pipeline.text import Hashes, Rows, distinct
from pipeline.units import beat

BUCKET_ENTRIES = 1 << 19
"""A task of `twins` or `pairs` holds about so many digests or band hashes, some 100 bytes each at worst."""

PART_ROWS = 1 << 13
MAX_PARTS = 256
"""Pairs are divided by their first document: so many documents a part, as long as there are at most so many parts."""

BLOCK_CHARS = 1 << 24
"""Pairs are measured in blocks whose documents have about so many characters, so that their words fit into memory."""

TWINS = pa.schema([pa.field("row", pa.uint32(), nullable=False), pa.field("keeper", pa.uint32(), nullable=False)])
PAIRS = pa.schema([pa.field("pair", pa.uint64(), nullable=False), pa.field("bands", pa.uint8(), nullable=False)])
EDGES = pa.schema([pa.field(name, kind, nullable=False) for name, kind in (("left", pa.uint32()), ("right", pa.uint32()), ("score", pa.float64()))])

WORK = "__work/{}-{}.arrow"
Run = Callable[[str, Callable[[Path, str, Any], Any], Mapping[str, Any]], list[Any]]
"""``run(step, function, tasks)`` calls ``function(folder, name, task)`` for each task and gives the records in order."""


@dataclass(frozen=True)
class Source:
    """What is searched: the index files and the documents' own files, both in dataset order, those of other datasets last."""

    index: tuple[str, ...]
    documents: tuple[Stored, ...]
    num_documents: int
    looks: Looks

    def open_index(self, folder: Path) -> Index:
        """The index; its files lie in ``folder``."""
        return Index([folder / path for path in self.index])

    def collection(self, folder: Path) -> Collection:
        """The documents; ``folder`` is where relative paths begin."""
        return Collection([Stored(folder / file.path, file.pieces) for file in self.documents])


@dataclass(frozen=True)
class Found:
    """The verdicts, and figures for the manifest."""

    verdicts: Verdicts
    figures: Mapping[str, int]


def find(folder: Path, source: Source, run: Run) -> Found:
    """The duplicates of ``source``; the steps' files go into ``folder``."""
    index = source.open_index(folder)
    total, looks = len(index), source.looks
    twin_tasks = [Digests(source, start, stop) for start, stop in _ranges(2**64 - 1, total)] if looks.exact else []
    twin_files = _run(run, "twins", find_twins, twin_tasks)
    pair_tasks = [Bands(source, tuple(twin_files), slices) for slices in _band_slices(total)] if looks.near else []
    paired = run("pairs", find_pairs, _named(pair_tasks))
    pair_files = [WORK.format("pairs", name) for name in _named(pair_tasks)]
    near_tasks = [Part(source, tuple(pair_files), number) for number in range(_num_parts(source.num_documents))] if looks.near else []
    measured = run("near", find_near, _named(near_tasks))
    edge_files = [WORK.format("near", name) for name in _named(near_tasks)]

    def edges() -> Iterator[Edges]:
        for path in edge_files:
            left, right, score = _columns(folder / path)
            yield Edges(left.astype(np.int64), right.astype(np.int64), score)

    found = verdicts(source.num_documents, _twins(folder, twin_files), edges, partial(_ranks, index, looks), source.collection(folder).ids)
    figures = {
        "candidate_pairs": sum(record["pairs"] for record in measured),
        "near_pairs": sum(record["edges"] for record in measured),
        "hot_buckets": sum(record["hot"] for record in paired),
    }
    return Found(found, figures)


def _ranks(index: Index, looks: Looks, rows: Rows) -> tuple[NDArray[np.float64], Rows]:
    """What the keeper is chosen by: score and length."""
    length: Rows = index.values("length", rows)
    return index.values("score", rows), np.zeros_like(length) if looks.keeper == "first" else length


def _run(run: Run, step: str, function: Callable[[Path, str, Any], Any], tasks: Sequence[Any]) -> list[str]:
    """Run a step; the names of its files."""
    named = _named(tasks)
    run(step, function, named)
    return [WORK.format(step, name) for name in named]


def _named(tasks: Sequence[Any]) -> dict[str, Any]:
    return {f"{number:05d}": task for number, task in enumerate(tasks)}


def _ranges(limit: int, num_entries: int) -> list[tuple[int, int]]:
    """0 to ``limit`` in as many ranges as so many evenly spread entries need."""
    count = max(1, -(-num_entries // BUCKET_ENTRIES))
    return list(pairwise([limit * number // count for number in range(count)] + [limit]))


Slice = tuple[int, int, int]
"""A band and a range of its hashes."""


def _band_slices(total: int) -> list[tuple[Slice, ...]]:
    """The slices of each task: several bands where a band is small, a part of one where it is large."""
    slices = [(band, start, stop) for band in range(NUM_BANDS) for start, stop in _ranges(MAX_BAND + 1, total)]
    size = max(1, min(NUM_BANDS, BUCKET_ENTRIES // max(1, total)))
    return [tuple(slices[first : first + size]) for first in range(0, len(slices), size)]


def _num_parts(num_documents: int) -> int:
    return min(MAX_PARTS, max(1, -(-num_documents // PART_ROWS)))


@dataclass(frozen=True)
class Digests:
    """A task: the digests whose first half is in ``start`` <= half < ``stop``."""

    source: Source
    start: int
    stop: int


def find_twins(folder: Path, name: str, task: Digests) -> dict[str, Any]:
    """The documents with one digest: the best of them stands for the others, one of another dataset before all (``TWINS``, by row)."""
    index, num_documents = task.source.open_index(folder), task.source.num_documents
    high, low, row = index.digests(task.start, task.stop)
    order = np.lexsort((row, low, high))
    high, low, row = high[order], low[order], row[order]
    first = np.append(True, (high[1:] != high[:-1]) | (low[1:] != low[:-1]))[: len(row)]
    group = np.cumsum(first) - 1
    shared = np.bincount(group, minlength=1)[group] > 1
    row, group = row[shared], group[shared]
    score, length = _ranks(index, task.source.looks, row)
    ours = row < num_documents
    name_rank = np.zeros(len(row), np.int64)
    if not ours.all():
        ids = task.source.collection(folder).ids(row[~ours]).to_numpy(zero_copy_only=False).astype(str)
        score[~ours], length[~ours], name_rank[~ours] = 0, 0, np.unique(ids, return_inverse=True)[1]
    order = np.lexsort((row, -length, -score, name_rank, ours, group))
    row, group = row[order], group[order]
    best = np.append(True, group[1:] != group[:-1])[: len(row)]
    keeper = row[best][np.cumsum(best) - 1]
    by_row = np.argsort(row[~best])
    return {"twins": _write(folder, "twins", name, TWINS, [row[~best][by_row], keeper[~best][by_row]])}


@dataclass(frozen=True)
class Bands:
    """A task: slices of the bands; the documents that others stand for are left out."""

    source: Source
    twins: tuple[str, ...]
    slices: tuple[Slice, ...]


def find_pairs(folder: Path, name: str, task: Bands) -> dict[str, Any]:
    """Pairs that share a hash in one of the slices, and in how many: one batch a part, each ascending (``PAIRS``)."""
    index, num_documents = task.source.open_index(folder), task.source.num_documents
    standing = np.ones(len(index), np.bool_)
    for path in task.twins:
        standing[_columns(folder / path)[0]] = False
    found, counts, num_hot = np.zeros(0, np.uint64), np.zeros(0, np.int64), 0
    for band, start, stop in task.slices:
        beat()
        keys, rows = index.entries(band, start, stop)
        pairs, hot = candidates(keys[standing[rows]], rows[standing[rows]], num_documents)
        found, counts = tally(np.concatenate([found, pairs]), np.concatenate([counts, np.ones(len(pairs), np.int64)]))
        num_hot += hot
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with writing(folder / WORK.format("pairs", name)) as sink, pa.ipc.new_file(sink, PAIRS, options=options) as file:
        num_parts = _num_parts(num_documents)
        borders = [num_documents * number // num_parts for number in range(num_parts)] + [1 << 32]
        cuts = np.searchsorted(found >> np.uint64(32), np.array(borders, np.uint64))
        for first, last in pairwise(cuts.tolist()):
            file.write_batch(pa.record_batch([pa.array(found[first:last]), pa.array(counts[first:last].astype(np.uint8))], schema=PAIRS))
    return {"hot": num_hot}


@dataclass(frozen=True)
class Part:
    """A task: the pairs of one part."""

    source: Source
    pairs: tuple[str, ...]
    number: int


def find_near(folder: Path, name: str, task: Part) -> dict[str, Any]:
    """Those pairs whose similarity is enough (``EDGES``)."""
    near = task.source.looks.near
    assert near is not None
    index, collection = task.source.open_index(folder), task.source.collection(folder)
    batches = [_batch(folder / path, task.number) for path in task.pairs]
    pairs, counts = tally(*(np.concatenate([batch[column] for batch in batches]) for column in (0, 1)))
    pairs = likely(pairs, counts, min_shared(near), lambda rows: index.values("words", rows) >= near.short_words)
    edges = [Edges(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for block, rows in _blocks(pairs, index):
        beat()
        compared = collection.compared(rows, near.compare, task.source.looks.compiled)
        left, right = (block >> np.uint64(32)).astype(np.int64), (block & LOW).astype(np.int64)
        score, close = measure(compared, np.searchsorted(rows, left), np.searchsorted(rows, right), near)
        edges.append(Edges(left, right, score).where(close))
    columns = [np.concatenate([getattr(edge, field) for edge in edges]) for field in ("left", "right", "score")]
    return {"pairs": len(pairs), "edges": _write(folder, "near", name, EDGES, columns)}


def _blocks(pairs: Hashes, index: Index) -> Iterator[tuple[Hashes, Rows]]:
    """Pairs that follow each other, and their documents in ascending order, as many as ``BLOCK_CHARS`` allow."""
    start, size = 0, len(pairs)
    while start < len(pairs):
        block = pairs[start : start + size]
        rows = distinct(np.concatenate([block >> np.uint64(32), block & LOW])).astype(np.int64)
        if len(block) > 1 and int(index.values("length", rows).sum()) > BLOCK_CHARS:
            size = max(1, len(block) // 2)
            continue
        yield block, rows
        start, size = start + len(block), 2 * size


def _write(folder: Path, step: str, name: str, schema: pa.Schema, columns: Sequence[NDArray[Any]]) -> int:
    """Write columns as the file of a task; gives the number of rows."""
    arrays = [pa.array(column).cast(field.type) for column, field in zip(columns, schema, strict=True)]
    with writing(folder / WORK.format(step, name)) as sink, pa.ipc.new_file(sink, schema) as file:
        file.write_batch(pa.record_batch(arrays, schema=schema))
    return len(arrays[0])


def _batch(path: Path, number: int) -> tuple[Hashes, Rows]:
    with pa.OSFile(str(path)) as source:
        batch = pa.ipc.open_file(source).get_batch(number)
        return batch.column("pair").to_numpy(), batch.column("bands").to_numpy().astype(np.int64)


def _columns(path: Path) -> list[NDArray[Any]]:
    with pa.OSFile(str(path)) as source:
        return [column.to_numpy() for column in pa.ipc.open_file(source).get_batch(0).columns]


def _twins(folder: Path, files: Sequence[str]) -> Twins:
    pieces = [_columns(folder / path) for path in files]
    row, keeper = (np.concatenate([np.zeros(0, np.int64), *(piece[column] for piece in pieces)]) for column in (0, 1))
    return Twins(row.astype(np.int64), keeper.astype(np.int64))
