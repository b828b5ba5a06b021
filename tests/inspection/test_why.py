"""Asking for a document: what each stage said about it, found by id, place or text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.datasets import open_dataset

from .conftest import LINES, run


def asked(project: Path, wanted: str, *arguments: object) -> dict[str, Any]:
    """What ``why --json`` says."""
    done = run("pipeline", "why", wanted, "--json", *arguments, cwd=project)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(project: Path, part: str) -> list[dict[str, Any]]:
    """The rows of a part of the clean dataset."""
    return [row for file in open_dataset(project / "data" / "clean").files(part) for row in pq.read_table(file).to_pylist()]


def test_a_removed_document_by_its_id(built: Path) -> None:
    """The rule, the reason and the span in context, from the whole id or the beginning of it."""
    removed = next(row for row in rows(built, "__removed") if row["rule"].startswith("refusals."))
    for wanted in (removed["id"], removed["id"][:8].upper()):
        found = asked(built, wanted)
        (document,) = found["documents"]
        assert found["found_by"] == "id" and not document["kept"]
        assert document["removed"]["rule"] == removed["rule"] and document["removed"]["span"]["marked"] == LINES[1]
        assert (document["source"], document["extracted_to"]) == ("talk", "data/raw/talk")


def test_a_duplicate_names_what_was_kept(built: Path) -> None:
    """A duplicate says which document was kept instead."""
    removed = next(row for row in rows(built, "__removed") if row["rule"].startswith("dedup."))
    (document,) = asked(built, removed["id"])["documents"]
    assert document["removed"]["duplicate_of"] in {row["id"] for row in rows(built, "")}
    assert "kept instead: " + removed["duplicate_of"] in run("pipeline", "why", removed["id"], cwd=built).stdout


def test_a_kept_document_by_its_text(built: Path) -> None:
    """Its cuts with rule and context, and the rows that hold its tokens."""
    (document,) = asked(built, "python is readable")["documents"]
    assert document["kept"] and document["removed"] is None
    assert document["cuts"][0]["rule"].startswith("cut_slop.") and "Python" in document["cuts"][-1]["after"] + document["text"]
    (place,) = document["packed"]
    rows_file = built / place["dataset"] / place["file"]
    assert rows_file.is_file() and place["first_token"] == 0 and place["end_token"] > 10
    text = run("pipeline", "why", "Python is readable", cwd=built).stdout
    assert "cut in " in text and "[-" in text and "data/tokens/tiny/" in text and "\x1b" not in text


def test_by_place_in_the_sources(built: Path) -> None:
    """A source's name, a file's path or a locator finds its documents, as many as asked for, and says how many there are."""
    found = asked(built, "notes.jsonl", "--documents", 2)
    assert found["found_by"] == "place" and found["found"] == 3 and len(found["documents"]) == 2
    assert asked(built, "sources/notes.jsonl")["found"] == 3


def test_what_could_not_be_read(built: Path) -> None:
    """A unit in quarantine is found by its place, with the error."""
    quarantine = next(row for file in open_dataset(built / "data" / "raw" / "talk").files("__quarantine") for row in pq.read_table(file).to_pylist())
    (unit,) = asked(built, quarantine["locator"])["unreadable"]
    assert unit["error"] == quarantine["error"]


def test_a_text_that_nothing_holds_is_judged_now(built: Path) -> None:
    """The rules say what they would do with it, as a document and as an assistant's turn."""
    found = asked(built, "As an AI language model, I am unable to assist with this particular request.")
    assert [live["as"] for live in found["judged_now"]] == ["as a document", "as an assistant's turn"]
    assert found["judged_now"][1]["verdict"] == "removed" and found["judged_now"][1]["says"][0]["rule"].startswith("refusals.")
    assert asked(built, "The sky above the harbour was of a dull and even grey.")["judged_now"][0] == {
        "as": "as a document",
        "verdict": "kept",
        "says": [],
    }


def test_an_unknown_id_names_the_nearest(built: Path) -> None:
    """An id that is not there is one line with near ones, and exit code 2."""
    known = rows(built, "")[0]["id"]
    wrong = known[:-1] + ("0" if known[-1] != "0" else "1")
    done = run("pipeline", "why", wrong, cwd=built)
    assert done.returncode == 2 and f"is no document's id; the nearest: {known}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"), [((" ",), "why: nothing is asked for"), (("x", "--data", "dat"), "dat: is not there; did you mean 'data'?")]
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], line: str, built: Path) -> None:
    """A mistake is one line and exit code 2."""
    done = run("pipeline", "why", *arguments, cwd=built)
    assert done.returncode == 2 and line in done.stderr


def test_nothing_built_yet(tmp_path: Path) -> None:
    """In an empty folder a text is judged, and an id is told to be unknown."""
    assert asked(tmp_path, "As an AI language model, I cannot help with that.")["judged_now"]
    done = run("pipeline", "why", "0123456789abcdef", cwd=tmp_path)
    assert done.returncode == 2 and "nothing has been built yet" in done.stderr


def test_a_rule_that_needs_all_documents_is_not_asked(tmp_path: Path) -> None:
    """A text judged on the spot says in a line that what recurs is not known."""
    (tmp_path / "filter.yaml").write_text("edit:\n  recurring_lines: {}\n")
    text = "The sky above the harbour was of a dull and even grey."
    assert asked(tmp_path, text, "--settings", "filter.yaml")["not_asked"] == ["recurring_lines"]
    done = run("pipeline", "why", text, "--settings", "filter.yaml", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("not asked: recurring_lines") == 1
