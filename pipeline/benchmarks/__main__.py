"""python -m pipeline.benchmarks [NAME]...: measures, prints a table for each benchmark and writes docs/benchmarks.md."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline import command
from pipeline.benchmarks import BENCHMARKS
from pipeline.benchmarks.corpus import load
from pipeline.benchmarks.table import SUMMARY, Result, Setup, write, write_summary
from pipeline.errors import UsageError, nearest
from pipeline.inspection.shown import table

RUNS = 3
ONCE = ("train", "suspects")
"""Benchmarks that train models: a run takes minutes."""


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline.benchmarks", f"{__doc__} Benchmarks: {', '.join(BENCHMARKS)}.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (default: all)")
    parser.add_argument("--corpus", type=Path, metavar="FILE", help="texts: a .jsonl of rows with text, or a tar of such (also: BENCH_CORPUS)")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"), metavar="FILE", help="where the tables go (default: %(default)s)")
    parser.add_argument("--megabytes", type=float, default=24, metavar="N", help="text at most, in MB (default: %(default)s)")
    slow = ", ".join(ONCE)
    parser.add_argument("--runs", type=int, metavar="N", help=f"how often each is run; the least counts (default: {RUNS}; once: {slow})")
    parser.add_argument("--no-peers", action="store_true", help="leave other tools out (they are installed into build/bench)")
    arguments = parser.parse_args(given)
    for name in arguments.names:
        if name not in BENCHMARKS:
            raise UsageError(name, "is not a benchmark", nearest(name, BENCHMARKS))
    corpus = load(arguments.corpus, int(arguments.megabytes * 1e6))
    environments = Path("build/bench").resolve()
    summary: list[list[str]] = []
    for name in arguments.names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as folder:
            result = BENCHMARKS[name](Setup(corpus, Path(folder), _runs(name, arguments.runs), not arguments.no_peers, environments))
        write(arguments.output, name, result.lines(corpus))
        if result.compared:
            write_summary(arguments.output, name, result.compared)
        summary += [one.row(name) for one in result.compared]
        if not arguments.quiet:
            _print(result, corpus.about)
    if summary and not arguments.quiet:
        print("\n".join(["", *table([SUMMARY, *summary])]))
    return 0


def _runs(name: str, told: int | None) -> int:
    if told is not None:
        return max(1, told)
    return 1 if name in ONCE else RUNS


def _print(result: Result, about: str) -> None:
    print(f"\n{result.title}: {about}")
    for one in result.tables:
        print(f"\n  {one.title}")
        print("\n".join(f"  {line}" for line in table([one.head, *one.rows])))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(command.run(main))
