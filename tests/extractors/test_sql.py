"""SQL dumps become documents: locators, meta, mappings, quarantine, and the gold dumps where they are at hand."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.documents import Document, Extracted, Removed, Skipped
from pipeline.errors import SettingsError
from pipeline.extractors.batches import TableBatch
from pipeline.extractors.files import SourceFile
from pipeline.extractors.rows import RowMapping
from pipeline.extractors.sql import SAMPLE_ROWS, SqlDump
from pipeline.extractors.sql_dump import table_batches
from pipeline.extractors.sql_settings import SqlSettings

POSTS = (
    "-- MySQL dump 10.13\nCREATE TABLE `posts` (`id` int NOT NULL, `title` varchar(99), `body` text, `author` int, PRIMARY KEY (`id`));\n"
    "INSERT INTO `posts` VALUES (1,'Soup','Peel the onions and let them sweat.',7),(2,'Bread','Knead the dough for ten minutes.',8);\n"
)


def extract(folder: Path, content: str | bytes, dump: SqlDump | None = None, name: str = "forum.sql") -> list[Extracted]:
    """What becomes of a file with this content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list((dump or SqlDump()).read(SourceFile(path, f"dumps/{name}")))


def locators(found: list[Extracted]) -> list[str]:
    """The locators of documents, kept or removed."""
    return [item.locator if isinstance(item, Document) else item.document.locator for item in found if isinstance(item, Document | Removed)]


def test_rows_become_documents(tmp_path: Path) -> None:
    """Without settings the text columns are found; the locator holds the key, meta the table and how it was read."""
    first, second = extract(tmp_path, POSTS)
    assert isinstance(first, Document) and isinstance(second, Document)
    assert first.text == "Soup\n\nPeel the onions and let them sweat."
    assert first.locator == "dumps/forum.sql#table=posts&key=1"
    assert first.meta == {"id": "1", "title": "Soup", "extractor": "sql text from title, body", "table": "posts"}


def test_mapping_of_a_table(tmp_path: Path) -> None:
    """A table's mapping decides what its rows become; columns that an INSERT leaves out are empty, not unknown."""
    mapping = RowMapping(text="{title}: {body}", group="author", meta=("author",))
    found = extract(tmp_path, POSTS + "INSERT INTO posts (id, title, body) VALUES (3,'Tea','Steep it.');\n", SqlDump(rows={"posts": mapping}))
    assert [(item.text, item.group) for item in found if isinstance(item, Document)] == [
        ("Soup: Peel the onions and let them sweat.", "7"), ("Bread: Knead the dough for ten minutes.", "8"), ("Tea: Steep it.", None),
    ]  # fmt: skip


def test_wrong_column_in_a_mapping(tmp_path: Path) -> None:
    """A mapping that names a column which is not there is the user's mistake, with the nearest name."""
    with pytest.raises(SettingsError, match=r"posts: has no column 'bdy'; did you mean 'body'\?"):
        extract(tmp_path, POSTS, SqlDump(rows={"posts": RowMapping(text="{bdy}")}))


def test_chosen_tables(tmp_path: Path) -> None:
    """Only the tables asked for are read; SQLite's own are left out unless they are asked for."""
    dump = POSTS + "INSERT INTO tags VALUES (1,'x');\nINSERT INTO sqlite_sequence VALUES ('posts',2);\n"
    assert len(extract(tmp_path, dump)) == 3
    assert locators(extract(tmp_path, dump, SqlDump(SqlSettings(tables=("tags",))))) == ["dumps/forum.sql#table=tags&row=0"]
    assert locators(extract(tmp_path, dump, SqlDump(SqlSettings(tables=("sqlite_sequence",))))) == ["dumps/forum.sql#table=sqlite_sequence&row=0"]
    (only,) = extract(tmp_path, dump, SqlDump(SqlSettings(tables=("users",))))
    assert isinstance(only, Skipped) and only.error == "empty: the dump has no rows in the tables to read"


def test_told_dialect(tmp_path: Path) -> None:
    """A dialect that is told wins over what the file looks like."""
    dump = "INSERT INTO t (body) VALUES ('keep the \\n as it is in this text');\n"
    (standard,) = extract(tmp_path, dump, SqlDump(SqlSettings(dialect="postgresql")))
    assert isinstance(standard, Document) and standard.text == "keep the \\n as it is in this text"


def test_locators_are_unique(tmp_path: Path) -> None:
    """A key is used while keys grow; a database twice in one file, keys out of order and NULL keys fall back on the row's number."""
    found = locators(extract(tmp_path, POSTS + POSTS + "INSERT INTO posts VALUES (10,'a','b',1),(9,'a','b',1),(NULL,'a','b',1),(11,'a','b',1);\n"))
    assert [locator.partition("&")[2] for locator in found] == ["key=1", "key=2", "row=2", "row=3", "key=10", "row=5", "row=6", "key=11"]


def test_keys_name_rows_that_are_chosen(tmp_path: Path) -> None:
    """Rows that a mapping chooses by ``where``, which are made one by one, are named by their keys as well."""
    found = extract(tmp_path, POSTS, SqlDump(rows={"posts": RowMapping(text="{body}", where={"author": ("8",)})}))
    assert locators(found) == [f"dumps/forum.sql#table=posts&key={n}" for n in (1, 2)]


def test_keys_of_text_and_of_two_columns(tmp_path: Path) -> None:
    """A key of text is percent-encoded; a key of two columns is not used."""
    dump = "-- MySQL dump\nCREATE TABLE `a b` (k varchar(9) PRIMARY KEY);\nINSERT INTO `a b` VALUES ('x & y');\n"
    assert locators(extract(tmp_path, dump)) == ["dumps/forum.sql#table=a%20b&key=x%20%26%20y"]
    dump = "-- MySQL dump\nCREATE TABLE t (a int, b int, PRIMARY KEY (a, b));\nINSERT INTO t VALUES (1,2);\n"
    assert locators(extract(tmp_path, dump)) == ["dumps/forum.sql#table=t&row=0"]


def test_more_rows_than_the_sample(tmp_path: Path) -> None:
    """Rows that wait for the decision and those after it come in order, none lost, none twice."""
    count = 3 * SAMPLE_ROWS
    rows = ",".join(f"({n},'A title {n}','This is the body of post number {n}.',1)" for n in range(3, count))
    found = extract(tmp_path, POSTS + f"INSERT INTO `posts` VALUES {rows};\n")
    assert locators(found) == [f"dumps/forum.sql#table=posts&key={n}" for n in range(1, count)]


def test_broken_pieces_are_quarantined(tmp_path: Path) -> None:
    """What cannot be read is Skipped with its offset and a capped piece of it; its neighbours survive."""
    found = extract(
        tmp_path, POSTS + "INSERT INTO posts VALUES (3,'" + "x" * 9000 + "');\n" + POSTS.splitlines()[-1].replace("(1,", "(4,") + "\nINSERT INTO"
    )
    skipped = [item for item in found if isinstance(item, Skipped)]
    assert [item.error.split(":")[0] for item in skipped] == ["wrong number of values", "cut short"]
    assert skipped[0].offset == len(POSTS) + len("INSERT INTO posts VALUES ")
    assert skipped[0].raw.startswith(b"(3,'xxx") and len(skipped[0].raw) == 2048
    assert skipped[0].locator == f"dumps/forum.sql#bytes={skipped[0].offset}-{skipped[0].offset + 2048}"
    assert len(locators(found)) == 4


def test_compressed_and_damaged_file(tmp_path: Path) -> None:
    """A compressed dump is read like any other; one that is cut short gives its rows and says so."""
    rows = "".join(f"INSERT INTO `posts` VALUES ({n},'t','The body of a post, number {n * 7919 % 10007}.',1);\n" for n in range(3, 20_000))
    packed = gzip.compress((POSTS + rows).encode())
    assert len(extract(tmp_path, packed, name="a.sql.gz")) == 19_999
    found = extract(tmp_path, packed[: len(packed) // 2], name="b.sql.gz")
    errors = [item.error for item in found if isinstance(item, Skipped)]
    assert len(locators(found)) > 5000
    assert errors[-1].startswith("cannot be read")


def test_missing_file(tmp_path: Path) -> None:
    """A file that cannot be opened is Skipped."""
    (only,) = SqlDump().read(SourceFile(tmp_path / "none.sql", "none.sql"))
    assert isinstance(only, Skipped) and only.error.startswith("cannot be read")


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", "empty"), (b"CREATE TABLE t (a int);", "empty"), (bytes(range(256)) * 9, "not text"), (b"\xff\xd8\xff" * 99, "no valid SQL")],
)
def test_files_without_rows(tmp_path: Path, content: bytes, error: str) -> None:
    """A file that brings no rows is told, whatever it holds."""
    (only,) = extract(tmp_path, content)
    assert isinstance(only, Skipped) and only.error.split(":")[0] == error


def test_nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands for a shell, a client or a server leave no trace and cost no row."""
    monkeypatch.chdir(tmp_path)
    dump = (
        "\\! touch canary1\n.shell touch canary2\nCOPY t TO PROGRAM 'touch canary3';\nATTACH DATABASE 'canary4' AS x;\n"
        "SELECT sys_exec('touch canary5') INTO OUTFILE 'canary6';\nDO $$ BEGIN EXECUTE 'x'; END $$;\n"
    )
    found = extract(tmp_path, POSTS.splitlines()[0] + "\n" + dump + POSTS)
    assert len(found) == 2 and [path.name for path in tmp_path.iterdir()] == ["forum.sql"]


GOLD = next((folder / "shared" / "gold" for folder in Path(__file__).resolve().parents if (folder / "shared" / "gold" / "tables").is_dir()), None)
UNKNOWABLE = {
    "pgloader_my/countdata_template": "now()",
    "pgloader_my/fcm_batches": "now()",
    "pgloader_my/funny_string": "CREATE TABLE .. AS SELECT",
}
"""Tables of which only a database knows a cell, and what it is."""


@pytest.mark.skipif(GOLD is None, reason="the gold dumps are not beside this checkout")
def test_gold_tables() -> None:
    """Every table holds the rows that a database has after it loaded the dump, with all columns."""
    assert GOLD is not None
    spec = importlib.util.spec_from_file_location("score", GOLD / "tables" / "score.py")
    assert spec is not None and spec.loader is not None
    score = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(score)
    for case in sorted((GOLD / "tables" / "sql").iterdir()):
        if not case.is_dir():
            continue
        files = [SourceFile(path, path.name) for path in sorted(case.glob("*.sql"))]
        found: dict[str, list[pa.RecordBatch]] = {}
        for item in table_batches(files, SqlSettings()):
            if isinstance(item, TableBatch):
                found.setdefault(item.name, []).append(item.batch)
        for truth in sorted((case / "truth").glob("*.parquet")):
            if f"{case.name}/{truth.stem}" in UNKNOWABLE:
                continue
            table = pa.Table.from_batches(found[truth.stem])
            rows = [tuple(row.values()) for row in table.to_pylist()]
            scored = score.score(score.load(str(truth)), (table.column_names, rows))
            assert scored["exact"] == scored["truth"] == scored["got"] and not scored["missing_columns"], (case.name, truth.stem, scored)


@pytest.mark.skipif(GOLD is None, reason="the gold dumps are not beside this checkout")
def test_hostile_dumps() -> None:
    """Each hostile dump is read to its end: the rows that it must bring come, and what must be noticed is."""
    assert GOLD is not None
    lines = (GOLD / "hostile" / "expectations.jsonl").read_text().splitlines()
    for expected in (json.loads(line) for line in lines):
        if expected["kind"] != "sql":
            continue
        path = GOLD / "hostile" / expected["path"]
        found = list(SqlDump().read(SourceFile(path, path.name)))
        num_rows = len(locators(found))
        assert num_rows == expected.get("n_rows", num_rows), path.name
        assert expected["must"] != "quarantine" or any(isinstance(item, Skipped) for item in found), path.name
        assert expected["must"] != "ok" or not any(isinstance(item, Skipped) for item in found), path.name
