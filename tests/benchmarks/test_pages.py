"""The benchmark of main text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.benchmarks import pages
from pipeline.benchmarks.corpus import Corpus
from pipeline.benchmarks.table import Setup
from pipeline.errors import UsageError

STORY = "The ferry left the island before dawn, and nobody on the quay had expected it to carry the post as well as the choir."


def test_pages_are_measured_with_their_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tool has its rate, and its word F1 where main texts are given."""
    (tmp_path / "a.html").write_text(f"<html><body><article><h1>Ferry</h1>{f'<p>{STORY}</p>' * 3}</article></body></html>")
    (tmp_path / "gold.jsonl").write_text(json.dumps({"id": "a", "html_path": "a.html", "text": f"Ferry {STORY * 3}"}) + "\n")
    monkeypatch.setenv("BENCH_PAGES", str(tmp_path))
    result = pages.measure(Setup(Corpus((), "nowhere"), tmp_path, 1, False, tmp_path))
    rows = {row[0]: row for row in result.tables[0].rows}
    assert float(rows["this package, to text and metadata"][3]) > 0.9
    assert all(float(row[1]) > 0 for row in rows.values())


def test_a_folder_without_gold_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong BENCH_PAGES is a line, not a traceback; without one the sample's pages are measured."""
    monkeypatch.setenv("BENCH_PAGES", str(tmp_path))
    with pytest.raises(UsageError, match=r"gold\.jsonl"):
        pages.load()
    monkeypatch.delenv("BENCH_PAGES")
    monkeypatch.chdir(tmp_path)
    assert len(pages.load()[0]) > 10
