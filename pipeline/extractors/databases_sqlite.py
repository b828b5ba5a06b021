"""SQLite files among the files of a source, known by their content: each row of a table becomes a document."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.documents import Extracted
from pipeline.errors import MissingPackageError
from pipeline.extractors import databases
from pipeline.extractors.columns import DocumentBatch, one_by_one
from pipeline.extractors.databases import DatabaseSettings, Piece
from pipeline.extractors.databases_login import Address, DatabaseError, pending_changes
from pipeline.extractors.databases_tables import QUERY
from pipeline.extractors.files import SourceError, SourceFile
from pipeline.extractors.rows import RowMapping


@dataclass(frozen=True)
class SqliteFile:
    """Reads SQLite files. ``tables`` says for a table how its rows become documents; for others the columns decide."""

    settings: DatabaseSettings = field(default_factory=DatabaseSettings)
    rows: RowMapping | None = None
    tables: Mapping[str, RowMapping] = field(default_factory=dict)

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """One item a row, table after table, and a Skipped for each table that cannot be read (to its end).

        A file beside which changes wait (``-wal``, ``-journal``) is refused: what it holds is not what the database holds.
        Raises SettingsError for a mapping that names a column which its table does not have.
        """
        return one_by_one(self.read_batches(file))

    def read_batches(self, file: SourceFile) -> Iterator[Extracted | DocumentBatch]:
        """The same, many rows at once where a table's plan allows it."""
        waiting = pending_changes(file.path)
        if waiting is not None:
            todo = "close the program that has it open, or name it as sqlite:///PATH to have it read live"
            yield file.skipped(f"SQLite database with changes that are only in {waiting}; {todo}")
            return
        try:
            with _unpacked(file) as path:
                yield from self._tables(file, Address("sqlite", str(path)))
        except (SourceError, MissingPackageError) as error:
            yield file.skipped(error.reason if isinstance(error, SourceError) else str(error))

    def _tables(self, file: SourceFile, address: Address) -> Iterator[Extracted | DocumentBatch]:
        num_items = 0
        try:
            names = databases.table_names(address)
        except DatabaseError as error:
            yield file.skipped(f"damaged SQLite database: {error.what}")
            return
        chosen = [QUERY] if self.settings.query is not None else [name for name in names if name in (self.settings.tables or names)]
        for name in chosen:
            mapping = self.tables.get(name, self.rows if self.settings.query is not None or len(chosen) == 1 else None)
            try:
                for item in databases.documents_of(address, self.settings, Piece(name), mapping, file.name):
                    num_items += 1
                    yield item
            except DatabaseError as error:
                num_items += 1
                yield file.skipped(f"cannot be read to its end: {error.what}", table=name)
        if not num_items:
            yield file.skipped("empty: the database has no rows" + (" in the tables to read" if names else ""))


@contextmanager
def _unpacked(file: SourceFile) -> Iterator[Path]:
    """The file, or where it is compressed a copy that is not. Raises SourceError."""
    with file.open() as stream:
        if stream.seekable():
            yield file.path
            return
        with tempfile.NamedTemporaryFile(suffix=".sqlite") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
            copy.flush()
            yield Path(copy.name)
