"""The piece of a source that a locator names, as bytes: a file, a record of an archive, a line, a row.

Where the bytes of a piece can be told from the file, they are those very bytes. Readers of rows keep no positions; what they give for the row
is then written as JSON, and ``Unit.what`` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from pipeline import documents
from pipeline.documents import Extracted, Gathered
from pipeline.errors import UsageError
from pipeline.extractors import rows
from pipeline.extractors.batches import TableBatch
from pipeline.extractors.files import Kind, SourceError, SourceFile, is_json_lines, kind_of
from pipeline.extractors.known_tables import table_name
from pipeline.extractors.lines import lines
from pipeline.extractors.records import MAX_LINE_BYTES, ArrowRows, JsonFile, JsonLines, ParquetRows
from pipeline.extractors.rows import RowMapping
from pipeline.extractors.sources import SourceSettings
from pipeline.extractors.spills import hash_of
from pipeline.extractors.tables import CsvTable
from pipeline.extractors.templates import Row
from pipeline.extractors.thread_documents import MAX_KEY_CHARS, thread_of
from pipeline.inspection.trace_spans import Span, csv_record, sql_row

ASKED = RowMapping(gathered_as="")
"""Makes every reader of rows give them as they stand."""


@dataclass(frozen=True)
class Locator:
    """A locator taken apart: the path of the file in its source, and what it names there (``row``, ``table``, ``key``, ``record``, ...)."""

    path: str
    parts: dict[str, str]

    @classmethod
    def of(cls, text: str) -> Locator:
        """What ``documents.locator`` put together."""
        path, _, pairs = text.partition("#")
        parts = dict(pair.partition("=")[::2] for pair in pairs.split("&") if pair)
        return cls(unquote_to_bytes(path).decode("utf-8", "surrogateescape"), {key: unquote(value) for key, value in parts.items()})

    @property
    def place(self) -> str:
        """The locator without what was only added to it: the id that a row's own column gives, the path through a thread."""
        return documents.locator(self.path, **{key: value for key, value in self.parts.items() if key not in ("id", "path")})


@dataclass(frozen=True)
class Unit:
    """The bytes of a piece of a source, and in words what they are.

    ``start`` and ``end``: where they stand in the file (unpacked where it is compressed); None where they were written anew.
    """

    what: str
    data: bytes
    start: int | None = None
    end: int | None = None

    def to_plain(self) -> dict[str, Any]:
        """As JSON-able data, without the bytes."""
        return {"what": self.what, "start": self.start, "end": self.end, "bytes": len(self.data)}


def unit_of(files: Sequence[SourceFile], wanted: Locator, settings: SourceSettings, reader: str = "") -> Unit:
    """The piece that a locator names; of ``files`` the first is the one it names, the others those that were read together with it.

    ``reader`` is what ``meta`` calls the extractor, where that is known. Raises UsageError when the piece is not there any more.
    """
    named = [file for file in files if file.name == wanted.path]
    if not named:  # dumps that are one database go by the name of their folder
        files = [file for file in files if kind_of(file) == "sql"] or files
    file, kind = files[0], kind_of(files[0])
    try:
        if "thread" in wanted.parts:
            return _thread(files, wanted, settings)
        if "record" in wanted.parts:
            return _warc_record(file, int(wanted.parts["record"]))
        if "bytes" in wanted.parts or "line" in wanted.parts:
            return _stretch(file, wanted)
        if not wanted.parts.keys() & {"row", "rowid", "key", "key-digest"} or kind in (None, "html", "text", "warc"):
            return _whole(file)
        if kind == "sql":
            return _dump_row(named or files, wanted, settings)
        if kind == "csv" and not settings.csv.pandas:
            return _csv_row(file, wanted, settings)
        if kind in ("json", "jsonl") and _is_lines(file, kind, reader):
            return _line(file, int(wanted.parts["row"]))
        return _row(file, wanted, settings, kind)
    except SourceError as error:
        raise UsageError(file.name, error.reason, "put the file back as it was") from None
    except (ValueError, KeyError):
        raise UsageError(wanted.place, "is no place in such a file", "extract the source again") from None


def _gone(file: SourceFile, wanted: Locator) -> UsageError:
    return UsageError(wanted.place, f"is not in {file.path} any more", "the source has changed: extract it again")


def _whole(file: SourceFile) -> Unit:
    with file.open() as stream:
        data, is_packed = stream.read(), not stream.seekable()
    return Unit(f"the whole file{', unpacked' if is_packed else ''}", data, 0, len(data))


def _cut(file: SourceFile, span: Span, what: str) -> Unit:
    """The bytes of a span; the unpacked file is read up to there."""
    with file.open() as stream:
        _skip(stream.read, span.start)
        data = stream.read(span.end - span.start)
    return Unit(what, data, span.start, span.start + len(data))


def _skip(read: Callable[[int], bytes], num_bytes: int) -> None:
    while num_bytes and (data := read(min(num_bytes, 1 << 20))):
        num_bytes -= len(data)


def _stretch(file: SourceFile, wanted: Locator) -> Unit:
    """What could not be read: bytes from one offset to another, or the line that begins at an offset or has a number."""
    if "line" in wanted.parts:
        return _line(file, int(wanted.parts["line"]))
    first, dash, last = wanted.parts["bytes"].partition("-")
    if dash:
        return _cut(file, Span(int(first), int(last)), "the bytes that could not be read")
    with file.open() as stream:
        _skip(stream.read, int(first))
        data = stream.readline()
    return Unit("the line that could not be read", data, int(first), int(first) + len(data))


def _line(file: SourceFile, number: int) -> Unit:
    with file.open() as stream:
        for index, line in enumerate(lines(stream, MAX_LINE_BYTES)):
            if index == number:
                return _cut(file, Span(line.offset, line.offset + line.num_bytes), f"line {number + 1:,} of the file")
    raise UsageError(file.name, f"has no line {number + 1:,} any more", "the source has changed: extract it again")


def _is_lines(file: SourceFile, kind: Kind, reader: str) -> bool:
    """Whether rows of JSON are the lines of the file, as bytes; not so in UTF-16, nor where one list holds them."""
    head = file.peek(1 << 18)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    if reader:
        return reader.split()[0] == "jsonl"
    return is_json_lines(head) or (kind == "jsonl" and not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["))


def _warc_record(file: SourceFile, number: int) -> Unit:
    from warcio.archiveiterator import ArchiveIterator

    with file.open() as stream:
        for index, record in enumerate(ArchiveIterator(stream)):
            if index == number:
                url = record.rec_headers.get_header("WARC-Target-URI") or "no address"
                return Unit(f"the body of record {number:,} of the archive ({url})", record.content_stream().read())
    raise UsageError(file.name, f"has no record {number:,} any more", "the source has changed: extract it again")


def _written(row: Row, what: str) -> Unit:
    return Unit(f"{what}, as its reader gives it and written as JSON", rows.as_json(row).encode() + b"\n")


def _csv_row(file: SourceFile, wanted: Locator, settings: SourceSettings) -> Unit:
    number = int(wanted.parts["row"])
    span = csv_record(file, settings.csv, number)
    return _cut(file, span, f"record {number:,} of the table") if span else _row(file, wanted, settings, "csv")


def _dump_row(files: Sequence[SourceFile], wanted: Locator, settings: SourceSettings) -> Unit:
    """The row of a dump; its very bytes where they can be found again."""
    row = _row_of_dump(files, wanted, settings)
    name = " ".join(f"{key} {wanted.parts[key]}" for key in ("row", "key") if key in wanted.parts)
    what = f"{name} of table {wanted.parts['table']}"
    for file in files:
        span = sql_row(file, row, settings.sql)
        if span is not None:
            return _cut(file, span, what if len(files) == 1 else f"{what}, in {file.name}")
    return _written(row, what)


def _row_of_dump(files: Sequence[SourceFile], wanted: Locator, settings: SourceSettings) -> dict[str, str | None]:
    number, key = wanted.parts.get("row"), wanted.parts.get("key")
    first = 0
    for batch in _table(files, settings, wanted.parts["table"]):
        names = batch.batch.schema.names
        if number is not None and int(number) < first + len(batch.batch):
            return _named(names, batch.batch.slice(int(number) - first, 1).to_pylist()[0])
        if key is not None and len(batch.key) == 1:
            keys = batch.batch.column(names.index(batch.key[0])).to_pylist()
            if key in keys:
                return _named(names, batch.batch.slice(keys.index(key), 1).to_pylist()[0])
        first += len(batch.batch)
    raise _gone(files[0], wanted)


def _named(names: Sequence[str], row: dict[str, str | None]) -> dict[str, str | None]:
    return {name: row[name] for name in names}


def _table(files: Sequence[SourceFile], settings: SourceSettings, name: str) -> Iterator[TableBatch]:
    from pipeline.extractors.sql_dump import read_database

    for item in read_database(files, replace(settings.sql, tables=(name,))):
        if isinstance(item, TableBatch) and item.name == name:
            yield item


Read = Callable[[SourceFile], Iterator[Extracted]]


def _reader(kind: Kind, settings: SourceSettings, table: str) -> Read:
    """What reads the rows of such a file as they stand."""
    if kind == "xlsx":
        from pipeline.extractors.xlsx import Workbook

        return Workbook(settings.xlsx, ASKED).read
    if kind == "sqlite":
        from pipeline.extractors.databases_sqlite import SqliteFile

        return SqliteFile(settings.database, ASKED, {table: ASKED}).read
    if kind == "csv":
        return CsvTable(settings.csv, ASKED).read
    if kind == "json":
        return JsonFile(ASKED).read
    if kind == "jsonl":
        return JsonLines(ASKED).read
    return ParquetRows(ASKED).read if kind == "parquet" else ArrowRows(ASKED).read


def _row(file: SourceFile, wanted: Locator, settings: SourceSettings, kind: Kind | None) -> Unit:
    assert kind is not None
    place = wanted.place
    for item in _reader(kind, settings, wanted.parts.get("table", ""))(file):
        if isinstance(item, Gathered) and item.locator == place:
            return _written(item.row, ", ".join(f"{key} {value}" for key, value in wanted.parts.items() if key not in ("id", "path")))
    raise _gone(file, wanted)


def _thread(files: Sequence[SourceFile], wanted: Locator, settings: SourceSettings) -> Unit:
    """The rows that are the posts of a thread; the tables that are joined to them stay where they are."""
    name = wanted.parts.get("table") or table_name(files[0].name)
    mapping = settings.tables.get(name, settings.rows)
    if mapping is None or mapping.threads is None:
        raise UsageError(wanted.place, "is a thread, and the settings of its source speak of none", "trace it with the settings it was made with")
    threads, key = mapping.threads, wanted.parts["thread"]

    def is_wanted(row: Row) -> bool:
        own = thread_of(row, threads, mapping)
        return own == key or (len(own) > MAX_KEY_CHARS and f"{hash_of(own):015x}" == key)

    found = [row for row in _posts(files, name, settings) if is_wanted(row)]
    if not found:
        raise _gone(files[0], wanted)
    data = b"".join(rows.as_json(row).encode() + b"\n" for row in found)
    several = f" in {len(files):,} files" if len(files) > 1 else ""
    return Unit(f"the posts of thread {key}: rows of {name}{several}, {len(found):,} of them, as their reader gives them and written as JSON", data)


def _posts(files: Sequence[SourceFile], name: str, settings: SourceSettings) -> Iterator[Row]:
    kinds = {file: kind_of(file) for file in files}
    dumps = [file for file in files if kinds[file] == "sql"]
    for together in [dumps] if settings.sql.together and dumps else [[file] for file in dumps]:
        for batch in _table(together, settings, name):
            yield from batch.batch.to_pylist()
    for file, kind in kinds.items():
        is_other = kind not in ("sqlite", "xlsx") and bool(settings.tables) and table_name(file.name) != name
        if kind in (None, "sql", "html", "warc", "text") or is_other:
            continue
        for item in _reader(kind, settings, name)(file):
            if isinstance(item, Gathered):
                yield item.row
