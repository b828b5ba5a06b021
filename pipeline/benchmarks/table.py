"""What a benchmark gives, and how it stands in docs/benchmarks.md: each benchmark between marks of its own, so that one can be run alone."""

from __future__ import annotations

import datetime
import math
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.benchmarks.corpus import Corpus
from pipeline.benchmarks.costs import Cost
from pipeline.commits import writing

HEAD = """# Benchmarks

Written by `make bench` (`python -m pipeline.benchmarks NAME` runs one again). CPU seconds are user and system time of a process and its
children, the least of the runs; MB are 10^6 bytes of UTF-8 text. The first table has everything that was measured beside another tool,
ratios above 1 being in our favour; what the names mean stands in the sections below it.

<!-- bench:all -->
<!-- /bench:all -->
"""


@dataclass(frozen=True)
class Setup:
    """What a benchmark works with: the texts, an empty folder of its own, how often each thing is measured, and whether peers run."""

    corpus: Corpus
    folder: Path
    runs: int
    with_peers: bool
    environments: Path
    """Where the virtual environments of peers are kept between runs."""


@dataclass(frozen=True)
class Table:
    """A table of text: ``rows`` as wide as ``head``."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        """As Markdown."""
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        return [f"**{self.title}**", "", *(f"| {' | '.join(row)} |" for row in (self.head, rule, *self.rows)), ""]


@dataclass(frozen=True)
class Compared:
    """What was measured beside a ``peer`` on the same input; figures that were not taken are nan. ``quality`` is where gold data tells it."""

    what: str
    peer: str
    ours: Cost
    theirs: Cost
    quality: str = "-"

    def row(self, name: str) -> list[str]:
        """The row of SUMMARY, for the benchmark ``name``."""
        pairs = [
            (self.ours.cpu_seconds, self.theirs.cpu_seconds, ",.2f"),
            (self.ours.wall_seconds, self.theirs.wall_seconds, ",.2f"),
            (self.ours.peak_mb, self.theirs.peak_mb, ",.0f"),
        ]
        cells = [cell for mine, other, form in pairs for cell in (_figure(mine, form), _figure(other, form), _figure(other / mine, ".2f"))]
        return [name, self.what, self.peer, *cells, self.quality]


_FIGURES = [cell for unit in ("CPU s", "wall s", "peak MB") for cell in (unit, "peer's", "ratio")]
SUMMARY = ("benchmark", "what", "peer", *_FIGURES, "quality, ours and the peer's")


def _figure(number: float, form: str) -> str:
    return "-" if math.isnan(number) else format(number, form)


@dataclass(frozen=True)
class Result:
    """A benchmark's title, what was done (sentences), the commands that do it, and the tables."""

    title: str
    about: Sequence[str]
    commands: Sequence[str]
    tables: Sequence[Table]
    from_corpus: bool = True
    """Whether the texts of the benchmark's corpus were measured, so that they are to be named."""
    compared: Sequence[Compared] = ()
    """What stands in the first table of the page."""

    def lines(self, corpus: Corpus) -> list[str]:
        """As Markdown."""
        tables = [line for table in self.tables for line in table.lines()]
        commands = ["```", *self.commands, "```", ""]
        texts = f"Texts: {corpus.about}. " if self.from_corpus else ""
        return [f"## {self.title}", "", *self.about, "", f"{texts}{machine()}.", "", *commands, *tables]


def machine() -> str:
    """The machine, the versions and the date, in a sentence."""
    model = re.search(r"model name\s*:\s*(.+)", _cpuinfo())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = model.group(1).strip() if model else platform.machine()
    today = datetime.datetime.now(datetime.UTC).date()
    return f"Machine: {name}, {cores} cores, {platform.system()}, Python {platform.python_version()}; {today.isoformat()}"


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.is_file() else ""


def write_summary(path: Path, name: str, compared: Sequence[Compared]) -> None:
    """Put the rows of a benchmark into the first table of the page, in place of its earlier ones; those of the others stay."""
    section = path.read_text(encoding="utf-8").partition("<!-- bench:all -->")[2].partition("<!-- /bench:all -->")[0]
    found = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][2:]
    others = [row for row in found if row[0] != name]
    write(path, "all", Table("Beside other tools", SUMMARY, [*others, *(one.row(name) for one in compared)]).lines())


def put(page: str, name: str, lines: Sequence[str]) -> str:
    """The page with the section between the marks of ``name`` replaced, or added at the end."""
    first, last = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    section = "\n".join([first, *lines, last])
    before, found, rest = page.partition(first)
    if not found:
        return f"{page.rstrip()}\n\n{section}\n"
    _, _, after = rest.partition(last)
    return f"{before}{section}{after}"


def write(path: Path, name: str, lines: Sequence[str]) -> None:
    """Put a section into the page at ``path``, which is made when it is not there."""
    page = path.read_text(encoding="utf-8") if path.is_file() else HEAD
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as file:
        file.write(put(page, name, lines).encode())
