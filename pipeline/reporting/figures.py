"""The flow from sources to tokens as steps that add up, and the other figures of the page, read off manifests and shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.datasets import Dataset, find_datasets, open_dataset
from pipeline.inspection.lookup import built_in
from pipeline.report import Counts, Report
from pipeline.reporting.measures import Measured, measure, removed_chars
from pipeline.training import metrics
from pipeline.training.diagnosis import Diagnosis, diagnose

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Loss:
    """Units of a stage that went one way: ``rule`` is the reason, ``chars`` what they held where that is known."""

    rule: str
    units: int
    chars: int | None
    kind: str
    """removed, merged, superseded or quarantined."""


@dataclass(frozen=True)
class Step:
    """One stage: ``read`` units went in, ``losses`` went other ways, ``kept`` came out."""

    stage: str
    unit: str
    read: int
    losses: tuple[Loss, ...]
    kept: int
    chars_kept: int
    chars_cut: int | None = None
    """What editors took out of documents, kept and removed ones."""

    @property
    def adds_up(self) -> bool:
        """Whether every unit that was read is accounted for."""
        return self.read == self.kept + sum(loss.units for loss in self.losses)


@dataclass(frozen=True)
class Run:
    """A training run: its folder's name, its lines of metrics, what the diagnosis says, and its recipe."""

    name: str
    lines: tuple[metrics.Line, ...]
    diagnosis: Diagnosis
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Figures:
    """All that the page says in numbers."""

    raw: tuple[Dataset, ...]
    clean: tuple[Dataset, ...]
    tokens: tuple[Dataset, ...]
    runs: tuple[Run, ...]
    steps: tuple[Step, ...]
    by_source: Mapping[str, Counts] = field(default_factory=dict)
    """What extract and clean did with each source's units."""
    extracted: Mapping[str, Measured] = field(default_factory=dict)
    cleaned: Mapping[str, Measured] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """What does not fit together."""
        found = [f"The units of {step.stage} do not add up: run make verify." for step in self.steps if not step.adds_up]
        for before, after in zip(self.steps, self.steps[1:], strict=False):
            if before.kept != after.read:
                given = f"{after.stage} read {after.read:,} {after.unit}, but {before.stage} gave {before.kept:,}"
                found.append(f"{given}: one of them is older. Run make.")
        return found


def gather(data: Path) -> Figures:
    """The figures of what was built in a data folder."""
    built = built_in(data)
    extracted, cleaned = measure(built.raw), measure(built.clean)
    steps = []
    if built.raw:
        steps.append(_step("extract", "files and rows", built.raw, extracted))
    if built.clean:
        steps.append(_step("clean", "documents", built.clean, cleaned, sum(one.chars for one in extracted.values())))
    if built.tokens:
        steps.append(_tokenized(built.tokens[0], cleaned))
    return Figures(
        built.raw, built.clean, built.tokens, _runs(data / "runs"), tuple(steps), _by_source((*built.raw, *built.clean)), extracted, cleaned
    )


def report_of(datasets: Sequence[Dataset]) -> Report:
    """The counts of several datasets together."""
    report = Report()
    for dataset in datasets:
        report.add_plain(dataset.manifest["counts"])
    return report


def _step(stage: str, unit: str, datasets: Sequence[Dataset], kept: Mapping[str, Measured], chars_read: int | None = None) -> Step:
    total, chars = report_of(datasets).total(), removed_chars(datasets)
    losses = [Loss(rule, number, chars.get(rule), "removed") for rule, number in total.removed.items()]
    losses += [Loss(kind, number, None, kind) for kind, number in (("merged", total.merged), ("superseded", total.superseded)) if number]
    losses += [Loss(error, number, None, "quarantined") for error, number in total.quarantined.items()]
    ordered = tuple(sorted(losses, key=lambda loss: (-loss.units, loss.rule)))
    chars_kept = sum(one.chars for one in kept.values())
    cut = chars_read - chars_kept - sum(chars.values()) if chars_read is not None and not total.quarantined else None
    return Step(stage, unit, total.read, ordered, total.kept, chars_kept, cut)


def _tokenized(dataset: Dataset, cleaned: Mapping[str, Measured]) -> Step:
    total = report_of([dataset]).total()
    losses = tuple(Loss(rule, number, None, "removed") for rule, number in sorted(total.removed.items()))
    losses += tuple(Loss(error, number, None, "quarantined") for error, number in sorted(total.quarantined.items()))
    return Step("tokenize", "documents", total.read, losses, total.kept, sum(one.chars for one in cleaned.values()))


def _by_source(datasets: Sequence[Dataset]) -> dict[str, Counts]:
    """For each source what extract read and what the last stage kept of it."""
    found: dict[str, Counts] = {}
    for dataset in datasets:
        for name, counts in Report.from_plain(dataset.manifest["counts"]).sources.items():
            one = found.setdefault(name, Counts(read=counts.read))
            one.kept = counts.kept
            for rule, number in counts.removed.items():
                one.remove(rule, number)
            for error, number in counts.quarantined.items():
                one.quarantined[error] = one.quarantined.get(error, 0) + number
    return dict(sorted(found.items()))


def _runs(folder: Path) -> tuple[Run, ...]:
    runs = []
    for path in find_datasets(folder) if folder.is_dir() else []:
        dataset = open_dataset(path)
        if dataset.manifest.get("stage") != "train" or not (path / METRICS).is_file():
            continue
        lines = tuple(metrics.read(path / METRICS))
        runs.append(Run(path.name, lines, diagnose(lines), dataset.manifest.get("settings", {})))
    return tuple(runs)
