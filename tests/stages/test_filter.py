"""The filter stage as people call it: any input, one clear line for a mistake, everything accounted for."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.datasets import open_dataset
from pipeline.report import Report

from .conftest import CHECKOUT, ROWS, rows_as_messages, run_module


def answers(clean: Path) -> list[str]:
    """The last turn or the text of every kept row."""
    rows = [row for file in sorted(clean.glob("part-*.parquet")) for row in pq.read_table(file).to_pylist()]
    return [row["text"] if row["text"] is not None else row["messages"][-1]["content"] for row in rows]


def zstd(data: bytes) -> bytes:
    """A Zstandard frame."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def read_part(folder: Path, part: str) -> list[dict[str, object]]:
    """The rows of a part of a dataset."""
    return [row for file in open_dataset(folder).files(part) for row in pq.read_table(file).to_pylist()]


def assert_cleaned(clean: Path) -> None:
    """The question and answer rows came out as they should."""
    kept = answers(clean)
    assert ROWS[0][1] in kept and kept.count(ROWS[3][1]) == 1
    assert not [text for text in kept if "AI language model" in text]
    assert [text for text in kept if "Python is readable" in text]


def test_messy_folder(messy: Path, tmp_path: Path) -> None:
    """A folder of HTML, CSV, SQL and JSON lines is extracted and cleaned; every unit is kept or stands in a row that says why."""
    done = run_module("pipeline.stages.filter", messy, tmp_path / "clean", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    clean = tmp_path / "clean"
    assert_cleaned(clean)
    dataset = open_dataset(clean)
    report = Report.from_plain(dataset.manifest["counts"])
    report.check("filter")
    total = report.total()
    assert total.read == 8 + 5 + 2 + 6
    assert total.kept == dataset.rows() == len(answers(clean))
    assert sum(total.removed.values()) == dataset.rows("__removed")
    assert sum(total.quarantined.values()) == dataset.rows("__quarantine") == 2
    assert {row["rule"].split(".")[0] for row in read_part(clean, "__removed")} == {"refusals", "dedup"}
    kept_ids = {row["id"] for row in read_part(clean, "")}
    assert all(row["duplicate_of"] in kept_ids for row in read_part(clean, "__removed") if row["rule"].startswith("dedup"))
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


@pytest.mark.parametrize("form", ["dataset", "datasets", "parquet", "jsonl", "jsonl.gz", "jsonl.zst", "arrow", "file"])
def test_every_form_of_input(form: str, tmp_path: Path) -> None:
    """A committed dataset, a folder of them, Parquet, JSON lines plain and compressed, Arrow, and a single file all work."""
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = rows_as_messages()
    text = "\n".join(map(json.dumps, rows)).encode()
    table = pa.Table.from_pylist(rows)
    source = raw
    if form in ("dataset", "datasets"):
        (raw / "rows.jsonl").write_bytes(text)
        built = tmp_path / "built" / "one"
        assert run_module("pipeline.stages.extract", raw, built, cwd=tmp_path).returncode == 0
        source = built if form == "dataset" else built.parent
    elif form == "parquet":
        pq.write_table(table, raw / "a.parquet")
    elif form == "arrow":
        with pa.ipc.new_file(raw / "a.arrow", table.schema) as writer:
            writer.write_table(table)
    else:
        pack = {"jsonl.gz": gzip.compress, "jsonl.zst": zstd}.get(form, bytes)
        source = raw / "rows.jsonl" if form == "file" else raw
        (raw / f"rows.{form if form != 'file' else 'jsonl'}").write_bytes(pack(text))
    done = run_module("pipeline.stages.filter", source, tmp_path / "clean", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_cleaned(tmp_path / "clean")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["raww/", "clean/"], "raww: is not there; did you mean 'raw'?"),
        (["empty/", "clean/"], "empty: is empty; put files there, or name another folder"),
        (["raw/"], "filter: needs an input and an output; write INPUT... OUTPUT"),
        (["raw/", "raw/clean"], "raw/clean: lies in the input raw; write the output beside it"),
        (["raw/", "clean/", "--settings", "no.yaml"], "no.yaml: No such file or directory"),
        (["raw/", "clean/", "--settings", "wrong.yaml"], "wrong.yaml:1 remove.lenght: unknown rule; did you mean 'length'?"),
        (["raw/", "clean/", "--set", "remove.length.min_chars=-1"], "remove.length.min_chars: is -1; allowed: 0 or more"),
        (["raw/", "clean/", "--set", "dedup.near.threshhold=0.9"], "dedup.near.threshhold: unknown key; did you mean 'threshold'?"),
        (["raw/", "clean/", "--set", "remove.refusals.rules=[filters/nothing.yaml]"], "filters/nothing.yaml: is not there"),
        (["raw/", "clean/", "--set", "nonsense"], "--set nonsense: is not KEY=VALUE"),
        (["raw/", "mine/"], "mine: holds files that are not a dataset of ours"),
        (["raw/", "clean/", "--workes", "2"], "unrecognized arguments: --workes"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], line: str, tmp_path: Path) -> None:
    """A user's mistake is one line that says where, what and what to do; exit code 2; nothing is written."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.txt").write_text("A text that is long enough to be kept by the rules.")
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "wrong.yaml").write_text("remove: {lenght: {}}")
    done = run_module("pipeline.stages.filter", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr
    assert not (tmp_path / "clean").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """--debug adds the traceback."""
    done = run_module("pipeline.stages.filter", "raw", "clean", "--debug", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" in done.stderr


def test_readers_see_kept_rows_only(messy: Path, tmp_path: Path) -> None:
    """pandas, DuckDB and datasets read the folder as it is, and see the kept rows and nothing else."""
    import duckdb
    import pandas as pd

    pytest.importorskip("datasets", reason="the extra train is not installed")

    assert run_module("pipeline.stages.filter", messy, "data/clean", "--quiet", cwd=tmp_path).returncode == 0
    clean = tmp_path / "data" / "clean"
    expected = sorted(row["id"] for row in read_part(clean, ""))
    assert read_part(clean, "__removed") and read_part(clean, "__edited") and read_part(clean, "__quarantine")
    assert sorted(pd.read_parquet(clean)["id"]) == expected
    assert sorted(row[0] for row in duckdb.sql(f"select id from '{clean}/*.parquet'").fetchall()) == expected
    code = "import sys, datasets; print(*sorted(datasets.load_dataset(sys.argv[1], split='train')['id']))"
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    out = subprocess.run([sys.executable, "-c", code, str(clean)], capture_output=True, text=True, check=True, env=env)
    assert out.stdout.split() == expected


def test_people_stay_in_charge(tmp_path: Path) -> None:
    """An id on the keep list survives every rule; one on the drop list goes."""
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows_as_messages())))
    assert run_module("pipeline.stages.filter", "rows.jsonl", "first", cwd=tmp_path).returncode == 0
    removed = {row["rule"]: row["id"] for row in read_part(tmp_path / "first", "__removed")}
    kept = [row["id"] for row in read_part(tmp_path / "first", "")]
    (tmp_path / "keep.txt").write_text("".join(f"{i}  # rescued\n" for i in removed.values()))
    (tmp_path / "drop.txt").write_text(f"{kept[0]}\n")
    lists = ["--set", "keep=keep.txt", "--set", "drop=drop.txt"]
    assert run_module("pipeline.stages.filter", "rows.jsonl", "second", *lists, cwd=tmp_path).returncode == 0
    assert {row["id"] for row in read_part(tmp_path / "second", "")} == {*kept[1:], *removed.values()}
    assert [row["rule"] for row in read_part(tmp_path / "second", "__removed")] == ["drop"]


def test_cuts_put_back_give_the_original(messy: Path, tmp_path: Path) -> None:
    """Every edited text, kept or removed, turns back into the extracted one when its cuts are put back from the last to the first."""
    assert run_module("pipeline.stages.extract", messy, "raw", cwd=tmp_path).returncode == 0
    assert run_module("pipeline.stages.filter", "raw", "clean", cwd=tmp_path).returncode == 0
    before = {row["id"]: row for row in read_part(tmp_path / "raw", "")}
    after = {row["id"]: row for part in ("", "__removed") for row in read_part(tmp_path / "clean", part)}
    cuts = read_part(tmp_path / "clean", "__edited")
    assert cuts and before.keys() == after.keys()
    for cut in sorted(cuts, key=lambda row: -row["seq"]):
        row = after[cut["id"]]
        holder, key = (row, "text") if cut["message"] < 0 else (row["messages"][cut["message"]], "content")
        text, start, end = holder[key], cut["start"], cut["start"] + len(cut["after"] or "")
        assert text[start:end] == (cut["after"] or "")
        holder[key] = text[:start] + (cut["before"] or "") + text[end:]
    for identity, row in before.items():
        assert (row["text"], row["messages"]) == (after[identity]["text"], after[identity]["messages"])


def test_wheel_alone(messy: Path, tmp_path: Path) -> None:
    """The wheel, unpacked alone, cleans a folder in an empty place with its default rules."""
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(CHECKOUT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    import zipfile

    (wheel,) = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    done = run_module("pipeline.stages.filter", messy, "clean", cwd=tmp_path / "empty", env={"PYTHONPATH": str(tmp_path / "site")})
    assert done.returncode == 0, done.stderr
    assert_cleaned(tmp_path / "empty" / "clean")
    code = "import pipeline; print(pipeline.__file__)"
    where = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "empty", env={"PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True, check=True)
    assert str(tmp_path / "site") in where.stdout


def test_schema_is_the_contract(messy: Path, tmp_path: Path) -> None:
    """Every kept row has exactly one of text and messages, and ids are unique."""
    assert run_module("pipeline.stages.filter", messy, "clean", cwd=tmp_path).returncode == 0
    table = pa.concat_tables(pq.read_table(file) for file in sorted((tmp_path / "clean").glob("part-*.parquet")))
    assert table.column_names == ["id", "source", "locator", "text", "messages", "group", "meta"]
    assert pc.all(pc.xor(pc.is_null(table["text"]), pc.is_null(table["messages"]))).as_py()
    assert len(table["id"].unique()) == len(table)
