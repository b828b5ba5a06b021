"""The settings of SQL dumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SqlSettings:
    """How SQL dumps are read."""

    tables: tuple[str, ...] = ()
    """The tables to read; empty means all, but for those in which SQLite keeps its own books (``sqlite_...``)."""
    dialect: Literal["auto", "mysql", "postgresql", "sqlite", "tsql"] = "auto"
    """Who wrote the dump. It decides whether a backslash escapes in a string; ``auto`` looks at the first 64 kB of the file."""

    together: bool = False
    """Whether all dumps of a source are one database, read in the order of their names: the schema in one file and its data in others, or a
    file for each table. Left out, each file is a database of its own. (``tables`` always reads the dumps of a folder as one.)"""

    def is_chosen(self, table: str) -> bool:
        """Whether the rows of ``table`` are asked for."""
        return table in self.tables if self.tables else not table.startswith("sqlite_")
