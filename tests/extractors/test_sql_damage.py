"""The scanner of SQL dumps on what is broken, cut short, hostile, long, or falls into chunks at odd places."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator

import pytest

from pipeline.extractors.sql_scanner import Broken, Event, Row, Rows, scan

MYSQL = "-- MySQL dump 10.13\n"
POSTGRES = "-- PostgreSQL database dump\n"
SQLITE = "PRAGMA foreign_keys=OFF;\n"
TSQL = "USE [forum]\nGO\n"


def events(dump: str | bytes, **settings: object) -> list[Event]:
    """All events of a dump, rows one by one."""
    found = scan(io.BytesIO(dump.encode() if isinstance(dump, str) else dump), **settings)  # type: ignore[arg-type]
    return [part for event in found for part in (event.rows() if isinstance(event, Rows) else [event])]


def broken(dump: str | bytes) -> list[Broken]:
    """What of a dump cannot be read."""
    return [event for event in events(dump) if isinstance(event, Broken)]


@pytest.mark.parametrize("head", [MYSQL, POSTGRES, SQLITE])
def test_broken_rows_cost_no_neighbours(head: str) -> None:
    """A row that is no SQL and one with too many values are told with their offsets; all others are read."""
    dump = head + "CREATE TABLE t (a int, b text);\nINSERT INTO t VALUES (1,'a'),(2,'b' junk),(3,'c'),(4,'d',5),(6,'e');\nINSERT INTO t VALUES (7,'f');\n"
    found = events(dump)
    assert [e.values for e in found if isinstance(e, Row)] == [("1", "a"), ("3", "c"), ("6", "e"), ("7", "f")]
    marks = [(dump[e.offset :][:3], e.error.split(":")[0]) for e in found if isinstance(e, Broken)]
    assert marks == [("(2,", "no valid SQL"), ("(4,", "wrong number of values")]


@pytest.mark.parametrize("head", [MYSQL, POSTGRES, SQLITE])
def test_unclosed_quotation_ends_at_the_next_statement(head: str) -> None:
    """A quotation that is never closed costs the rest of its statement, not the next one."""
    dump = head + "INSERT INTO t VALUES (1,'a');\nINSERT INTO t VALUES (2,'b);\nINSERT INTO t VALUES (3,'c');\nINSERT INTO t VALUES (4,'d');\n"
    found = events(dump)
    assert [e.values for e in found if isinstance(e, Row)] == [("1", "a"), ("3", "c"), ("4", "d")]
    (lost,) = [e for e in found if isinstance(e, Broken)]
    assert dump.encode()[lost.offset :].startswith(b"(2,'b);") and lost.raw.startswith(b"(2,'b);")


def test_apostrophe_in_a_statement_without_rows() -> None:
    """A stray apostrophe in a statement that is passed over does not swallow the dump."""
    dump = POSTGRES + "COMMENT ON TABLE t IS 'don't';\nINSERT INTO t VALUES (1);\nINSERT INTO t VALUES ('x');\n"
    assert [e.values for e in events(dump) if isinstance(e, Row)] == [("1",), ("x",)]
    assert len(broken(dump)) == 1


@pytest.mark.parametrize(
    "end",
    ["INSERT INTO t VALUES (2,'b'),", "INSERT INTO t VALUES (2,'b", "INSERT INTO t VALUES (2,", "INSERT INTO t (a", "CREATE TABLE x (a int,",
     "COPY t (a, b) FROM stdin;\n2\t", "COPY t (a, b) FROM stdin;", "/* comment", "ALTER TABLE ONLY public.t ADD CONSTRAINT pk PRIM"],
)  # fmt: skip
def test_truncated_end_is_noticed(end: str) -> None:
    """A dump that is cut short gives the rows before the cut and one Broken near it."""
    dump = POSTGRES + "INSERT INTO t (a,b) VALUES (1,'a');\n"
    found = events(dump + end)
    assert Row("t", ("a", "b"), ("1", "a"), 0) in found
    cut = [e for e in found if isinstance(e, Broken)]
    assert len(cut) == 1 and cut[0].offset >= len(dump) and cut[0].error.split(":")[0] in ("cut short", "unclosed quotation", "unclosed comment")


def test_copy_without_end() -> None:
    r"""COPY data that ends without \. does not swallow the statements after it."""
    dump = POSTGRES + "COPY t (a, b) FROM stdin;\n1\tx\nonly one\nINSERT INTO t (a, b) VALUES (2,'y');\n"
    assert [e.values for e in events(dump) if isinstance(e, Row)] == [("1", "x"), ("2", "y")]
    assert [e.error.split(":")[0] for e in broken(dump)] == ["wrong number of values", "cut short"]


def test_rows_from_a_query_are_told() -> None:
    """INSERT .. SELECT brings rows that only a database knows: it is told, once, and what follows is read."""
    dump = MYSQL + "INSERT INTO t SELECT a, 'x;y' FROM u;\nINSERT INTO t VALUES (1);\n"
    assert [e.values for e in events(dump) if isinstance(e, Row)] == [("1",)]
    assert [e.error.split(":")[0] for e in broken(dump)] == ["rows from a query"]


@pytest.mark.parametrize(
    "content",
    [b"\x00\x01\x02\xff" * 5000, b"PGDMP\x01\x0e" + b"\0" * 99, b"SQLite format 3\0" + bytes(100), bytes(range(1, 256)) * 400, b"[" * 20000,
     b"BEGIN CASE WHEN " * 4000, b"/* " * 9000, b"hello world\n" * 3000],
)  # fmt: skip
def test_what_is_no_dump_is_one_broken_piece(content: bytes) -> None:
    """A stray binary or text file gives one Broken, no row, and no error."""
    assert [type(event) for event in events(content)] == [Broken]


def test_a_warning_before_the_dump() -> None:
    """A line that a program wrote in front of the dump is told and costs nothing."""
    dump = "mysqldump: [Warning] Using a password can be insecure.\n" + MYSQL + "INSERT INTO t VALUES (1);\n"
    assert [type(event) for event in events(dump)] == [Broken, Row]


@pytest.mark.parametrize("chunk_bytes", [1, 700, 1 << 20])
def test_a_row_beyond_the_limit_is_broken(chunk_bytes: int) -> None:
    """A row longer than the limit is told and passed over, however much of it is at hand; its neighbours are read."""
    dump = MYSQL + "CREATE TABLE t (a int, b text);\nINSERT INTO t VALUES (1,'a'),(2,'" + "x" * 5000 + "'),(3,'c');\nINSERT INTO t VALUES (4,'d');\n"
    found = events(dump, max_row_bytes=1000, chunk_bytes=chunk_bytes)
    assert [e.values for e in found if isinstance(e, Row)] == [("1", "a"), ("3", "c"), ("4", "d")]
    assert [e.error.split(":")[0] for e in found if isinstance(e, Broken)] == ["too long"]


def test_chunks_do_not_matter() -> None:
    """The events are the same for every size of chunk."""
    dump = (
        MYSQL + "SET NAMES utf8;\nCREATE TABLE `t` (`a` int, `b` text);\nINSERT INTO `t` VALUES "
        + ",".join(f"({n},'naïve \\'x\\' ; -- {n}')" for n in range(60))
        + ";\n/*!50000 INSERT INTO `t` VALUES (1,'x') */;\nDELIMITER //\nCREATE PROCEDURE p() BEGIN SELECT 1; END//\nDELIMITER ;\n"
        + "INSERT INTO `t` VALUES (1,'bad' x),(2,'ok');\nINSERT INTO `t` VALUES (3,'unclosed);\nINSERT INTO `t` VALUES (4,'d');\n/* end"
    )  # fmt: skip
    whole = events(dump)
    assert sum(isinstance(event, Broken) for event in whole) == 3
    for chunk_bytes in (1, 2, 3, 7, 31, 64, 65, 100, 1000):
        assert events(dump, chunk_bytes=chunk_bytes) == whole


class Endless(io.RawIOBase):
    """A stream of one INSERT with ever more rows, made as it is read."""

    def __init__(self, num_blocks: int) -> None:
        self._blocks = self._make(num_blocks)
        self._rest = b""

    def _make(self, num_blocks: int) -> Iterator[bytes]:
        yield MYSQL.encode() + b"INSERT INTO t VALUES (0,'first')"
        for _ in range(num_blocks):
            yield b",(1,'" + b"lorem ipsum dolor " * 50 + b"')"
        yield b";\n"

    def read(self, size: int = -1) -> bytes:
        """The next ``size`` bytes."""
        while len(self._rest) < size and (block := next(self._blocks, None)) is not None:
            self._rest += block
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def test_memory_is_bounded() -> None:
    """A statement of 18 MB needs the memory of some chunks, not of the statement."""
    list(scan(Endless(40), compiled_after_bytes=0))  # type: ignore[arg-type]  # the loops are loaded
    tracemalloc.start()
    num_rows = sum(isinstance(event, Row) for event in scan(Endless(2_000), chunk_bytes=1 << 16, compiled_after_bytes=1 << 40))  # type: ignore[arg-type]
    _, exact_peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    batches = [len(event.columns[0]) for event in scan(Endless(20_000), chunk_bytes=1 << 16) if isinstance(event, Rows)]  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_rows == 2_001 and sum(batches) > 19_000
    assert exact_peak < 2_000_000 and peak < 8_000_000


@pytest.mark.parametrize(
    "piece", [b"'),('", b"INSERT INTO t VALUES (1,'x);\n", b"';\nINSERT INTO t VALUES ('", b"(", b"[", b"/*", b"\n", b"\\'", b"$a$", b"\"", b"replace(", b"1,", b"BEGIN "]
)  # fmt: skip
@pytest.mark.parametrize("head", [MYSQL, POSTGRES, SQLITE, TSQL])
def test_work_is_linear(head: str, piece: bytes) -> None:
    """Input made to be looked at again and again comes to its end, and what cannot be read of it is told."""
    for start in (b"", b"INSERT INTO t (a) VALUES ("):
        found = events(head.encode() + start + piece * (60_000 // len(piece)) + b" x y")
        assert not start or any(isinstance(event, Broken) for event in found)


def test_rows_across_chunks() -> None:
    """Rows, comments, tags and delimiters are whole wherever the chunks of a long dump end."""
    rows = [f"({n},$a${'x' * (n % 90)}$a$,'it''s {'y' * (n % 70)}')/* , {'z' * (n % 80)} */" for n in range(400)]
    dump = (POSTGRES + "INSERT INTO t (a,b,c) VALUES " + ",\n".join(rows) + ";\n").encode()
    expected = [(str(n), "x" * (n % 90), "it's " + "y" * (n % 70)) for n in range(400)]
    for chunk_bytes in (1, 50, 97, 1000):
        assert [event.values for event in events(dump, chunk_bytes=chunk_bytes) if isinstance(event, Row)] == expected


def test_recovery_across_chunks() -> None:
    """The next statement after a broken piece is found wherever the chunks end."""
    pieces = [f"INSERT INTO t (a,b) VALUES ({n},'b' junk{'k' * (n % 50)}),({n},'ok');\n{' ' * (n % 40)}\nINSERT INTO t (a,b) VALUES ({n},'un{'c' * n});\n" for n in range(60)]
    dump = MYSQL + "".join(pieces)
    whole = events(dump, chunk_bytes=1 << 20)
    assert sum(isinstance(event, Row) for event in whole) == 60
    for chunk_bytes in (1, 13, 64, 200):
        assert events(dump, chunk_bytes=chunk_bytes) == whole
