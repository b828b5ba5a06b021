"""Live databases: every value as exact text, every row once whatever the parts and the breaks, and nothing written or told."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.documents import Document
from pipeline.errors import GristmillError, SettingsError, UsageError
from pipeline.extractors import databases, databases_stream
from pipeline.extractors.databases import DatabaseSettings, Piece, count_rows, divide, open_database, read, table_batches, table_names
from pipeline.extractors.databases_login import DatabaseError, log_in, parse_address
from pipeline.extractors.rows import RowMapping
from tests.database_servers import KINDS, OwnDatabase, own_database

SERVERS = ("postgresql", "mysql")


@pytest.fixture(params=KINDS)
def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OwnDatabase]:
    """An empty database of each kind."""
    with own_database(request.param, tmp_path) as database:
        yield database


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OwnDatabase]:
    """An empty database in each server."""
    with own_database(request.param, tmp_path) as database:
        yield database


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[OwnDatabase]:
    """An empty database in PostgreSQL."""
    with own_database("postgresql", tmp_path) as database:
        yield database


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[OwnDatabase]:
    """An empty SQLite file."""
    with own_database("sqlite", tmp_path) as database:
        yield database


def rows_of(database: OwnDatabase, settings: DatabaseSettings | None = None) -> dict[str, list[dict[str, str | None]]]:
    """All rows of all tables, by table."""
    found: dict[str, list[dict[str, str | None]]] = {}
    for table in table_batches(parse_address(database.address), settings):
        found.setdefault(table.name, []).extend(table.batch.to_pylist())
    return found


def documents_in_pieces(database: OwnDatabase, settings: DatabaseSettings) -> list[Document]:
    """The documents of all pieces, one piece after the other."""
    source = open_database(database.address, settings)
    mapping = {"posts": RowMapping(text="{body}")}
    pieces = [Piece.of_plain(piece.to_plain()) for piece in divide(source)]
    return [item for piece in pieces for item in read(source, piece, None, mapping) if isinstance(item, Document)]


def fill(database: OwnDatabase, count: int, chars: int = 40) -> None:
    """A table ``posts`` with the ids 1 to ``count``."""
    rows = [(n, f"text {n} ".ljust(chars, ".")) for n in range(1, count + 1)]
    database.run("CREATE TABLE posts (id integer PRIMARY KEY, body text)", "INSERT INTO posts VALUES (?, ?)", rows=rows)


def test_values_of_postgresql_are_its_own_text(postgresql: OwnDatabase) -> None:
    """What PostgreSQL would write into a dump: exact numbers, bytea in hex, times in UTC with their offset, arrays, JSON as stored."""
    values = {
        "a bigint": ("9007199254740993", "9007199254740993"),
        "b numeric": ("'123456789012345678901234567890.1234567890'", "123456789012345678901234567890.1234567890"),
        "c float8": ("0.1::float8 + 0.2::float8", "0.30000000000000004"),
        "d float4": ("1.1", "1.1"),
        "e boolean": ("false", "f"),
        "f bytea": (r"'\x00ff41'", r"\x00ff41"),
        "g timestamptz": ("'2024-03-31 02:30:00.123456+05:30'", "2024-03-30 21:00:00.123456+00"),
        "h date": ("'infinity'", "infinity"),
        "i interval": ("'1 year 2 days 03:04:05.6'", "1 year 2 days 03:04:05.6"),
        "j json": ("'{\"b\": 1.0,  \"a\":\"x\"}'", '{"b": 1.0,  "a":"x"}'),
        "k uuid": ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        "l text[]": ("ARRAY['a,b', NULL, 'c\"d']", '{"a,b",NULL,"c\\"d"}'),
        "m text": ("''", ""),
        "n text": ("NULL", None),
        "o text": ("E'line\\r\\nnext\\t\"quoted\", \\\\N \\\\. %s'", 'line\r\nnext\t"quoted", \\N \\. %s'),
        "p char(5)": ("'ab'", "ab   "),
        "q int4range": ("'[1,5)'", "[1,5)"),
        "r money": ("12.5", "$12.50"),
        '"odd ""%s"" name" text': ("'x'", "x"),
    }
    postgresql.run(f"CREATE TABLE t ({', '.join(values)})", f"INSERT INTO t VALUES ({', '.join(sql for sql, _ in values.values())})")
    (row,) = rows_of(postgresql)["t"]
    assert list(row.values()) == [text for _, text in values.values()]
    assert list(row)[-1] == 'odd "%s" name'


def test_values_of_mysql_are_exact(tmp_path: Path) -> None:
    """Numbers to the last digit, FLOAT as the shortest that reads back, BIT as a number, times in UTC, binary data as text or hex."""
    values = {
        "a bigint unsigned": ("18446744073709551615", "18446744073709551615"),
        "b decimal(65,10)": ("1234567890123456789012345678901234567890.0123456789", "1234567890123456789012345678901234567890.0123456789"),
        "c double": ("0.1e0 + 0.2e0", "0.30000000000000004"),
        "d float": ("16777217.0/3", "5592405.5"),
        "e float": ("-0.1", "-0.1"),
        "f bit(12)": ("b'100000000001'", "2049"),
        "g boolean": ("true", "1"),
        "h blob": ("x'00ff41'", "0x00FF41"),
        "i blob": ("'wiki text: é'", "wiki text: é"),
        "j blob": ("'0xFF'", "0x30784646"),
        "k datetime(6)": ("'2024-01-02 03:04:05.000006'", "2024-01-02 03:04:05.000006"),
        "l time(2)": ("'-838:59:59.00'", "-838:59:59.00"),
        "m year": ("2024", "2024"),
        "n enum('x','y')": ("'y'", "y"),
        "o set('x','y')": ("'x,y'", "x,y"),
        "p json": ("'{\"b\": 1.0,  \"a\":\"x\"}'", None),
        "q varchar(20)": ("''", ""),
        "r varchar(20)": ("NULL", None),
        "s text": ("'line\\r\\nnext\\t\"quoted\" %s \\\\N'", 'line\r\nnext\t"quoted" %s \\N'),
        "t char(5)": ("'ab'", "ab"),
        "u varchar(9) character set latin1": ("'é'", "é"),
        "`odd ``%s`` name` text": ("'x'", "x"),
    }
    with own_database("mysql", tmp_path) as mysql:
        mysql.run(f"CREATE TABLE t ({', '.join(values)}) CHARSET utf8mb4", f"INSERT INTO t VALUES ({', '.join(sql for sql, _ in values.values())})")
        (row,) = rows_of(mysql)["t"]
    json_text = row.pop("p")
    assert list(row.values()) == [text for name, (_, text) in values.items() if name != "p json"]
    assert json_text is not None and json_text.replace(" ", "") == '{"b":1.0,"a":"x"}'  # MySQL normalises JSON, MariaDB keeps it
    assert list(row)[-1] == "odd `%s` name"


def test_values_of_sqlite_keep_their_own_type(sqlite: OwnDatabase) -> None:
    """A column holds any type, from one row to the next: each value is exact text, and no two different ones of a type look alike."""
    sqlite.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    values: list[Any] = [2**63 - 1, -1, 0.1, 1e300, 5.0, "", None, "text", "é\0x", b"\x00\xff", b"plain", b"0xAB", "0xAB"]
    sqlite.run("INSERT INTO t VALUES (?, ?)", rows=list(enumerate(values)))
    sqlite.run("INSERT INTO t VALUES (99, CAST(x'ff61' AS TEXT))")
    texts = [row["v"] for row in rows_of(sqlite)["t"]]
    expected = ["9223372036854775807", "-1", "0.1", "1e+300", "5.0", "", None, "text", "é\0x", "0x00FF", "plain", "0x30784142", "0xAB", "0xFF61"]
    assert texts == expected


@pytest.mark.parametrize("rows_per_part", [1, 7, 39, 40, 41])
def test_pieces_hold_every_row_once(any_database: OwnDatabase, rows_per_part: int) -> None:
    """A composite key of text and number is cut into ranges: the rows of all are those of the table, each once, with their own locators."""
    chosen = random.Random(rows_per_part)
    names = ["a", "b,c", "%", "'", "ö", "_", "c d", "z" * 60]
    keys = chosen.sample(list(itertools.product(names, range(-20, 20))), 40)
    any_database.run("CREATE TABLE posts (body text, name varchar(80) NOT NULL, n integer NOT NULL, PRIMARY KEY (name, n))")
    any_database.run("INSERT INTO posts VALUES (?, ?, ?)", rows=[(f"{name} {n}", name, n) for name, n in keys])
    settings = DatabaseSettings(rows_per_part=rows_per_part)
    found = documents_in_pieces(any_database, settings)
    assert sorted(str(doc.text) for doc in found) == sorted(f"{name} {n}" for name, n in keys)
    assert len({doc.locator for doc in found}) == 40
    assert len(divide(open_database(any_database.address, settings))) == 40 // rows_per_part + 1
    assert [doc.text for doc in documents_in_pieces(any_database, DatabaseSettings())] == [doc.text for doc in found]


KEYS = {
    "postgresql": ["bigint", "numeric(40,20)", "float8", "timestamptz", "uuid", "bytea"],
    "mysql": ["bigint", "decimal(40,20)", "double", "datetime(6)", "uuid", "varbinary(20)", "enum('0','1','2','3','4','5','6','7','8','9')"],
}


@pytest.mark.parametrize(("kind", "type_name"), [(kind, name) for kind, names in KEYS.items() for name in names])
def test_keys_of_every_type(kind: str, type_name: str, tmp_path: Path) -> None:
    """Whatever the type of the key, also where neighbours differ in the last digit, the pieces hold every row once."""
    with own_database(kind, tmp_path) as database:
        database.run(f"CREATE TABLE posts (k {type_name} PRIMARY KEY, body varchar(99))")
        for n in range(10):
            key = {
                "bigint": f"{9007199254740990 + n}",
                "numer": f"0.{n:020d}",
                "decim": f"0.{n:020d}",
                "float": f"{n} / 10.0",
                "doubl": f"{n} / 10.0",
                "times": f"'2024-10-27 00:0{n}:00.00000{n}'",
                "datet": f"'2024-10-27 02:0{n}:00.00000{n}'",
                "uuid": f"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1{9 - n}'",
                "bytea": rf"'\x00ff0{n}'",
                "varbi": f"x'00ff0{n}'",
                "enum(": f"'{9 - n}'",
            }[type_name[:6] if type_name == "bigint" else type_name[:5]]
            database.run(f"INSERT INTO posts VALUES ({key}, 'row {n}')")
        found = documents_in_pieces(database, DatabaseSettings(rows_per_part=3))
    assert sorted(str(doc.text) for doc in found) == [f"row {n}" for n in range(10)]
    assert len({doc.locator for doc in found}) == 10


def test_sqlite_keys_that_may_be_empty(sqlite: OwnDatabase) -> None:
    """A primary key of SQLite may hold NULL, several times: then the row number is the key, also for a table without any."""
    sqlite.run("CREATE TABLE posts (slug TEXT PRIMARY KEY, body TEXT)", "INSERT INTO posts VALUES (NULL, 'a'), (NULL, 'b'), ('s', 'c')")
    found = documents_in_pieces(sqlite, DatabaseSettings(rows_per_part=1))
    assert [(doc.locator, doc.text) for doc in found] == [(f"shop.sqlite#table=posts&rowid={n}", text) for n, text in enumerate("abc", 1)]
    assert "rowid" not in rows_of(sqlite)["posts"][0]


def test_locators_name_the_row(any_database: OwnDatabase) -> None:
    """Locators begin with the name of the database and hold table and key; meta holds the table; no host nor user stands in them."""
    fill(any_database, 2)
    first, second = documents_in_pieces(any_database, DatabaseSettings())
    name = parse_address(any_database.address).name
    assert [first.locator, second.locator] == [f"{name}#table=posts&key=1", f"{name}#table=posts&key=2"]
    assert first.meta["table"] == "posts" and first.meta["extractor"] == "database text from body"


def test_a_cut_connection_loses_nothing(server: OwnDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends the connection in the middle of a table, twice: every row comes once, in order."""
    monkeypatch.setattr(databases_stream, "PAUSES", (0.1,) * 5)
    fill(server, 20_000, chars=1000)
    stream = table_batches(parse_address(server.address))
    ids: list[int] = []
    cuts = 0
    for table in stream:
        ids += map(int, table.batch.column("id").to_pylist())
        cuts += server.cut() if cuts < 2 else 0
    assert cuts >= 2
    assert ids == list(range(1, 20_001))


def test_a_table_without_a_key_starts_again(server: OwnDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells where the stream of a table without a key broke off: an error that says so, and no row is given twice."""
    monkeypatch.setattr(databases_stream, "PAUSES", (0.1,) * 5)
    rows = [(n, "x" * 1000) for n in range(20_000)]
    server.run("CREATE TABLE posts (id integer, body text)", "INSERT INTO posts VALUES (?, ?)", rows=rows)
    stream = table_batches(parse_address(server.address))
    assert len(next(stream).batch) and server.cut()
    with pytest.raises(DatabaseError, match="posts was read, which has no key to go on from"):
        list(stream)


def test_an_early_end_leaves_no_connection(server: OwnDatabase) -> None:
    """Who stops after the first batch of a large table waits for nothing, and the server keeps no connection of it."""
    fill(server, 20_000, chars=1000)
    stream = table_batches(parse_address(server.address))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    for _ in range(50):
        if not (left := server.cut()):
            break
    assert not left or server.cut() == 0


def test_a_query_is_a_table(any_database: OwnDatabase) -> None:
    """A query with a key is read in ranges, with its own name for the mapping and percent signs and colons left alone."""
    fill(any_database, 10)
    query = "SELECT id, body, 'a %s :b 100%' AS odd FROM posts WHERE body LIKE '%text%' -- all of them"
    settings = DatabaseSettings(query=query, key=("id",), rows_per_part=3)
    source = open_database(any_database.address, settings)
    pieces = divide(source)
    found = [item for piece in pieces for item in read(source, piece, RowMapping(text="{id} {odd}"))]
    assert [item.text for item in found if isinstance(item, Document)] == [f"{n} a %s :b 100%" for n in range(1, 11)]
    assert len(pieces) == 4


@pytest.mark.parametrize("values", ["(1), (2), (2), (3)", "(1), (NULL), (2), (3)"], ids=["twice", "empty"])
@pytest.mark.parametrize("rows_per_part", [1, 2, 100])
def test_a_stated_key_that_is_none_is_noticed(any_database: OwnDatabase, values: str, rows_per_part: int) -> None:
    """Rows of the same key, or of none, would be lost at a range's end or a break: that is an error, not a loss."""
    any_database.run("CREATE TABLE t (k integer)", f"INSERT INTO t VALUES {values}")
    settings = DatabaseSettings(query="SELECT k, 'some text' AS body FROM t", key=("k",), rows_per_part=rows_per_part)
    source = open_database(any_database.address, settings)
    with pytest.raises(DatabaseError, match=r"key k: (stands in more than one row|is empty)"):
        [item for piece in divide(source) for item in read(source, piece)]


def test_nothing_is_written(any_database: OwnDatabase) -> None:
    """Whatever the settings ask for, the transaction is one that reads only."""
    fill(any_database, 3)
    for statement in ("DELETE FROM posts", "DELETE FROM posts RETURNING id", "UPDATE posts SET body = 'x'", "DROP TABLE posts"):
        with pytest.raises(DatabaseError):
            open_database(any_database.address, DatabaseSettings(refresh=statement))
        with pytest.raises(DatabaseError):
            list(table_batches(parse_address(any_database.address), DatabaseSettings(query=statement)))
    assert any_database.run("SELECT count(*) FROM posts WHERE body LIKE 'text%'") == [(3,)]


def test_partitions_and_heirs_come_once(postgresql: OwnDatabase) -> None:
    """A table in partitions is read as a whole, and a table's heirs as tables of their own."""
    postgresql.run(
        "CREATE TABLE posts (id int PRIMARY KEY, body text) PARTITION BY RANGE (id)",
        "CREATE TABLE posts_1 PARTITION OF posts FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE posts_2 PARTITION OF posts FOR VALUES FROM (10) TO (20)",
        "INSERT INTO posts SELECT g, 'text' FROM generate_series(1, 15) g",
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE heir () INHERITS (parent)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO heir VALUES (2)",
        "CREATE SCHEMA other",
        "CREATE TABLE other.far AS SELECT 7 AS id",
    )
    found = rows_of(postgresql)
    assert {name: len(rows) for name, rows in found.items()} == {"posts": 15, "parent": 1, "heir": 1}
    assert rows_of(postgresql, DatabaseSettings(tables=("other.far",))) == {"other.far": [{"id": "7"}]}


def test_names_batches_and_counts(any_database: OwnDatabase) -> None:
    """What the command `tables` asks for: names, at least one batch of each table with its columns, and counts."""
    any_database.run("CREATE TABLE empty_one (a integer, b text)")
    fill(any_database, 5)
    address = parse_address(any_database.address)
    assert table_names(address) == ["empty_one", "posts"]
    assert count_rows(address) == {"empty_one": 0, "posts": 5}
    batches = {table.name: table.batch for table in table_batches(address, max_rows=3)}
    assert batches["empty_one"].schema.names == ["a", "b"] and len(batches["posts"]) == 3


def test_unknown_tables_are_told(any_database: OwnDatabase) -> None:
    """A table that is not there is an error with the nearest name, in the settings of what is read and in a mapping alike."""
    fill(any_database, 1)
    with pytest.raises(UsageError, match="did you mean 'posts'"):
        divide(open_database(any_database.address, DatabaseSettings(tables=("post",))))
    with pytest.raises(SettingsError, match="did you mean 'posts'"):
        divide(open_database(any_database.address, DatabaseSettings()), ["pots"])
    with pytest.raises(SettingsError, match="did you mean 'body'"):
        list(read(open_database(any_database.address, DatabaseSettings()), Piece("posts"), None, {"posts": RowMapping(text="{boddy}")}))


def test_refresh_decides_the_fingerprint(any_database: OwnDatabase) -> None:
    """`always` follows the dataset that is replaced, `never` nothing, a query its answer."""
    fill(any_database, 2)

    def fingerprint(refresh: str, previous: str = "") -> str:
        return open_database(any_database.address, DatabaseSettings(refresh=refresh), previous).fingerprint

    query = "SELECT max(id), 'x%' FROM posts"
    before = fingerprint(query)
    assert fingerprint("always") == fingerprint("always") != fingerprint("always", "k1") != fingerprint("always", "k2")
    assert fingerprint("never") == fingerprint("never", "k1")
    assert fingerprint(query, "k1") == before
    any_database.run("INSERT INTO posts VALUES (3, 'new')")
    assert fingerprint(query) != before


def test_never_asks_nobody() -> None:
    """A database that is read once is not needed to know that there is nothing to do."""
    address = "postgresql://nobody@127.0.0.1:1/none"
    assert open_database(address, DatabaseSettings(refresh="never")).fingerprint
    with pytest.raises(GristmillError, match=r"postgresql://nobody@127\.0\.0\.1:1/none"):
        divide(open_database(address, DatabaseSettings(refresh="never")))


@pytest.mark.parametrize("text", ["postgresql://me:s3cret@h/db", "postgresql://me:s3c/r@et@h/db", "mysql://h/db?password=s3cret", "mysql://me:s3cret@h:x/db"])
def test_a_password_in_the_address_is_refused(text: str) -> None:
    """The error holds nothing of the address."""
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert "s3c" not in str(caught.value)


def test_the_password_is_in_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither str nor repr of what travels to the workers holds it, wherever it came from."""
    monkeypatch.setenv("SHOP_PASSWORD", "s3cret")
    (tmp_path / "password").write_text("s3cret\nsecond line\n")
    for settings in (DatabaseSettings(password_env="SHOP_PASSWORD"), DatabaseSettings(password_file=str(tmp_path / "password"))):
        source = open_database("postgresql://me@h/db", settings)
        assert source.address.password == "s3cret"
        assert "s3cret" not in f"{source} {source!r} {source.address} {source.key}"
    with pytest.raises(UsageError, match=r"\$NOT_SET, which is not set"):
        log_in(parse_address("postgresql://me@h/db"), password_env="NOT_SET")


@pytest.mark.parametrize("fault", [{"tables": ("a",), "query": "SELECT 1"}, {"password_env": "A", "password_file": "b"}, {"refresh": "alway"}])
def test_settings_that_contradict(fault: dict[str, Any]) -> None:
    """What cannot both be meant is said at once."""
    with pytest.raises(ValueError, match=r"both set|did you mean"):
        DatabaseSettings(**fault)


def test_batches_are_bounded(any_database: OwnDatabase) -> None:
    """A batch is closed by its bytes long before it has many rows, so that memory does not grow with the table."""
    rows = [(n, "x" * 1_000_000) for n in range(12)]
    kind = {"mysql": "longtext"}.get(any_database.kind, "text")
    any_database.run(f"CREATE TABLE posts (id integer PRIMARY KEY, body {kind})", "INSERT INTO posts VALUES (?, ?)", rows=rows)
    sizes = [table.batch.nbytes for table in databases.table_batches(parse_address(any_database.address))]
    assert sum(sizes) > 12_000_000 and max(sizes) < 6_000_000
