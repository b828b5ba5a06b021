"""python -m pipeline try [INPUT]... --set refusals.max_share=0.1: what a change of the filter's settings would remove, keep and cut.

The rules of the settings file and the changed ones judge a sample of documents in memory; nothing is written. Duplicates are not looked for.
Which lines recur (recurring_lines) is counted over all documents first.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import bench, command
from pipeline.errors import SettingsError, UsageError, nearest
from pipeline.inspection.sampling import sample
from pipeline.inspection.shown import Page, Stretch, cuts_in_context, piece, stretch, table
from pipeline.progress import Progress
from pipeline.settings import Raw, override, read_yaml
from pipeline.stages.inputs import open_inputs
from pipeline.stages.judging import judge
from pipeline.stages.recurring import with_lines_counted_here
from pipeline.stages.ruleset import KNOWN, SECTIONS, Rules, read_rules

RAW = Path("data/raw")
KINDS = {
    "newly_removed": "newly removed",
    "newly_kept": "newly kept",
    "other_rule": "removed by another rule",
    "changed_cuts": "cut otherwise",
}


@dataclass(frozen=True)
class Outcome:
    """What rules made of one document: removed by ``rule`` (or ``error``: quarantined), and how it was cut."""

    document: Mapping[str, Any]
    rule: str | None = None
    error: str | None = None
    cuts: tuple[Mapping[str, Any], ...] = ()

    @property
    def label(self) -> str | None:
        """The rule that took the document away, None when it is kept."""
        return self.rule if self.error is None else self.error.partition(":")[0]

    @property
    def cut_marks(self) -> list[tuple[Any, ...]]:
        """What was cut where, to compare."""
        return [tuple(cut[name] for name in ("message", "rule", "start", "before", "after")) for cut in self.cuts]

    def stretches(self) -> list[tuple[str, Stretch]]:
        """Each cut with its rule, or the span for which the document goes, in context."""
        document = self.document
        if self.rule is not None:
            return [(self.rule, stretch(piece(document, document["message"]), document["start"], document["end"]))]
        if self.error is not None:
            return [(self.error, stretch(piece(document, None), None, None))]
        return [(cut["rule"], shown) for cut, shown in zip(self.cuts, cuts_in_context(document, self.cuts), strict=True)]


def outcomes(batch: pa.RecordBatch, rules: Rules) -> dict[str, Outcome]:
    """What ``rules`` make of each document of a batch, by id."""
    found = judge(batch, rules)
    cuts: dict[str, list[Mapping[str, Any]]] = {}
    for cut in found.cuts.to_pylist():
        cuts.setdefault(cut["id"], []).append(cut)
    result = {row["id"]: Outcome(row, cuts=tuple(cuts.get(row["id"], ()))) for row in found.kept.to_pylist()}
    result |= {row["id"]: Outcome(row, rule=row["rule"], cuts=tuple(cuts.get(row["id"], ()))) for row in found.removed.to_pylist()}
    return result | {failed.document["id"]: Outcome(failed.document, error=failed.error) for failed in found.failed}


@dataclass
class Tally:
    """How many documents rules kept, removed by each rule, and cut by each rule."""

    kept: int = 0
    removed: dict[str, int] = field(default_factory=dict)
    edited: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one document."""
        if outcome.label is None:
            self.kept += 1
        else:
            self.removed[outcome.label] = self.removed.get(outcome.label, 0) + 1
        for rule in {cut["rule"] for cut in outcome.cuts}:
            self.edited[rule] = self.edited.get(rule, 0) + 1

    def to_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {"kept": self.kept, "removed": dict(sorted(self.removed.items())), "edited": dict(sorted(self.edited.items()))}


@dataclass
class Comparison:
    """Two sets of rules on the same documents."""

    num_examples: int
    sources: dict[str, int] = field(default_factory=dict)
    before: Tally = field(default_factory=Tally)
    after: Tally = field(default_factory=Tally)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    examples: dict[str, list[tuple[Outcome, Outcome]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def add(self, old: Outcome, new: Outcome) -> None:
        """Count one document, and remember it where it is an example."""
        source = old.document["source"]
        self.sources[source] = self.sources.get(source, 0) + 1
        self.before.add(old)
        self.after.add(new)
        kind = _kind(old, new)
        if kind is not None:
            self.counts[kind] += 1
            if len(self.examples[kind]) < self.num_examples:
                self.examples[kind].append((old, new))

    def to_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        examples = {kind: [_example(kind, old, new) for old, new in pairs] for kind, pairs in self.examples.items()}
        return {
            "documents": sum(self.sources.values()),
            "sources": dict(sorted(self.sources.items())),
            "before": self.before.to_plain(),
            "after": self.after.to_plain(),
            **{kind: {"documents": self.counts[kind], "examples": examples[kind]} for kind in KINDS},
        }


def _kind(old: Outcome, new: Outcome) -> str | None:
    if (old.label is None) != (new.label is None):
        return "newly_kept" if new.label is None else "newly_removed"
    if old.label != new.label:
        return "other_rule"
    return "changed_cuts" if old.cut_marks != new.cut_marks else None


def _example(kind: str, old: Outcome, new: Outcome) -> dict[str, Any]:
    head = {name: old.document[name] for name in ("id", "source", "locator")}
    return {**head, "before": _sides(kind, old), "after": _sides(kind, new)}


def _sides(kind: str, outcome: Outcome) -> list[dict[str, Any]]:
    if kind != "changed_cuts" and outcome.label is None:
        return []
    return [{"rule": rule, **shown.to_plain()} for rule, shown in outcome.stretches()]


def compare(batches: Iterator[pa.RecordBatch], before: Rules, after: Rules, num_examples: int) -> Comparison:
    """Judge each batch by both sets of rules."""
    comparison = Comparison(num_examples)
    for batch in batches:
        old, new = outcomes(batch, before), outcomes(batch, after)
        for name in batch.column("id").to_pylist():
            comparison.add(old[name], new[name])
    return comparison


def spelled_out(raw: Raw, assignment: str) -> str:
    """``refusals.max_share=0.1`` as ``remove.refusals.max_share=0.1``; raises UsageError when no section, or more than one, has that name."""
    name = assignment.partition("=")[0].strip()
    first = name.partition(".")[0]
    if first in KNOWN or "=" not in assignment:
        return assignment
    used = {section: set(raw.values.get(section) or {}) for section in (*SECTIONS, "dedup")}
    built_in = {section: set(spec.registry) for section, spec in SECTIONS.items()} | {"dedup": {"exact", "near"}}
    for names in (used, built_in):
        found = [section for section, known in names.items() if first in known]
        if len(found) > 1:
            raise UsageError(f"--set {name}", f"{first} is the name of more than one rule", f"write {' or '.join(f'{s}.{name}' for s in found)}")
        if found:
            return f"{found[0]}.{assignment}"
    known_names = set().union(*used.values(), *built_in.values(), KNOWN)
    raise UsageError(f"--set {name}", f"there is no rule {first}", nearest(first, known_names))


def changed_rules(path: Path, assignments: Sequence[str]) -> tuple[Rules, Rules, list[str]]:
    """The rules of the settings file, the changed ones, and the assignments in full."""
    raw = read_yaml(path)
    full = [spelled_out(raw, assignment) for assignment in assignments]
    if not full:
        raise UsageError("try", "nothing is to be changed", "write for example --set refusals.max_share=0.1")
    if any(name.startswith(("dedup.", "dedup=")) for name in full):
        raise SettingsError(["--set dedup: duplicates are not looked for in a sample; run the filter stage into another folder"])
    return read_rules(raw), read_rules(override(raw, full)), full


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline try", __doc__ or "")
    parser.add_argument("paths", nargs="*", type=Path, metavar="INPUT", help=f"datasets, files or folders (default: {RAW})")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="a change: refusals.max_share=0.1")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="the settings to change (default: stages/filter.yaml)")
    parser.add_argument("--rows", type=int, default=2000, metavar="N", help="documents in the sample (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another sample (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=5, metavar="N", help="examples of each kind of change (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(given)
    if arguments.rows < 1 or arguments.examples < 0:
        raise UsageError("try", "--rows is at least 1 and --examples at least 0", "see --help")
    settings = bench.settings_file("filter", arguments.settings)
    before, after, full = changed_rules(settings, arguments.assignments)
    paths = [command.require(path) for path in arguments.paths or [RAW]]
    with tempfile.TemporaryDirectory() as folder, Progress("try", arguments.quiet or arguments.json) as progress:
        inputs = open_inputs(paths, Path(folder) / "sample", 1, None, progress, "try")
        files = [file for dataset in inputs.datasets for file in dataset.files()]
        before = with_lines_counted_here(Path(folder) / "before", files, before.carrying(files))
        after = with_lines_counted_here(Path(folder) / "after", files, after.carrying(files))
        comparison = compare(sample(files, arguments.rows, arguments.seed), before, after, arguments.examples)
    if arguments.json:
        print(json.dumps({"set": full, **comparison.to_plain()}, ensure_ascii=False, indent=1))
    else:
        _print(comparison, f"{', '.join(map(str, paths))} (seed {arguments.seed})", f"{_name(settings)} with {', '.join(full)}")
    return 0


def _name(settings: Path) -> str:
    return settings.as_posix() if not settings.is_absolute() else f"the built-in {settings.parent.name}/{settings.name}"


def _print(comparison: Comparison, what: str, change: str) -> None:
    page = Page()
    page.line(f"{sum(comparison.sources.values()):,} documents of {what}: {change}", "bold")
    page.line(f"  {', '.join(f'{source} {number:,}' for source, number in sorted(comparison.sources.items()))}")
    for number, line in enumerate(table(_figures(comparison))):
        page.line(f"  {line}", "" if number else "bold")
    for kind, title in KINDS.items():
        pairs = comparison.examples[kind]
        page.line()
        page.line(f"{title}: {comparison.counts[kind]:,}{f', {len(pairs)} of them:' if pairs else ''}", "bold")
        for old, new in pairs:
            page.line(f"  {old.document['id']}  {old.document['source']}/{old.document['locator']}")
            for when, outcome in (("before", old), ("after", new)):
                shown = outcome.stretches() if kind == "changed_cuts" or outcome.label is not None else []
                for rule, item in shown:
                    page.line(f"    {when} {rule}")
                    page.stretch(item)
                if not shown:
                    page.line(f"    {when} {'not cut' if kind == 'changed_cuts' else 'kept'}")
    page.flush()


def _figures(comparison: Comparison) -> list[list[str]]:
    before, after = comparison.before, comparison.after
    rows = [["", "before", "after", "change"], _figure("kept", before.kept, after.kept)]
    for title, one, two in (("removed", before.removed, after.removed), ("cut", before.edited, after.edited)):
        rows += [_figure(f"{title} by {rule}", one.get(rule, 0), two.get(rule, 0)) for rule in sorted({*one, *two})]
    return rows


def _figure(name: str, before: int, after: int) -> list[str]:
    return [name, f"{before:,}", f"{after:,}", f"{after - before:+,}" if after != before else ""]
