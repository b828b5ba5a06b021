"""The duplicate passes of the filter stage: sign what survives the rules, find duplicates, drop them file by file.

What survives lies in the work folder as plain Arrow until the duplicates are known: writing and reading it again costs next to nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commits import Build, ShardWriter, writing
from pipeline.datasets import Dataset, read_batches
from pipeline.dedup import native
from pipeline.dedup.clusters import Verdicts
from pipeline.dedup.collection import Collection, Stored, stored_parquet
from pipeline.dedup.find import Source, find
from pipeline.dedup.index import index_writer
from pipeline.dedup.signatures import Looks, signatures
from pipeline.documents import SCHEMA, removed_schema
from pipeline.pools import run_step
from pipeline.progress import Progress
from pipeline.report import Report
from pipeline.stages.attempts import counted
from pipeline.stages.judging import with_why
from pipeline.stages.ruleset import Rules
from pipeline.units import beat

SURVIVORS = "__work/{}.survivors.arrow"
INDEX = "__work/{}.index.arrow"
DUPLICATES = "__work/duplicates.arrow"
GROUPS = "__work/groups.arrow"
BATCH_ROWS = 1 << 16

COMPILED_BYTES = 20_000_000
"""From so many bytes of Parquet a worker on, about 60 MB of text, loops are worth the seconds that compiling them takes, once."""

GONE = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("duplicate_of", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
    ]
)
"""One row a duplicate, ascending; rows count from 0 over all that survived the rules. ``duplicate_of`` is the id of a document that is kept."""

LEADERS = pa.schema([pa.field("row", pa.int64(), nullable=False), pa.field("group", pa.string(), nullable=False)])
"""One row a kept document that has duplicates, ascending; ``group`` names its cluster: the document's own id."""


def for_size(rules: Rules, num_bytes: int) -> Rules:
    """The rules for a dataset of so many bytes of Parquet a worker."""
    compiled = native.is_kept() or (num_bytes >= COMPILED_BYTES and native.is_there())
    return replace(rules, dedup=replace(rules.dedup, compiled=compiled))


class Survivors:
    """Keeps what survives the rules, and its signatures, until the duplicates are known. Use it as a context manager."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema, looks: Looks) -> None:
        self._paths = folder / SURVIVORS.format(name), folder / INDEX.format(name)
        self._schema, self._looks = schema, looks
        self.pieces: list[int] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Add documents."""
        self._index.write(signatures(batch, self._looks))
        self._documents.write_batch(batch)
        self.pieces.append(len(batch))

    def __enter__(self) -> Self:
        documents, index = self._paths
        with ExitStack() as stack:
            self._documents = stack.enter_context(pa.ipc.new_file(stack.enter_context(writing(documents)), self._schema))
            self._index = stack.enter_context(index_writer(index, self._looks))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)


@dataclass(frozen=True)
class Signing:
    """A task: a file of another dataset."""

    shard: Path
    looks: Looks


def sign_shard(folder: Path, name: str, task: Signing) -> dict[str, Any]:
    """The index of a file that duplicates are looked for in, but not removed from."""
    with index_writer(folder / INDEX.format(f"against-{name}"), task.looks) as index:
        for batch in read_batches(task.shard, SCHEMA.names):
            beat()
            index.write(signatures(batch, task.looks))
    return {}


def find_duplicates(
    build: Build, judged: Sequence[Any], others: Sequence[Dataset], looks: Looks, executor: Executor, progress: Progress
) -> dict[str, Any]:
    """Find the duplicates among the survivors, and those of documents in ``others``.

    The verdicts lie in the work folder for the last pass. Gives the figures for the manifest, and the first row of each batch of verdicts.
    """
    done = build.record("duplicates")
    if done is not None:
        return dict(done)
    shards = [(dataset, path.resolve()) for dataset in others for path in dataset.files()]
    run_step(build, "against", sign_shard, _named([Signing(path, looks) for _, path in shards]), executor, progress)
    names = [f"{number:05d}" for number in range(len(judged))]
    source = Source(
        index=(*map(INDEX.format, names), *(INDEX.format(f"against-{number:05d}") for number in range(len(shards)))),
        documents=(*_stored(names, judged), *(stored_parquet(path) for _, path in shards)),
        num_documents=sum(sum(record["pieces"]) for record in judged),
        looks=looks,
    )
    folder = build.folder.resolve()
    found = find(folder, source, lambda step, function, tasks: run_step(build, step, function, tasks, executor, progress))
    origins = [_name(dataset) for dataset, _ in shards]
    starts = list(accumulate((file.rows for file in source.documents[len(judged) :]), initial=source.num_documents))
    gone, leaders = _write_verdicts(folder, found.verdicts, source, lambda row: origins[bisect_right(starts, row) - 1])
    return dict(build.finish("duplicates", {"figures": dict(found.figures), "gone": gone, "leaders": leaders}))


def _name(dataset: Dataset) -> str:
    """Its folder's name; of one that was extracted for this run only, the names of its sources."""
    name = dataset.folder.resolve().name
    return ", ".join(sorted(dataset.manifest["counts"])) if name.startswith(".") else name


def _named(tasks: Sequence[Any]) -> dict[str, Any]:
    return {f"{number:05d}": task for number, task in enumerate(tasks)}


def _stored(names: Sequence[str], judged: Sequence[Any]) -> list[Stored]:
    return [Stored(Path(SURVIVORS.format(name)), tuple(record["pieces"])) for name, record in zip(names, judged, strict=True)]


def _write_verdicts(folder: Path, verdicts: Verdicts, source: Source, origin: Callable[[int], str]) -> tuple[list[int], list[int]]:
    """Write ``GONE`` and ``LEADERS``; gives the first row of each batch of both."""
    collection = source.collection(folder)
    with writing(folder / DUPLICATES) as sink, pa.ipc.new_file(sink, GONE) as file:
        pieces = [slice(first, first + BATCH_ROWS) for first in range(0, len(verdicts.rows), BATCH_ROWS)]
        for piece in pieces:
            file.write_batch(_gone(verdicts, piece, collection, source.num_documents, origin))
    leaders = np.unique(verdicts.keepers[verdicts.keepers < source.num_documents])
    firsts = range(0, len(leaders), BATCH_ROWS)
    with writing(folder / GROUPS) as sink, pa.ipc.new_file(sink, LEADERS) as file:
        for first in firsts:
            rows = leaders[first : first + BATCH_ROWS]
            file.write_batch(pa.record_batch([pa.array(rows), collection.ids(rows)], schema=LEADERS))
    return [int(verdicts.rows[piece.start]) for piece in pieces], [int(leaders[first]) for first in firsts]


def _gone(verdicts: Verdicts, piece: slice, collection: Collection, num_documents: int, origin: Callable[[int], str]) -> pa.RecordBatch:
    keepers, exactly = verdicts.keepers[piece], verdicts.exactly[piece]
    rules, reasons = [], []
    for keeper, same in zip(keepers.tolist(), exactly.tolist(), strict=True):
        where = f"a document of {origin(keeper)}" if keeper >= num_documents else "another document"
        rules.append("dedup.against" if keeper >= num_documents else "dedup.exact" if same else "dedup.near")
        reasons.append(f"its text is {'' if same else 'nearly '}that of {where}")
    columns = [pa.array(verdicts.rows[piece]), collection.ids(keepers), pa.array(rules), pa.array(reasons), pa.array(verdicts.scores[piece])]
    return pa.record_batch(columns, schema=GONE)


@dataclass(frozen=True)
class Dropping:
    """A task of the last pass: the survivors of one shard, of which the first is row ``first_row`` of all survivors.

    ``gone`` and ``leaders``: which batches of verdicts speak of its rows, from and to.
    """

    first_row: int
    gone: tuple[int, int]
    leaders: tuple[int, int]
    keep: tuple[str, ...]
    schema: pa.Schema


def drop(build: Build, judged: Sequence[Any], found: dict[str, Any], rules: Rules, executor: Executor, progress: Progress) -> list[Any]:
    """The last pass: write the survivors without the duplicates."""
    first_rows = list(accumulate((sum(record["pieces"]) for record in judged), initial=0))

    def batches(firsts: Sequence[int], number: int) -> tuple[int, int]:
        return max(0, bisect_right(firsts, first_rows[number]) - 1), bisect_left(firsts, first_rows[number + 1])

    tasks = [
        Dropping(first_rows[number], batches(found["gone"], number), batches(found["leaders"], number), rules.keep, rules.schema)
        for number in range(len(judged))
    ]
    return run_step(build, "drop", drop_duplicates, _named(tasks), executor, progress)


def drop_duplicates(folder: Path, name: str, task: Dropping) -> dict[str, Any]:
    """Write the survivors of one shard without the duplicates; those go to ``__removed`` with the id of the document kept instead."""
    duplicates, groups = _verdicts(folder / DUPLICATES, task.gone), _verdicts(folder / GROUPS, task.leaders)
    report = Report()
    first_row = task.first_row
    with (
        ShardWriter(folder, "", name, task.schema, always=True) as kept,
        ShardWriter(folder, "__removed", f"{name}-b", removed_schema(task.schema)) as removed,
    ):
        for batch in _survivors(folder / SURVIVORS.format(name)):
            beat()
            rows = np.arange(first_row, first_row + len(batch))
            first_row += len(batch)
            found = _position(duplicates, rows)
            if task.keep:
                rescued = pc.is_in(batch.column("id"), pa.array(task.keep, pa.string())).to_numpy(zero_copy_only=False)
                found = np.where(rescued, -1, found)
            gone = found >= 0
            rest = batch
            if gone.any():
                removed.write(_removed(batch.filter(pa.array(gone)), duplicates.take(pa.array(found[gone])).combine_chunks(), report))
                rest = batch.filter(pa.array(~gone))
            rest = _grouped(rest, groups, rows[~gone])
            count(report, rest, "kept")
            if len(rest):
                kept.write(rest)
    return {"counts": report.to_plain(), "shards": [vars(shard) for writer in (kept, removed) for shard in writer.shards]}


def count(report: Report, batch: pa.RecordBatch, what: str) -> None:
    """Add the documents of a batch, by source, to the count named ``what``."""
    for source, number in counted(batch.column("source")):
        counts = report.of(source)
        setattr(counts, what, getattr(counts, what) + number)


def _survivors(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path)) as source:
        reader = pa.ipc.open_file(source)
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))


def _verdicts(path: Path, batches: tuple[int, int]) -> pa.Table:
    with pa.OSFile(str(path)) as source:
        reader = pa.ipc.open_file(source)
        return pa.Table.from_batches([reader.get_batch(number) for number in range(*batches)], reader.schema)


def _position(table: pa.Table, rows: np.ndarray) -> np.ndarray:
    """int64[n]: where each of ``rows`` stands in the ascending column ``row`` of the table, -1 where it does not."""
    known = table["row"].to_numpy()
    place = np.searchsorted(known, rows)
    there = np.append(known, -1)[place] == rows
    return np.where(there, place, -1)


def _removed(batch: pa.RecordBatch, found: pa.Table, report: Report) -> pa.RecordBatch:
    rule, reason, score, of = (found[name].combine_chunks() for name in ("rule", "reason", "score", "duplicate_of"))
    for source, name in zip(batch.column("source").to_pylist(), rule.to_pylist(), strict=True):
        report.of(source).remove(name)
    return with_why(batch, rule, reason=reason, score=score, duplicate_of=of)


def _grouped(batch: pa.RecordBatch, groups: pa.Table, rows: np.ndarray) -> pa.RecordBatch:
    """Keepers of a cluster get the cluster as their group where they had none, so that a split never parts what belongs together."""
    place = _position(groups, rows)
    if not (place >= 0).any():
        return batch
    cluster = groups["group"].combine_chunks().take(pa.array(place, mask=place < 0))
    group = pc.coalesce(batch.column("group"), cluster)
    return batch.set_column(SCHEMA.get_field_index("group"), SCHEMA.field("group"), group)
