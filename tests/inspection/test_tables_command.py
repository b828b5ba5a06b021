"""The command ``tables``."""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import command
from pipeline.inspection import tables, tables_write
from pipeline.inspection.tables_write import file_name

ROOT = Path(__file__).resolve().parents[2]
GOLD = ROOT.parent / "shared" / "gold"
DUMP = "CREATE TABLE `posts` (id int, body text);\nINSERT INTO `posts` VALUES (1,'one'),(2,NULL);\nCREATE TABLE `none` (id int);\n"


def rows(path: Path) -> list[dict[str, str | None]]:
    """The rows of a Parquet file."""
    return list(pq.ParquetFile(path, page_checksum_verification=True).read().to_pylist())


def test_csv_becomes_parquet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every cell is text, names are as written, bad rows are in quarantine, and the numbers add up."""
    (tmp_path / "a.csv").write_text('id, name ,\n1,"x, y",\n007,NA,\n1,2,3,4\n')
    assert tables.main([str(tmp_path / "a.csv"), str(tmp_path / "out")]) == 0
    assert rows(tmp_path / "out" / "a.parquet") == [{"id": "1", " name ": "x, y"}, {"id": "007", " name ": "NA"}]
    (bad,) = rows(tmp_path / "out" / "__quarantine" / "part-00000.parquet")
    assert bad["raw"] == b"1,2,3,4\n"
    assert "3 read = 2 rows + 0 superseded + 1 quarantined" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "__tables.json").read_text())
    assert summary["tables"] == [{"name": "a", "origin": "a.csv", "columns": ["id", " name "], "rows": 2, "file": "a.parquet"}]
    assert (summary["read"], summary["quarantined"]) == (3, {"wrong number of cells": 1})


def test_folder_of_everything(tmp_path: Path) -> None:
    """Dumps of a folder are one database; CSV files and SQLite files stand beside it; what holds no table is quarantined."""
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (source / "1.sql").write_text(DUMP)
    (source / "2.sql.gz").write_bytes(gzip.compress(b"INSERT INTO `posts` VALUES (3,'three');\n"))
    (source / "sub" / "b.csv").write_text("x;y\n1;2\n")
    (source / "notes.txt").write_text("no table\n")
    with sqlite3.connect(source / "c.sqlite") as base:
        base.execute("create table t (a integer, b text)")
        base.execute("insert into t values (1, null)")
    base.close()
    assert tables.main([str(source), str(tmp_path / "out"), "--quiet"]) == 0
    names = sorted(path.name for path in (tmp_path / "out").glob("*.parquet"))
    assert names == ["c.t.parquet", "none.parquet", "posts.parquet", "sub.b.parquet"]
    assert rows(tmp_path / "out" / "posts.parquet") == [{"id": "1", "body": "one"}, {"id": "2", "body": None}, {"id": "3", "body": "three"}]
    assert rows(tmp_path / "out" / "c.t.parquet") == [{"a": "1", "b": None}]
    assert pq.read_schema(tmp_path / "out" / "none.parquet").names == ["id"]
    assert [row["locator"] for row in rows(tmp_path / "out" / "__quarantine" / "part-00000.parquet")] == ["notes.txt"]


def test_peek(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables, columns, numbers of rows and three rows each are printed, and nothing is written."""
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f"{number},words {number}\n" for number in range(50)))
    assert tables.main([str(tmp_path / "a.csv"), "--peek"]) == 0
    printed = capsys.readouterr().out
    assert "a (a.csv): 50 rows, 2 columns" in printed
    assert "text  words 0  words 1  words 2\n" in printed
    assert tables.main([str(tmp_path / "a.csv"), "--peek", "--json"]) == 0
    (seen,) = json.loads(capsys.readouterr().out)["tables"]
    assert (seen["rows"], len(seen["first"]), seen["first"][2]) == (50, 3, {"id": "2", "text": "words 2"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_settings_and_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is told is obeyed; a mistake is one line with what to do, and writes nothing."""
    (tmp_path / "a.txt").write_text("1:x\n2:y\n")
    told = ["--set", 'csv.delimiter=":"', "--set", "csv.header=false"]
    assert tables.main([str(tmp_path / "a.txt"), str(tmp_path / "out"), *told, "--quiet"]) == 0
    assert rows(tmp_path / "out" / "a.parquet") == [{"col_0": "1", "col_1": "x"}, {"col_0": "2", "col_1": "y"}]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    (tmp_path / "empty.csv").write_bytes(b"")
    cases = {
        ("a.tx", "o2"): (2, "did you mean 'a.txt'?"),
        ("a.txt",): (2, "--peek"),
        ("a.txt", "full"): (2, "name a new or empty folder"),
        ("a.txt", "o2", "--set", "csv.delimitr=x"): (2, "delimiter"),
        ("empty.csv", "o2"): (1, "holds no table"),
    }
    for (source, *rest), (code, line) in cases.items():
        arguments = [str(tmp_path / source), *(str(tmp_path / word) if word in ("o2", "full") else word for word in rest)]
        assert command.run(tables.main, arguments) == code
        error = capsys.readouterr().err
        assert line in error
        assert error.count("\n") == 1
    assert not (tmp_path / "o2").exists()
    assert (tmp_path / "full" / "mine").is_file()


def test_one_column_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of one column is pointed out: it may be a delimiter that was not found."""
    (tmp_path / "a.csv").write_text("text\nhello\n")
    tables.main([str(tmp_path / "a.csv"), "--peek"])
    assert "a has one column" in capsys.readouterr().out


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    """A failure leaves the tables of the run before as they were; success replaces all of them."""
    (tmp_path / "a.csv").write_text("id,text\n1,x\n")
    (tmp_path / "b.csv").write_text("id,text\n1,x\n2\n")
    out = tmp_path / "out"
    tables.main([str(tmp_path / "a.csv"), str(out), "--quiet"])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert command.run(tables.main, [str(tmp_path / "b.csv"), str(out), "--set", "csv.bad_rows=error"]) == 1
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv", "out"]
    tables.main([str(tmp_path / "b.csv"), str(out), "--quiet"])
    assert not (out / "a.parquet").exists()


@given(st.lists(st.text(st.characters(exclude_categories=[]), max_size=80) | st.sampled_from(["", ".", "..", "a/b", "A", "a", "__x", "t one", 'weird "name"']), max_size=8))
def test_file_names_are_safe(names: list[str]) -> None:
    """Any table name gives a file name of its own that stays in the folder, is not hidden and can be written."""
    taken: set[str] = set()
    made = [file_name(name, taken) for name in names]
    assert len({name.casefold() for name in made}) == len(names)
    for name in made:
        assert not name.startswith((".", "__"))
        assert "/" not in name
        assert 0 < len(name.encode()) < 200
    assert file_name('weird "name"', set()) == 'weird "name"'


def test_a_large_table_has_bounded_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups are closed at a size, so that memory does not grow with a table."""
    monkeypatch.setattr(tables_write, "ROW_GROUP_BYTES", 100_000)
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f"{number},{'word ' * 100}\n" for number in range(9000)))
    tables.main([str(tmp_path / "a.csv"), str(tmp_path / "out"), "--quiet"])
    assert pq.ParquetFile(tmp_path / "out" / "a.parquet").num_row_groups > 3


@pytest.mark.skipif(not GOLD.is_dir(), reason="the gold data is not beside this checkout")
def test_hostile_files(tmp_path: Path) -> None:
    """Every hostile CSV file becomes tables or one line of error, and nothing of it is lost without a word."""
    for path in sorted((GOLD / "hostile" / "csv").rglob("*.csv")):
        code = command.run(tables.main, [str(path), str(tmp_path / path.stem), "--quiet"])
        assert code in (0, 1), path
    assert [row["text"] for row in rows(tmp_path / "na_strings" / "na_strings.parquet")][:4] == ["NA", "null", "None", "nan"]
    assert len(rows(tmp_path / "unclosed_quote" / "unclosed_quote.parquet")) == 1999
    assert len(pq.read_schema(tmp_path / "delims" / "delims.parquet").names) > 1
    assert len(pq.read_schema(tmp_path / "dup_cols" / "dup_cols.parquet").names) == 4


def test_it_is_a_command() -> None:
    """``python -m pipeline tables --help`` says what it does without loading pandas or torch."""
    done = subprocess.run([sys.executable, "-m", "pipeline", "tables", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--peek" in done.stdout
