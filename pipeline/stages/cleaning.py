"""The passes of the filter stage, over shards: edit and judge each document, find duplicates among the survivors, drop them.

Dropping, counting and keeping what was removed is written here once; a filter only gives reasons, an editor only cuts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import bench
from pipeline.commits import ShardWriter, writing
from pipeline.datasets import read_batches
from pipeline.dedup.exact import Exact
from pipeline.dedup.near import Near
from pipeline.dedup.signatures import SCHEMA as SIGNATURES
from pipeline.dedup.signatures import signatures
from pipeline.documents import REMOVED, SCHEMA
from pipeline.errors import nearest
from pipeline.filters import EDITORS, FILTERS
from pipeline.filters.verdicts import CUTS, Editor, Filter
from pipeline.report import Report
from pipeline.settings import Builder, Raw, read_list, to_plain

SURVIVORS = "__work/survivors"
SIGNATURE_FILE = "__work/{}.signatures.arrow"


@dataclass(frozen=True)
class Dedup:
    """Which duplicates are looked for; null switches one off."""

    exact: Exact | None = None
    near: Near | None = None


@dataclass(frozen=True)
class Rules:
    """``stages/filter.yaml``, resolved: lists read in, ready to travel to a worker."""

    edit: Mapping[str, Editor] = field(default_factory=dict)
    remove: Mapping[str, Filter] = field(default_factory=dict)
    dedup: Dedup = field(default_factory=Dedup)
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """All that decides a verdict, as JSON-able data."""
        edit = {name: {"version": editor.version, **to_plain(editor)} for name, editor in self.edit.items()}
        remove = {name: {"version": rule.version, **to_plain(rule)} for name, rule in self.remove.items()}
        return {"edit": edit, "remove": remove, "dedup": to_plain(self.dedup), "keep": list(self.keep), "drop": list(self.drop)}


def read_rules(raw: Raw) -> Rules:
    """Rules from the settings; raises SettingsError with every problem of the file and of the lists it names."""
    builder = Builder(raw)
    known = ("edit", "remove", "score", "dedup", "keep", "drop")
    for name in raw.values:
        if name not in known:
            builder.problem((name,), f"unknown key; {nearest(name, known)}")
    edit = _section(builder, "edit", EDITORS)
    remove = _section(builder, "remove", FILTERS)
    _section(builder, "score", {})
    dedup = builder.build(Dedup, _with_defaults(raw.values.get("dedup")), ("dedup",))
    lists = {name: builder.convert(str | None, raw.values.get(name), (name,)) for name in ("keep", "drop")}
    builder.finish()
    assert dedup is not None
    keep, drop = (read_list(bench.find(path)) if path else () for path in lists.values())
    return Rules(
        edit={name: editor.resolve(bench.find) for name, editor in edit.items()},
        remove={name: rule.resolve(bench.find) for name, rule in remove.items()},
        dedup=dedup,
        keep=keep,
        drop=drop,
    )


def _with_defaults(dedup: Any) -> Any:
    """``exact:`` with nothing behind it means its defaults, as everywhere; only ``exact: false`` switches it off."""
    if not isinstance(dedup, dict):
        return dedup
    return {name: None if value is False else {} if value is None else value for name, value in dedup.items()}


def _section(builder: Builder, section: str, registry: Mapping[str, str]) -> dict[str, Any]:
    """The named filters or editors of a section in the order of the file; ``name: false`` leaves one out."""
    values = builder.raw.values.get(section) or {}
    if not isinstance(values, dict):
        builder.problem((section,), f"is {values!r}; expected the names of rules")
        return {}
    built = {}
    for name, value in values.items():
        if name not in registry:
            builder.problem((section, name), f"unknown rule; {nearest(name, registry)}")
        elif value is not False:
            module, _, kind = registry[name].partition(":")
            built[name] = builder.build(getattr(import_module(module), kind), value, (section, name))
    return {name: item for name, item in built.items() if item is not None}


@dataclass(frozen=True)
class Judging:
    """A task of the first pass: one shard."""

    shard: Path
    rules: Rules


def judge_shard(folder: Path, name: str, task: Judging) -> dict[str, Any]:
    """Edit and judge a shard: survivors and their signatures into the work folder, removals and cuts where they stay."""
    report = Report()
    signature_file = SIGNATURE_FILE.format(name)
    with (
        writing(folder / signature_file) as sink,
        pa.ipc.new_file(sink, SIGNATURES) as signed,
        ShardWriter(folder, SURVIVORS, name, SCHEMA, always=True) as survivors,
        ShardWriter(folder, "__removed", f"{name}-a", REMOVED) as removed,
        ShardWriter(folder, "__edited", name, CUTS) as edited,
    ):
        for batch in read_batches(task.shard):
            _count(report, batch, "read")
            batch, cuts = _edit(batch, task.rules.edit, report)
            for piece in cuts.to_batches():
                edited.write(piece)
            kept, gone = _judge(batch, task.rules, report)
            if len(gone):
                removed.write(gone)
            if len(kept):
                survivors.write(kept)
                signed.write_batch(signatures(kept, task.rules.dedup.exact, task.rules.dedup.near))
    return {
        "counts": report.to_plain(),
        "survivors": [shard.path for shard in survivors.shards],
        "rows": sum(shard.rows for shard in survivors.shards),
        "signatures": signature_file,
        "shards": [vars(shard) for writer in (removed, edited) for shard in writer.shards],
    }


def _count(report: Report, batch: pa.RecordBatch, what: str) -> None:
    for entry in batch.column("source").value_counts().to_pylist():
        counts = report.of(entry["values"])
        setattr(counts, what, getattr(counts, what) + entry["counts"])


def _edit(batch: pa.RecordBatch, editors: Mapping[str, Editor], report: Report) -> tuple[pa.RecordBatch, pa.Table]:
    """Apply the editors in order; cuts are numbered through each document and named ``editor.rule``."""
    tables = []
    for name, editor in editors.items():
        edits = editor.edit(batch)
        batch = edits.batch
        if len(edits.cuts):
            touched = batch.filter(pc.is_in(batch.column("id"), edits.cuts["id"].combine_chunks()))
            for entry in touched.column("source").value_counts().to_pylist():
                edited = report.of(entry["values"]).edited
                edited[name] = edited.get(name, 0) + entry["counts"]
            rule = pc.binary_join_element_wise(pa.scalar(name), edits.cuts["rule"], ".")
            tables.append(edits.cuts.set_column(CUTS.get_field_index("rule"), CUTS.field("rule"), rule))
    if not tables:
        return batch, CUTS.empty_table()
    return batch, _renumber(pa.concat_tables(tables), batch)


def _renumber(cuts: pa.Table, batch: pa.RecordBatch) -> pa.Table:
    """Cuts in the order of the documents, then of the editors, ``seq`` counting from 0 within a document."""
    row = pc.index_in(cuts["id"], batch.column("id")).to_numpy()
    order = np.argsort(row, kind="stable")
    row = row[order]
    first = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
    seq = np.arange(len(row)) - np.repeat(first, np.diff(np.append(first, len(row))))
    taken = cuts.take(pa.array(order))
    return taken.set_column(CUTS.get_field_index("seq"), CUTS.field("seq"), pa.array(seq, pa.int64()))


def _judge(batch: pa.RecordBatch, rules: Rules, report: Report) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Split a batch into what stays and what goes (with the columns of ``REMOVED``); the first rule that speaks is the one named."""
    in_charge = pc.invert(pc.is_in(batch.column("id"), pa.array(rules.keep, pa.string())))
    rows = np.flatnonzero(in_charge.to_numpy(zero_copy_only=False))
    rest = batch.take(pa.array(rows))
    listed = pc.is_in(rest.column("id"), pa.array(rules.drop, pa.string()))
    gone = [_removed(rest.filter(listed), "drop", reason="a person put its id on the drop list")]
    gone_rows, rows, rest = _split(rows, rest, listed)
    for name, rule in rules.remove.items():
        if not len(rest):
            break
        verdict = rule.judge(rest)
        spoken = pc.is_valid(verdict.column("reason"))
        gone.append(_removed_by(rest.filter(spoken), name, verdict.filter(spoken)))
        more, rows, rest = _split(rows, rest, spoken)
        gone_rows = np.concatenate([gone_rows, more])
    removed = pa.Table.from_batches(gone, REMOVED).take(pa.array(np.argsort(gone_rows))).combine_chunks()
    for source, rule_name in zip(removed["source"].to_pylist(), removed["rule"].to_pylist(), strict=True):
        report.of(source).remove(rule_name)
    kept = batch.take(pa.array(np.setdiff1d(np.arange(len(batch)), gone_rows)))
    return kept, (removed.to_batches() or [pa.RecordBatch.from_pylist([], schema=REMOVED)])[0]


def _split(rows: np.ndarray, rest: pa.RecordBatch, gone: pa.BooleanArray) -> tuple[np.ndarray, np.ndarray, pa.RecordBatch]:
    """The rows that go, the rows that stay, and the documents that stay."""
    mask = gone.to_numpy(zero_copy_only=False)
    return rows[mask], rows[~mask], rest.filter(pc.invert(gone))


def _removed_by(batch: pa.RecordBatch, name: str, verdict: pa.RecordBatch) -> pa.RecordBatch:
    rule_id = verdict.column("rule_id")
    rule = pc.if_else(pc.is_valid(rule_id), pc.binary_join_element_wise(pa.scalar(name), pc.fill_null(rule_id, ""), "."), name)
    fields = {field: verdict.column(field) for field in ("reason", "message", "start", "end", "score")}
    return _removed(batch, rule, **fields)


def _removed(batch: pa.RecordBatch, rule: Any, **fields: Any) -> pa.RecordBatch:
    """A batch with the further columns of ``REMOVED``; a plain value stands for the whole column."""
    values = {"rule": rule, **fields}
    columns = list(batch.columns)
    for spec in list(REMOVED)[len(SCHEMA) :]:
        value: Any = values.get(spec.name)
        columns.append(value.cast(spec.type) if isinstance(value, pa.Array) else pa.repeat(pa.scalar(value, spec.type), len(batch)))
    return pa.RecordBatch.from_arrays(columns, schema=REMOVED)


@dataclass(frozen=True)
class Dropping:
    """A task of the last pass: the survivors of one shard, of which the first is row ``first_row`` of all survivors."""

    survivors: tuple[str, ...]
    first_row: int
    keep: tuple[str, ...]


DUPLICATES = "__work/duplicates.parquet"
GROUPS = "__work/groups.parquet"


def drop_duplicates(folder: Path, name: str, task: Dropping) -> dict[str, Any]:
    """Write the survivors of one shard without the duplicates; those go to ``__removed`` with the id of the document kept instead."""
    duplicates, groups = pq.read_table(folder / DUPLICATES), pq.read_table(folder / GROUPS)
    report = Report()
    first_row = task.first_row
    with ShardWriter(folder, "", name, SCHEMA, always=True) as kept, ShardWriter(folder, "__removed", f"{name}-b", REMOVED) as removed:
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
    return _removed(batch, named, reason=reason, score=score, duplicate_of=of)


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
