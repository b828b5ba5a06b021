"""CSV files: ``tables`` and ``extract`` beside pandas' C engine in chunks, which writes the same Parquet with the same compression."""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.benchmarks import pandas_csv
from pipeline.benchmarks.corpus import Corpus
from pipeline.benchmarks.costs import Cost, least, module, own_package, run
from pipeline.benchmarks.table import Compared, Result, Setup, Table

GROWTH = 4
"""The texts are repeated so often, and for the memory's sake ten times as often."""
SHORT_CHARS = 80


def measure(setup: Setup) -> Result:
    """The benchmark: long texts with line feeds, short rows, and ten times the long texts."""
    corpus = setup.corpus
    tables, compared = [], list[Compared]()
    forms = {"long texts": (_long(corpus), GROWTH), "short rows": (_short(corpus), GROWTH), "long texts, ten times": (_long(corpus), 10 * GROWTH)}
    for name, (rows, growth) in forms.items():
        folder = setup.folder / name.replace(" ", "-").replace(",", "")
        folder.mkdir()
        size = _write(folder / "in.csv", rows, growth)
        costs: dict[str, list[Cost]] = {}
        for number in range(setup.runs):
            for what, command in _commands(number).items():
                costs.setdefault(what, []).append(run(command, folder, own_package()))
        least_of = {what: least(each) for what, each in costs.items()}
        tables.append(_table(f"{name}: {size:.0f} MB", size, least_of))
        compared += [
            Compared(f"{ours}, {name}", f"pandas, the same {form}", least_of[ours], least_of[f"pandas, the same {form}"])
            for ours, form in (("tables", "table"), ("extract", "documents"))
        ]
        (folder / "in.csv").unlink()
    about = [
        "`tables` writes the columns as they are, `extract` documents (id, source, locator, text from title and body, meta); pandas does either.",
        "All are processes of their own, start and imports included, run in turn; one worker, Zstandard, page checksums.",
    ]
    commands = ["python -m pipeline.benchmarks csv", "python -m pipeline tables in.csv OUT", "python -m pipeline.stages.extract in.csv OUT"]
    return Result("CSV files", about, commands, tables, compared=compared)


def _commands(number: int) -> dict[str, list[str]]:
    pandas = [sys.executable, str(Path(pandas_csv.__file__))]
    return {
        "tables": module("pipeline", "tables", "in.csv", f"tables-{number}", "--quiet"),
        "pandas, the same table": [*pandas, "table", "in.csv", "table.parquet"],
        "extract": module("pipeline.stages.extract", "in.csv", f"raw-{number}", "--workers", 1, "--quiet"),
        "pandas, the same documents": [*pandas, "documents", "in.csv", "documents.parquet"],
    }


def _long(corpus: Corpus) -> list[tuple[str, str]]:
    return [(" ".join(text.split()[:6]) or "none", text.replace("\0", "")) for text in corpus.texts if text.strip()]


def _short(corpus: Corpus) -> list[tuple[str, str]]:
    pieces = (line.strip()[:SHORT_CHARS] for _, text in _long(corpus) for line in text.splitlines())
    return [(" ".join(piece.split()[:3]), piece) for piece in pieces if len(piece) > SHORT_CHARS // 2]


def _write(path: Path, rows: Sequence[tuple[str, str]], growth: int) -> float:
    """A CSV file of the rows, repeated; gives its size in MB."""
    numbers: Iterator[int] = itertools.count()
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "title", "body"])
        for _ in range(growth):
            writer.writerows((number, title, body) for number, (title, body) in zip(numbers, rows, strict=False))
    return path.stat().st_size / 1e6


def _table(title: str, size: float, costs: dict[str, Cost]) -> Table:
    rows = [
        [
            what,
            f"{cost.cpu_seconds:.2f}",
            f"{size / cost.cpu_seconds:.1f}",
            f"{costs[f'pandas, the same {form}'].cpu_seconds / cost.cpu_seconds:.2f}",
            f"{cost.peak_mb:,.0f}",
        ]
        for what, cost in costs.items()
        for form in ("documents" if what == "extract" or what.endswith("documents") else "table",)
    ]
    return Table(title, ("", "CPU s", "MB per CPU s", "times pandas", "peak MB"), rows)
