"""What a SQL dump holds, as ``sql_scanner.scan`` tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class CreateTable:
    """A table as it is defined; no columns when the statement lists none (CREATE TABLE .. AS SELECT)."""

    name: str
    columns: tuple[str, ...]
    primary_key: tuple[str, ...]


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


@dataclass(frozen=True, slots=True)
class Broken:
    """A piece that could not be read: where it begins (bytes from the start of the decompressed file), why, and its first bytes."""

    offset: int
    error: str
    raw: bytes


Event = CreateTable | Row | DropTable | Broken
