"""A source of ``stages/extract.yaml``: its settings, the extractor of each file, and its division into parts.

Parts are cut where a hash of the file's name says so, so that one file added, changed or removed touches only its own part.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.commits import WORK, ShardWriter
from pipeline.documents import (
    QUARANTINE,
    REMOVED,
    SCHEMA,
    Document,
    Extracted,
    Removed,
    Skipped,
    to_batch,
)
from pipeline.errors import UsageError
from pipeline.extractors import databases, gathering, registry
from pipeline.extractors.accounts import count_batch, count_items
from pipeline.extractors.batches import Release
from pipeline.extractors.columns import DocumentBatch
from pipeline.extractors.databases import Database, DatabaseSettings, Piece
from pipeline.extractors.databases_login import is_address
from pipeline.extractors.files import Kind, SourceFile, kind_of, kind_of_name, list_files
from pipeline.extractors.html import HtmlSettings
from pipeline.extractors.known_tables import known_tables, table_name
from pipeline.extractors.registry import Extractor
from pipeline.extractors.rows import RowMapping
from pipeline.extractors.sql_settings import SqlSettings
from pipeline.extractors.tables import CsvSettings
from pipeline.extractors.xlsx import XlsxSettings
from pipeline.remote import Place, RemoteFile, Url, digests, place
from pipeline.report import Counts, Report
from pipeline.settings import digest, to_plain
from pipeline.units import beat, units

MAX_PART_BYTES = 64 * 2**20
MAX_PART_FILES = 512
PART_CUT_ONE_IN = 64
"""A part ends after a file whose name hashes to 0 modulo this (64 files on average), or at the sizes above."""

BATCH_DOCUMENTS = 512
BATCH_CHARS = 4_000_000


@dataclass(frozen=True)
class SourceSettings:
    """One source: where it lies and how it is read. Everything but ``path`` can be left out."""

    path: str
    """A file, a folder, a URL or the address of a database; relative to the project."""
    html: HtmlSettings = field(default_factory=HtmlSettings)
    csv: CsvSettings = field(default_factory=CsvSettings)
    sql: SqlSettings = field(default_factory=SqlSettings)
    xlsx: XlsxSettings = field(default_factory=XlsxSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    rows: RowMapping | None = None
    """How a row becomes a document, in files that hold one table (CSV, JSON lines, Parquet)."""
    tables: Mapping[str, RowMapping] = field(default_factory=dict)
    """The same for each table of a dump or database, by name; a file that holds one table is called like the file (``posts.csv``)."""

    @property
    def mappings(self) -> dict[str, RowMapping]:
        """All mappings by table; ``rows`` as the table without a name."""
        return ({"": self.rows} if self.rows else {}) | dict(self.tables)

    @property
    def waits(self) -> bool:
        """Whether rows become documents only together."""
        return any(mapping.waits for mapping in self.mappings.values())

    @property
    def is_one_part(self) -> bool:
        """Whether all files are one unit of work."""
        return self.waits or self.sql.together

    def for_readers(self) -> SourceSettings:
        """The settings that readers get: where rows wait for others, joined tables have mappings too, and only tables with one are read."""
        if not self.waits:
            return self
        found = gathering.resolved(self.mappings)
        rows = found.pop("", None)
        sql = dataclasses.replace(self.sql, tables=tuple(dict.fromkeys((*self.sql.tables, *found))))
        database = self.database
        if database.query is None:
            database = dataclasses.replace(database, tables=tuple(dict.fromkeys((*database.tables, *found))))
        return dataclasses.replace(self, rows=rows, tables=found, sql=sql, database=database)


@dataclass(frozen=True)
class ExtractSettings:
    """The sources of a project."""

    sources: Mapping[str, SourceSettings] = field(default_factory=dict)
    """The sources by name; a name becomes the folder ``data/raw/NAME``."""


@dataclass(frozen=True)
class Part:
    """A unit of work: some files of one source, with the digest of each one's bytes."""

    source: str
    settings: SourceSettings
    files: tuple[tuple[SourceFile | RemoteFile, str], ...]
    refused: tuple[Skipped, ...] = ()
    database: Database | None = None
    """A live database in place of files; a task reads some ``pieces`` of it, and the key is that of all."""
    pieces: tuple[Piece, ...] = ()

    @property
    def key(self) -> str:
        """Digest of all that decides what this part becomes."""
        if self.database is not None:
            return digest([self.source, settings_for_key(self.settings), self.database.key])
        files = [[file.name, sha256] for file, sha256 in self.files]
        refused = [[item.locator, item.error] for item in self.refused]
        return digest([self.source, settings_for_key(self.settings), files, refused])


def settings_for_key(settings: SourceSettings) -> dict[str, Any]:
    """The settings that decide what a file becomes: all but where the source lies and how to log in, and the extractors' versions."""
    plain = {name: value for name, value in to_plain(settings).items() if name != "path"}
    plain["database"] = {name: value for name, value in plain["database"].items() if not name.startswith("password")}
    return {**plain, "versions": registry.versions()}


def list_parts(source: str, settings: SourceSettings, file_digest: Callable[[Any], str], previous: str = "") -> list[Part]:
    """The files of a source in the order of their names, divided into parts; raises UsageError when there is nothing at its path.

    A live database is one part, of which ``divided`` gives the tasks. ``previous`` is the key of the dataset that will be replaced.
    """
    reading = settings.for_readers()
    if is_address(settings.path):
        return [Part(source, settings, (), database=databases.open_database(settings.path, reading.database, previous))]
    parts: list[Part] = []
    files: list[tuple[SourceFile | RemoteFile, str]] = []
    refused: list[Skipped] = []
    num_bytes = 0

    def cut() -> None:
        nonlocal files, refused, num_bytes
        if files or refused:
            parts.append(Part(source, settings, tuple(files), tuple(refused)))
        files, refused, num_bytes = [], [], 0

    for item, size, sha256 in _fingerprinted(place(settings.path), file_digest):
        if isinstance(item, Skipped):
            refused.append(item)
            continue
        if files and num_bytes + size > MAX_PART_BYTES and not settings.is_one_part:
            cut()
        files.append((item, sha256))
        num_bytes += size
        if (len(files) >= MAX_PART_FILES or _ends_part(item.name)) and not settings.is_one_part:
            cut()
    cut()
    return parts


def _fingerprinted(root: Place, file_digest: Callable[[Any], str]) -> Iterator[tuple[SourceFile | RemoteFile | Skipped, int, str]]:
    """What there is at ``root`` with size and digest; a file of this machine that cannot be read becomes Skipped."""
    if isinstance(root, Url):
        files = [file for file in list_files(root) if isinstance(file, RemoteFile)]
        yield from zip(files, (file.size for file in files), digests(files, file_digest), strict=True)
        return
    for item in list_files(root.absolute()):
        if not isinstance(item, SourceFile):
            yield item, 0, ""
            continue
        try:
            yield item, item.path.stat().st_size, file_digest(item.path)
        except OSError as error:
            yield item.skipped(f"cannot be read: {error.strerror}"), 0, ""


def divided(part: Part) -> list[tuple[Piece, ...]]:
    """The tasks of a live database: its pieces one by one, or all at once where rows wait for rows of other pieces."""
    assert part.database is not None
    pieces = databases.divide(part.database, list(part.settings.for_readers().tables))
    return [tuple(pieces)] if part.settings.waits else [(piece,) for piece in pieces]


def _ends_part(name: str) -> bool:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[0] % PART_CUT_ONE_IN == 0


def source_name(path: Place) -> str:
    """A source's name from its path: the file or folder name without its suffixes, other characters than letters, digits, ``._-`` as ``-``."""
    found = path if isinstance(path, Url) else path.resolve()
    is_folder = kind_of_name(found.name) is None if isinstance(found, Url) else found.is_dir()
    stem = found.name if is_folder else found.name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "source"


def _extractor(kind: Kind, settings: SourceSettings, table: str = "") -> Extractor:
    """The reader of a file; ``table`` is what its table is called where it holds one."""
    rows = settings.tables.get(table, settings.rows)
    build = registry.load(kind)
    extractor: Extractor
    if kind in ("html", "warc"):
        extractor = build(settings.html)
    elif kind == "csv":
        extractor = build(settings.csv, rows)
    elif kind == "sql":
        extractor = build(settings.sql, settings.tables)
    elif kind == "xlsx":
        extractor = build(settings.xlsx, settings.rows, settings.tables)
    elif kind == "sqlite":
        extractor = build(settings.database, settings.rows, settings.tables)
    else:
        extractor = build() if kind == "text" else build(rows)
    return extractor


def read_part(folder: Path, name: str, part: Part) -> dict[str, Any]:
    """Extract one part into shards below ``folder`` named after the task; gives counts and shards (JSON-able)."""
    release = Release()
    counts = Counts()
    with (
        ShardWriter(folder, "", name, SCHEMA, always=True) as kept,
        ShardWriter(folder, "__removed", name, REMOVED) as removed,
        ShardWriter(folder, "__quarantine", name, QUARANTINE) as quarantine,
    ):
        for batch in _batched(_items(part, folder / WORK / name)):
            beat()
            if isinstance(batch, DocumentBatch):
                for piece in batch.pieces():
                    made, without_text = piece.made(part.source)
                    count_batch(counts, piece, len(made))
                    kept.write(made)
                    removed.write(without_text)
                release.after(batch.rows.batch.nbytes)
                continue
            documents = [item for item in batch if isinstance(item, Document)]
            dropped = [item for item in batch if isinstance(item, Removed)]
            skipped = [item for item in batch if isinstance(item, Skipped)]
            count_items(counts, batch)
            if documents:
                kept.write(to_batch(part.source, documents))
            if dropped:
                removed.write(_removed_batch(part.source, dropped))
            if skipped:
                quarantine.write(_quarantine_batch(part.source, skipped))
    shards = [vars(shard) for writer in (kept, removed, quarantine) for shard in writer.shards]
    report = Report()
    report.of(part.source).add(counts)
    return {"key": part.key, "counts": report.to_plain(), "shards": shards}


def _items(part: Part, place: Path) -> Iterator[Extracted | DocumentBatch]:
    """What becomes of a part; the names of files that are needed on the way begin with ``place``."""
    items = _read(part, part.settings.for_readers(), place.with_name(f"{place.name}.fetched"))
    if not part.settings.waits:
        return items
    files = [file for file, _ in part.files if isinstance(file, SourceFile)]
    return gathering.gathered(items, part.settings.mappings, place.with_name(f"{place.name}.gathered"), partial(known_tables, files))


def _read(part: Part, settings: SourceSettings, spool: Path) -> Iterator[Extracted | DocumentBatch]:
    yield from part.refused
    if part.database is not None:
        for piece in part.pieces:
            yield from databases.read_batches(part.database, piece, settings.rows, settings.tables)
    for (entries,), fault in units([entries] for entries in _read_together(part, settings)):
        files = [file if isinstance(file, SourceFile) else _fetched(file, sha256, spool, number) for number, (file, sha256) in enumerate(entries)]
        if fault is not None:
            yield from (file.skipped(fault, raw=_head(file)) for file in files)
        else:
            yield from _read_files(files, settings, spool.parent)
        for number in range(len(files)):
            _spooled(spool, number).unlink(missing_ok=True)


_Entry = tuple[SourceFile | RemoteFile, str]


def _read_together(part: Part, settings: SourceSettings) -> list[tuple[_Entry, ...]]:
    """The files of a part, each alone, but for dumps that are one database."""
    dumps, alone = list[_Entry](), list[tuple[_Entry, ...]]()
    for entry in part.files:
        if settings.sql.together and _is_dump(entry[0]):
            dumps.append(entry)
        else:
            alone.append((entry,))
    return [*alone, tuple(dumps)] if dumps else alone


def _is_dump(file: SourceFile | RemoteFile) -> bool:
    return (kind_of(file) if isinstance(file, SourceFile) else kind_of_name(file.name)) == "sql"


def _read_files(files: Sequence[SourceFile], settings: SourceSettings, folder: Path) -> Iterator[Extracted | DocumentBatch]:
    """What one file holds, or several dumps together; ``folder`` is for rows that wait."""
    kind = kind_of(files[0])
    if kind is None:
        yield files[0].skipped("unknown kind: neither text nor a format that is read here", raw=_head(files[0]))
        return
    if kind == "sql":
        from pipeline.extractors.sql import SqlDump

        folder.mkdir(parents=True, exist_ok=True)
        yield from SqlDump(settings.sql, settings.tables).read_files(files, folder)
        return
    extractor = _extractor(kind, settings, table_name(files[0].name))
    yield from getattr(extractor, "read_batches", extractor.read)(files[0])


def _fetched(file: RemoteFile, sha256: str, spool: Path, number: int) -> SourceFile:
    """A copy of the file on this machine, until what it is read together with is read."""
    path = _spooled(spool, number)
    if file.fetch(path) != sha256:
        raise UsageError(str(file), "was changed while it was read", "run again")
    return SourceFile(path, file.name)


def _spooled(spool: Path, number: int) -> Path:
    return spool.with_name(f"{spool.name}-{number}")


def _head(file: SourceFile) -> bytes:
    try:
        with file.path.open("rb") as stream:
            return stream.read(256)
    except OSError:
        return b""


def _batched(items: Iterator[Extracted | DocumentBatch]) -> Iterator[list[Extracted] | DocumentBatch]:
    batch: list[Extracted] = []
    num_chars = 0
    for item in items:
        if isinstance(item, DocumentBatch):
            if batch:
                yield batch
                batch, num_chars = [], 0
            yield item
            continue
        batch.append(item)
        num_chars += _size(item)
        if len(batch) >= BATCH_DOCUMENTS or num_chars >= BATCH_CHARS:
            yield batch
            batch, num_chars = [], 0
    if batch:
        yield batch


def _size(item: Extracted) -> int:
    document = item.document if isinstance(item, Removed) else item
    if not isinstance(document, Document):
        return 0
    return len(document.text or "") + sum(len(message.content) for message in document.messages or ())


def _removed_batch(source: str, items: Sequence[Removed]) -> pa.RecordBatch:
    batch = to_batch(source, [item.document for item in items])
    rules, reasons = pa.array([item.rule for item in items], pa.string()), pa.array([item.reason for item in items], pa.string())
    empty = [pa.nulls(len(items), field.type) for field in list(REMOVED)[len(SCHEMA) + 2 :]]
    return pa.RecordBatch.from_arrays([*batch.columns, rules, reasons, *empty], schema=REMOVED)


def _quarantine_batch(source: str, items: Sequence[Skipped]) -> pa.RecordBatch:
    rows = [{"source": source, "locator": i.locator, "error": i.error, "offset": i.offset, "raw": i.raw or None} for i in items]
    return pa.RecordBatch.from_pylist(rows, schema=QUARANTINE)
