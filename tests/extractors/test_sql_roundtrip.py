"""Rows of odd strings, written as each dumping program writes them, are read back as they were."""

from __future__ import annotations

import io
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.extractors.sql_scanner import Broken, Row, scan

Rows = list[tuple[str | None, ...]]

PIECES = st.sampled_from(
    ["'", "''", '"', "\\", "\\\\", "\\'", "`", ";", ",", "(", ")", "),(", ");\n", "--", "-- ", "#", "/*", "*/", "/*!50000 ", "\n", "\r\n", "\t", "\\N", "\\.", "NULL", "$$",
     "$a$", "[", "]", "E'", "N'x'", "0x41", "é", "日本", "\U0001f600", " ", "INSERT INTO t VALUES (1,2);\n", "COPY t FROM stdin;\n", "\nGO\n", "DELIMITER ;;\n", "%", "_", "\x1a"]
)  # fmt: skip
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
CELLS = st.none() | st.lists(PIECES | st.text(CHARACTERS, max_size=5), max_size=8).map("".join)
TABLES = st.integers(1, 3).flatmap(lambda width: st.lists(st.tuples(*[CELLS] * width), min_size=1, max_size=5))
SETTINGS = settings(max_examples=60, deadline=None)


def check(dump: str, rows: Rows, chunk_bytes: int) -> None:
    """The dump holds ``rows``, in order, and nothing is broken."""
    events = list(scan(io.BytesIO(dump.encode()), chunk_bytes=chunk_bytes))
    assert [event for event in events if isinstance(event, Broken)] == []
    found = [event for event in events if isinstance(event, Row)]
    assert [event.values for event in found] == rows
    assert [event.index for event in found] == list(range(len(rows)))


def tuples(rows: Rows, quoted: Callable[[str], str]) -> list[str]:
    """The rows as ``(.., ..)``."""
    return ["(" + ",".join("NULL" if cell is None else quoted(cell) for cell in row) + ")" for row in rows]


def mysql_quoted(text: str) -> str:
    """As mysqldump writes a string."""
    for char, escape in (("\\", "\\\\"), ("'", "\\'"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\x1a", "\\Z")):
        text = text.replace(char, escape)
    return f"'{text}'"


def standard_quoted(text: str) -> str:
    """As pg_dump writes a string under standard_conforming_strings."""
    return "'" + text.replace("'", "''") + "'"


def sqlite_quoted(text: str) -> str:
    """As sqlite3's .dump writes a string: line breaks by replace, where the text does not hold the escape itself."""
    plain = standard_quoted(text)
    if "\\n" in text or "\\r" in text:
        return plain
    for char, escape, code in (("\r", "\\r", 13), ("\n", "\\n", 10)):
        plain = f"replace({plain.replace(char, escape)},'{escape}',char({code}))" if char in text else plain
    return plain


def copied(text: str | None) -> str:
    """As COPY writes a cell."""
    if text is None:
        return "\\N"
    for char, escape in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(char, escape)
    return text


@SETTINGS
@given(TABLES, st.sampled_from([1, 100, 1 << 20]))
def test_mysql_insert(rows: Rows, chunk_bytes: int) -> None:
    """One INSERT of many rows, long enough to be read with one pattern."""
    check("-- MySQL dump\nINSERT INTO `t` VALUES " + ",".join(tuples(rows * 20, mysql_quoted)) + ";\n", rows * 20, chunk_bytes)


@SETTINGS
@given(TABLES, st.sampled_from([1, 100, 1 << 20]))
def test_postgres_inserts(rows: Rows, chunk_bytes: int) -> None:
    """One INSERT a row in standard strings."""
    columns = ", ".join(f'"c{number}"' for number in range(len(rows[0])))
    lines = [f"INSERT INTO public.t ({columns}) VALUES {row};\n" for row in tuples(rows * 20, standard_quoted)]
    check("-- PostgreSQL database dump\nSET standard_conforming_strings = on;\n" + "".join(lines), rows * 20, chunk_bytes)


@SETTINGS
@given(TABLES, st.sampled_from([1, 100, 1 << 20]))
def test_sqlite_inserts(rows: Rows, chunk_bytes: int) -> None:
    """One INSERT a row, line breaks by replace and char."""
    lines = [f"INSERT INTO t VALUES{row};\n" for row in tuples(rows * 20, sqlite_quoted)]
    check("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n" + "".join(lines) + "COMMIT;\n", rows * 20, chunk_bytes)


@SETTINGS
@given(TABLES, st.sampled_from([1, 100, 1 << 20]))
def test_tsql_inserts(rows: Rows, chunk_bytes: int) -> None:
    """One INSERT a row, without semicolons, GO between them."""
    lines = [f"INSERT [dbo].[t] VALUES {row}\nGO\n" for row in tuples(rows * 20, lambda text: "N" + standard_quoted(text))]
    check("USE [x]\nGO\n" + "".join(lines), rows * 20, chunk_bytes)


@SETTINGS
@given(TABLES, st.sampled_from([1, 100, 1 << 20]))
def test_postgres_copy(rows: Rows, chunk_bytes: int) -> None:
    """COPY data."""
    columns = ", ".join(f"c{number}" for number in range(len(rows[0])))
    lines = ["\t".join(map(copied, row)) + "\n" for row in rows]
    check(f"-- PostgreSQL database dump\nCOPY public.t ({columns}) FROM stdin;\n" + "".join(lines) + "\\.\n", rows, chunk_bytes)


@SETTINGS
@given(TABLES, st.binary(max_size=30), st.integers(0, 10**6), st.sampled_from([1, 7, 64, 1000]))
def test_damage(rows: Rows, junk: bytes, at: int, chunk_bytes: int) -> None:
    """Junk anywhere in a dump raises nothing, and the events do not depend on the chunks."""
    dump = ("-- MySQL dump\nINSERT INTO `t` (a) VALUES " + ",".join(tuples(rows, mysql_quoted)) + ";\nCOPY t FROM stdin;\n1\n\\.\nINSERT INTO t VALUES (1);\n").encode()
    place = at % len(dump)
    dump = dump[:place] + junk + dump[place:]
    assert list(scan(io.BytesIO(dump), chunk_bytes=chunk_bytes)) == list(scan(io.BytesIO(dump)))


@SETTINGS
@given(TABLES, st.integers(0, 10**6))
def test_truncation(rows: Rows, at: int) -> None:
    """A dump cut anywhere inside its INSERT gives the rows before the cut, and tells of the cut."""
    head = "-- MySQL dump\nINSERT INTO `t` VALUES "
    dump = (head + ",".join(tuples(rows, mysql_quoted))).encode()
    cut = len(head) + at % (len(dump) - len(head))
    events = list(scan(io.BytesIO(dump[:cut])))
    found = [event.values for event in events if isinstance(event, Row)]
    assert found == rows[: len(found)]
    assert [type(event) for event in events if not isinstance(event, Row)] in ([Broken], [])
    assert any(isinstance(event, Broken) for event in events) or dump[:cut].endswith(b")")
