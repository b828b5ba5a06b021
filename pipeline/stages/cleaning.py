"""The first pass of the filter stage, over shards: edit, score and judge each document; what survives waits for the search for duplicates.

Counting, and keeping what was removed, is written here once; a filter only gives reasons, an editor only cuts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commits import ShardWriter
from pipeline.datasets import read_batches
from pipeline.documents import QUARANTINE, SCHEMA, SCORES, removed_schema
from pipeline.filters.verdicts import CUTS
from pipeline.report import Report
from pipeline.stages.attempts import counted
from pipeline.stages.duplicates import Survivors, count
from pipeline.stages.judging import Judged, judge, spoiled
from pipeline.stages.ruleset import Rules
from pipeline.units import units


@dataclass(frozen=True)
class Judging:
    """A task of the first pass: one shard."""

    shard: Path
    rules: Rules


def judge_shard(folder: Path, name: str, task: Judging) -> dict[str, Any]:
    """Edit, score and judge a shard: survivors into the work folder, all else where it stays; they too where no duplicates are looked for."""
    report, rules = Report(), task.rules
    looks = rules.dedup.looks
    survivors: ShardWriter | Survivors
    survivors = Survivors(folder, name, rules.schema, looks) if looks else ShardWriter(folder, "", name, rules.schema, always=True)
    with (
        survivors,
        ShardWriter(folder, "__removed", f"{name}-a", removed_schema(rules.schema)) as removed,
        ShardWriter(folder, "__edited", name, CUTS) as edited,
        ShardWriter(folder, "__quarantine", name, QUARANTINE) as quarantined,
    ):
        for batch, fault in units(read_batches(task.shard, [*SCHEMA.names, SCORES])):
            found = judge(batch, rules) if fault is None else spoiled(batch, rules, fault)
            _account(report, batch, found, rules)
            for piece in found.cuts.to_batches():
                edited.write(piece)
            if len(found.removed):
                removed.write(found.removed)
            if found.failed:
                quarantined.write(found.quarantine())
            if len(found.kept):
                survivors.write(found.kept)
            if not looks:
                count(report, found.kept, "kept")
    stay = [removed, edited, quarantined] if isinstance(survivors, Survivors) else [survivors, removed, edited, quarantined]
    return {
        "counts": report.to_plain(),
        "pieces": survivors.pieces if isinstance(survivors, Survivors) else [],
        "shards": [vars(shard) for writer in stay for shard in writer.shards],
    }


def _account(report: Report, batch: pa.RecordBatch, found: Judged, rules: Rules) -> None:
    """Count what became of a batch; what was kept is counted when the duplicates are gone."""
    count(report, batch, "read")
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


def merge_counts(records: Sequence[Mapping[str, Any]]) -> Report:
    """The counts of all tasks together."""
    report = Report()
    for record in records:
        report.add_plain(record["counts"])
    return report
