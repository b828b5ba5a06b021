"""The tables of a dump are those of a database that has loaded it: upserts, changes, drops, numbers, several files, bounded memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.documents import Skipped, Superseded
from pipeline.extractors import sql_dump, sql_replay
from pipeline.extractors.batches import TableBatch
from pipeline.extractors.files import SourceFile
from pipeline.extractors.sql_dump import read_database
from pipeline.extractors.sql_settings import SqlSettings

Cells = list[tuple[str | None, ...]]
EXACT = 1 << 40
MYSQL = "-- MySQL dump 10.13\n"
POSTGRES = "-- PostgreSQL database dump\n"


def loaded(folder: Path, *dumps: str, compiled_after_bytes: int = 0) -> tuple[dict[str, tuple[list[str], Cells]], list[Skipped], int]:
    """Columns and rows of each table, what was skipped, and how many rows were superseded."""
    files = []
    for number, dump in enumerate(dumps):
        path = folder / f"{number}.sql"
        path.write_text(dump, newline="")
        files.append(SourceFile(path, path.name))
    tables: dict[str, tuple[list[str], Cells]] = {}
    skipped, superseded = [], 0
    for item in read_database(files, SqlSettings(), folder, compiled_after_bytes):
        if isinstance(item, TableBatch):
            columns, cells = tables.setdefault(item.name, (item.batch.schema.names, []))
            assert columns == item.batch.schema.names
            cells += zip(*(column.to_pylist() for column in item.batch.columns), strict=True)
        elif isinstance(item, Superseded):
            superseded += item.units
        else:
            skipped.append(item)
    return tables, skipped, superseded


def rows(folder: Path, dump: str, table: str = "t", compiled_after_bytes: int = 0) -> Cells:
    """The rows of a table; nothing may be skipped."""
    tables, skipped, _ = loaded(folder, dump, compiled_after_bytes=compiled_after_bytes)
    assert skipped == []
    return tables[table][1]


T = "CREATE TABLE t (id int NOT NULL, a text, n int, PRIMARY KEY (id));\n"


def test_upserts_of_mysql(tmp_path: Path) -> None:
    """REPLACE, INSERT IGNORE and ON DUPLICATE KEY leave what MySQL leaves."""
    dump = (
        MYSQL + T + "INSERT INTO t VALUES (1,'one',1),(2,'two',2),(3,'three',3);\nREPLACE INTO t (a,id) VALUES ('second two',2);\n"
        "INSERT INTO t VALUES (3,'x',9),(4,'four',4) ON DUPLICATE KEY UPDATE a=CONCAT('was ',a,', got ',VALUES(a)), n = n + VALUES(n);\n"
        "INSERT INTO t (id, a) VALUES (4,'y') AS new ON DUPLICATE KEY UPDATE t.a = new.a;\n"
        "INSERT IGNORE INTO t VALUES (1,'no',0),(5,'five',5);\n"
    )
    expected = [("1", "one", "1"), ("2", "second two", None), ("3", "was three, got x", "12"), ("4", "y", "4"), ("5", "five", "5")]
    assert sorted(rows(tmp_path, dump)) == expected
    assert loaded(tmp_path, dump)[2] == 4


def test_upserts_of_postgres(tmp_path: Path) -> None:
    """ON CONFLICT .. DO NOTHING and DO UPDATE SET x = EXCLUDED.x, with a key that is added at the end."""
    dump = (
        POSTGRES + "CREATE TABLE public.t (id integer NOT NULL, a text);\nCREATE UNIQUE INDEX u ON public.t USING btree (a);\n"
        "INSERT INTO t VALUES (1, 'a') ON CONFLICT DO NOTHING;\nINSERT INTO t VALUES (1, 'b') ON CONFLICT (id) DO NOTHING;\n"
        "INSERT INTO t VALUES (2, 'a') ON CONFLICT DO NOTHING;\nINSERT INTO t VALUES (1, 'c') ON CONFLICT (id) DO UPDATE SET a = EXCLUDED.a || '!';\n"
        "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT t_pkey PRIMARY KEY (id);\n"
    )
    assert rows(tmp_path, dump) == [("1", "c!")]


def test_keys_of_text_in_mysql_ignore_case(tmp_path: Path) -> None:
    """MySQL's text keys are equal in any case, but for binary collations."""
    dump = MYSQL + "CREATE TABLE t (k varchar(9){} PRIMARY KEY);\nINSERT INTO t VALUES ('a');\nREPLACE INTO t VALUES ('A');\n"
    assert rows(tmp_path, dump.format("")) == [("A",)]
    assert rows(tmp_path, dump.format(" COLLATE utf8mb4_bin")) == [("a",), ("A",)]


def test_changes(tmp_path: Path) -> None:
    """DELETE and UPDATE with conditions of equal literals are applied, from left to right in MySQL; TRUNCATE and DELETE without any take all rows."""
    dump = MYSQL + T + "INSERT INTO t VALUES (1,'a',1),(2,'b',NULL),(3,'c',3),(4,'d',4);\n"
    dump += "DELETE FROM t WHERE id=1; DELETE FROM `t` WHERE n IS NULL AND a <> 'x';\nUPDATE t SET n=n+1, a=CONCAT('z',n) WHERE id IN (3, 9);\n"
    assert rows(tmp_path, dump) == [("3", "z4", "4"), ("4", "d", "4")]
    for change in ("TRUNCATE TABLE t", "TRUNCATE t", "DELETE FROM t", "DROP TABLE t;\n" + T.strip("\n;")):
        assert rows(tmp_path, f"{dump}{change};\nINSERT INTO t VALUES (7,'n',7);\n") == [("7", "n", "7")]
        assert loaded(tmp_path, f"{dump}{change};\n")[2] == 4


def test_changes_that_cannot_be_applied_are_told(tmp_path: Path) -> None:
    """A statement that only a database can work out is told once a table and kind, with its place; other tables are not of interest."""
    dump = MYSQL + T + "INSERT INTO t VALUES (1,'a',1);\nUPDATE t SET n = RAND();\nUPDATE t SET n = 1 WHERE n > 5;\nUPDATE unknown SET a = 1;\n"
    dump += "DELETE FROM t USING t JOIN u;\nDELETE FROM t ORDER BY id LIMIT 3;\nREPLACE INTO keyless VALUES (1);\n"
    tables, skipped, _ = loaded(tmp_path, dump)
    assert tables["t"][1] == [("1", "a", "1")]
    assert [(item.error.split(",")[0], (item.raw or b"")[:20]) for item in skipped] == [
        ("not applied: UPDATE of t", b"UPDATE t SET n = RAN"), ("not applied: DELETE of t", b"DELETE FROM t USING "), ("not applied: INSERT of keyless", b""),
    ]  # fmt: skip


def test_database_twice(tmp_path: Path) -> None:
    """Of a file that holds the database twice, with DROP TABLE between, the second is left."""
    once = "DROP TABLE IF EXISTS `t`;\n" + T + "INSERT INTO t VALUES " + ",".join(f"({n},'{n}',0)" for n in range(500)) + ";\n"
    tables, skipped, superseded = loaded(tmp_path, MYSQL + once + once)
    assert len(tables["t"][1]) == superseded == 500 and skipped == []


def test_columns_are_those_of_the_table(tmp_path: Path) -> None:
    """Columns come in the order of CREATE TABLE whatever the INSERT says; ALTER TABLE adds, renames and drops; tables without rows come too."""
    dump = (
        MYSQL + "CREATE TABLE t (id int, a text, b text DEFAULT 'x', gone int);\nINSERT INTO t (b, id) VALUES ('b', 1);\n"
        "ALTER TABLE t ADD COLUMN `new` varchar(9) DEFAULT 'n' AFTER id, DROP COLUMN gone, CHANGE a `c` text;\n"
        "INSERT INTO t VALUES (2,'m','c2','b2');\nALTER TABLE t RENAME TO s;\nCREATE TABLE empty (x int);\nINSERT INTO s (id) VALUES (3);\n"
    )
    tables, skipped, _ = loaded(tmp_path, dump)
    assert skipped == [] and list(tables) == ["s", "empty"]
    assert tables["s"] == (["id", "new", "c", "b"], [("1", "n", None, "b"), ("2", "m", "c2", "b2"), ("3", "n", None, "x")])
    assert tables["empty"] == (["x"], [])


def test_a_table_takes_the_name_of_another(tmp_path: Path) -> None:
    """After DROP and RENAME the rows of the new table are left, and those of the old one are superseded; a name in another case is the same."""
    dump = (
        MYSQL + T + "INSERT INTO t VALUES (1,'old',1);\nCREATE TABLE s (ID int, a text, primary key (id));\nINSERT INTO S VALUES (1,'new'),(2,'x');\n"
    )
    tables, skipped, superseded = loaded(
        tmp_path, dump + "DROP TABLE t;\nALTER TABLE s RENAME TO t;\nINSERT INTO t VALUES (3,'y');\nREPLACE INTO t VALUES (2,'z');\n"
    )
    assert skipped == [] and superseded == 2
    assert tables == {"t": (["ID", "a"], [("1", "new"), ("3", "y"), ("2", "z")])}


def test_numbers_that_the_database_gives(tmp_path: Path) -> None:
    """AUTO_INCREMENT, IDENTITY and INTEGER PRIMARY KEY count on from the greatest number, or from where the table says."""
    dump = MYSQL + "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, a text) AUTO_INCREMENT=5;\n"
    dump += "INSERT INTO t (a) VALUES ('a'),('b');\nINSERT INTO t VALUES (20,'c'),(NULL,'d');\n"
    assert rows(tmp_path, dump) == [("5", "a"), ("6", "b"), ("20", "c"), ("21", "d")]
    assert rows(tmp_path, dump + "INSERT INTO t () VALUES (),();\n")[4:] == [("22", None), ("23", None)]
    dump = (
        "PRAGMA foreign_keys=OFF;\nCREATE TABLE t (id INTEGER PRIMARY KEY, a);\nINSERT INTO t (a) VALUES ('a');\nINSERT INTO t VALUES (NULL,'b');\n"
    )
    assert rows(tmp_path, dump) == [("1", "a"), ("2", "b")]


def test_values_as_the_database_shows_them(tmp_path: Path) -> None:
    """Wide bit fields have all their bytes, jsonb has PostgreSQL's order and spaces, the epoch is a time."""
    assert rows(tmp_path, MYSQL + "CREATE TABLE t (b bit(16));\nINSERT INTO t VALUES (b'1000001'),(b'1');\n") == [("\0A",), ("\0\x01",)]
    dump = (
        POSTGRES
        + 'CREATE TABLE t (j jsonb, k json, s timestamptz);\nINSERT INTO t VALUES (\'{"bb":1.50,"a":[1,true],"a": "é"}\',\'{"b":1}\',\'epoch\');\n'
    )
    assert rows(tmp_path, dump) == [('{"a": "é", "bb": 1.50}', '{"b":1}', "1970-01-01 00:00:00+00")]


def test_files_are_one_database(tmp_path: Path) -> None:
    """The tables may be defined in one file and filled by others."""
    tables, skipped, _ = loaded(
        tmp_path,
        POSTGRES + "CREATE TABLE public.t (id integer, a text);\n",
        POSTGRES + "COPY t FROM stdin;\n1\ta\n\\.\n",
        POSTGRES + "INSERT INTO t VALUES (2, 'b');\n",
    )
    assert skipped == [] and tables == {"t": (["id", "a"], [("1", "a"), ("2", "b")])}


def test_many_rows_wait_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that do not fit in memory come back in order, also where their columns change; nothing stays in the folder."""
    monkeypatch.setattr(sql_dump, "MAX_WAITING_BYTES", 2000)
    monkeypatch.setattr(sql_replay, "BATCH_ROWS", 7)
    pieces = [
        f"INSERT INTO t (id, a) VALUES ({n},'{n}');\nINSERT INTO t (a, id, n) VALUES ('{n}',{n + 1000},{n});\nREPLACE INTO u VALUES ({n % 50},'{n}',0);\n"
        for n in range(300)
    ]
    dump = MYSQL + T + T.replace("TABLE t", "TABLE u") + "".join(pieces)
    tables, skipped, superseded = loaded(tmp_path, dump)
    assert skipped == [] and superseded == 250
    assert tables["t"][1] == [row for n in range(300) for row in ((str(n), str(n), None), (str(n + 1000), str(n), str(n)))]
    assert tables["u"][1] == [(str(n % 50), str(n), "0") for n in range(250, 300)]
    assert [path.name for path in tmp_path.iterdir()] == ["0.sql"]


CELL = st.sampled_from(["NULL", "'a'", "'b'", "'it''s'", "1", "2", "'A'"])
KEY = st.integers(1, 6).map(str)
ROWS = st.lists(st.tuples(KEY, CELL, CELL).map(lambda row: f"({', '.join(row)})"), min_size=1, max_size=3).map(", ".join)
STATEMENT = st.one_of(
    ROWS.map("INSERT OR IGNORE INTO t VALUES {};".format),
    ROWS.map("INSERT OR IGNORE INTO t VALUES {};".format),
    ROWS.map("INSERT OR REPLACE INTO t VALUES {};".format),
    ROWS.map("REPLACE INTO t(id, a, b) VALUES {};".format),
    ROWS.map("INSERT INTO t VALUES {} ON CONFLICT DO NOTHING;".format),
    ROWS.map("INSERT INTO t VALUES {} ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = b || excluded.b;".format),
    KEY.map("DELETE FROM t WHERE id = {};".format),
    CELL.map("DELETE FROM t WHERE a = {} AND b IS NOT NULL;".format),
    st.tuples(CELL, KEY, KEY).map(lambda v: "UPDATE t SET a = {}, b = 'x' || a WHERE id IN ({}, {});".format(*v)),
    st.just("DELETE FROM t;"),
    st.just("DROP TABLE IF EXISTS t; CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT);"),
)


@given(statements=st.lists(STATEMENT, max_size=12), compiled_after_bytes=st.sampled_from([0, EXACT]), piece_bytes=st.sampled_from([1, 1 << 20]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_as_sqlite_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statements: Sequence[str], compiled_after_bytes: int, piece_bytes: int
) -> None:
    """SQLite, which executes the dump, is left with the same rows."""
    monkeypatch.setattr(sql_dump, "MAX_WAITING_BYTES", piece_bytes)
    script = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT);\n" + "\n".join(statements) + "\n"
    base = sqlite3.connect(":memory:")
    base.executescript(script)
    expected = base.execute("SELECT CAST(id AS TEXT), a, b FROM t ORDER BY id").fetchall()
    base.close()
    found = rows(tmp_path, "PRAGMA foreign_keys=OFF;\n" + script, compiled_after_bytes=compiled_after_bytes)
    assert sorted(found, key=lambda row: int(row[0] or 0)) == expected
