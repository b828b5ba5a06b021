"""Counts that must balance: read = kept + removed + merged + superseded + quarantined, for each source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import AccountingError


@dataclass
class Counts:
    """What became of the units (files, rows, documents) read from one source."""

    read: int = 0
    kept: int = 0
    merged: int = 0
    superseded: int = 0
    removed: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    edited: dict[str, int] = field(default_factory=dict)
    """Documents touched by each editor: they are kept or removed too, so this stands outside the balance."""
    choices: dict[str, int] = field(default_factory=dict)
    """How many units each way of reading gave (``html trafilatura``, ``csv alpaca columns as turns``): for the user, outside the balance."""

    def remove(self, rule: str, num_units: int = 1) -> None:
        """Count units that ``rule`` removed."""
        if num_units:
            self.removed[rule] = self.removed.get(rule, 0) + num_units

    def quarantine(self, error: str) -> None:
        """Count one unit that could not be read, by the kind of error (what stands before the first colon)."""
        kind = error.split(":", 1)[0].strip()
        self.quarantined[kind] = self.quarantined.get(kind, 0) + 1

    def add(self, other: Counts) -> None:
        """Add the counts of another part of the same source."""
        self.read += other.read
        self.kept += other.kept
        self.merged += other.merged
        self.superseded += other.superseded
        for mine, theirs in self._tables(other):
            for name, number in theirs.items():
                mine[name] = mine.get(name, 0) + number

    def _tables(self, other: Counts) -> Iterable[tuple[dict[str, int], dict[str, int]]]:
        yield self.removed, other.removed
        yield self.quarantined, other.quarantined
        yield self.edited, other.edited
        yield self.choices, other.choices

    def check(self, where: str) -> None:
        """Raise AccountingError unless everything that was read is accounted for."""
        removed, quarantined = sum(self.removed.values()), sum(self.quarantined.values())
        total = self.kept + removed + self.merged + self.superseded + quarantined
        if total != self.read:
            parts = f"{self.kept} kept + {removed} removed + {self.merged} merged + {self.superseded} superseded + {quarantined} quarantined"
            raise AccountingError(where, f"{self.read} units were read, but {parts} = {total}", "this is a bug; please report it")

    def to_plain(self) -> dict[str, Any]:
        """As JSON-able data with sorted names."""
        return {
            "read": self.read,
            "kept": self.kept,
            "removed": dict(sorted(self.removed.items())),
            "merged": self.merged,
            "superseded": self.superseded,
            "quarantined": dict(sorted(self.quarantined.items())),
            "edited": dict(sorted(self.edited.items())),
            "choices": dict(sorted(self.choices.items())),
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Counts:
        """The counts that ``to_plain`` wrote."""
        return cls(**data)


class Report:
    """The counts of a stage, source by source."""

    def __init__(self) -> None:
        self.sources: dict[str, Counts] = {}

    def of(self, source: str) -> Counts:
        """The counts of ``source``, made when new."""
        return self.sources.setdefault(source, Counts())

    def add_plain(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """Add what ``to_plain`` of another report gave."""
        for source, counts in data.items():
            self.of(source).add(Counts.from_plain(counts))

    def check(self, stage: str) -> None:
        """Raise AccountingError for the first source that does not balance."""
        for source, counts in sorted(self.sources.items()):
            counts.check(f"{stage} {source}")

    def total(self) -> Counts:
        """The sum over all sources."""
        total = Counts()
        for _, counts in sorted(self.sources.items()):
            total.add(counts)
        return total

    def to_plain(self) -> dict[str, Any]:
        """As JSON-able data, sources by name."""
        return {source: counts.to_plain() for source, counts in sorted(self.sources.items())}

    @classmethod
    def from_plain(cls, data: Mapping[str, Mapping[str, Any]]) -> Report:
        """The report that ``to_plain`` wrote."""
        report = cls()
        report.add_plain(data)
        return report
