"""Rows of a table that wait for the end of a dump: a part in memory, the rest in files of a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc

from pipeline.extractors.sql_events import Row, Rows

MAX_WAITING_BYTES = 4 << 20
"""The rows of all tables together that wait in memory may take so much."""

FLUSH_ROWS = 4096
"""So many single rows of a table become one batch."""

_NO_NAMES = ("",)
"""A row that gives no column, INSERT INTO t () VALUES (), has one without a name, so that it counts."""

CELL_BYTES = 80
"""About what a cell takes as a Python object, beside its text."""


@dataclass
class Spool:
    """The rows of one table, in order; each piece has the columns that its rows were given."""

    folder: Path
    name: str
    """Of its files."""
    num_rows: int = 0
    _pieces: list[pa.RecordBatch] = field(default_factory=list)
    _files: list[Path] = field(default_factory=list)
    _names: tuple[str, ...] = ()
    _rows: list[tuple[str | None, ...]] = field(default_factory=list)

    def add(self, rows: Row | Rows) -> int:
        """Take rows; gives about how many bytes they take in memory."""
        if isinstance(rows, Rows):
            self._gather()
            self._pieces.append(pa.RecordBatch.from_arrays(rows.columns, names=list(rows.names)))
            self.num_rows += len(self._pieces[-1])
            return int(self._pieces[-1].nbytes)
        names, values = (rows.columns, rows.values) if rows.columns else (_NO_NAMES, (None,))
        if names != self._names or len(self._rows) >= FLUSH_ROWS:
            self._gather()
            self._names = names
        self._rows.append(values)
        self.num_rows += 1
        return sum(CELL_BYTES + len(value or "") for value in rows.values)

    def _gather(self) -> None:
        if self._rows:
            columns = [pa.array(cells, pa.string()) for cells in zip(*self._rows, strict=True)]
            self._pieces.append(pa.RecordBatch.from_arrays(columns, names=list(self._names)))
            self._rows = []

    def flush(self) -> None:
        """Write to a file what waits in memory."""
        self._gather()
        pieces, self._pieces = self._pieces, []
        start = 0
        for stop in range(1, len(pieces) + 1):
            if stop < len(pieces) and pieces[stop].schema == pieces[start].schema:
                continue
            path = self.folder / f"{self.name}-{len(self._files):06d}.arrow"
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, pieces[start].schema) as writer:
                for piece in pieces[start:stop]:
                    writer.write_batch(piece)
            self._files.append(path)
            start = stop

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, in order."""
        self._gather()
        for path in self._files:
            with pa.OSFile(str(path), "rb") as file, pa.ipc.open_file(file) as reader:
                for number in range(reader.num_record_batches):
                    yield reader.get_batch(number)
        yield from self._pieces

    def clear(self) -> None:
        """Let go of all rows."""
        for path in self._files:
            path.unlink()
        self._pieces, self._files, self._rows = [], [], []
        self.num_rows = 0
