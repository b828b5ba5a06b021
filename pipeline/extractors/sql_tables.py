"""What a dump has said about its tables so far: how they are called, which columns they have, how many rows were read of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pipeline.extractors.sql_ddl import Column, Definition
from pipeline.extractors.sql_syntax import Dialect

_DEFAULT_SCHEMAS = ("public", "dbo", "main")

Name = tuple[str, str]
"""Schema (or database) and table; the usual schemas are ""."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How the cells of one row become a row of the table."""

    columns: tuple[str, ...]
    """The names of all cells: those given, then those that only have their default."""
    given: tuple[Column, ...]
    tail: tuple[str | None, ...]
    """Defaults of columns that the statement does not give."""


@dataclass
class Target:
    """The table of one INSERT or COPY."""

    table: str
    columns: tuple[Column, ...]
    """The columns as defined, () when no CREATE TABLE was seen."""
    listed: tuple[str, ...] | None
    """The columns as the statement lists them."""
    dialect: Dialect
    fits: dict[int, Fit | None] = field(default_factory=dict)

    def fit(self, num_cells: int) -> Fit | None:
        """How a row of ``num_cells`` is to be read, None when it does not fit the table."""
        if num_cells not in self.fits:
            self.fits[num_cells] = self._listed_fit(num_cells) if self.listed is not None else self._whole_fit(num_cells)
        return self.fits[num_cells]

    def misfit(self, num_cells: int) -> str:
        """Why a row of ``num_cells`` is broken, in words."""
        expected = len(self.listed if self.listed is not None else self.columns)
        return f"wrong number of values: {num_cells} for the {expected} columns of {self.table}"

    def _listed_fit(self, num_cells: int) -> Fit | None:
        assert self.listed is not None
        if num_cells != len(self.listed):
            return None
        known = {column.name.casefold(): column for column in reversed(self.columns)}
        given = tuple(known.get(name.casefold(), Column(name)) for name in self.listed)
        names = {column.name for column in given}
        tail = [column for column in self.columns if column.has_default and column.name not in names]
        return Fit(tuple(c.name for c in (*given, *tail)), given, tuple(c.default for c in tail))

    def _whole_fit(self, num_cells: int) -> Fit | None:
        if not self.columns:
            given = tuple(Column(f"column{number}") for number in range(1, num_cells + 1))
            return Fit(tuple(c.name for c in given), given, ())
        stored = tuple(c for c in self.columns if not c.is_computed)
        choices = [self.columns, stored, tuple(c for c in stored if not c.is_counted)]
        if self.dialect == "postgresql":
            choices.append(self.columns[:num_cells])
        given = next((choice for choice in choices if len(choice) == num_cells), ())
        return Fit(tuple(c.name for c in given), given, ()) if given else None


class Tables:
    """The tables of one dump.

    A table is called by its bare name, unless another schema's table already has it: then ``schema.table``.
    """

    def __init__(self) -> None:
        self.schema = ""
        """What names without a schema belong to: MySQL's USE, PostgreSQL's search_path."""
        self._definitions: dict[Name, Definition] = {}
        self._spelled: dict[Name, Name] = {}
        self._owners: dict[str, Name] = {}
        self._num_rows: dict[str, int] = {}

    def define(self, definition: Definition) -> tuple[str, Definition]:
        """Remember a CREATE TABLE; gives the name that the table goes by and its definition with the columns of its parents first."""
        name = self._name(definition.name)
        if definition.is_conditional and self._known(name) in self._definitions:
            return self._display(self._known(name)), self._definitions[self._known(name)]
        parents = (self._definitions.get(self._known(self._name(parent))) for parent in definition.parents if parent)
        columns = {column.name: column for parent in parents if parent for column in parent.columns}
        columns |= {column.name: column for column in definition.columns}
        self._definitions[name] = replace(definition, columns=tuple(columns.values()))
        self._spelled.setdefault((name[0], name[1].casefold()), name)
        return self._display(name), self._definitions[name]

    def known(self, parts: Sequence[str]) -> Definition | None:
        """The definition of a table, None when no CREATE TABLE was seen."""
        return self._definitions.get(self._known(self._name(parts)))

    def shown(self, parts: Sequence[str]) -> str | None:
        """The name that a table goes by, None when the dump has not told of it."""
        name = self._known(self._name(parts))
        return self._display(name) if name in self._definitions or name in self._owners.values() else None

    def redefine(self, parts: Sequence[str], definition: Definition) -> str:
        """Remember what ALTER TABLE made of a table; gives the name that it goes by."""
        name = self._known(self._name(parts))
        self._definitions[name] = definition
        return self._display(name)

    def rename(self, parts: Sequence[str], new_parts: Sequence[str]) -> tuple[str, str]:
        """Call a table otherwise; gives the name that it went by, and the one that it goes by from here on."""
        name = self._known(self._name(parts))
        new_name = self._name(new_parts if len(new_parts) > 1 or not name[0] else (name[0], *new_parts))
        old_shown, new_shown = self._display(name), self._display(new_name)
        self._definitions[new_name] = self._definitions.pop(name, Definition(tuple(new_parts)))
        self._spelled.pop((name[0], name[1].casefold()), None)
        self._spelled[(new_name[0], new_name[1].casefold())] = new_name
        self._num_rows[new_shown] = self._num_rows.pop(old_shown, 0)
        return old_shown, new_shown

    def drop(self, parts: Sequence[str]) -> str:
        """Forget a table's columns; gives the name that it went by."""
        name = self._known(self._name(parts))
        self._definitions.pop(name, None)
        self._spelled.pop((name[0], name[1].casefold()), None)
        return self._display(name)

    def target(self, parts: Sequence[str], listed: tuple[str, ...] | None, dialect: Dialect) -> Target:
        """What an INSERT or COPY into a table writes to."""
        name = self._known(self._name(parts))
        definition = self._definitions.get(name)
        return Target(self._display(name), definition.columns if definition else (), listed, dialect)

    def num_rows(self, table: str) -> int:
        """How many rows of ``table`` were read."""
        return self._num_rows.get(table, 0)

    def set_num_rows(self, table: str, num_rows: int) -> None:
        """Remember that so many rows of ``table`` were read."""
        self._num_rows[table] = num_rows

    def _name(self, parts: Sequence[str]) -> Name:
        schema = parts[-2] if len(parts) > 1 else self.schema
        return ("" if schema.lower() in _DEFAULT_SCHEMAS else schema, parts[-1])

    def _known(self, name: Name) -> Name:
        return name if name in self._definitions else self._spelled.get((name[0], name[1].casefold()), name)

    def _display(self, name: Name) -> str:
        schema, table = name
        if self._owners.setdefault(table, name) == name:
            return table
        shown = f"{schema}.{table}" if schema else f"public.{table}"
        self._owners.setdefault(shown, name)
        return shown
