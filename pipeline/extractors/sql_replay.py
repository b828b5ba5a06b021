"""The rows that are left of a table whose rows were replaced, changed or taken away.

They are worked out in a SQLite file of a temporary folder, which has one column of text for each of the table and an index for each key.
Every statement that it is given is made here, with values as parameters: nothing of the dump is ever part of one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.extractors.sql_changes import Assignment, Change, Condition, Conflict, Delete, UnresolvedError
from pipeline.extractors.sql_ddl import Column
from pipeline.extractors.sql_events import Unresolved

MAX_COLUMNS = 1900
"""SQLite's tables have at most 2,000 columns."""

BATCH_ROWS = 4096
CACHE_KIB = 32 << 10

Cells = Sequence[str | None]


@dataclass(frozen=True)
class Step:
    """What happens before row ``at`` is read: from there on rows are inserted with ``conflict`` (None: as they are), or ``change``."""

    at: int
    conflict: Conflict | None = None
    change: Change | None = None
    note: Unresolved | None = None
    """What to tell where the step cannot be taken."""


class Replay:
    """One table. ``keys``: the columns of each of its keys."""

    def __init__(self, folder: Path, columns: Sequence[Column], keys: Sequence[Sequence[str]]) -> None:
        self._columns = columns
        self._at = {column.name.casefold(): index for index, column in enumerate(columns)}
        self._keys = [tuple(self._at[name.casefold()] for name in key) for key in keys]
        self.untaken: list[Unresolved] = []
        """The notes of steps that could not be taken, whole or for some rows; one a step."""
        self._note: Unresolved | None = None
        self._path = folder / "replay.sqlite"
        self._path.unlink(missing_ok=True)
        self._base = sqlite3.connect(self._path, isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}", "temp_store=FILE", "mmap_size=0"):
            self._base.execute(f"PRAGMA {pragma}")
        kinds = ("TEXT" if column.is_exact else "TEXT COLLATE NOCASE" for column in columns)
        self._base.execute(f"CREATE TABLE r (n INTEGER PRIMARY KEY, {', '.join(f'c{i} {kind}' for i, kind in enumerate(kinds))})")
        for number, key in enumerate(self._keys):
            self._base.execute(f"CREATE INDEX k{number} ON r ({', '.join(f'c{i}' for i in key)})")
        self._base.execute("BEGIN")
        self._insert = f"INSERT INTO r ({', '.join(f'c{i}' for i in range(len(columns)))}) VALUES ({', '.join('?' * len(columns))})"

    def close(self) -> None:
        """Delete the file."""
        self._base.close()
        self._path.unlink(missing_ok=True)

    def take(self, batches: Iterator[pa.RecordBatch], steps: Sequence[Step]) -> None:
        """Insert the rows, in order, and take each step before the row that it names."""
        at, conflict, waiting = 0, None, list(reversed(steps))
        for batch in batches:
            rows = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
            start = 0
            while start < len(rows):
                while waiting and waiting[-1].at <= at + start:
                    conflict = self._step(waiting.pop(), conflict)
                stop = min(len(rows), waiting[-1].at - at) if waiting else len(rows)
                self._put(rows[start:stop], conflict)
                start = stop
            at += len(rows)
        while waiting:
            conflict = self._step(waiting.pop(), conflict)

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows that are left, in the order in which they came."""
        cursor = self._base.execute(f"SELECT {', '.join(f'c{i}' for i in range(len(self._columns)))} FROM r ORDER BY n")
        while rows := cursor.fetchmany(BATCH_ROWS):
            yield pa.RecordBatch.from_arrays([pa.array(cells, pa.string()) for cells in zip(*rows, strict=True)], schema=schema)

    def _fail(self) -> None:
        if self._note is not None:
            self.untaken.append(self._note)
        self._note = None

    def _step(self, step: Step, conflict: Conflict | None) -> Conflict | None:
        self._note = step.note
        if step.change is None:
            return step.conflict
        try:
            if isinstance(step.change, Delete):
                self._delete(step.change.conditions)
            else:
                self._update(step.change.assignments, step.change.conditions)
        except UnresolvedError:
            self._fail()
        return conflict

    def _put(self, rows: Sequence[Cells], conflict: Conflict | None) -> None:
        keys = self._keys_of(conflict)
        if conflict is None or not keys:
            self._base.executemany(self._insert, rows)
            return
        where = " OR ".join("(" + " AND ".join(f"c{i} = ?" for i in key) + ")" for key in keys)
        at = [i for key in keys for i in key]
        for row in rows:
            found = [row[i] for i in at]
            if conflict.kind == "replace":
                self._base.execute(f"DELETE FROM r WHERE {where}", found)
                self._base.execute(self._insert, row)
            elif (old := self._base.execute(f"SELECT * FROM r WHERE {where} ORDER BY n LIMIT 1", found).fetchone()) is None:
                self._base.execute(self._insert, row)
            elif conflict.kind == "update":
                self._assign(old, conflict.assignments, row)

    def _keys_of(self, conflict: Conflict | None) -> list[tuple[int, ...]]:
        if conflict is None or not conflict.keys:
            return self._keys
        named = {self._at.get(name.casefold(), -1) for name in conflict.keys}
        return [key for key in self._keys if set(key) == named] or ([] if -1 in named else [tuple(sorted(named))])

    def _assign(self, old: Sequence[str | None], assignments: Sequence[Assignment], new: Cells) -> None:
        """Change the row ``old`` (its number, then its cells)."""
        before = {name: old[1 + index] for name, index in self._at.items()}
        seen = before if assignments[0].syntax.dialect == "mysql" else dict(before)  # MySQL assigns from left to right
        coming = {name: new[index] for name, index in self._at.items()} if new else {}
        changed: dict[int, str | None] = {}
        try:
            for assignment in assignments:
                name = assignment.column.casefold()
                if name not in self._at:
                    raise UnresolvedError
                changed[self._at[name]] = before[name] = assignment.value(seen, coming)
        except UnresolvedError:
            self._fail()
            return
        self._base.execute(f"UPDATE r SET {', '.join(f'c{i} = ?' for i in changed)} WHERE n = ?", [*changed.values(), old[0]])

    def _update(self, assignments: Sequence[Assignment], conditions: Sequence[Condition]) -> None:
        where, values = self._where(conditions)
        last = 0
        while rows := self._base.execute(f"SELECT * FROM r WHERE n > ? AND {where} ORDER BY n LIMIT ?", [last, *values, BATCH_ROWS]).fetchall():
            for row in rows:
                self._assign(row, assignments, ())
            last = rows[-1][0]

    def _delete(self, conditions: Sequence[Condition]) -> None:
        where, values = self._where(conditions)
        self._base.execute(f"DELETE FROM r WHERE {where}", values)

    def _where(self, conditions: Sequence[Condition]) -> tuple[str, list[str | None]]:
        terms, values = ["1"], list[str | None]()
        for condition in conditions:
            at = self._at.get(condition.column.casefold())
            if at is None:
                raise UnresolvedError
            if condition.operator in ("NULL", "NOT NULL"):
                terms.append(f"c{at} IS {condition.operator}")
            elif condition.operator == "IN":
                terms.append(f"c{at} IN ({', '.join('?' * len(condition.values))})")
            else:
                terms.append(f"c{at} {condition.operator} ?")
            values += condition.values
        return " AND ".join(terms), values
