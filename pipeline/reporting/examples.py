"""Documents to look at: a few that each rule removed or cut, and duplicates beside what was kept; the same ones for the same data.

Ids are hashes, so the smallest ids of a rule are a sample of it. Values that look like secrets or account numbers are covered before a text
leaves this module, whatever the settings of the filter stage were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets import Dataset, read_batches
from pipeline.filters.private_data import PrivateData, Scanner
from pipeline.inspection.shown import Stretch, cuts_in_context, piece, stretch

PAIR_CHARS = 600
"""So much is shown of each of two duplicates."""

QUARANTINE_BYTES = 300
"""So much is shown of what could not be read."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """One document that a rule removed or cut; ``parts`` are the stretches that it saw."""

    id: str
    place: str
    said: str
    parts: tuple[Stretch, ...]


@dataclass(frozen=True)
class Pair:
    """A removed duplicate beside the document that was kept; ``likeness`` is their similarity, 1 for equal texts."""

    rule: str
    removed: str
    removed_text: str
    kept: str
    kept_text: str
    likeness: float | None


def removed(datasets: Sequence[Dataset], per_rule: int) -> dict[str, list[Example]]:
    """Up to ``per_rule`` documents that each rule removed, duplicates apart."""
    rows = _smallest(datasets, "__removed", per_rule)
    return {rule: [_removed(row) for row in some] for rule, some in rows.items() if not rule.startswith("dedup.")}


def _removed(row: Row) -> Example:
    said = row["reason"] + (f" ({row['score']:g})" if row["score"] is not None else "")
    text = piece(row, row["message"])
    return Example(row["id"], _place(row), said, (_covered(stretch(text, row["start"], row["end"])),))


def quarantined(datasets: Sequence[Dataset], per_error: int) -> dict[str, list[Example]]:
    """The first ``per_error`` units of each kind of error, with the bytes that could not be read as far as they are text."""
    found: dict[str, list[Example]] = {}
    for batch in _batches(datasets, "__quarantine"):
        for row in batch.to_pylist():
            some = found.setdefault(row["error"].split(":", 1)[0].strip(), [])
            if len(some) < per_error:
                raw = (row["raw"] or b"")[:QUARANTINE_BYTES].decode("utf-8", "replace")
                some.append(Example("", _place(row), row["error"], (Stretch("", "", covered(raw)),) if raw else ()))
    return found


def cuts(clean: Sequence[Dataset], per_rule: int) -> dict[str, list[Example]]:
    """Up to ``per_rule`` documents that each rule of an editor cut, with its cuts in their surroundings."""
    chosen = _smallest(clean, "__edited", per_rule)
    wanted = {row["id"] for rows in chosen.values() for row in rows}
    documents = _documents(clean, ("", "__removed"), wanted)
    all_cuts: dict[str, list[Row]] = {}
    for row in _rows(clean, "__edited", wanted):
        all_cuts.setdefault(row["id"], []).append(row)
    return {
        rule: [_cut(documents[name], sorted(all_cuts[name], key=lambda cut: int(cut["seq"])), rule) for name in ids if name in documents]
        for rule, rows in chosen.items()
        for ids in [sorted({row["id"] for row in rows})]
    }


def _cut(document: Row, made: Sequence[Row], rule: str) -> Example:
    shown = cuts_in_context(document, made)
    parts = [_covered(part) for cut, part in zip(made, shown, strict=True) if cut["rule"] == rule]
    return Example(document["id"], _place(document), "", tuple(parts[:3]))


def pairs(clean: Sequence[Dataset], number: int) -> list[Pair]:
    """Up to ``number`` removed duplicates of each kind beside what was kept instead; near ones with another text first."""
    chosen = {rule: rows for rule, rows in _smallest(clean, "__removed", number).items() if rule.startswith("dedup.")}
    kept = _documents(clean, ("", "__removed"), {row["duplicate_of"] for rows in chosen.values() for row in rows if row["duplicate_of"]})
    found = []
    for rule, rows in sorted(chosen.items(), reverse=True):
        for row in rows:
            other = kept.get(row["duplicate_of"])
            theirs = _shortened(other) if other else "(it is in another dataset)"
            found.append(Pair(rule, row["id"], _shortened(row), row["duplicate_of"] or "", theirs, row["score"]))
    return found


def _shortened(row: Row) -> str:
    text = covered(piece(row, None))
    return text if len(text) <= PAIR_CHARS else text[:PAIR_CHARS] + "..."


def _smallest(datasets: Sequence[Dataset], part: str, number: int) -> dict[str, list[Row]]:
    """The rows with the smallest ids of each rule, rules by name."""
    best: dict[str, pa.Table] = {}
    for batch in _batches(datasets, part):
        table = pa.Table.from_batches([batch])
        for rule in pc.unique(batch.column("rule")).to_pylist():
            mine = table.filter(pc.equal(table["rule"], rule))
            both = pa.concat_tables([best[rule], mine], promote_options="default") if rule in best else mine
            best[rule] = both.take(pc.select_k_unstable(both, number, [("id", "ascending")]))
    return {rule: sorted(table.to_pylist(), key=lambda row: row["id"]) for rule, table in sorted(best.items())}


def _documents(datasets: Sequence[Dataset], parts: Iterable[str], wanted: set[str]) -> dict[str, Row]:
    return {row["id"]: row for part in parts for row in _rows(datasets, part, wanted)}


def _rows(datasets: Sequence[Dataset], part: str, wanted: set[str]) -> Iterable[Row]:
    ids = pa.array(sorted(wanted), pa.string())
    for batch in _batches(datasets, part):
        yield from batch.filter(pc.is_in(batch.column("id"), ids)).to_pylist()


def _batches(datasets: Sequence[Dataset], part: str) -> Iterable[pa.RecordBatch]:
    for dataset in datasets:
        for path in dataset.files(part):
            yield from read_batches(path)


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['source']}/{row['locator']}"


def _covered(part: Stretch) -> Stretch:
    return Stretch(covered(part.before), covered(part.marked), covered(part.after), None if part.put is None else covered(part.put))


def covered(text: str) -> str:
    """The text with placeholders for what looks like a secret or an account number."""
    rule = PrivateData()
    return rule.redact(text, Scanner.of(rule.kinds))[0]
