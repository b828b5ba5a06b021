"""JSON lines, JSON, Parquet and Arrow files: an object or row becomes a document or a conversation."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.documents import Document, Extracted, Removed
from pipeline.extractors import json_values, rows
from pipeline.extractors.conversations import is_list_of_turns
from pipeline.extractors.files import SourceError, SourceFile, is_json_lines
from pipeline.extractors.json_values import BrokenJsonError
from pipeline.extractors.lines import Line, as_utf8, lines
from pipeline.extractors.rows import RowMapping, RowPlan
from pipeline.extractors.templates import Row

MAX_LINE_BYTES = 16_000_000
"""A line of JSON longer than this is quarantined."""

SAMPLE_BYTES = 1 << 18
SAMPLE_ROWS = 200
SLICE_ROWS = 128
"""Rows of Parquet and Arrow turned into Python at a time: a row may hold a megabyte."""

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass
class _Plans:
    """The plan of a file's rows, and one for each further set of keys: objects of one file need not look alike."""

    mapping: RowMapping | None
    where: str
    main: RowPlan
    others: dict[tuple[str, ...], RowPlan] = field(default_factory=dict)

    @classmethod
    def of(cls, sample: Sequence[Row], mapping: RowMapping | None, where: str) -> _Plans:
        columns = tuple(dict.fromkeys(key for row in sample for key in row))
        return cls(mapping, where, rows.plan(columns, mapping, where, sample))

    def document(self, locator: str, row: Row, extractor: str) -> Extracted:
        made = self.main.document(locator, row, extractor)
        if not isinstance(made, Removed) or (self.mapping and self.mapping.is_told):
            return made
        own = self._own(row)
        return made if own.shape.is_empty else own.document(locator, row, extractor)

    def _own(self, row: Row) -> RowPlan:
        keys = tuple(row)
        if keys not in self.others:
            if len(self.others) >= 1000:
                self.others.clear()
            self.others[keys] = rows.plan(keys, None, self.where, [row])
        return self.others[keys]


@dataclass(frozen=True)
class JsonLines:
    """Reads JSON lines: one object a line, lines ended by a line feed and nothing else."""

    mapping: RowMapping | None = None

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """One item a line that is not blank; ``row`` is the number of the line, from 0. A JSON list under such a name is read as one.

        Raises SettingsError for a wrong mapping.
        """
        try:
            head = file.peek(SAMPLE_BYTES)
            if _is_list(head):
                yield from JsonFile(self.mapping).read(file)
                return
            sample = [row for line in _lines(io.BytesIO(head), head) if isinstance(row := _parsed(line), dict)]
            plans = _Plans.of(sample[:SAMPLE_ROWS], self.mapping, file.name)
            is_empty = True
            with file.open() as stream:
                for number, line in enumerate(_lines(stream, head)):
                    if line.raw.strip():
                        is_empty = False
                        yield self._item(file, plans, number, line)
            if is_empty:
                yield file.skipped("empty: no line holds anything")
        except SourceError as error:
            yield file.skipped(error.reason)

    def _item(self, file: SourceFile, plans: _Plans, number: int, line: Line) -> Extracted:
        value = _parsed(line)
        if isinstance(value, str):
            return file.skipped(value, line.offset, line.raw, row=number)
        if isinstance(value, _NoRow):
            return value.removed(file.locator(row=number), "line")
        return plans.document(file.locator(row=number), value, "jsonl")


def _is_list(head: bytes) -> bool:
    """Whether content is one JSON list: its first line opens one that ends elsewhere, or is the only line and no row."""
    filled = (line for line in _lines(io.BytesIO(head), head) if line.raw.strip())
    first, second = next(filled, None), next(filled, None)
    if first is None or not first.raw.lstrip().startswith(b"["):
        return False
    row = _parsed(first)
    is_broken = isinstance(row, str) and row.startswith("broken")
    return is_broken or (second is None and not isinstance(row, dict))


def _lines(stream: BinaryIO, head: bytes) -> Iterator[Line]:
    """Lines of UTF-8, the byte order mark taken off; UTF-16 is known by its mark."""
    if head.startswith(_UTF16_MARKS):
        stream = as_utf8(stream, "utf-16")
    for line in lines(stream, MAX_LINE_BYTES):
        has_mark = line.offset == 0 and line.raw.startswith(b"\xef\xbb\xbf")
        yield Line(0, line.raw[3:], line.num_bytes, line.is_cut) if has_mark else line


@dataclass(frozen=True)
class _NoRow:
    """Right JSON that is neither an object nor a text: there is nothing in it to learn, and nothing wrong with it."""

    value: Any

    def removed(self, locator: str, what: str) -> Removed:
        return Removed(Document(locator, text=json.dumps(self.value)), "not_an_object", f"the {what} is {json_values.name_of(self.value)}")


def _parsed(line: Line) -> Row | _NoRow | str:
    """The object of a line, what stands there instead, or why it cannot be read."""
    if line.is_cut:
        return f"line too long: more than {MAX_LINE_BYTES:,} bytes"
    try:
        value = json_values.parse(line.raw.decode())
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte {error.start} of the line"
    except BrokenJsonError as error:
        return f"broken JSON: {error.reason}, character {error.position} of the line"
    row = _as_row(value)
    return row if row is not None else _NoRow(value)


def _as_row(value: Any) -> Row | None:
    """A row: an object itself, or a bare list of turns as the column ``messages``."""
    if isinstance(value, dict):
        return value
    return {"messages": value} if is_list_of_turns(value) else None


_LISTS = ("data", "rows", "train", "examples", "instances", "items", "records", "documents")


@dataclass(frozen=True)
class JsonFile:
    """Reads a JSON file: a list of objects or of texts, an object that holds such a list, or one object."""

    mapping: RowMapping | None = None

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """One item an element, ``row=0`` being the first. A file of JSON lines under the name ``.json`` is read as such."""
        try:
            head = file.peek(SAMPLE_BYTES)
            if is_json_lines(head):
                yield from JsonLines(self.mapping).read(file)
                return
            with file.open() as stream:
                yield from self._read(file, as_utf8(stream, "utf-16") if head.startswith(_UTF16_MARKS) else stream)
        except SourceError as error:
            yield file.skipped(error.reason)

    def _read(self, file: SourceFile, stream: BinaryIO) -> Iterator[Extracted]:
        elements = _elements(stream)
        first = list(itertools.islice(elements, SAMPLE_ROWS))
        plans = _Plans.of([row for row in map(_element_row, first) if row is not None], self.mapping, file.name)
        number = -1
        for number, value in enumerate(itertools.chain(first, elements)):
            if isinstance(value, BrokenJsonError):
                yield file.skipped(f"broken JSON: {value.reason}, character {value.position}", row=number)
            elif (row := _element_row(value)) is None:
                yield _NoRow(value).removed(file.locator(row=number), "element")
            else:
                yield plans.document(file.locator(row=number), row, "json")
        if number < 0:
            yield Removed(Document(file.locator(), text="[]"), "no_text", "the list has no elements")


def _elements(stream: BinaryIO) -> Iterator[Any]:
    for value in json_values.values(stream):
        found = _inner_list(value) if isinstance(value, dict) else None
        yield from [value] if found is None else found


def _inner_list(value: Mapping[str, Any]) -> list[Any] | None:
    return next((value[name] for name in _LISTS if isinstance(value.get(name), list)), None)


def _element_row(value: Any) -> Row | None:
    """The row of an element; a bare string is one of the column ``text``."""
    return {"text": value} if isinstance(value, str) else _as_row(value)


@dataclass(frozen=True)
class ParquetRows:
    """Reads Parquet files, one row group after another, every page against its checksum where it has one."""

    mapping: RowMapping | None = None

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """One item a row, ``row=0`` being the first; of a damaged row group the rows after the damage are one item."""
        return _read_batches(file, self.mapping, "parquet", _parquet_batches)


@dataclass(frozen=True)
class ArrowRows:
    """Reads Arrow files, of the file format (Feather) and of the stream format."""

    mapping: RowMapping | None = None

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """One item a row, ``row=0`` being the first; after damage the rest of the file is one item."""
        return _read_batches(file, self.mapping, "arrow", _arrow_batches)


_Batch = tuple[int, pa.RecordBatch | str]
"""The number of its first row, and a batch, or why the rows from that one on cannot be read."""

_ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, TypeError, MemoryError, NotImplementedError, OverflowError, KeyError)
"""What pyarrow raises on damaged files."""


def _parquet_batches(stream: BinaryIO) -> Iterator[_Batch]:
    parquet = pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=False, buffer_size=1 << 20)
    start = 0
    for group in range(parquet.num_row_groups):
        number = start
        try:
            for batch in parquet.iter_batches(SLICE_ROWS, [group], use_threads=False):
                yield number, batch
                number += len(batch)
        except _ARROW_ERRORS as error:
            yield number, _first_line(error)
        start += parquet.metadata.row_group(group).num_rows


def _arrow_batches(stream: BinaryIO) -> Iterator[_Batch]:
    is_file = stream.read(6) == b"ARROW1"
    stream.seek(0)
    options = pa.ipc.IpcReadOptions(use_threads=False)
    reader = pa.ipc.open_file(stream, options=options) if is_file else pa.ipc.open_stream(stream, options=options)
    number = 0
    try:
        for batch in (reader.get_batch(index) for index in range(reader.num_record_batches)) if is_file else reader:
            for start in range(0, len(batch), SLICE_ROWS):
                yield number + start, batch.slice(start, SLICE_ROWS)
            number += len(batch)
    except _ARROW_ERRORS as error:
        yield number, _first_line(error)


def _read_batches(
    file: SourceFile, mapping: RowMapping | None, extractor: str, batches_of: Callable[[BinaryIO], Iterator[_Batch]]
) -> Iterator[Extracted]:
    number, is_empty = 0, True
    try:
        with file.open() as stream:
            if not stream.seekable():
                yield file.skipped(f"compressed {extractor} file: unpack it, this format is compressed inside")
                return
            plan: RowPlan | None = None
            for number, batch in batches_of(stream):
                is_empty = False
                if isinstance(batch, str):
                    yield file.skipped(f"damaged {extractor} file: {batch}", row=number)
                    continue
                items = _batch_rows(batch)
                plan = plan or rows.plan(_names(batch), mapping, file.name, [row for row in items if not isinstance(row, str)])
                for index, row in enumerate(items, number):
                    yield file.skipped(row, row=index) if isinstance(row, str) else plan.document(file.locator(row=index), row, extractor)
        if is_empty:
            yield file.skipped("empty: the table has no rows")
    except SourceError as error:
        yield file.skipped(error.reason)
    except _ARROW_ERRORS as error:
        yield file.skipped(f"damaged {extractor} file: {_first_line(error)}", row=number)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).split("\n")[0][:200]


def _names(batch: pa.RecordBatch) -> tuple[str, ...]:
    return rows.column_names(batch.schema.names)


def _batch_rows(batch: pa.RecordBatch) -> list[Row | str]:
    """The rows of a batch as plain data, or for each that holds something invalid, why."""
    try:
        return list(_plain_rows(batch))
    except (*_ARROW_ERRORS, UnicodeDecodeError) as error:
        if len(batch) == 1:
            return [f"invalid values: {_first_line(error)}"]
        return [row for index in range(len(batch)) for row in _batch_rows(batch.slice(index, 1))]


def _plain_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    batch.validate(full=True)
    columns = [_plain_column(column) for column in batch.columns]
    names = _names(batch)
    for cells in zip(*columns, strict=True):
        yield dict(zip(names, cells, strict=True))


def _plain_column(column: pa.Array) -> list[Any]:
    """Cells as JSON has them; times and decimals as text, bytes as text where they are UTF-8."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain_column(column.dictionary_decode())
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        column = pc.cast(column, pa.string())
    cells: list[Any] = column.to_pylist()
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return [_text_or_bytes(cell) for cell in cells] if is_bytes else cells


def _text_or_bytes(cell: bytes | None) -> str | bytes | None:
    try:
        return None if cell is None else cell.decode()
    except UnicodeDecodeError:
        return cell
