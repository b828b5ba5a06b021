"""The filter stage at its defaults without deduplication, Parquet to Parquet; each rule's part in it; and a peer on the same texts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import bench
from pipeline.benchmarks import datatrove_gopher
from pipeline.benchmarks.costs import Cost, environment, least, module, own_package, run
from pipeline.benchmarks.table import Compared, Result, Setup, Table
from pipeline.benchmarks.variation import grown
from pipeline.datasets import open_dataset, read_batches
from pipeline.documents import SCHEMA
from pipeline.errors import GristmillError
from pipeline.settings import override, read_yaml
from pipeline.stages.judging import judge
from pipeline.stages.ruleset import Rules, read_rules

WITHOUT_DEDUP = ("dedup.exact=false", "dedup.near=false")
GOPHER = "datatrove, GopherRepetition + GopherQuality"
LARGER = 4
PEER = ("datatrove[io,processing]", "spacy")
FORMS = {"as documents": False, "as assistant turns": True}


def measure(setup: Setup) -> Result:
    """The benchmark: the stage on the texts as documents and as turns, the rules' shares, and datatrove's Gopher filters."""
    settings = bench.defaults() / "stages" / "filter.yaml"
    costs: dict[str, tuple[Cost, float]] = {}
    shares: list[Table] = []
    size = setup.corpus.megabytes
    large = grown(setup.corpus, int(LARGER * size * 1e6))
    for form, as_turns in FORMS.items():
        for corpus, name in ((setup.corpus, form), (large, f"{form}, {LARGER} times the text")):
            folder = setup.folder / name.replace(" ", "-")
            corpus.write(folder / "in" / "texts.parquet", as_turns)
            run(module("pipeline.stages.extract", "in", "raw", "--quiet"), folder, own_package())
            costs[f"filter stage, {name}"] = _stage(folder, settings, setup.runs), corpus.megabytes
        shares.append(_shares(setup.folder / form.replace(" ", "-") / "raw", settings, form, size))
    about = [
        "The whole stage in a process of its own, start and imports included: `--workers 1`, defaults, no deduplication, Parquet to Parquet.",
        "It redacts secrets, repairs text, cuts slop, judges refusals, and writes kept, removed and edited rows.",
        f"Starting costs the same whatever the text; {LARGER} times the text (copies with other words) shows what is left of it.",
    ]
    compared = []
    if setup.with_peers:
        try:
            peer = _peer(setup)
            costs[GOPHER] = peer, size
            compared = [Compared(f"filter stage, {form}", GOPHER, costs[f"filter stage, {form}"][0], peer) for form in FORMS]
            about.append("datatrove does other work (repetition and quality heuristics) on the same texts, Parquet to Parquet, one worker.")
        except GristmillError as error:
            about.append(f"datatrove was not measured: {error.where} {error.what}.")
    sets = " ".join(f"--set {one}" for one in WITHOUT_DEDUP)
    commands = ["python -m pipeline.benchmarks filter", f"python -m pipeline.stages.filter raw clean --workers 1 {sets}"]
    return Result("Filter stage", about, commands, [_stages_table(costs), *shares], compared=compared)


def _stage(folder: Path, settings: Path, runs: int) -> Cost:
    sets = [word for one in WITHOUT_DEDUP for word in ("--set", one)]
    how = ("--settings", settings, "--workers", 1, "--quiet", *sets)
    return least([run(module("pipeline.stages.filter", "raw", f"clean-{n}", *how), folder, own_package()) for n in range(runs)])


def _stages_table(costs: Mapping[str, tuple[Cost, float]]) -> Table:
    cost, size = next(iter(costs.values()))
    base = cost.cpu_seconds / size
    rows = [
        [
            name,
            f"{size:.1f}",
            f"{cost.cpu_seconds:.2f}",
            f"{cost.wall_seconds:.2f}",
            f"{size / cost.cpu_seconds:.2f}",
            f"{cost.cpu_seconds / size / base:.2f}",
            f"{cost.peak_mb:,.0f}",
        ]
        for name, (cost, size) in costs.items()
    ]
    return Table("Parquet to Parquet", ("", "MB", "CPU s", "wall s", "MB per CPU s", "CPU per MB to the first row's", "peak MB"), rows)


@dataclass
class Timed:
    """A rule that counts the CPU seconds it takes."""

    rule: Any
    seconds: float = field(default=0.0)

    def edit(self, batch: pa.RecordBatch) -> Any:
        """The rule's edits."""
        return self._timed(self.rule.edit, batch)

    def judge(self, batch: pa.RecordBatch) -> Any:
        """The rule's verdicts."""
        return self._timed(self.rule.judge, batch)

    def _timed(self, work: Any, batch: pa.RecordBatch) -> Any:
        started = time.process_time()
        try:
            return work(batch)
        finally:
            self.seconds += time.process_time() - started


def _shares(raw: Path, settings: Path, form: str, size: float) -> Table:
    """Each editor's and filter's CPU time, in this process."""
    rules = read_rules(override(read_yaml(settings), WITHOUT_DEDUP))
    timed: Rules = replace(
        rules,
        edit={name: Timed(rule) for name, rule in rules.edit.items()},  # type: ignore[misc]
        remove={name: Timed(rule) for name, rule in rules.remove.items()},  # type: ignore[misc]
    )
    started = time.process_time()
    for path in open_dataset(raw).files():
        for batch in read_batches(path, SCHEMA.names):
            judge(batch, timed)
    whole = time.process_time() - started
    parts: dict[str, Any] = {f"edit.{n}": r for n, r in timed.edit.items()} | {f"remove.{n}": r for n, r in timed.remove.items()}
    seconds = {name: part.seconds for name, part in parts.items()}
    seconds["reading, and all else"] = max(0.0, whole - sum(seconds.values()))
    rows = [[name, f"{spent:.2f}", f"{spent / whole:.1%}", f"{size / max(spent, 1e-3):,.1f}"] for name, spent in seconds.items()]
    return Table(f"Shares of the rules, {form} (in one process, nothing written)", ("", "CPU s", "share", "MB per CPU s"), rows)


def _peer(setup: Setup) -> Cost:
    python = environment(setup.environments / "datatrove", PEER)
    folder = setup.folder / "datatrove"
    setup.corpus.write(folder / "in" / "texts.parquet")
    script = Path(datatrove_gopher.__file__)
    return least([run([str(python), str(script), "in", f"out-{n}"], folder) for n in range(setup.runs)])
