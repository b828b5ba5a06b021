"""What a SQL dump holds, as ``sql_scanner.scan`` tells it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from pipeline.extractors.sql_changes import Change, Conflict
from pipeline.extractors.sql_ddl import Definition


@dataclass(frozen=True, slots=True)
class CreateTable:
    """A table as it is defined or, later, altered; no columns when the statement lists none (CREATE TABLE .. AS SELECT)."""

    name: str
    definition: Definition
    renamed: tuple[tuple[str, str], ...] = ()
    """Pairs of the old and the new name of a column."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(column.name for column in self.definition.columns)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The columns of its primary key."""
        return self.definition.key


@dataclass(frozen=True, slots=True)
class DropTable:
    """A table is dropped: its rows so far are not in the database that the dump describes."""

    name: str


class Row(NamedTuple):
    """One row; a tuple because there are millions. ``index`` counts from 0 within the table of that name in this file."""

    table: str
    columns: tuple[str, ...]
    values: tuple[str | None, ...]
    index: int  # type: ignore[assignment]  # the name hides tuple.index, which no row needs


Columns = list[pa.StringArray]


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of one table as Arrow columns, one for each of ``names``; ``first`` is the index of the first."""

    table: str
    names: tuple[str, ...]
    columns: Columns
    first: int

    def rows(self) -> Iterator[Row]:
        """The rows one by one."""
        cells = zip(*(column.to_pylist() for column in self.columns), strict=True)
        return (Row(self.table, self.names, values, self.first + number) for number, values in enumerate(cells))


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to be done with rows ``first`` to ``stop`` (exclusive) of a table where another row has the same key."""

    table: str
    first: int
    stop: int
    conflict: Conflict
    offset: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Changed:
    """The rows that a table has so far are changed; a Delete without conditions takes all of them away."""

    table: str
    change: Change
    verb: str
    offset: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A statement that changes rows of a table in a way that only a database can work out."""

    table: str
    verb: str
    offset: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """A piece that could not be read: where it begins (bytes from the start of the decompressed file), why, and its first bytes."""

    offset: int
    error: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class RenameTable:
    """A table is called otherwise from here on."""

    name: str
    new_name: str


Event = CreateTable | Row | Rows | DropTable | RenameTable | Settled | Changed | Unresolved | Broken
