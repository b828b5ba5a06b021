"""Trying a change of settings: what it adds and removes is shown side by side, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets import open_dataset
from pipeline.errors import UsageError
from pipeline.inspection.sampling import sample
from pipeline.inspection.try_settings import spelled_out
from pipeline.settings import parse_yaml

from .conftest import run

RAW = parse_yaml("edit: {cut_slop: {}, both: {}}\nremove: {refusals: {}, length: {}, both: {}}\n", "filter.yaml")


def tried(project: Path, *arguments: object) -> dict[str, Any]:
    """What ``try --json`` says."""
    done = run("pipeline", "try", "--json", *arguments, cwd=project)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def files(project: Path) -> set[tuple[str, int]]:
    """Every file of a folder with its time of change."""
    return {(str(path), path.stat().st_mtime_ns) for path in project.rglob("*")}


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("refusals.max_share=0.1", "remove.refusals.max_share=0.1"),
        ("cut_slop.weak=always", "edit.cut_slop.weak=always"),
        ("remove.length.min_chars=4", "remove.length.min_chars=4"),
        ("no_answer=false", "remove.no_answer=false"),
        ("near.threshold=0.9", "dedup.near.threshold=0.9"),
    ],
)
def test_short_names(short: str, full: str) -> None:
    """A rule's name alone is enough where one section only knows it."""
    assert spelled_out(RAW, short) == full


def test_short_names_that_say_too_little() -> None:
    """A name that two sections know is an error with both; one that none knows is an error with the nearest."""
    with pytest.raises(UsageError, match=r"write edit\.both\.x or remove\.both\.x"):
        spelled_out(RAW, "both.x=1")
    with pytest.raises(UsageError, match="did you mean 'refusals'"):
        spelled_out(RAW, "refusal.x=1")


def test_what_a_change_removes_keeps_and_cuts(built: Path) -> None:
    """Counts before and after, and examples with rule and span; no file is written or touched."""
    before = files(built)
    found = tried(built, "--set", "length.min_chars=400", "--set", "refusals=false", "--set", "edit.cut_slop=false")
    assert files(built) == before
    assert found["documents"] == 8 and found["sources"] == {"notes": 3, "talk": 5}
    assert found["before"]["kept"] == 6 and found["after"]["kept"] == 0
    assert found["newly_removed"]["documents"] == 6 and len(found["newly_removed"]["examples"]) == 5
    (other,) = found["other_rule"]["examples"]
    assert other["after"][0]["rule"] == "length" and other["before"][0]["rule"].startswith("refusals.")
    assert other["before"][0]["marked"] == "As an AI language model, I cannot help with that."


def test_newly_kept_and_changed_cuts(built: Path) -> None:
    """A rule switched off keeps what it removed; an editor switched off cuts no more."""
    found = tried(built, "--set", "refusals=false", "--set", "cut_slop=false")
    assert found["newly_kept"]["documents"] == 1 and found["newly_kept"]["examples"][0]["after"] == []
    (cut,) = found["changed_cuts"]["examples"]
    assert cut["after"] == [] and cut["before"][0]["marked"].startswith("As an AI language model, I don't have")


def test_the_same_change_gives_the_same_bytes(built: Path) -> None:
    """Nothing depends on time or order; without a terminal there is no colour, and the marks are plain."""
    outputs = {run("pipeline", "try", "--set", "length.min_chars=100", "--rows", 4, cwd=built).stdout for _ in range(2)}
    assert len(outputs) == 1
    (text,) = outputs
    assert "\x1b" not in text and "newly removed" in text and "4 documents of data/raw (seed 0)" in text


def test_a_loose_file_can_be_tried(built: Path) -> None:
    """A file that was never extracted is read on the fly, and leaves nothing."""
    before = files(built)
    assert tried(built, "sources/talk.jsonl", "--set", "length.min_chars=100")["documents"] == 5
    assert files(built) == before


def test_samples_are_spread_over_the_sources(built: Path) -> None:
    """Each source gives the same number while it lasts; another seed gives another sample, the same seed the same."""
    paths = [file for name in ("talk", "notes") for file in open_dataset(built / "data" / "raw" / name).files()]

    def drawn(number: int, seed: int) -> list[str]:
        return [row["locator"] for batch in sample(paths, number, seed) for row in batch.to_pylist()]

    assert [sum(name in locator for locator in drawn(4, 0)) for name in ("talk", "notes")] == [2, 2]
    assert len(drawn(7, 0)) == 7 and len(drawn(100, 0)) == 8
    assert drawn(4, 0) == drawn(4, 0) and len({tuple(drawn(3, seed)) for seed in range(8)}) > 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "try: nothing is to be changed; write for example --set refusals.max_share=0.1"),
        (("--set", "refusals.max_shar=1"), "remove.refusals.max_shar: unknown key; did you mean 'max_share'?"),
        (("--set", "near.threshold=0.5"), "duplicates are not looked for in a sample"),
        (("data/rav", "--set", "refusals=false"), "data/rav: is not there; did you mean 'raw'?"),
        (("--rows", "0", "--set", "refusals=false"), "--rows is at least 1"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], line: str, built: Path) -> None:
    """A mistake is one line and exit code 2."""
    done = run("pipeline", "try", *arguments, cwd=built)
    assert done.returncode == 2 and line in done.stderr and len(done.stderr.splitlines()) == 1


def test_recurring_lines_are_counted_over_everything(built: Path, tmp_path: Path) -> None:
    """What recurs is known though a sample of two documents is judged."""
    pages = [f"Recipe number {n} is made of {n} eggs and {n + 3} spoons of flour.\n\nThis site uses cookies, as others do." for n in range(12)]
    (tmp_path / "pages.jsonl").write_text("".join(json.dumps({"text": page}) + "\n" for page in pages))
    found = tried(built, tmp_path / "pages.jsonl", "--set", "edit.recurring_lines={}", "--rows", "2")
    assert found["documents"] == found["changed_cuts"]["documents"] == 2
    assert found["after"]["edited"] == {"recurring_lines.footer.in_12": 2}
