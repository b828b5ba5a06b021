"""The duplicate passes of the filter stage: the same bytes however they run, resumed after a kill, against other datasets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dedup import native
from pipeline.stages import filter as stage
from pipeline.stages.duplicates import COMPILED_BYTES, for_size

SETTINGS = "dedup:\n  exact: {fold: words}\n  near: {threshold: 0.8}\n"


def texts() -> list[str]:
    """Essays, copies of them with a few other words, and exact copies."""
    random = Random(3)
    words = ["".join(random.choices("abcdefghijklmnop", k=7)) for _ in range(2000)]
    essays = [random.choices(words, k=random.randrange(30, 300)) for _ in range(250)]
    near = [[*essay[:20], "other", *essay[21:]] for essay in essays[::3]]
    return [" ".join(essay) for essay in [*essays, *near, *essays[::7]]]


def write(folder: Path, values: list[str], files: int) -> Path:
    """The texts as so many Parquet files."""
    folder.mkdir(parents=True)
    size = -(-len(values) // files)
    for number in range(files):
        pq.write_table(pa.table({"text": values[number * size : (number + 1) * size]}), folder / f"{number}.parquet")
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three committed datasets in a folder."""
    values = texts()
    for number in range(3):
        folder = write(tmp_path / "sources" / str(number), values[number::3], 1)
        run("extract", folder, tmp_path / "raw" / str(number))
    (tmp_path / "filter.yaml").write_text(SETTINGS)
    return tmp_path / "raw"


def run(name: str, *arguments: object) -> None:
    """Run a stage in this process."""
    module: Any = stage
    if name == "extract":
        from pipeline.stages import extract

        module = extract
    assert module.main([*map(str, arguments), "--quiet"]) == 0


def clean(raw: Path, name: str, *more: object) -> Path:
    """The clean dataset."""
    run("filter", raw, raw.parent / name, "--settings", raw.parent / "filter.yaml", *more)
    return raw.parent / name


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the one with times."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "__run.json"}


def rows(folder: Path, part: str = "") -> list[dict[str, Any]]:
    """The rows of a part."""
    return [row for path in sorted((folder / part).glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_the_same_bytes_for_any_number_of_workers(raw: Path) -> None:
    """In process, two and three processes; every document is kept or removed, and every name is of a kept one."""
    one = clean(raw, "one", "--workers", 1)
    assert contents(one) == contents(clean(raw, "two", "--workers", 2)) == contents(clean(raw, "three", "--workers", 3))
    kept, removed = rows(one), rows(one, "__removed")
    assert len(kept) + len(removed) == len(texts())
    assert {row["duplicate_of"] for row in removed} <= {row["id"] for row in kept}
    assert {row["rule"] for row in removed} == {"dedup.exact", "dedup.near"}
    groups = {row["group"] for row in kept if row["group"] is not None}
    assert groups == {row["duplicate_of"] for row in removed}
    figures = json.loads((one / "__manifest.json").read_text())["duplicates"]
    assert figures["hot_buckets"] == 0 < figures["near_pairs"] <= figures["candidate_pairs"]


@pytest.mark.slow
@pytest.mark.parametrize("step", ["twins", "pairs", "near", "duplicates", "drop"])
def test_a_killed_search_resumes_to_the_same_bytes(raw: Path, step: str) -> None:
    """A run that is killed when the first record of a step appears is finished by the next one, which repeats nothing that was done."""
    whole = clean(raw, "whole", "--workers", 1)
    arguments = [str(raw), str(raw.parent / "again"), "--settings", str(raw.parent / "filter.yaml"), "--workers", "1", "--quiet"]
    code = (
        "import os, signal, sys\nfrom pipeline import commits\nwrite = commits.write_json\n"
        f"def killing(path, data):\n    write(path, data)\n    if path.name.startswith({step!r}): os.kill(os.getpid(), signal.SIGKILL)\n"
        "commits.write_json = killing\nfrom pipeline import attending\nattending.write_json = killing\n"
        "from pipeline.stages.filter import main\nsys.exit(main(sys.argv[1:]))"
    )
    killed = subprocess.run([sys.executable, "-c", code, *arguments], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    work = next(raw.parent.glob(".again.partial-*")) / "__work"
    assert list(work.glob(f"{step}*.json")) and list(work.glob("*.index.arrow"))
    assert contents(clean(raw, "again", "--workers", 1)) == contents(whole)


def test_against_removes_what_is_elsewhere_in_any_order(raw: Path) -> None:
    """Committed datasets and loose folders; the rule says so, the digests decide the key, the order does not."""
    loose = write(raw.parent / "loose", [texts()[0].upper(), "nothing like it " * 30], 1)
    other = raw / "1"
    (raw.parent / "mine").mkdir()
    (raw / "0").rename(raw.parent / "mine" / "0")
    mine = raw.parent / "mine"
    outputs = []
    for number, against in enumerate(([loose, other], [other, loose])):
        listed = "[" + ", ".join(map(str, against)) + "]"
        run("filter", mine, raw.parent / f"out-{number}", "--settings", raw.parent / "filter.yaml", "--set", f"dedup.against={listed}")
        outputs.append(raw.parent / f"out-{number}")
    assert contents(outputs[0]) == contents(outputs[1])
    removed = [row for row in rows(outputs[0], "__removed") if row["rule"] == "dedup.against"]
    assert any(row["text"] == texts()[0] and row["score"] == 1.0 for row in removed)
    theirs = {row["id"] for row in rows(other)}
    assert sum(row["duplicate_of"] in theirs for row in removed) == len(removed) - 1 > 3
    assert json.loads((outputs[0] / "__manifest.json").read_text())["against"]
    assert not list(raw.parent.glob(".*against*"))


def test_loops_are_compiled_for_much_text_or_where_they_lie_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling is for large inputs; what was compiled before is used for small ones too."""
    (tmp_path / "filter.yaml").write_text(SETTINGS)
    rules = stage.read_settings(tmp_path / "filter.yaml")
    monkeypatch.setattr(native, "is_there", lambda: True)
    for kept, num_bytes, compiled in ((False, 1000, False), (False, COMPILED_BYTES, True), (True, 1000, True)):
        monkeypatch.setattr(native, "is_kept", lambda kept=kept: kept)
        assert for_size(rules, num_bytes).dedup.compiled == compiled
