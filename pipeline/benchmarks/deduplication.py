"""Near-deduplication end to end, Parquet to Parquet, beside datatrove's MinHash and rensa's; and the index it needs on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.benchmarks import datatrove_minhash, rensa_minhash
from pipeline.benchmarks.corpus import Corpus
from pipeline.benchmarks.costs import Cost, environment, least, module, own_package, run
from pipeline.benchmarks.table import Compared, Result, Setup, Table
from pipeline.benchmarks.variation import grown
from pipeline.errors import GristmillError

LARGE_MB = 1230.0
FILES = 4
DATATROVE = ("datatrove[io,processing]", "spacy")
RENSA = ("rensa", "polars", "numpy")
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

SETTINGS = "dedup:\n  near: {threshold: 0.8}\n"


@dataclass(frozen=True)
class Timed:
    """What a tool cost on how much text, with how many workers."""

    cost: Cost
    megabytes: float
    workers: int


def measure(setup: Setup) -> Result:
    """The benchmark: the stage on the texts and on a larger, varied copy, with one and two workers; peers on the same Parquet files."""
    corpora = {"": setup.corpus, ", large": grown(setup.corpus, int(LARGE_MB * 1e6))}
    timed: dict[str, Timed] = {}
    about = [
        "From committed Parquet to what is kept and what is removed, as Parquet; each in a process of its own, start and imports included.",
        "gristmill verifies every pair by its exact Jaccard similarity; datatrove and rensa remove what shares a band.",
        f"The larger text is the corpus and copies of it with other words, {LARGE_MB:.0f} MB; both lie in {FILES} files.",
        "The larger text is run once, and so is datatrove, on the smaller text alone: it is slow.",
        "With two workers CPU seconds of their processes are not all counted: compare wall seconds (the least of the runs).",
    ]
    for name, corpus in corpora.items():
        folder = setup.folder / f"corpus{len(name)}"
        _write(corpus, folder)
        for workers in (1, 2):
            cost = _stage(folder, workers, 1 if name else setup.runs)
            timed[f"gristmill{name}, {_workers(workers)}"] = Timed(cost, corpus.megabytes, workers)
        if setup.with_peers:
            _peers(setup, folder, name, corpus, timed, about)
    commands = ["python -m pipeline.benchmarks dedup", "python -m pipeline.stages.filter raw clean --settings near.yaml --workers 1"]
    return Result("Near-deduplication", about, commands, [_table(timed)], compared=_compared(timed))


def _workers(number: int) -> str:
    return f"{number} worker{'s' if number > 1 else ''}"


def _write(corpus: Corpus, folder: Path) -> None:
    """The texts as Parquet files in ``in``, and as a committed dataset each in ``raw``."""
    size = -(-len(corpus.texts) // FILES)
    for number in range(FILES):
        part = Corpus(corpus.texts[number * size : (number + 1) * size], corpus.origin)
        part.write(folder / "in" / f"part-{number}.parquet")
        run(module("pipeline.stages.extract", f"in/part-{number}.parquet", f"raw/part-{number}", "--quiet"), folder, own_package())
    (folder / "near.yaml").write_text(SETTINGS)


def _stage(folder: Path, workers: int, runs: int) -> Cost:
    how = ("--settings", "near.yaml", "--workers", workers, "--quiet")
    costs = [run(module("pipeline.stages.filter", "raw", f"clean-{workers}-{n}", *how), folder, own_package()) for n in range(runs)]
    return least(costs) if workers == 1 else min(costs, key=lambda cost: cost.wall_seconds)


def _peers(setup: Setup, folder: Path, name: str, corpus: Corpus, timed: dict[str, Timed], about: list[str]) -> None:
    try:
        python = environment(setup.environments / "rensa", RENSA)
        command = [str(python), str(Path(rensa_minhash.__file__)), "in"]
        cost = least([run([*command, f"rensa-{n}"], folder, ONE_THREAD) for n in range(1 if name else setup.runs)])
        timed[f"rensa, words by polars{name}"] = Timed(cost, corpus.megabytes, 1)
    except GristmillError as error:
        about.append(f"rensa was not measured: {error.where} {error.what}.")
    if name:
        return
    try:
        python = environment(setup.environments / "datatrove", DATATROVE)
        for workers in (1, 2):
            cost = run([str(python), str(Path(datatrove_minhash.__file__)), "in", f"datatrove-{workers}", str(workers)], folder)
            timed[f"datatrove MinHash, {_workers(workers)}"] = Timed(cost, corpus.megabytes, workers)
    except GristmillError as error:
        about.append(f"datatrove was not measured: {error.where} {error.what}.")


def _compared(timed: Mapping[str, Timed]) -> list[Compared]:
    """Each peer beside the stage on the same text with as many workers; CPU seconds of several processes are not all counted."""

    def cost(one: Timed) -> Cost:
        return one.cost if one.workers == 1 else replace(one.cost, cpu_seconds=math.nan)

    peers = {name: one for name, one in timed.items() if not name.startswith("gristmill")}
    ours = {(one.megabytes, one.workers): (name, one) for name, one in timed.items() if name not in peers}
    found = []
    for peer, theirs in peers.items():
        name, own = ours[theirs.megabytes, theirs.workers]
        found.append(Compared(name, peer, cost(own), cost(theirs)))
    return found


def _table(timed: Mapping[str, Timed]) -> Table:
    rows = [
        [
            name,
            f"{one.megabytes:.1f}",
            f"{one.cost.cpu_seconds:.2f}" if one.workers == 1 else "",
            f"{one.cost.wall_seconds:.2f}",
            f"{one.megabytes / one.cost.cpu_seconds:.2f}" if one.workers == 1 else "",
            f"{one.megabytes / one.cost.wall_seconds:.2f}",
            f"{one.cost.peak_mb:,.0f}",
        ]
        for name, one in timed.items()
    ]
    return Table("Parquet to Parquet, near-duplicates at 0.8", ("", "MB", "CPU s", "wall s", "MB per CPU s", "MB per second", "peak MB"), rows)
