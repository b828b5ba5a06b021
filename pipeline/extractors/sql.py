"""SQL dumps of MySQL, MariaDB, PostgreSQL, SQLite and SQL Server: each row of a table becomes a document.

A dump is read as a stream and never executed, so what only a database can know is not known here. The limits:

* A row that a later REPLACE, ON DUPLICATE KEY, UPDATE, DELETE or DROP TABLE supersedes is still given; of a file that holds the database
  twice, every row comes twice. Exact copies go in the deduplication.
* INSERT .. SELECT, CREATE TABLE .. AS SELECT and LOAD DATA bring no rows; the first is quarantined.
* Expressions such as ``NOW()`` stay as they are written.
* Columns that ALTER TABLE adds later are not known; their rows are quarantined as having the wrong number of values.

Locators: ``path#table=posts&key=9`` when the table has a primary key of one column and the row's key is greater than all before it in that
table and file (as it is in dumps, which are written in the order of the key), else ``path#table=posts&row=12``. So ids are unique, stable,
and need the memory of one key a table.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal
from urllib.parse import quote

from pipeline.documents import Document, Extracted, Removed, Skipped
from pipeline.extractors import rows
from pipeline.extractors.files import SourceError, SourceFile
from pipeline.extractors.rows import RowMapping, RowPlan
from pipeline.extractors.sql_scanner import Broken, CreateTable, Row, scan

SAMPLE_ROWS = 200
"""So many rows of a table are looked at before it is decided what they become."""

MAX_WAITING_CHARS = 8_000_000
"""The rows that wait for that decision may hold this much text, those of all tables together."""

MAX_KEY_CHARS = 200


@dataclass(frozen=True)
class SqlSettings:
    """How SQL dumps are read."""

    tables: tuple[str, ...] = ()
    """The tables to read; empty means all, but for those in which SQLite keeps its own books (``sqlite_...``)."""
    dialect: Literal["auto", "mysql", "postgresql", "sqlite", "tsql"] = "auto"
    """Who wrote the dump. It decides whether a backslash escapes in a string; ``auto`` looks at the first 64 kB of the file."""


@dataclass(frozen=True)
class SqlDump:
    """Reads SQL dumps. ``rows`` says for a table how its rows become documents; for others the columns decide."""

    version: ClassVar[int] = 1

    settings: SqlSettings = field(default_factory=SqlSettings)
    rows: Mapping[str, RowMapping] = field(default_factory=dict)

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """One item a row, in the order of each table, and a Skipped for each piece that cannot be read.

        Raises SettingsError for a mapping that names a column which its table does not have.
        """
        try:
            stream = file.open()
        except SourceError as error:
            yield file.skipped(error.reason)
            return
        tables = _Tables(file, self.rows)
        num_rows = num_chosen = num_broken = 0
        with stream:
            for event in scan(stream, self.settings.dialect):
                if isinstance(event, Row):
                    num_rows += 1
                    if self._is_chosen(event.table):
                        num_chosen += 1
                        yield from tables.take(event)
                elif isinstance(event, Broken):
                    num_broken += 1
                    span = f"{event.offset}-{event.offset + len(event.raw)}"
                    yield file.skipped(event.error, event.offset, event.raw, bytes=span)
                elif isinstance(event, CreateTable):
                    tables.define(event)
        yield from tables.take_waiting()
        if num_chosen + num_broken == 0:
            yield file.skipped("empty: the dump has no rows" + (" in the tables to read" if num_rows else ""))

    def _is_chosen(self, table: str) -> bool:
        chosen = self.settings.tables
        return table in chosen if chosen else not table.startswith("sqlite_")


class _Tables:
    """What rows of the tables of one file become. Rows wait until there are enough of them to decide that."""

    def __init__(self, file: SourceFile, mappings: Mapping[str, RowMapping]) -> None:
        self._file, self._mappings = file, mappings
        self._defined: dict[str, CreateTable] = {}
        self._plans: dict[tuple[str, tuple[str, ...]], RowPlan] = {}
        self._waiting: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
        self._num_waiting_chars = 0
        self._last_keys: dict[str, tuple[bool, int, str]] = {}
        self._locators: dict[str, str] = {}

    def define(self, table: CreateTable) -> None:
        """Remember the columns and the key of a table."""
        self._defined[table.name] = table

    def take(self, row: Row) -> Iterator[Extracted]:
        """What becomes of a row, and of those that waited for it."""
        kind = (row.table, row.columns)
        plan = self._plans.get(kind)
        if plan is not None:
            yield self._made(plan, row)
            return
        waiting = self._waiting.setdefault(kind, [])
        waiting.append(row)
        self._num_waiting_chars += _num_chars(row)
        if len(waiting) >= SAMPLE_ROWS or row.table in self._mappings:
            yield from self._decide(kind)
        elif self._num_waiting_chars > MAX_WAITING_CHARS:
            yield from self.take_waiting()

    def take_waiting(self) -> Iterator[Extracted]:
        """What becomes of all rows that wait."""
        for kind in list(self._waiting):
            yield from self._decide(kind)

    def _decide(self, kind: tuple[str, tuple[str, ...]]) -> Iterator[Extracted]:
        table, given = kind
        waiting = self._waiting.pop(kind)
        self._num_waiting_chars -= sum(map(_num_chars, waiting))
        defined = self._defined.get(table)
        columns = tuple(dict.fromkeys((defined.columns if defined else ()) + given))
        sample = [dict(zip(row.columns, row.values, strict=True)) for row in waiting]
        plan = self._plans[kind] = rows.plan(columns, self._mappings.get(table), table, sample)
        for row in waiting:
            yield self._made(plan, row)

    def _made(self, plan: RowPlan, row: Row) -> Document | Removed | Skipped:
        made = plan.document(self._locator(row), dict(zip(row.columns, row.values, strict=True)), "sql")
        if isinstance(made, Document):
            return _with_table(made, row.table)
        return dataclasses.replace(made, document=_with_table(made.document, row.table)) if isinstance(made, Removed) else made

    def _locator(self, row: Row) -> str:
        defined = self._defined.get(row.table)
        key = defined.primary_key if defined else ()
        if len(key) == 1 and key[0] in row.columns:
            value = row.values[row.columns.index(key[0])]
            if value is not None and len(value) <= MAX_KEY_CHARS:
                order, last = _order(value), self._last_keys.get(row.table)
                if last is None or order > last:
                    self._last_keys[row.table] = order
                    return self._part(row.table, "key", value)
        return self._part(row.table, "row", str(row.index))

    def _part(self, table: str, name: str, value: str) -> str:
        """``path#table=..&name=value``. Quoting a path and a table anew for each row would cost more than reading the row."""
        start = self._locators.get(table)
        if start is None:
            start = self._locators[table] = self._file.locator(table=table)
        return f"{start}&{name}={value if value.isascii() and value.isalnum() else quote(value, safe='-_.~')}"


def _num_chars(row: Row) -> int:
    return sum(len(value) for value in row.values if value is not None)


def _with_table(document: Document, table: str) -> Document:
    return dataclasses.replace(document, meta={**document.meta, "table": table})


def _order(key: str) -> tuple[bool, int, str]:
    """An order in which different keys differ: whole numbers by size, then all else by code point."""
    is_number = re.fullmatch(r"0|-?[1-9][0-9]{0,30}", key) is not None
    return (False, int(key), "") if is_number else (True, 0, key)
