"""Several dumps as one database, and where the rows of a dump wait."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.extractors import sql_dump
from pipeline.extractors.sources import SourceSettings, list_parts, read_part
from pipeline.extractors.sql_settings import SqlSettings
from pipeline.inspection import tables
from pipeline.inspection.tables_read import TablesSettings
from pipeline.progress import Progress
from pipeline.stages.extract import extract, resolve

SCHEMA = "-- MySQL dump 10.13\nCREATE TABLE `posts` (`id` int NOT NULL, `title` text, `body` text, PRIMARY KEY (`id`));\n"
DATA = "-- MySQL dump 10.13\nINSERT INTO `posts` VALUES (1,'Soup','Onions first, then the stock.'),(2,'Tea','Pour the water at once.');\n"
MORE = "-- MySQL dump 10.13\nREPLACE INTO `posts` VALUES (2,'Tea','Let the water cool for a minute.'),(3,'Bread','Knead, wait and bake.');\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dump of the schema, two of the data, and a table that is no dump."""
    (tmp_path / "in" / "dumps").mkdir(parents=True)
    for name, content in {"0-schema.sql": SCHEMA, "1-data.sql": DATA, "2-data.sql": MORE}.items():
        (tmp_path / "in" / "dumps" / name).write_text(content)
    (tmp_path / "in" / "notes.csv").write_text("id,text\n1,a note of some length\n")
    return tmp_path / "in"


def settings(folder: Path, together: bool) -> SourceSettings:
    """The source, its dumps read together or one by one."""
    return SourceSettings(str(folder), sql=SqlSettings(together=together))


def run(folder: Path, out: Path, together: bool = True, workers: int = 1) -> tuple[str, dict, list[tuple[str, str]]]:
    """Digest, counts, and locator and text of each document that the stage makes."""
    with Progress("extract", quiet=True) as progress:
        dataset = extract(resolve({"s": settings(folder, together)}, output=out), out, workers, None, progress)
    rows = pq.read_table(out, columns=["locator", "text"]).to_pylist()
    return dataset.digest, dataset.manifest["counts"]["s"], sorted((row["locator"], row["text"]) for row in rows)


def test_dumps_of_one_database(folder: Path, tmp_path: Path) -> None:
    """Columns come from the schema's dump, a later dump replaces rows of an earlier one, and other files are read as ever."""
    digest, counts, rows = run(folder, tmp_path / "out")
    assert rows == [
        ("dumps#table=posts&key=1", "Soup\n\nOnions first, then the stock."),
        ("dumps#table=posts&key=2", "Tea\n\nLet the water cool for a minute."),
        ("dumps#table=posts&key=3", "Bread\n\nKnead, wait and bake."),
        ("notes.csv#row=0", "a note of some length"),
    ]
    assert (counts["read"], counts["kept"], counts["superseded"], counts["quarantined"]) == (5, 4, 1, {})
    assert run(folder, tmp_path / "again", workers=2)[0] == digest


def test_each_dump_is_a_database_of_its_own_unless_told(folder: Path, tmp_path: Path) -> None:
    """Without the setting nothing is known of other files, and their parts are apart."""
    _, counts, rows = run(folder, tmp_path / "out", together=False)
    assert counts["superseded"] == 0
    assert {locator.partition("#")[0] for locator, _ in rows} >= {"dumps/1-data.sql", "dumps/2-data.sql"}


def test_a_changed_dump_is_read_again_with_its_fellows(folder: Path, tmp_path: Path) -> None:
    """They are one unit of work, however many files there are and however large they may be."""
    for number in range(200):
        (folder / "dumps" / f"3-{number:03d}.sql").write_text(
            f"INSERT INTO `posts` VALUES ({10 + number},'T','Some more words for row {number}.');\n"
        )
    assert len(list_parts("s", settings(folder, True), lambda path: "digest")) == 1
    assert len(list_parts("s", settings(folder, False), lambda path: "digest")) > 1
    before = run(folder, tmp_path / "out")[2]
    (folder / "dumps" / "1-data.sql").write_text(DATA.replace("Onions", "Leeks"))
    after = run(folder, tmp_path / "out")[2]
    assert len(after) == len(before) == 204
    assert [text for pair in zip(before, after, strict=True) if pair[0] != pair[1] for text in (pair[0][1], pair[1][1])] == [
        "Soup\n\nOnions first, then the stock.",
        "Soup\n\nLeeks first, then the stock.",
    ]


def test_rows_wait_beside_the_output(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's folder for temporary files, which may be small or in memory, is not needed; and nothing is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    monkeypatch.setattr(sql_dump, "MAX_WAITING_BYTES", 0)
    (part,) = list_parts("s", settings(folder, True), lambda path: "digest")
    work = tmp_path / "build"
    assert read_part(work, "t", part)["counts"]["s"]["kept"] == 4
    assert not [path for path in work.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    account = tables.write(str(folder), tmp_path / "tables", TablesSettings())
    assert account.superseded == 1
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["__tables.json", "notes.parquet", "posts.parquet"]
