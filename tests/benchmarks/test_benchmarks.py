"""The benchmarks run on any texts, account for what they measure and write only their own part of the page."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.benchmarks import BENCHMARKS
from pipeline.benchmarks.corpus import Corpus, load
from pipeline.benchmarks.costs import Cost, run
from pipeline.benchmarks.table import Compared, Result, Table, put, write, write_summary
from pipeline.errors import GristmillError, UsageError

CHECKOUT = Path(__file__).resolve().parents[2]
TEXTS = ["A sentence about bread, and another one about salt.", "As an AI language model, I cannot help with that.", "é"]


def call(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``python -m pipeline.benchmarks`` in a folder."""
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", "pipeline.benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)


def write_rows(path: Path) -> Path:
    """The texts as JSON lines, with a row that has none."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS) + '{"other": 1}\n')
    return path


def test_filter_is_measured(tmp_path: Path) -> None:
    """A table for the stage and one of shares for each form, printed and written, with machine and commands."""
    write_rows(tmp_path / "texts.jsonl")
    done = call("filter", "--corpus", "texts.jsonl", "--runs", 1, "--no-peers", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    for text in (
        "<!-- bench:filter -->",
        "filter stage, as documents",
        "filter stage, as assistant turns",
        "| edit.cut_slop |",
        "Machine: ",
        "--workers 1",
    ):
        assert text in page
    assert "filter stage, as documents" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"texts.jsonl", "docs"}


def test_a_section_is_replaced_alone(tmp_path: Path) -> None:
    """Writing one benchmark again leaves what stands around it and beside it."""
    page = tmp_path / "page.md"
    for name, lines in (("one", ["alpha"]), ("two", ["beta"]), ("one", ["gamma"])):
        write(page, name, lines)
    text = page.read_text()
    assert "alpha" not in text and text.index("gamma") < text.index("beta") and text.startswith("# Benchmarks")
    assert put(text, "one", ["gamma"]) == text


def test_the_first_table_has_every_comparison(tmp_path: Path) -> None:
    """A benchmark's rows take the place of its earlier ones and leave those of others; what was not measured is a dash."""
    page = tmp_path / "page.md"
    write(page, "csv", ["about csv"])
    whole, half, unknown = Cost(2.0, 4.0, 100.0), Cost(1.0, 3.0, 200.0), Cost(1.0, math.nan, math.nan)
    write_summary(page, "csv", [Compared("tables", "pandas", half, whole)])
    write_summary(page, "pages", [Compared("text", "another", unknown, whole, "F1 .9, .8")])
    write_summary(page, "csv", [Compared("extract", "pandas", whole, half)])
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "| pages | text | another | 1.00 | 2.00 | 2.00 | - | 4.00 | - | - | 100 | - | F1 .9, .8 |",
        "| csv | extract | pandas | 2.00 | 1.00 | 0.50 | 4.00 | 3.00 | 0.75 | 100 | 200 | 2.00 | - |",
    ]
    assert page.read_text().index("bench:all") < page.read_text().index("about csv")


def test_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON lines and tars of them are read, capped by size; the variable BENCH_CORPUS names one; without any there are docstrings."""
    rows = write_rows(tmp_path / "texts.jsonl")
    assert load(rows).texts == tuple(TEXTS)
    assert len(load(rows, max_bytes=len(TEXTS[0])).texts) == 1
    with tarfile.open(tmp_path / "texts.tar.xz", "w:xz") as archive:
        archive.add(rows, "in/texts.jsonl")
    monkeypatch.setenv("BENCH_CORPUS", str(tmp_path / "texts.tar.xz"))
    assert load(None).texts == tuple(TEXTS)
    monkeypatch.delenv("BENCH_CORPUS")
    monkeypatch.chdir(tmp_path)
    assert load(None, max_bytes=100_000).megabytes > 0.05
    with pytest.raises(UsageError, match="is not a file"):
        load(tmp_path / "nothing")


def test_texts_as_documents_and_as_turns(tmp_path: Path) -> None:
    """The same texts stand in either form."""
    corpus = Corpus(tuple(TEXTS), "here")
    assert pq.read_table(corpus.write(tmp_path / "a" / "plain.parquet"))["text"].to_pylist() == TEXTS
    talk = pq.read_table(corpus.write(tmp_path / "a" / "talk.parquet", as_turns=True))["messages"].to_pylist()
    assert [turns[-1]["content"] for turns in talk] == TEXTS


def test_costs(tmp_path: Path) -> None:
    """The cost of a command is that of it and its children; a command that fails is an error with its last line."""
    cost = run([sys.executable, "-c", "x = bytearray(80_000_000); sum(range(10**6))"], tmp_path)
    assert cost.cpu_seconds > 0 and cost.wall_seconds > 0 and cost.peak_mb > 80
    with pytest.raises(GristmillError, match="it broke"):
        run([sys.executable, "-c", "raise SystemExit('it broke')"], tmp_path)


def test_mistakes(tmp_path: Path) -> None:
    """An unknown benchmark is one line."""
    done = call("filtre", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr == "filtre: is not a benchmark; did you mean 'filter'?\n"
    assert set(BENCHMARKS) >= {"filter"}


def test_tables() -> None:
    """A result is Markdown with aligned columns."""
    result = Result("Title", ["What."], ["command"], [Table("One", ("", "s"), [("a", "1")])])
    assert "| a | 1 |" in result.lines(Corpus(("x",), "here")) and "| --- | ---: |" in result.lines(Corpus(("x",), "here"))
