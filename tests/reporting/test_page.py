"""The report: figures that add up, the same bytes, nothing from outside, nothing private, and where what it shows can be looked up."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from bs4 import BeautifulSoup

from pipeline.datasets import open_dataset
from pipeline.reporting.figures import gather
from pipeline.reporting.page import page

from ..inspection.conftest import LINES, run

MAX_BYTES = 500_000
SECRET = "AKIAIOSFODNN7QRSTUVW"


@pytest.fixture(scope="module")
def soup(built: Path) -> BeautifulSoup:
    """The page of the small project."""
    return BeautifulSoup(page(built / "data"), "lxml")


def test_the_flow_adds_up(built: Path) -> None:
    """Each stage reads what the one before kept, and every unit and character is accounted for."""
    figures = gather(built / "data")
    assert [step.stage for step in figures.steps] == ["extract", "clean", "tokenize"] and not figures.notes
    for step in figures.steps:
        assert step.adds_up
    clean = figures.steps[1]
    removed = sum(loss.chars or 0 for loss in clean.losses)
    assert figures.steps[0].chars_kept == clean.chars_kept + removed + (clean.chars_cut or 0)
    cuts = [row for file in open_dataset(built / "data" / "clean").files("__edited") for row in pq.read_table(file).to_pylist()]
    assert clean.chars_cut == sum(len(cut["before"]) - len(cut["after"]) for cut in cuts)


def test_what_does_not_fit_is_said(built: Path, tmp_path: Path) -> None:
    """A source that was added after cleaning is noticed."""
    shutil.copytree(built / "data", tmp_path / "data")
    (tmp_path / "more.jsonl").write_text(json.dumps({"text": LINES[3]}))
    assert run("pipeline.stages.extract", "more.jsonl", "data/raw/more", cwd=tmp_path).returncode == 0
    (note,) = gather(tmp_path / "data").notes
    assert "clean read 8 documents, but extract gave 9" in note


def test_the_same_bytes_and_small(built: Path) -> None:
    """Twice the same, from a folder of another name too; under 500 kB."""
    first = run("pipeline", "report", "--out", "one.html", cwd=built)
    assert first.returncode == 0 and "one.html" in first.stdout and "next:" in first.stdout
    assert run("pipeline", "report", "--out", "two.html", cwd=built).returncode == 0
    one = (built / "one.html").read_bytes()
    assert one == (built / "two.html").read_bytes() and len(one) < MAX_BYTES


def test_it_loads_nothing(soup: BeautifulSoup) -> None:
    """No script, no address but its own anchors, and the browser is told so."""
    assert not soup.find_all(["script", "link", "img", "iframe"])
    assert all(link["href"].startswith("#") and soup.find(id=link["href"][1:]) for link in soup.find_all("a"))
    assert soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"].startswith("default-src 'none'")


def test_what_it_shows_can_be_looked_up(built: Path, soup: BeautifulSoup) -> None:
    """Each command on the page finds the document it stands beside."""
    commands = {code.get_text() for code in soup.find_all("code") if code.get_text().startswith("python -m pipeline why")}
    assert commands
    for command in sorted(commands):
        found = run("pipeline", "why", command.split()[-1], "--json", cwd=built)
        assert json.loads(found.stdout)["found_by"] == "id"


def test_spans_cuts_and_pairs(soup: BeautifulSoup) -> None:
    """A refusal is marked, a cut is struck out, a duplicate stands beside what was kept."""
    assert LINES[1] in {mark.get_text() for mark in soup.find_all("mark")}
    assert any("As an AI language model" in cut.get_text() for cut in soup.find_all("del"))
    pairs = [tuple(side.get_text().strip() for side in pair.find_all("pre")) for pair in soup.find_all(class_="pair")]
    assert (LINES[3], LINES[3]) in [(left.split("assistant: ")[-1], right.split("assistant: ")[-1]) for left, right in pairs]


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """What looks like a key is covered, in removed documents and in what could not be read."""
    lines = [json.dumps({"text": f"key {SECRET} and a text of some length that nothing removes from here"}), f'{{"broken {SECRET}']
    (tmp_path / "talk.jsonl").write_text("\n".join(lines))
    assert run("pipeline.stages.extract", "talk.jsonl", "data/raw/talk", cwd=tmp_path).returncode == 0
    done = run("pipeline.stages.filter", "data/raw", "data/clean", "--set", "remove.length.min_chars=1000", "--set", "edit={}", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr
    text = page(tmp_path / "data")
    assert "quarantined" in text and SECRET not in text


def test_what_changed(built: Path, tmp_path: Path) -> None:
    """Beside a base the page names the counts and settings that differ, and only those."""
    shutil.copytree(built / "data" / "raw", tmp_path / "data" / "raw")
    done = run("pipeline.stages.filter", "data/raw", "data/clean", "--set", "remove.length.min_chars=12", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    soup = BeautifulSoup(page(tmp_path / "data", built / "data"), "lxml")
    rows = {row.th.get_text(): [cell.get_text() for cell in row.find_all("td")] for row in soup.select("#what-changed ~ .scroll tr") if row.td}
    assert rows["clean.remove.length.min_chars"] == ["20", "12"]
    assert not any(name.startswith("clean.edit") for name in rows)


def test_nothing_built(tmp_path: Path) -> None:
    """A folder without anything is one line."""
    (tmp_path / "data").mkdir()
    done = run("pipeline", "report", cwd=tmp_path)
    assert done.returncode == 2 and re.fullmatch(r".*data: holds nothing that was built; run: make extract clean tokenize\n", done.stderr)
