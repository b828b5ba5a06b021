"""python -m pipeline.benchmarks.growth: CPU seconds and peak memory of extract, filter and tokenize as one source grows 4 and 16 times.

The source is a CSV file of generated text with exact and near copies in it; the stages run as people run them, with the settings they come with.
"""

from __future__ import annotations

import csv
import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline import command
from pipeline.benchmarks.costs import module
from pipeline.benchmarks.scale import Watched, texts, watched
from pipeline.benchmarks.table import Table, machine, write
from pipeline.models import write_tokenizer

GROWTH = (1, 4, 16)
STAGES = ("extract", "filter", "tokenize")
LENGTH = 1024
COLOURS = {"extract": "#2b5c94", "filter": "#c1440e", "tokenize": "#1a7f37"}
DRAWING = "growth.svg"


def write_source(path: Path, megabytes: int) -> None:
    """A CSV file of generated texts, one a row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "body"])
        number = 0
        for batch in texts(megabytes * 1_000_000):
            writer.writerows(enumerate(batch, number))
            number += len(batch)


def measure(folder: Path, megabytes: int, workers: int) -> dict[str, Watched]:
    """What was seen of each stage over a source of so much text; its files are removed afterwards."""
    here = folder / f"growth-{megabytes}"
    here.mkdir()
    write_source(here / "source.csv", megabytes)
    write_tokenizer(here / "tokenizer")
    usual = ("--workers", workers, "--quiet")
    commands = {
        "extract": module("pipeline.stages.extract", "source.csv", "raw", *usual),
        "filter": module("pipeline.stages.filter", "raw", "clean", *usual),
        "tokenize": module("pipeline.stages.tokenize", "clean", "tokens", "--tokenizer", "tokenizer", "--length", LENGTH, *usual),
    }
    seen = {stage: watched(commands[stage], here, "none") for stage in STAGES}
    shutil.rmtree(here)
    return seen


Row = tuple[int, dict[str, Watched]]
"""Megabytes of text, and what was seen of each stage."""


def table(rows: Sequence[Row]) -> Table:
    """Seconds and memory by size and stage; ``growth``: the power of the size that the CPU seconds grew with since the row above."""
    found = []
    for index, (megabytes, seen) in enumerate(rows):
        for stage in STAGES:
            each = seen[stage]
            growth = f"{_power(rows[index - 1], rows[index], stage):.2f}" if index else ""
            rate = f"{megabytes / each.cpu_seconds:.1f}"
            found.append([f"{megabytes:,}", stage, f"{each.cpu_seconds:.1f}", rate, growth, f"{each.largest_mb:,.0f}"])
    return Table("Growth of one source", ("text MB", "stage", "CPU s", "MB per CPU s", "power of growth", "largest process MB"), found)


def _power(before: Row, after: Row, stage: str) -> float:
    return math.log(after[1][stage].cpu_seconds / before[1][stage].cpu_seconds) / math.log(after[0] / before[0])


def draw(rows: Sequence[Row], path: Path) -> None:
    """CPU seconds (both axes logarithmic) and peak memory over the size of the text, a line a stage, as SVG."""
    sizes = [megabytes for megabytes, _ in rows]
    with mpl.rc_context({"svg.hashsalt": "gristmill", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        seconds, memory = figure.subplots(1, 2)
        for stage in STAGES:
            cpu = [seen[stage].cpu_seconds for _, seen in rows]
            seconds.plot(sizes, cpu, "o-", color=COLOURS[stage], label=stage)
            memory.plot(sizes, [seen[stage].largest_mb for _, seen in rows], "o-", color=COLOURS[stage], label=stage)
        seconds.set(xscale="log", yscale="log", title="CPU seconds", xlabel="MB of text")
        memory.set(xscale="log", title="largest process, MB", xlabel="MB of text")
        memory.set_ylim(bottom=0)
        for axes in (seconds, memory):
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        seconds.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline.benchmarks.growth", __doc__ or "")
    parser.add_argument("--megabytes", type=int, default=64, metavar="N", help="the smallest size; the others are 4 and 16 times it (default: 64)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes of each stage (default: 1)")
    parser.add_argument("--output", type=Path, default=Path("docs/scale.md"), metavar="FILE", help="the page; the drawing goes beside it")
    arguments = parser.parse_args(given)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="gristmill-growth-") as folder:
        for growth in GROWTH:
            megabytes = growth * arguments.megabytes
            rows.append((megabytes, measure(Path(folder), megabytes, arguments.workers)))
            print(*table(rows).lines()[-1 - len(STAGES) : -1], sep="\n", flush=True)
    draw(rows, arguments.output.parent / DRAWING)
    write(arguments.output, "growth", [f"{machine()}.", "", f"![CPU seconds and memory by size of the text]({DRAWING})", "", *table(rows).lines()])
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
