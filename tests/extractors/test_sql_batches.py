"""Rows read by the compiled loops are the rows that the exact reader reads, whatever the dump holds."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.extractors.sql_scanner import Broken, Event, Row, Rows, scan

EXACT = 1 << 40
SETTINGS = settings(max_examples=150, deadline=None)

HEADS = {
    "mysql": "-- MySQL dump 10.13\nCREATE TABLE `t` (`a` int DEFAULT 7, `b` text, `c` blob);\n",
    "nobs": "-- MySQL dump 10.13\nSET sql_mode='NO_BACKSLASH_ESCAPES,ANSI_QUOTES';\nCREATE TABLE t (a int, b text, c blob);\n",
    "latin1": "-- MySQL dump 10.13\nSET NAMES latin1;\nCREATE TABLE t (a int, b text, c blob);\n",
    "postgresql": "-- PostgreSQL database dump\nSET standard_conforming_strings = on;\nCREATE TABLE t (a int, b text, c bytea);\n",
    "pgold": "-- PostgreSQL database dump\nSET standard_conforming_strings = off;\nCREATE TABLE t (a int, b text, c bytea);\n",
    "sqlite": "PRAGMA foreign_keys=OFF;\nCREATE TABLE t (a int, b text, c);\n",
    "tsql": "USE [x]\nGO\nCREATE TABLE [t] ([a] int, [b] nvarchar(9), [c] varbinary(9))\nGO\n",
}  # fmt: skip

PIECES = ["'", "''", "\\", "\\'", "\\\\", '"', '""', "a", "é", "日", "\n", "\t", ",", "(", ")", ");", "--", "/*", "\\n", "\\%", "\\0", "$", "`", "N'"]
TEXT = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)

SURE = [
    "NULL", "null", "Null", "TRUE", "false", "0", "-1", "+7", ".5", "1.", "1.5e-7", "-1E3", "1e400", "-9.0e+999", "''", "'x'", "' y '", "N'z'", "n'z'",
    "'it''s'", "'é日'", "'a' 'b'", "X'4142'", "x'ff'", "0x4142", "0xff00", "b'101'", "_binary 'a'", "_binary '\\0'", "DEFAULT", "NOW()", "(1+2)", "1 + 1",
    "replace('a\\nb','\\n',char(10))", "CAST(N'x' AS nvarchar(5))", "'a'||'b'", "'1'::jsonb", "ARRAY['x,y','z']", "E'a\\nb'", "$$d'q$$", "- 1", "--1",
    "/* c */ 1", "1 /* , */", "'x' -- c\n", "CONCAT('f(',',')", "\"q\"", "`n`", "[n]", "U&'\\0061'", "TRUEISH", "NULLS", "1a", "a.b", "", "''''", "@x", "?",
    "/*!50705 3 */", "'a'\n'b'", "'a' COLLATE x", "_utf8mb4'i'", "_latin1 0xE9", "CURRENT_TIMESTAMP", "\t1\r\n", "'\\'", "'\\\\'", "'\\''", "1e5", "00", "0x",
]  # fmt: skip
CELL = st.one_of(st.sampled_from(SURE), TEXT.map(lambda text: f"'{text}'"), st.integers(-(2**63), 2**63).map(str))
SEPARATORS = st.sampled_from([",", ",\n", " , ", ";\nINSERT INTO t VALUES ", ";\nINSERT INTO t VALUES ", ";INSERT INTO t (a,b,c) VALUES ", "\nGO\nINSERT INTO t VALUES ",
                              " ON CONFLICT DO NOTHING;\nINSERT INTO t VALUES ", "; COMMIT;\nINSERT INTO t VALUES ", ",/* c */", " "])  # fmt: skip


def same(dump: bytes, chunk_bytes: int) -> None:
    """Both ways give the same events."""
    assert events(dump, 0, chunk_bytes) == events(dump, EXACT, chunk_bytes)


def events(dump: bytes, compiled_after_bytes: int, chunk_bytes: int) -> list[Event]:
    """Rows, one by one, and what is broken."""
    found: list[Event] = []
    for event in scan(io.BytesIO(dump), chunk_bytes=chunk_bytes, compiled_after_bytes=compiled_after_bytes):
        if isinstance(event, Rows):
            found += event.rows()
        elif isinstance(event, Row | Broken):
            found.append(event)
    return found


@pytest.mark.parametrize("kind", HEADS)
@given(
    rows=st.lists(st.tuples(st.lists(CELL, min_size=3, max_size=3) | st.lists(CELL, max_size=4), SEPARATORS), max_size=8),
    chunk_bytes=st.sampled_from([1, 64, 1000, 1 << 20]),
)
@SETTINGS
def test_inserts(kind: str, rows: Sequence[tuple[list[str], str]], chunk_bytes: int) -> None:
    """Every form of cell, also broken ones, in every dialect, between every form of separator."""
    plain = "(1,'a','b'),(2,'c','d'),(3,'é','')"
    body = "".join(f"({','.join(cells)}){separator}" for cells, separator in rows)
    encoding = "latin-1" if kind == "latin1" else "utf-8"
    same(f"{HEADS[kind]}INSERT INTO t VALUES {plain},{body}{plain};\n{'-' * 200}\n".encode(encoding, "replace"), chunk_bytes)


@pytest.mark.parametrize("kind", HEADS)
@given(rows=st.lists(st.lists(TEXT, min_size=3, max_size=3), min_size=4, max_size=30), junk=st.binary(max_size=4), at=st.integers(0, 2000))
@SETTINGS
def test_damaged_inserts(kind: str, rows: Sequence[list[str]], junk: bytes, at: int) -> None:
    """Bytes that fall anywhere into plain rows."""
    body = ",".join("(" + ",".join("'" + cell.replace("\\", "").replace("'", "''") + "'" for cell in row) + ")" for row in rows)
    dump = f"{HEADS[kind]}INSERT INTO t VALUES {body};\nINSERT INTO t VALUES {body};\n".encode()
    same(dump[:at] + junk + dump[at:], 1 << 20)


COPY_PIECES = ["\t", "\n", "\\N", "\\", "\\.", "\\\\", "\\t", "\\n", "\\101", "\\x4", "a", "é", "\r", "\r\n", ",", "|", "\xff", ""]


@given(
    body=st.lists(st.sampled_from(COPY_PIECES), max_size=60).map("".join),
    options=st.sampled_from(["", " WITH DELIMITER '|' NULL ''", " (NULL 'a')"]),
    names=st.sampled_from(["", " (a)", " (b, a)"]),
    chunk_bytes=st.sampled_from([1, 64, 1 << 20]),
    encoding=st.sampled_from(["utf-8", "latin-1"]),
)
@SETTINGS
def test_copy(body: str, options: str, names: str, chunk_bytes: int, encoding: str) -> None:
    """COPY data of every form."""
    dump = f"{HEADS['postgresql']}COPY t{names} FROM stdin{options};\n1\t2\t3\n4\t5\t6\n7\n1|2\n{body}\n\\.\nINSERT INTO t VALUES (1,2,3);\n"
    same(dump.encode(encoding, "replace"), chunk_bytes)


@pytest.mark.parametrize("kind", ["mysql", "postgresql", "sqlite", "tsql"])
def test_plain_rows_are_read_by_the_loops(kind: str) -> None:
    """Many rows, and the ends of statements between them, come as few batches; odd cells among them do not end one."""
    end = "\nGO\nINSERT INTO t VALUES " if kind == "tsql" else ";\nINSERT INTO t VALUES "
    rows = "".join(f"({n},'it''s {n}',0x{n:04x}){',' if n % 10 else end}" for n in range(1000))
    found = list(scan(io.BytesIO((HEADS[kind] + f"INSERT INTO t VALUES {rows}(1,'b',NULL);\n").encode()), compiled_after_bytes=0))
    batches = [event for event in found if isinstance(event, Rows)]
    assert sum(len(event.columns[0]) for event in batches) == 999 and len(batches) <= 3
    assert sum(isinstance(event, Row) for event in found) == 2
