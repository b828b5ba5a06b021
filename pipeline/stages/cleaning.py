"""The passes of the filter stage, over shards: edit, score and judge each document, find duplicates among the survivors, drop them.

Counting, and keeping what was removed, is written here once; a filter only gives reasons, an editor only cuts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.commits import ShardWriter, writing
from pipeline.datasets import read_batches
from pipeline.dedup.signatures import SCHEMA as SIGNATURES
from pipeline.dedup.signatures import signatures
from pipeline.documents import QUARANTINE, SCHEMA, SCORES, removed_schema
from pipeline.filters.verdicts import CUTS
from pipeline.report import Report
from pipeline.stages.attempts import counted
from pipeline.stages.judging import Judged, judge, with_why
from pipeline.stages.ruleset import Rules

SURVIVORS = "__work/survivors"
SIGNATURE_FILE = "__work/{}.signatures.arrow"


@dataclass(frozen=True)
class Judging:
    """A task of the first pass: one shard."""

    shard: Path
    rules: Rules


def judge_shard(folder: Path, name: str, task: Judging) -> dict[str, Any]:
    """Edit, score and judge a shard: survivors and their signatures into the work folder, all else where it stays.

    Where no duplicates are looked for, the survivors stay too, and need no signatures.
    """
    report, rules = Report(), task.rules
    looks = rules.dedup.looks
    signature_file = SIGNATURE_FILE.format(name)
    with (
        _signing(folder / signature_file, rules) as sign,
        ShardWriter(folder, SURVIVORS if looks else "", name, rules.schema, always=True) as survivors,
        ShardWriter(folder, "__removed", f"{name}-a", removed_schema(rules.schema)) as removed,
        ShardWriter(folder, "__edited", name, CUTS) as edited,
        ShardWriter(folder, "__quarantine", name, QUARANTINE) as quarantined,
    ):
        for batch in read_batches(task.shard, [*SCHEMA.names, SCORES]):
            found = judge(batch, rules)
            _account(report, batch, found, rules)
            for piece in found.cuts.to_batches():
                edited.write(piece)
            if len(found.removed):
                removed.write(found.removed)
            if found.failed:
                quarantined.write(found.quarantine())
            if len(found.kept):
                survivors.write(found.kept)
                sign(found.kept)
            if not looks:
                _count(report, found.kept, "kept")
    stays = (removed, edited, quarantined) if looks else (survivors, removed, edited, quarantined)
    return {
        "counts": report.to_plain(),
        "survivors": [shard.path for shard in survivors.shards],
        "rows": sum(shard.rows for shard in survivors.shards),
        "signatures": signature_file,
        "shards": [vars(shard) for writer in stays for shard in writer.shards],
    }


@contextmanager
def _signing(path: Path, rules: Rules) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """What writes the signatures of a batch into the file at ``path``; nothing where no duplicates are looked for."""
    if not rules.dedup.looks:
        yield lambda batch: None
        return
    with writing(path) as sink, pa.ipc.new_file(sink, SIGNATURES) as signed:
        yield lambda batch: signed.write_batch(signatures(batch, rules.dedup.exact, rules.dedup.near))


def _count(report: Report, batch: pa.RecordBatch, what: str) -> None:
    for source, number in counted(batch.column("source")):
        counts = report.of(source)
        setattr(counts, what, getattr(counts, what) + number)


def _account(report: Report, batch: pa.RecordBatch, found: Judged, rules: Rules) -> None:
    """Count what became of a batch; what was kept is counted when the duplicates are gone."""
    _count(report, batch, "read")
    for source, rule in zip(found.removed.column("source").to_pylist(), found.removed.column("rule").to_pylist(), strict=True):
        report.of(source).remove(rule)
    for failed in found.failed:
        report.of(failed.document["source"]).quarantine(failed.error)
    for name in rules.edit:
        touched = found.cuts.filter(pc.starts_with(found.cuts["rule"], f"{name}."))["id"].combine_chunks()
        if len(touched):
            for source, number in counted(batch.filter(pc.is_in(batch.column("id"), touched)).column("source")):
                edited = report.of(source).edited
                edited[name] = edited.get(name, 0) + number


@dataclass(frozen=True)
class Dropping:
    """A task of the last pass: the survivors of one shard, of which the first is row ``first_row`` of all survivors."""

    survivors: tuple[str, ...]
    first_row: int
    keep: tuple[str, ...]
    schema: pa.Schema


DUPLICATES = "__work/duplicates.parquet"
GROUPS = "__work/groups.parquet"


def drop_duplicates(folder: Path, name: str, task: Dropping) -> dict[str, Any]:
    """Write the survivors of one shard without the duplicates; those go to ``__removed`` with the id of the document kept instead."""
    duplicates, groups = pq.read_table(folder / DUPLICATES), pq.read_table(folder / GROUPS)
    report = Report()
    first_row = task.first_row
    with (
        ShardWriter(folder, "", name, task.schema, always=True) as kept,
        ShardWriter(folder, "__removed", f"{name}-b", removed_schema(task.schema)) as removed,
    ):
        for path in task.survivors:
            for batch in read_batches(folder / path):
                rows = np.arange(first_row, first_row + len(batch))
                first_row += len(batch)
                rescued = pc.is_in(batch.column("id"), pa.array(task.keep, pa.string())).to_numpy(zero_copy_only=False)
                found = np.where(rescued, -1, _position(duplicates, rows))
                gone = found >= 0
                if gone.any():
                    removed.write(_duplicates(batch.filter(pa.array(gone)), duplicates.take(pa.array(found[gone])).combine_chunks(), report))
                rest = _grouped(batch.filter(pa.array(~gone)), groups, rows[~gone])
                _count(report, rest, "kept")
                if len(rest):
                    kept.write(rest)
    return {"counts": report.to_plain(), "shards": [vars(shard) for writer in (kept, removed) for shard in writer.shards]}


def _position(table: pa.Table, rows: np.ndarray) -> np.ndarray:
    """int64[n]: where each of ``rows`` stands in the ascending column ``row`` of the table, -1 where it does not."""
    known = table["row"].to_numpy()
    place = np.searchsorted(known, rows)
    there = np.append(known, -1)[place] == rows
    return np.where(there, place, -1)


def _duplicates(batch: pa.RecordBatch, found: pa.Table, report: Report) -> pa.RecordBatch:
    rule, score, of = (found[name].combine_chunks() for name in ("rule", "score", "duplicate_of"))
    for source, kind in zip(batch.column("source").to_pylist(), rule.to_pylist(), strict=True):
        report.of(source).remove(f"dedup.{kind}")
    same = pc.equal(rule, "exact")
    reason = pc.if_else(same, "its text is that of another document", "its text is nearly that of another document")
    named = pc.binary_join_element_wise(pa.scalar("dedup"), rule, ".")
    return with_why(batch, named, reason=reason, score=score, duplicate_of=of)


def _grouped(batch: pa.RecordBatch, groups: pa.Table, rows: np.ndarray) -> pa.RecordBatch:
    """Keepers of a cluster get the cluster as their group where they had none, so that a split never parts what belongs together."""
    place = _position(groups, rows)
    cluster = groups["group"].combine_chunks().take(pa.array(place, mask=place < 0))
    group = pc.coalesce(batch.column("group"), cluster)
    return batch.set_column(SCHEMA.get_field_index("group"), SCHEMA.field("group"), group)


def merge_counts(records: Sequence[Mapping[str, Any]]) -> Report:
    """The counts of all tasks together."""
    report = Report()
    for record in records:
        report.add_plain(record["counts"])
    return report
