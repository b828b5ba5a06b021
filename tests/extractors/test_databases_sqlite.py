"""SQLite files among other files: known by content, read without being touched, and never trusted."""

from __future__ import annotations

import gzip
import hashlib
import sqlite3
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra db")

from pipeline.documents import Document, Extracted, Skipped
from pipeline.extractors.databases import DatabaseSettings
from pipeline.extractors.databases_sqlite import SqliteFile
from pipeline.extractors.files import SourceFile, kind_of
from pipeline.extractors.rows import RowMapping


def forum(path: Path, *statements: str) -> Path:
    """A forum of two tables, and what further statements make of it."""
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE users (name TEXT);"
        "INSERT INTO posts VALUES (1, 'Peel the onions and let them sweat.'), (5, 'Knead the dough for ten minutes.');"
        "INSERT INTO users VALUES ('ann');" + ";".join(statements)
    )
    connection.close()
    return path


def read(path: Path, name: str = "old/forum.db", settings: DatabaseSettings | None = None, rows: RowMapping | None = None) -> list[Extracted]:
    """What becomes of a file."""
    return list(SqliteFile(settings or DatabaseSettings(), rows).read(SourceFile(path, name)))


def texts(found: list[Extracted]) -> list[str | None]:
    """The texts of the documents."""
    return [item.text for item in found if isinstance(item, Document)]


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    """A SQLite file is one whatever its name, and a name alone makes none."""
    assert kind_of(SourceFile(forum(tmp_path / "history"), "history")) == "sqlite"
    (tmp_path / "thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(range(256)))
    assert kind_of(SourceFile(tmp_path / "thumbs.db", "thumbs.db")) is None


@pytest.mark.parametrize("packed", [False, True])
def test_rows_become_documents_and_the_file_stays(tmp_path: Path, packed: bool) -> None:
    """Each row is an item with table and key, also out of a compressed file; nothing is written in the folder."""
    path = forum(tmp_path / "forum.db")
    if packed:
        content = gzip.compress(path.read_bytes())
        path.write_bytes(content)
    before = {child.name: hashlib.sha256(child.read_bytes()).hexdigest() for child in tmp_path.iterdir()}
    found = read(path)
    assert texts(found) == ["Peel the onions and let them sweat.", "Knead the dough for ten minutes."]
    assert [item.locator for item in found if isinstance(item, Document)] == [f"old/forum.db#table=posts&key={n}" for n in (1, 5)]
    assert len(found) == 3  # the name of a user is no text
    assert {child.name: hashlib.sha256(child.read_bytes()).hexdigest() for child in tmp_path.iterdir()} == before


def test_settings_choose(tmp_path: Path) -> None:
    """Tables, or a query with `rows`."""
    path = forum(tmp_path / "forum.db")
    assert len(read(path, settings=DatabaseSettings(tables=("posts",)))) == 2
    query = DatabaseSettings(query="SELECT body, name FROM posts, users ORDER BY id DESC")
    assert texts(read(path, settings=query, rows=RowMapping(text="{name}: {body}")))[0] == "ann: Knead the dough for ten minutes."


def test_changes_beside_the_file_are_not_passed_over(tmp_path: Path) -> None:
    """A database that a program has open holds rows that are not in its file yet: it is refused, with what to do."""
    path = tmp_path / "forum.db"
    writer = sqlite3.connect(path)
    writer.executescript("PRAGMA journal_mode=WAL; CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('only in the log')")
    (item,) = read(path)
    writer.close()
    assert isinstance(item, Skipped) and "only in forum.db-wal" in item.error and "sqlite:///PATH" in item.error
    assert len(read(path)) == 1 and not isinstance(read(path)[0], Skipped)


def test_damage_costs_its_own_table(tmp_path: Path) -> None:
    """A damaged page is told for its table; other tables come whole, and so do rows before it. No path stands in the reason."""
    rows = ";".join(f"INSERT INTO long VALUES ({n}, 'Some text that fills a page with words, number {n}. {'x' * 3000}')" for n in range(40))
    path = forum(tmp_path / "forum.db", "CREATE TABLE long (id INTEGER PRIMARY KEY, body TEXT)", rows)
    data = bytearray(path.read_bytes())
    place = data.index(b"number 30.")
    start = place // 4096 * 4096
    data[start : start + 4096] = b"\xff" * 4096
    path.write_bytes(bytes(data))
    found = read(path)
    told = [item for item in found if isinstance(item, Skipped)]
    assert [item.locator for item in told] == ["old/forum.db#table=long"] and "malformed" in told[0].error
    assert str(tmp_path) not in told[0].error
    assert sum("number" in (text or "") for text in texts(found)) > 10 and "Knead the dough for ten minutes." in texts(found)


@pytest.mark.parametrize("cut", [50, 100, 3000])
def test_a_file_cut_short_is_quarantined(tmp_path: Path, cut: int) -> None:
    """What begins like a database and is none gives one item that says so."""
    path = forum(tmp_path / "forum.db")
    path.write_bytes(path.read_bytes()[:cut])
    found = read(path)
    assert found and all(isinstance(item, Skipped) for item in found)


def test_views_and_triggers_of_a_file_do_nothing(tmp_path: Path) -> None:
    """A view that never ends is no table, shadow tables are left out, and a module that is not there costs its table only."""
    endless = "CREATE VIEW posts_all AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS body FROM n"
    search = "CREATE VIRTUAL TABLE notes USING fts5(body); INSERT INTO notes VALUES ('Salt the water before it boils, not after.')"
    missing = "PRAGMA writable_schema=ON; INSERT INTO sqlite_master VALUES ('table', 'far', 'far', 0, 'CREATE VIRTUAL TABLE far USING nonesuch(1)')"
    found = read(forum(tmp_path / "forum.db", endless, search, missing))
    assert "Salt the water before it boils, not after." in texts(found)
    assert [item.locator for item in found if isinstance(item, Skipped)] == ["old/forum.db#table=far"]
    assert len(found) == 5
