"""The tables of a file, of a folder of files, or of a live database, in batches of text columns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from pipeline import command
from pipeline.documents import Skipped, Superseded
from pipeline.errors import GristmillError, UsageError
from pipeline.extractors.batches import Rows, TableBatch
from pipeline.extractors.databases import DatabaseSettings
from pipeline.extractors.databases_login import is_address
from pipeline.extractors.files import Kind, SourceFile, kind_of, list_files
from pipeline.extractors.sql_settings import SqlSettings
from pipeline.extractors.tables import CsvSettings, CsvTable
from pipeline.extractors.xlsx import Workbook, XlsxSettings


@dataclass(frozen=True)
class TablesSettings:
    """How tables are read; what is left out is found out."""

    csv: CsvSettings = field(default_factory=CsvSettings)
    sql: SqlSettings = field(default_factory=SqlSettings)
    xlsx: XlsxSettings = field(default_factory=XlsxSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)


@dataclass(frozen=True)
class Piece:
    """Some rows of the table ``name``, which stands in ``origin``; those of one table come one after another."""

    name: str
    origin: str
    batch: pa.RecordBatch
    total: int | None = None
    """How many rows the whole table has, where that is known beforehand."""


Found = Piece | Skipped | Superseded


def read_tables(source: str, settings: TablesSettings, max_rows: int | None = None, folder: Path | None = None) -> Iterator[Found]:
    """Everything that ``source`` holds; at most ``max_rows`` rows of each table where its size is known without reading it all.

    ``folder``: where the rows of a dump wait that are more than fit in memory (default: the system's folder for temporary files).
    Raises UsageError when there is nothing there, and GristmillError where a bad row is to stop the reading.
    """
    if is_address(source):
        yield from _database(source, settings.database, max_rows)
        return
    root = command.require(Path(source))
    files = list(list_files(root.absolute()))
    dumps: list[SourceFile] = []
    kinds: dict[SourceFile, Kind | None] = {}
    for file in files:
        if isinstance(file, SourceFile):
            kinds[file] = kind_of(file)
            if kinds[file] == "sql":
                dumps.append(file)
    if root.is_file() and list(kinds.values()) == ["text"]:
        kinds = dict.fromkeys(kinds, "csv")  # a table whatever its name: it was asked for
    for file in files:
        if not isinstance(file, SourceFile):
            if isinstance(file, Skipped):
                yield file
        elif kinds[file] == "sql":
            if file is dumps[0]:
                yield from _dump(dumps, settings.sql, folder)
        else:
            yield from _file(file, kinds[file], settings, is_alone=root.is_file(), max_rows=max_rows)


def _file(file: SourceFile, kind: Kind | None, settings: TablesSettings, is_alone: bool, max_rows: int | None) -> Iterator[Found]:
    name = _stem(file)
    if kind == "csv":
        for item in CsvTable(settings.csv).rows(file):
            yield Piece(name, file.name, item.batch) if isinstance(item, Rows) else item
    elif kind == "xlsx":
        for sheet, item in Workbook(settings.xlsx).rows(file):
            yield Piece(sheet if is_alone else f"{name}.{sheet}", file.name, item.batch) if isinstance(item, Rows) else item
    elif kind == "sqlite":
        for found in _sqlite(file, settings.database, max_rows):
            yield found if is_alone or not isinstance(found, Piece) else replace(found, name=f"{name}.{found.name}")
    else:
        yield file.skipped(f"no table: {'a file of an unknown kind' if kind is None else f'a file of the kind {kind}'}")


def _dump(files: list[SourceFile], settings: SqlSettings, folder: Path | None) -> Iterator[Found]:
    from pipeline.extractors.sql_dump import read_database

    origin = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
    for item in read_database(files, settings, folder):
        yield Piece(item.name, origin, item.batch) if isinstance(item, TableBatch) else item


def _database(address: str, settings: DatabaseSettings, max_rows: int | None) -> Iterator[Piece]:
    from pipeline.extractors import databases
    from pipeline.extractors.databases_login import log_in, parse_address

    place = log_in(parse_address(address), settings.password_env, settings.password_file)
    totals: Mapping[str, int] = {} if max_rows is None else databases.count_rows(place, settings)
    for item in databases.table_batches(place, settings, max_rows):
        yield Piece(item.name, str(place), item.batch, totals.get(item.name))


def _sqlite(file: SourceFile, settings: DatabaseSettings, max_rows: int | None) -> Iterator[Found]:
    from pipeline.extractors import databases
    from pipeline.extractors.databases_login import Address, pending_changes

    if (waiting := pending_changes(file.path)) is not None:
        raise UsageError(file.name, f"has changes that are only in {waiting}", "close the program that has it open")
    place = Address("sqlite", os.fspath(file.path))
    try:
        totals: Mapping[str, int] = {} if max_rows is None else databases.count_rows(place, settings)
        for item in databases.table_batches(place, settings, max_rows):
            yield Piece(item.name, file.name, item.batch, totals.get(item.name))
    except UsageError:
        raise
    except GristmillError as error:
        yield file.skipped(f"cannot be read to its end: {error.what}")


def _stem(file: SourceFile) -> str:
    """The table's name from its file's: without suffixes, folders parted by dots."""
    folders, _, name = file.name.rpartition("/")
    stem = name
    for suffix in (".gz", ".zst", ".bz2", ".xz"):
        stem = stem.removesuffix(suffix)
    stem = stem.rpartition(".")[0] or stem
    return ".".join([*filter(None, folders.split("/")), stem])
