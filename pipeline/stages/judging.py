"""The rules of the filter stage on one batch in memory: edit, then score, then judge. Nothing is read, written or counted here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.documents import QUARANTINE, RAW_CAP_BYTES, SCHEMA, SCORES, WHY, removed_schema
from pipeline.filters.verdicts import CUTS, VERDICTS, Editor, no_cuts
from pipeline.stages.attempts import Failure, attempt, edited, judged, rows_of, scored
from pipeline.stages.own import Own
from pipeline.stages.ruleset import Rules


@dataclass(frozen=True)
class Failed:
    """A document that a rule raised on, as it stood then, and the error."""

    document: Mapping[str, Any]
    error: str

    @property
    def raw(self) -> bytes:
        """The first bytes of its text, or of its messages as JSON."""
        text, messages = self.document["text"], self.document["messages"]
        return (text if text is not None else json.dumps(messages, ensure_ascii=False)).encode()[:RAW_CAP_BYTES]


@dataclass(frozen=True)
class Judged:
    """What the rules made of a batch: every document of it is in exactly one of ``kept``, ``removed`` and ``failed``.

    kept     the rules' schema
    removed  the same and why (``documents.removed_schema``)
    cuts     ``CUTS`` of the kept and the removed ones, rules named ``editor.rule``
    """

    kept: pa.RecordBatch
    removed: pa.RecordBatch
    cuts: pa.Table
    failed: tuple[Failed, ...]

    def quarantine(self) -> pa.RecordBatch:
        """The failed documents as rows of ``QUARANTINE``."""
        rows = [{**{n: f.document[n] for n in ("source", "locator")}, "error": f.error, "offset": None, "raw": f.raw} for f in self.failed]
        return pa.RecordBatch.from_pylist(rows, schema=QUARANTINE)


def judge(batch: pa.RecordBatch, rules: Rules) -> Judged:
    """What ``rules`` make of a batch of documents (``documents.SCHEMA``)."""
    failed: list[Failed] = []
    batch, cuts = edit(batch, rules.edit, failed)
    batch = score(batch, rules, failed)
    kept, gone = remove(batch, rules, failed)
    if failed and len(cuts):
        cuts = cuts.filter(pc.is_in(cuts["id"], pa.concat_arrays([kept.column("id"), gone.column("id")])))
    return Judged(kept, gone, cuts, tuple(failed))


def spoiled(batch: pa.RecordBatch, rules: Rules, error: str) -> Judged:
    """The same for documents that no rule may look at again, because they end the process that does."""
    failed = tuple(Failed(document, error) for document in batch.select(SCHEMA.names).to_pylist())
    nothing = pa.RecordBatch.from_pylist([], schema=rules.schema)
    return Judged(nothing, pa.RecordBatch.from_pylist([], schema=removed_schema(rules.schema)), no_cuts(), failed)


def _note(failed: list[Failed], batch: pa.RecordBatch, failures: Sequence[Failure]) -> None:
    for failure in failures:
        (document,) = batch.slice(failure.row, 1).select(SCHEMA.names).to_pylist()
        failed.append(Failed(document, failure.error))


def edit(batch: pa.RecordBatch, editors: Mapping[str, Editor], failed: list[Failed]) -> tuple[pa.RecordBatch, pa.Table]:
    """Apply the editors in order; cuts are numbered through each document and named ``editor.rule``."""
    tables = []
    for name, editor in editors.items():
        done, failures = attempt(name, partial(edited, f"edit.{name}", editor, is_own=isinstance(editor, Own)), batch)
        _note(failed, batch, failures)
        batch = done[0][1].batch if len(done) == 1 else _joined([edits.batch for _, edits in done], batch.schema)
        for _, edits in done:
            if len(edits.cuts):
                rule = pc.binary_join_element_wise(pa.scalar(name), edits.cuts["rule"], ".")
                tables.append(edits.cuts.set_column(CUTS.get_field_index("rule"), CUTS.field("rule"), rule))
    if not tables:
        return batch, no_cuts()
    cuts = pa.concat_tables(tables)
    return batch, _renumber(cuts.filter(pc.is_in(cuts["id"], batch.column("id"))) if failed else cuts, batch)


def _joined(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    table = pa.Table.from_batches(batches, schema).combine_chunks()
    return (table.to_batches() or [pa.RecordBatch.from_pylist([], schema=schema)])[0]


def _renumber(cuts: pa.Table, batch: pa.RecordBatch) -> pa.Table:
    """Cuts in the order of the documents, then of the editors, ``seq`` counting from 0 within a document."""
    if not len(cuts):
        return cuts
    row = pc.index_in(cuts["id"], batch.column("id")).to_numpy()
    order = np.argsort(row, kind="stable")
    row = row[order]
    first = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
    seq = np.arange(len(row)) - np.repeat(first, np.diff(np.append(first, len(row))))
    taken = cuts.take(pa.array(order))
    return taken.set_column(CUTS.get_field_index("seq"), CUTS.field("seq"), pa.array(seq, pa.int64()))


def score(batch: pa.RecordBatch, rules: Rules, failed: list[Failed]) -> pa.RecordBatch:
    """The batch with the struct ``scores``: the scorers' columns, and those that the input brought; without it when there are none."""
    columns: dict[str, pa.Array] = {}
    for name, scorer in rules.score.items():
        fields = scorer.fields()
        done, failures = attempt(name, partial(scored, f"score.{name}", scorer, fields), batch)
        _note(failed, batch, failures)
        rows = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in done)])
        batch, columns = rows_of(batch, rows), {known: column.take(pa.array(rows)) for known, column in columns.items()}
        for number, (field, kind) in enumerate(fields.items()):
            columns[field] = pa.concat_arrays([pa.array([], kind), *(made[number] for _, made in done)])
    own = batch.select(SCHEMA.names)
    if not rules.fields:
        return own
    brought = {}
    if SCORES in batch.schema.names:
        struct = batch.column(SCORES)
        brought = {field.name: struct.field(field.name) for field in struct.type}
    for name, kind in rules.carried.items():
        columns.setdefault(name, brought.get(name, pa.nulls(len(batch), kind)))
    struct = pa.StructArray.from_arrays([columns[field] for field in rules.fields], fields=list(rules.schema.field(SCORES).type))
    return pa.RecordBatch.from_arrays([*own.columns, struct], schema=rules.schema)


def remove(batch: pa.RecordBatch, rules: Rules, failed: list[Failed]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Split a batch into what stays and what goes, with why; the first rule that speaks is the one named."""
    in_charge = pc.invert(pc.is_in(batch.column("id"), pa.array(rules.keep, pa.string())))
    rows = np.flatnonzero(in_charge.to_numpy(zero_copy_only=False))
    rest = rows_of(batch, rows)
    listed = pc.is_in(rest.column("id"), pa.array(rules.drop, pa.string()))
    gone = [with_why(rest.filter(listed), "drop", reason="a person put its id on the drop list")]
    gone_rows, rows, rest = _split(rows, rest, listed)
    lost = np.zeros(0, np.int64)
    for name, rule in rules.remove.items():
        if not len(rest):
            break
        done, failures = attempt(name, partial(judged, f"remove.{name}", rule), rest)
        _note(failed, rest, failures)
        if failures:
            worked = np.concatenate([np.zeros(0, np.int64), *(piece for piece, _ in done)])
            lost = np.concatenate([lost, np.delete(rows, worked)])
            rows, rest = rows[worked], rows_of(rest, worked)
        verdict = done[0][1] if len(done) == 1 else _joined([verdict for _, verdict in done], VERDICTS)
        spoken = pc.is_valid(verdict.column("reason"))
        gone.append(_named(rest.filter(spoken), name, verdict.filter(spoken)))
        more, rows, rest = _split(rows, rest, spoken)
        gone_rows = np.concatenate([gone_rows, more])
    removed = _joined(gone, removed_schema(batch.schema)).take(pa.array(np.argsort(gone_rows)))
    return rows_of(batch, np.setdiff1d(np.arange(len(batch)), np.concatenate([gone_rows, lost]))), removed


def _split(rows: np.ndarray, rest: pa.RecordBatch, gone: pa.BooleanArray) -> tuple[np.ndarray, np.ndarray, pa.RecordBatch]:
    """The rows that go, the rows that stay, and the documents that stay."""
    mask = gone.to_numpy(zero_copy_only=False)
    return rows[mask], rows[~mask], rest.filter(pc.invert(gone)) if mask.any() else rest


def _named(batch: pa.RecordBatch, name: str, verdict: pa.RecordBatch) -> pa.RecordBatch:
    rule_id = verdict.column("rule_id")
    rule = pc.if_else(pc.is_valid(rule_id), pc.binary_join_element_wise(pa.scalar(name), pc.fill_null(rule_id, ""), "."), name)
    fields = {field: verdict.column(field) for field in ("reason", "message", "start", "end", "score")}
    return with_why(batch, rule, **fields)


def with_why(batch: pa.RecordBatch, rule: Any, **fields: Any) -> pa.RecordBatch:
    """A batch with the columns that say why it was removed; a plain value stands for the whole column."""
    values = {"rule": rule, **fields}
    columns = list(batch.columns)
    for spec in WHY:
        value: Any = values.get(spec.name)
        columns.append(value.cast(spec.type) if isinstance(value, pa.Array) else pa.repeat(pa.scalar(value, spec.type), len(batch)))
    return pa.RecordBatch.from_arrays(columns, schema=removed_schema(batch.schema))
