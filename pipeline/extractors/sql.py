"""SQL dumps of MySQL, MariaDB, PostgreSQL, SQLite and SQL Server: each row that a table is left with becomes a document.

A dump is read as a stream and never executed (``sql_dump``), so what only a database can know is not known here: see docs/sql.md.

Locators: ``path#table=posts&key=9`` when the table has a primary key of one column and the row's key is greater than all before it in that
table and file (as it is in dumps, which are written in the order of the key), else ``path#table=posts&row=12``, the row's place among
those that are left. So ids are unique, stable, and need the memory of one key a table. For files that are one database together
(``together`` of the settings) the path is the folder that holds them.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.documents import Document, Extracted, Removed
from pipeline.extractors import rows
from pipeline.extractors.batches import Rows, TableBatch
from pipeline.extractors.columns import DocumentBatch, is_columnar, one_by_one
from pipeline.extractors.files import SourceFile
from pipeline.extractors.rows import RowMapping, RowPlan
from pipeline.extractors.sql_dump import read_database
from pipeline.extractors.sql_settings import SqlSettings

SAMPLE_ROWS = 200
"""So many rows of a table are looked at before it is decided what they become."""

MAX_KEY_CHARS = 200

EXTRACTOR = "sql"


@dataclass(frozen=True)
class SqlDump:
    """Reads SQL dumps. ``rows`` says for a table how its rows become documents; for others the columns decide."""

    settings: SqlSettings = field(default_factory=SqlSettings)
    rows: Mapping[str, RowMapping] = field(default_factory=dict)

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """One item a row, table by table, and a Skipped for each piece that cannot be read.

        Raises SettingsError for a mapping that names a column which its table does not have.
        """
        return one_by_one(self.read_batches(file))

    def read_batches(self, file: SourceFile) -> Iterator[Extracted | DocumentBatch]:
        """The same, many rows at once where a table's plan allows it."""
        return self.read_files([file])

    def read_files(self, files: Sequence[SourceFile], folder: Path | None = None) -> Iterator[Extracted | DocumentBatch]:
        """The same of dumps that are one database together; locators then begin with the folder that holds them all.

        ``folder``: where rows wait that are more than fit in memory (default: the system's folder for temporary files).
        """
        file = files[0] if len(files) == 1 else SourceFile(files[0].path.parent, _folder_of([file.name for file in files]))
        is_empty = True
        reader: _TableReader | None = None
        for item in read_database(files, self.settings, folder):
            if not isinstance(item, TableBatch):
                is_empty = False
                yield item
                continue
            if reader is None or reader.table != item.name:
                yield from reader.finish() if reader else ()
                reader = _TableReader(file, item, self.rows.get(item.name))
            is_empty = is_empty and len(item.batch) == 0
            yield from reader.take(item.batch)
        yield from reader.finish() if reader else ()
        if is_empty:
            yield file.skipped("empty: the dump has no rows" + (" in the tables to read" if self.settings.tables else ""))


def _folder_of(names: Sequence[str]) -> str:
    """The folder below which all these files lie; ``.`` is that of the source."""
    return posixpath.commonpath([posixpath.dirname(name) for name in names]) or "."


class _TableReader:
    """Makes documents of the rows of one table."""

    def __init__(self, file: SourceFile, first: TableBatch, mapping: RowMapping | None) -> None:
        self._file, self.table, self._mapping = file, first.name, mapping
        self._key = first.key[0] if len(first.key) == 1 else None
        self._plan: RowPlan | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._num_rows = 0
        self._last: tuple[bool, int, str] | None = None
        """The greatest key so far."""

    def take(self, batch: pa.RecordBatch) -> Iterator[Extracted | DocumentBatch]:
        """What becomes of some rows, and of those that waited until there were enough to decide it."""
        if self._plan is not None:
            yield from self._made(self._plan, batch)
            return
        self._waiting.append(batch)
        if sum(map(len, self._waiting)) >= SAMPLE_ROWS:
            yield from self.finish()

    def finish(self) -> Iterator[Extracted | DocumentBatch]:
        """What becomes of the rows that wait."""
        waiting, self._waiting = [batch for batch in self._waiting if len(batch)], []
        if not waiting:
            return
        sample = [row for batch in waiting for row in _rows(batch).dicts(SAMPLE_ROWS)]
        plan = self._plan = rows.plan(tuple(waiting[0].schema.names), self._mapping, self.table, sample[:SAMPLE_ROWS])
        for batch in waiting:
            yield from self._made(plan, batch)

    def _made(self, plan: RowPlan, batch: pa.RecordBatch) -> Iterator[Extracted | DocumentBatch]:
        first = self._num_rows
        self._num_rows += len(batch)
        keys = self._whole_keys(batch) if is_columnar(plan) else None
        if keys is not None or (is_columnar(plan) and self._key is None):
            place = self._file.locator(table=self.table, row="") if keys is None else self._file.locator(table=self.table, key="")
            yield DocumentBatch(_rows(batch, first) if keys is None else Rows(batch, keys), plan, place, EXTRACTOR, (("table", self.table),))
            return
        for index, row in enumerate(_rows(batch).dicts(), first):
            yield _with_table(plan.document(self._locator(row, index), row, EXTRACTOR), self.table)

    def _whole_keys(self, batch: pa.RecordBatch) -> np.ndarray | None:
        """The keys of all rows, when each is a whole number and greater than all before it."""
        if self._key is None or not len(batch):
            return None
        cells = batch.column(self._key)
        try:
            numbers = cells.cast(pa.int64())
        except pa.ArrowInvalid:
            return None
        if numbers.null_count or not numbers.cast(pa.string()).equals(cells):
            return None
        keys: np.ndarray = numbers.to_numpy()
        if not (np.diff(keys) > 0).all() or (self._last is not None and (False, int(keys[0]), "") <= self._last):
            return None
        self._last = (False, int(keys[-1]), "")
        return keys

    def _locator(self, row: Mapping[str, str | None], index: int) -> str:
        value = row[self._key] if self._key is not None else None
        if value is not None and len(value) <= MAX_KEY_CHARS:
            order = _order(value)
            if self._last is None or order > self._last:
                self._last = order
                return self._file.locator(table=self.table, key=value)
        return self._file.locator(table=self.table, row=index)


def _rows(batch: pa.RecordBatch, first: int = 0) -> Rows:
    return Rows(batch, np.arange(first, first + len(batch)))


def _with_table(made: Extracted, table: str) -> Extracted:
    if isinstance(made, Document):
        return dataclasses.replace(made, meta={**made.meta, "table": table})
    if isinstance(made, Removed):
        return dataclasses.replace(made, document=dataclasses.replace(made.document, meta={**made.document.meta, "table": table}))
    return made


def _order(key: str) -> tuple[bool, int, str]:
    """An order in which different keys differ: whole numbers by size, then all else by code point."""
    is_number = re.fullmatch(r"0|-?[1-9][0-9]{0,30}", key) is not None
    return (False, int(key), "") if is_number else (True, 0, key)
