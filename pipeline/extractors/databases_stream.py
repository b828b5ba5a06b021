"""Reads the rows of one table of a live database as a stream of Arrow batches, and goes on after the last row when the connection breaks.

Each stream is one read-only transaction that sees one state of the database; after a break the rows come from a later state.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, Self, TypeVar

import pyarrow as pa

from pipeline.extractors.databases_login import Address, DatabaseError, LostError, engine_of, told
from pipeline.extractors.databases_tables import Key, KeyValue, Relation
from pipeline.extractors.databases_values import batches_of_copy, batches_of_rows, distinct, text_of, text_of_text
from pipeline.units import beat

T = TypeVar("T")

PAUSES = (0.5, 1, 2, 4, 8, 15, 15, 15)
"""Seconds before each further attempt to reach a server that went away: a restart takes seconds, a failover a minute."""

_NO_TEXT = "Could not decode to UTF-8"
"""What Python's sqlite3 says of text that is none."""

_SETTINGS = {
    "postgresql": (
        "SET TIME ZONE 'UTC'",
        "SET DateStyle = 'ISO'",
        "SET IntervalStyle = 'postgres'",
        "SET bytea_output = 'hex'",
        "SET extra_float_digits = 3",
        "SET lc_monetary = 'C'",
        "SET statement_timeout = 0",
    ),
    "mysql": (
        "SET SESSION time_zone = '+00:00'",
        "SET SESSION net_write_timeout = 3600",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    "sqlite": ("BEGIN",),
}
"""What makes values the same text on every server, and the transaction one that reads only. A slow reader is no reason to hang up."""


@dataclass(frozen=True)
class Chunk:
    """Some rows. ``key`` is that of the last one; None where the rows have no key. ``numbers`` is the key of each where it is no column."""

    batch: pa.RecordBatch
    key: Key | None = None
    numbers: pa.Array | None = None


class Session:
    """A connection in a read-only transaction; use it as a context manager. Raises DatabaseError, or LostError when the server is gone.

    ``strict_text``: SQLite's text must be UTF-8, which is read in two thirds of the time.
    """

    def __init__(self, address: Address, strict_text: bool = False) -> None:
        self.address, self._strict_text = address, strict_text
        self.connection: Any = None
        """SQLAlchemy's connection."""

    def __enter__(self) -> Self:
        engine = engine_of(self.address)
        with told(self.address):
            self.connection = engine.connect()
            driver = self.connection.connection.driver_connection
            if self.address.server == "postgresql":
                driver.isolation_level = import_module("psycopg").IsolationLevel.REPEATABLE_READ
                driver.read_only = True
            if self.address.server == "sqlite" and not self._strict_text:
                driver.text_factory = text_of_text
            cursor = driver.cursor()
            for statement in _SETTINGS[self.address.server]:
                cursor.execute(statement)
            cursor.close()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.connection is not None:
            with suppress(Exception):  # it may be gone already; an answer that was not read to its end is given up with it
                self.connection.invalidate()
                self.connection.close()

    def rows(self, sql: str, values: Sequence[KeyValue] = ()) -> Iterator[Sequence[Any]]:
        """The rows of a few-rowed answer as the driver gives them; those of PostgreSQL as text."""
        if self.address.server == "postgresql":
            for chunk in self._copied(sql, values, None):
                yield from zip(*[column.to_pylist() for column in chunk.columns], strict=True)
            return
        with told(self.address), closing(self.connection.connection.cursor()) as cursor:
            cursor.execute(sql, tuple(values))
            yield from cursor

    def chunks(self, relation: Relation, sql: str, values: Sequence[KeyValue]) -> Generator[Chunk]:
        """The rows of ``sql``, which is one of the relation's, in batches of bounded size; at least one, if without rows."""
        if self.address.server == "postgresql":
            for batch in self._copied(sql, values, relation.columns):
                places = [batch.schema.names.index(name) for name in relation.key_names] if len(batch) else []
                yield Chunk(batch, tuple(batch.column(place)[-1].as_py() for place in places) or None)
            return
        with told(self.address, relation.name):
            driver = self.connection.connection.driver_connection
            cursor = driver.cursor(_streaming()) if self.address.server == "mysql" else driver.cursor()
            cursor.execute(sql, tuple(values))
            names = distinct([str(column[0]) for column in cursor.description])
            names = names if relation.columns is None else (*relation.columns, *(["rowid"] if relation.hidden_key else []))
            places = [len(names) - 1] if relation.hidden_key else [names.index(name) for name in relation.key_names]
            is_empty = True
            try:
                for batch, last in batches_of_rows(cursor, names, relation.single_floats):
                    is_empty = False
                    yield _chunk(relation, batch, tuple(last[place] for place in places) or None)
            finally:
                _give_up(cursor)
            if is_empty:
                yield _chunk(relation, pa.RecordBatch.from_pylist([], pa.schema([(name, pa.string()) for name in names])), None)

    def _copied(self, sql: str, values: Sequence[KeyValue], names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """The rows through COPY: the server's text of each value, several times as fast as through a cursor."""
        copy_sql = f"COPY ({sql}) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *)"
        if not values:  # then psycopg takes a percent sign as one
            copy_sql = copy_sql.replace("%%", "%")
        driver = self.connection.connection.driver_connection
        with told(self.address), driver.cursor() as cursor, cursor.copy(copy_sql, tuple(values) or None) as copy:
            lines = iter(copy)
            head = bytes(next(lines))
            names = names or distinct(_head_names(head))
            is_empty = True
            for batch in batches_of_copy(lines, names):
                is_empty = False
                yield batch
            if is_empty:
                yield pa.RecordBatch.from_pylist([], pa.schema([(name, pa.string()) for name in names]))


def _chunk(relation: Relation, batch: pa.RecordBatch, key: Key | None) -> Chunk:
    if not relation.hidden_key:
        return Chunk(batch, key)
    *columns, numbers = batch.columns
    return Chunk(pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(batch.schema)[:-1])), key, numbers)


def _head_names(head: bytes) -> list[str]:
    return next(csv.reader(io.StringIO(head.decode(), newline="")))


def _give_up(cursor: Any) -> None:
    """Leave the rest of an answer unread: PyMySQL would read it to its end before it lets go of a cursor, and fail when the server is gone."""
    result = getattr(cursor, "_result", None)
    if result is not None:
        result.unbuffered_active = False


def _streaming() -> Any:
    return import_module("pymysql.cursors").SSCursor


def ask(address: Address, question: Callable[[Session], T]) -> T:
    """What ``question`` finds out in a session; asked again of a new connection when the server was gone. Raises DatabaseError."""
    pauses = iter(PAUSES)
    while True:
        try:
            with Session(address) as session:
                return question(session)
        except LostError as error:
            _wait(address, error, pauses)


def _wait(address: Address, error: LostError, pauses: Iterator[float]) -> None:
    """Wait before the next attempt; raises DatabaseError when there have been enough."""
    pause = next(pauses, None)
    if pause is None:
        raise DatabaseError(str(address), error.what, "run again when the server answers: finished parts are kept") from None
    beat()
    time.sleep(pause)


def stream(address: Address, relation: Relation, after: Key | None = None, upto: Key | None = None) -> Iterator[Chunk]:
    """The rows whose key is greater than ``after`` and not greater than ``upto``, each once, at least one chunk.

    When the connection breaks, a new one goes on after the last key. Raises DatabaseError when the server stays away, when a table
    without a key is cut (it can only be read from its start), or when a key that the settings state is empty or stands twice.
    """
    pauses = iter(PAUSES)
    has_begun = False
    strict_text = bool(relation.key)
    while True:
        try:
            with Session(address, strict_text) as session, closing(session.chunks(relation, *relation.select(after, upto))) as chunks:
                for chunk in chunks:
                    if has_begun and not len(chunk.batch):
                        continue
                    _check_key(relation, chunk, after if has_begun else None)
                    yield chunk
                    has_begun = True
                    after = chunk.key or after
                    pauses = iter(PAUSES)
            return
        except LostError as error:
            if has_begun and not relation.key:
                what = f"the connection broke while {relation.name} was read, which has no key to go on from ({error.what})"
                raise DatabaseError(str(address), what, "run again: finished parts are kept") from None
            _wait(address, error, pauses)
        except DatabaseError as error:
            if not (strict_text and _NO_TEXT in error.what):
                raise
            strict_text = False


def _check_key(relation: Relation, chunk: Chunk, before: Key | None) -> None:
    """Raises DatabaseError when a key that no constraint proves is empty or stands twice: rows would be lost at the next break."""
    if relation.is_key_proved or not len(chunk.batch):
        return
    keys = list(zip(*[chunk.batch.column(chunk.batch.schema.names.index(name)).to_pylist() for name in relation.key_names], strict=True))
    check_filled(relation, keys)
    if len(set(keys)) < len(keys) or (before is not None and tuple(map(text_of, before)) == keys[0]):
        raise DatabaseError(_where(relation), "stands in more than one row", _TODO)


def check_filled(relation: Relation, keys: Sequence[tuple[Any, ...]]) -> None:
    """Raises DatabaseError when a key is empty: such a row is neither before nor after another."""
    if any(None in key for key in keys):
        raise DatabaseError(_where(relation), "is empty in some row", _TODO)


_TODO = "name columns that tell every row apart, or leave key out"


def _where(relation: Relation) -> str:
    return f"{relation.name}: key {', '.join(relation.key_names)}"
