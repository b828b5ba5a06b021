"""What ``trace`` found, as data and for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.inspection.lookup import History, RowPlace
from pipeline.inspection.shown import MARKED_CHARS, Page, Stretch
from pipeline.inspection.trace_source import CHANGED, UNCHANGED
from pipeline.inspection.trace_units import Unit


@dataclass(frozen=True)
class Asked:
    """What was asked for: the row, where one was named, documents, and units that could not be read (rows of ``__quarantine``)."""

    row: RowPlace | None = None
    documents: tuple[History, ...] = ()
    unreadable: tuple[dict[str, Any], ...] = ()
    num_found: int = 0


@dataclass
class Traced:
    """The way of one document from its rows to its source. ``problem`` says why the source cannot be shown."""

    history: History
    source: str
    locator: str
    where: str = ""
    state: str = ""
    unit: Unit | None = None
    again: str = ""
    problem: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """As JSON-able data; the bytes are what ``--bytes`` gives."""
        unit = self.unit.to_plain() if self.unit else None
        known = {"where": self.where, "state": self.state, "unit": unit, "again": self.again, "problem": self.problem}
        source = {"name": self.source, "locator": self.locator, **{name: value for name, value in known.items() if value}}
        return {"id": self.history.id, "steps": self.steps, "source": source}


def print_traced(asked: Asked, found: Sequence[Traced]) -> None:
    """Each document: a line for every row of it, then its source; behind each the command that comes next."""
    page = Page()
    if asked.row is not None:
        holds = "a unit that could not be read" if asked.unreadable else f"{asked.num_found} document" + ("s" if asked.num_found > 1 else "")
        page.line(f"{asked.row.dataset}/{asked.row.file} row {asked.row.row:,}: {holds}")
    elif asked.num_found > len(found):
        page.line(f"{asked.num_found:,} documents match; the first of them (--documents N shows more):")
    for one in found:
        _print_one(page, one)
    page.flush()


def _print_one(page: Page, one: Traced) -> None:
    page.line(str(one.history.id or f"{one.source}/{one.locator}"), "bold")
    for step in one.steps:
        tokens = f", tokens {step['first_token']:,} to {step['end_token']:,}" if "first_token" in step else ""
        removed = f", removed by {step['removed_by']}" if "removed_by" in step else ""
        cuts = f", cuts: {step['cuts']:,}" if step.get("cuts") else ""
        page.line(f"  {step['stage']:<8}  {step['dataset']}/{step['file']} row {step['row']:,}{tokens}{removed}{cuts}")
        page.line(f"            next: {step['next']}", "dim")
    if one.source:
        page.line(f"  source    {one.source}/{one.locator}")
    if one.where:
        style = {CHANGED: "red", UNCHANGED: "green"}.get(one.state, "")
        page.line(f"            {one.where}: {one.state}", style)
    if one.again:
        page.line(f"            {one.again}")
    if one.unit is not None:
        span = "" if one.unit.start is None else f", bytes {one.unit.start:,} to {one.unit.end:,}"
        page.line(f"            {one.unit.what}{span}")
        text = one.unit.data[: 4 * MARKED_CHARS].decode("utf-8", "replace")
        page.stretch(Stretch("", "", text[:MARKED_CHARS] + ("..." if len(text) > MARKED_CHARS else "")))
        page.line(f"            next: python -m pipeline trace {one.history.id or repr(one.locator)} --bytes", "dim")
    if one.problem:
        page.line(f"            {one.problem}", "red")
    page.line()
