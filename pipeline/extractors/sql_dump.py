"""The tables that a dump describes: the rows that a database would hold after it had loaded the dump, as Arrow batches.

A dump is read once, as a stream, and never executed. Its rows wait in memory and, where there are many, in files of a temporary folder
until its end, because a later statement may replace, change or drop them; then they come table by table.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from pipeline.documents import Skipped, Superseded
from pipeline.extractors.batches import TableBatch
from pipeline.extractors.files import SourceError, SourceFile
from pipeline.extractors.sql_changes import Delete
from pipeline.extractors.sql_ddl import Column, Definition
from pipeline.extractors.sql_events import Broken, Changed, CreateTable, DropTable, Event, RenameTable, Row, Rows, Settled, Unresolved
from pipeline.extractors.sql_finish import Layout, is_ascending
from pipeline.extractors.sql_replay import MAX_COLUMNS, Replay, Step
from pipeline.extractors.sql_scanner import COMPILED_AFTER_BYTES, scan
from pipeline.extractors.sql_settings import SqlSettings
from pipeline.extractors.sql_spool import MAX_WAITING_BYTES, Spool
from pipeline.extractors.sql_tables import Tables


def table_batches(files: Sequence[SourceFile], settings: SqlSettings, folder: Path | None = None) -> Iterator[TableBatch | Skipped]:
    """The tables of the database that ``files`` describe together, in the order of their names (a schema in one, its data in others).

    First comes a Skipped for each piece that cannot be read; then the tables in the order in which the dump first tells of them, the
    batches of a table one after the other, at least one for each, if with no row, and a Skipped for each kind of statement that could not
    be applied to it. The rows are the final state: what REPLACE, ON DUPLICATE KEY, ON CONFLICT, DELETE, TRUNCATE and DROP TABLE took away
    is not among them. ``folder``: where rows wait that are more than fit in memory (default: the system's folder for temporary files);
    nothing stays there.
    """
    return (item for item in read_database(files, settings, folder) if not isinstance(item, Superseded))


def read_database(
    files: Sequence[SourceFile], settings: SqlSettings, folder: Path | None = None, compiled_after_bytes: int = COMPILED_AFTER_BYTES
) -> Iterator[TableBatch | Skipped | Superseded]:
    """As ``table_batches``, with a Superseded for the rows of each table that were read and are not among those left."""
    with tempfile.TemporaryDirectory(prefix="dump-", dir=folder) as place:
        database = _Database(settings, Path(place))
        names = Tables()
        for file in sorted(files, key=lambda file: file.name.encode("utf-8", "surrogateescape")):
            try:
                stream = file.open()
            except SourceError as error:
                yield file.skipped(error.reason)
                continue
            with stream:
                for event in scan(stream, settings.dialect, compiled_after_bytes=compiled_after_bytes, tables=names):
                    if isinstance(event, Broken):
                        yield file.skipped(event.error, event.offset, event.raw, bytes=f"{event.offset}-{event.offset + len(event.raw)}")
                    else:
                        database.take(event, file)
        yield from database.finish()


@dataclass
class _Untaken:
    """Statements of one kind that could not be applied to a table: how many, and the first of them."""

    event: Unresolved
    file: SourceFile
    count: int = 0

    def skipped(self) -> Skipped:
        """What quarantine says of them."""
        event = self.event
        error = f"not applied: {event.verb} of {event.table}, which only a database can work out ({self.count:,} such statements)"
        return self.file.skipped(error, event.offset, event.raw, bytes=f"{event.offset}-{event.offset + len(event.raw)}")


@dataclass
class _Table:
    """One table so far."""

    spool: Spool
    definition: Definition | None = None
    renamed: tuple[tuple[str, str], ...] = ()
    names: dict[str, None] = field(default_factory=dict)
    """All names that columns of rows had."""
    num_cleared: int = 0
    """Rows that are gone; the scanner goes on counting."""
    steps: list[Step] = field(default_factory=list)
    untaken: dict[str, _Untaken] = field(default_factory=dict)

    file: SourceFile | None = None
    """The last that changed rows."""

    def tell(self, event: Unresolved) -> None:
        """Note a statement that cannot be applied."""
        assert self.file is not None
        noted = self.untaken.setdefault(event.verb, _Untaken(event, self.file))
        noted.count += 1
        noted.event = min(noted.event, event, key=lambda one: one.offset)

    def clear(self) -> None:
        """All rows go."""
        self.num_cleared += self.spool.num_rows
        self.spool.clear()
        self.steps, self.names = [], {}

    def settle(self, event: Settled) -> None:
        """Note how rows are to be inserted."""
        first, stop = event.first - self.num_cleared, event.stop - self.num_cleared
        if len(self.steps) > 1 and self.steps[-1] == Step(first) and self.steps[-2].conflict == event.conflict:
            self.steps[-1] = Step(stop)
        else:
            note = Unresolved(event.table, "INSERT", event.offset, event.raw)
            self.steps += [Step(max(first, 0), event.conflict, note=note), Step(stop)]

    @property
    def layout(self) -> Layout:
        """Its columns: those of CREATE TABLE, then others that rows have."""
        defined = self.definition.columns if self.definition else ()
        gone = {column.name.casefold() for column in defined} | {old.casefold() for old, _ in self.renamed}
        columns = {column.name: column for column in (*defined, *(Column(name) for name in self.names if name.casefold() not in gone))}
        return Layout(tuple(columns.values()), self.renamed)


class _Database:
    """The tables of one database."""

    def __init__(self, settings: SqlSettings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._tables: dict[str, _Table] = {}
        self._num_spools = self._num_waiting_bytes = 0
        self._num_gone = 0
        """Rows of tables whose name another has taken."""

    def take(self, event: Event, file: SourceFile) -> None:
        """Note what a statement of ``file`` says."""
        if isinstance(event, Row | Rows):
            self._add(event)
        elif isinstance(event, CreateTable):
            table = self._table(event.name)
            if event.renamed or table.definition is None or event.definition.columns:
                table.definition = event.definition
                table.renamed += event.renamed
        elif isinstance(event, DropTable):
            self._drop(event.name)
        elif isinstance(event, RenameTable):
            if event.name in self._tables and event.name != event.new_name:
                self._drop(event.new_name)
                taken = self._tables.pop(event.new_name, None)
                self._num_gone += taken.num_cleared if taken else 0
                self._tables = {event.new_name if name == event.name else name: table for name, table in self._tables.items()}
        elif isinstance(event, Settled):
            if event.table in self._tables:
                self._tables[event.table].settle(event)
                self._tables[event.table].file = file
        elif isinstance(event, Changed):
            table = self._table(event.table)
            if event.change == Delete():
                table.clear()
            elif table.spool.num_rows:
                note = Unresolved(event.table, event.verb, event.offset, event.raw)
                table.steps.append(Step(table.spool.num_rows, change=event.change, note=note))
                table.file = file
        elif isinstance(event, Unresolved):
            self._table(event.table).file = file
            self._table(event.table).tell(event)

    def finish(self) -> Iterator[TableBatch | Skipped | Superseded]:
        """The rows that are left of each table."""
        for name, table in self._tables.items():
            if self._settings.is_chosen(name):
                yield from self._finish(name, table)
            table.spool.clear()
        if self._num_gone:
            yield Superseded(self._num_gone)

    def _add(self, rows: Row | Rows) -> None:
        if not self._settings.is_chosen(rows.table):
            return
        table = self._table(rows.table)
        for column in rows.columns if isinstance(rows, Row) else rows.names:
            table.names[column] = None
        self._num_waiting_bytes += table.spool.add(rows)
        if self._num_waiting_bytes > MAX_WAITING_BYTES:
            for each in self._tables.values():
                each.spool.flush()
            self._num_waiting_bytes = 0

    def _table(self, name: str) -> _Table:
        if name not in self._tables:
            self._tables[name] = _Table(Spool(self._folder, f"{self._num_spools:06d}"))
            self._num_spools += 1
        return self._tables[name]

    def _drop(self, name: str) -> None:
        if name in self._tables:
            self._tables[name].clear()
            self._tables[name].definition, self._tables[name].renamed = None, ()

    def _finish(self, name: str, table: _Table) -> Iterator[TableBatch | Skipped | Superseded]:
        layout = table.layout
        folded = {column.name.casefold(): column.name for column in reversed(layout.columns)}
        key = tuple(folded.get(name.casefold(), "") for name in (table.definition.key if table.definition else ()))
        num_read, num_left = table.num_cleared + table.spool.num_rows, 0
        if not layout.columns:
            return
        for batch in self._left(table, layout):
            num_left += len(batch)
            yield TableBatch(name, layout.spelled(batch), () if "" in key else key)
        if num_left == 0:
            yield TableBatch(name, pa.RecordBatch.from_pylist([], layout.schema), key)
        yield from (noted.skipped() for noted in table.untaken.values())
        if num_read > num_left:
            yield Superseded(num_read - num_left)

    def _left(self, table: _Table, layout: Layout) -> Iterator[pa.RecordBatch]:
        first = table.definition.first_number if table.definition else 1
        keys = table.definition.keys if table.definition else ()

        def batches() -> Iterator[pa.RecordBatch]:
            return layout.numbered(map(layout.aligned, table.spool.batches()), first)

        is_changed = any(step.change for step in table.steps)
        is_unknown = len(layout.columns) > MAX_COLUMNS or (table.definition is None and not is_changed)
        if is_unknown:
            for step in table.steps:
                if step.note is not None:
                    table.tell(step.note)
        if is_unknown or not (is_changed or keys) or not table.steps or (not is_changed and is_ascending(batches(), keys)):
            yield from batches()
            return
        replay = Replay(self._folder, layout.columns, keys)
        try:
            replay.take(batches(), table.steps)
            for note in replay.untaken:
                table.tell(note)
            yield from replay.batches(layout.schema)
        finally:
            replay.close()
