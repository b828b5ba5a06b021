"""CSV and TSV files: opened, their columns found, and a row becomes a document or a conversation."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, BinaryIO, Literal

import pyarrow as pa

from pipeline import decoding
from pipeline.documents import RAW_CAP_BYTES, Extracted, Skipped
from pipeline.errors import GristmillError
from pipeline.extractors import rows
from pipeline.extractors.batches import BatchBuilder, Rows
from pipeline.extractors.columns import DocumentBatch, is_columnar, one_by_one
from pipeline.extractors.csv_blocks import Blocks, Feed, skip_lines
from pipeline.extractors.dialects import MAX_RECORD_BYTES, Dialect, Fit, Record, Records, detect, fits
from pipeline.extractors.files import SourceError, SourceFile
from pipeline.extractors.headers import Header, find_header, has_header, is_evident, names_of
from pipeline.extractors.lines import Line, as_utf8, is_ascii_based, lines, with_line_feeds
from pipeline.extractors.rows import RowMapping
from pipeline.settings import at_least

SAMPLE_BYTES = 1 << 18
SAMPLE_ROWS = 200


@dataclass(frozen=True)
class CsvSettings:
    """How CSV files are written. What is left out is found out from the first 256 kB; what is told is best."""

    delimiter: str | None = None
    """One character; a tab is ``"\\t"``."""
    quote: str | None = None
    """One character; empty: quotes are plain characters."""
    escape: str | None = None
    """The character before a quote inside a quoted cell, where quotes are not doubled."""
    encoding: str | None = None
    """A name that Python knows: utf-8, cp1252, shift_jis."""
    header: bool | None = None
    """Whether the first row names the columns; without names they are called col_0, col_1."""
    columns: tuple[str, ...] = ()
    """Names of the columns, for files without a header or instead of theirs."""
    skip_rows: int = at_least(0, 0)
    """Lines before the table that are no part of it."""
    nulls: tuple[str, ...] = ()
    """Cells that mean "nothing here". By default none does: an empty cell is empty text, and ``NA`` is a word."""
    bad_rows: Literal["quarantine", "error", "repair"] = "quarantine"
    """``repair`` pads short rows, joins surplus cells to the last one, and takes broken quotes for plain characters."""
    pandas: Mapping[str, Any] = field(default_factory=dict)
    """Options of ``pandas.read_csv``. With any of them pandas reads the file, all cells as text and nothing as NaN unless they say so;
    rows that it skips (``on_bad_lines: skip``) are not counted."""

    def __post_init__(self) -> None:
        for name in ("delimiter", "quote", "escape"):
            mark = getattr(self, name)
            if mark is not None and len(mark) != 1 and not (name == "quote" and mark == ""):
                raise ValueError(f"{name} is {mark!r}; it must be one character")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("columns names one column twice; names must differ")
        if self.encoding is not None:
            try:
                "a".encode(self.encoding)
            except (LookupError, UnicodeError):
                raise ValueError(f"encoding is {self.encoding!r}, which Python does not know; examples: utf-8, cp1252, shift_jis") from None

    def told(self) -> dict[str, Any]:
        """The fields of a dialect that these settings fix."""
        told = {"delimiter": self.delimiter, "quote": self.quote, "escape": self.escape}
        return {name: mark or None for name, mark in told.items() if mark is not None}


@dataclass(frozen=True)
class Table:
    """An opened CSV file: the names of its columns, and everything after them, good rows in batches or one by one, bad ones with their error."""

    columns: tuple[str, ...]
    """As they are written, told apart where two are the same; () when nothing in the file is a row."""
    fit: Fit
    before: tuple[Record, ...]
    """Records before the header that are no rows of this table."""
    encoding: str
    """The one in which bad records are to be read."""
    pieces: Iterator[pa.RecordBatch | Record]


@dataclass(frozen=True)
class CsvTable:
    """Reads CSV and TSV files."""

    settings: CsvSettings = field(default_factory=CsvSettings)
    mapping: RowMapping | None = None

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """One item a row, ``row=0`` being the first after the header. Raises SettingsError for a wrong mapping."""
        return one_by_one(self.read_batches(file))

    def read_batches(self, file: SourceFile) -> Iterator[Extracted | DocumentBatch]:
        """The same, with rows that need nothing but their columns together in batches."""
        if self.settings.pandas:
            from pipeline.extractors.pandas_tables import read_with_pandas

            yield from self._by_pandas(file, lambda encoding, options: read_with_pandas(file, encoding, options, self.mapping))
            return
        plan: rows.RowPlan | None = None
        num_rows = 0
        for piece in self.rows(file):
            if isinstance(piece, Skipped):
                yield piece
                num_rows += 1
                continue
            names = rows.column_names(piece.batch.schema.names)
            piece = Rows(piece.batch.rename_columns(list(names)), piece.numbers)
            plan = plan or rows.plan(names, self.mapping, file.name, piece.dicts(SAMPLE_ROWS))
            num_rows += len(piece)
            made = DocumentBatch(piece, plan, file.locator(row=""), "csv" if len(names) > 1 else "csv of one column")
            if is_columnar(plan):
                yield made
            else:
                yield from made.items()
        if num_rows == 0:
            yield file.skipped("empty: the table has no rows")

    def _by_pandas(self, file: SourceFile, read: Callable[[str, Mapping[str, Any]], Iterator[Any]]) -> Iterator[Any]:
        try:
            yield from read(self.settings.encoding or encoding_of(file), self.settings.pandas)
        except SourceError as error:
            yield file.skipped(error.reason)

    def rows(self, file: SourceFile) -> Iterator[Rows | Skipped]:
        """The rows of the table in batches of text columns (at least one batch, if with no row), and what is no row.

        Of a file without any row that could be one, only the latter. Raises GristmillError for a bad row where the settings want that.
        """
        if self.settings.pandas:
            from pipeline.extractors.pandas_tables import rows_with_pandas

            yield from self._by_pandas(file, lambda encoding, options: rows_with_pandas(file, encoding, options))
            return
        try:
            head = file.peek(SAMPLE_BYTES)
            if what := decoding.is_binary(head):
                yield file.skipped(f"not text: it {what}", raw=head)
                return
            with file.open() as stream:
                encoding = self.settings.encoding or encoding_of(file)
                table = self.open(stream, head, encoding)
                if problem := self._wrong_delimiter(table.fit, head, encoding):
                    yield file.skipped(problem, raw=head)
                    return
                for record in table.before:
                    yield file.skipped(f"before the table: {record.error}", record.offset, record.raw, bytes=record.offset)
                if table.columns:
                    yield from self._rows(file, table)
                elif not table.before:
                    yield file.skipped("empty: the table has no rows")
        except SourceError as error:
            yield file.skipped(error.reason)

    def _rows(self, file: SourceFile, table: Table) -> Iterator[Rows | Skipped]:
        building = BatchBuilder(table.columns, self.settings.nulls)
        number = 0
        try:
            for piece in table.pieces:
                if isinstance(piece, pa.RecordBatch):
                    yield building.with_batch(piece, number)
                    number += len(piece)
                    continue
                cells = piece.cells if not piece.error else self._mended(file, piece, table)
                if cells is None:
                    yield file.skipped(piece.error, piece.offset, piece.raw, row=number)
                else:
                    building.add(number, cells)
                number += 1
                if building.is_full:
                    yield building.take()
        except SourceError as error:
            if building.is_wanted:
                yield building.take()
            yield file.skipped(error.reason)
            return
        if building.is_wanted:
            yield building.take()

    def open(self, stream: BinaryIO, head: bytes, encoding: str) -> Table:
        """The table of a stream that begins with ``head``; raises what the stream raises."""
        inner = _inner(encoding)
        is_whole = len(head) < SAMPLE_BYTES
        fit, sample = self._fit(head, encoding, is_whole)
        width: int | None = None
        if self.settings.columns:
            width = len(self.settings.columns)
        elif fit.rows:
            width = fit.width - _ends_with_delimiter(fit)
        feed = self._feed(stream, encoding, head)
        records = Records(lines(feed, MAX_RECORD_BYTES, feed.offset), fit.dialect, inner, width)
        iterator = iter(records)
        before, first = _up_to_first_good(iterator)
        if first is None:
            return Table((), fit, tuple(before), inner, iter(()))
        width = records.width = width or len(first.cells or ())
        rows_ahead = [record.cells[:width] for record in Records(sample, fit.dialect, inner, width) if record.cells and not record.error]
        found = self._header(rows_ahead, before, width)
        needed = found.num_titles + found.num_rows
        good: list[Record] = [first]
        bad: list[Record] = []
        while len(good) < needed and (record := next(iterator, None)) is not None:
            (bad if record.error else good).append(record)
        titles, header, ahead = good[: found.num_titles], good[found.num_titles : needed], good[needed:]
        if not header and self.settings.header is not False and _is_short_header(before, fit.dialect, width):
            header = [before.pop()]
        names = self.settings.columns or names_of([record.cells or () for record in header], width)
        rest = chain(ahead, bad, Blocks(fit.dialect, inner, width).read(feed, records, iterator))
        if self.settings.header is False:
            return Table(names, fit, (), inner, chain(before, rest))
        return Table(names, fit, (*before, *(_as_title(record, fit.dialect) for record in titles)), inner, rest)

    def _fit(self, head: bytes, encoding: str, is_whole: bool) -> tuple[Fit, list[Line]]:
        """The dialect that fits the beginning of a file, and the lines of it."""
        sample = list(lines(self._feed(io.BytesIO(head), encoding, head), MAX_RECORD_BYTES))
        if not is_whole and len(sample) > 1:
            del sample[-1]
        return detect(sample, _inner(encoding), self.settings.told(), is_whole), sample

    def _header(self, sample: Sequence[Sequence[str]], before: Sequence[Record], width: int) -> Header:
        """Where the names stand: nowhere when a record before the good ones, of another width, was the header."""
        if self.settings.header is not None:
            return Header(0, int(self.settings.header))
        found = find_header(sample[:SAMPLE_ROWS])
        if len(sample) > 2 and found.num_rows and is_evident(sample[found.num_titles : SAMPLE_ROWS]):
            return found
        headers = [cells for record in before if (cells := record.cells) and len(cells) > max(1, width // 2) and has_header([cells])]
        return Header() if headers else found

    def _feed(self, stream: BinaryIO, encoding: str, head: bytes) -> Feed:
        """The stream behind its byte order mark and the lines that are no part of the table."""
        if _inner(encoding) != _name(encoding):
            stream = as_utf8(stream, encoding)
        if b"\r" in head and b"\n" not in head:
            stream = with_line_feeds(stream)
        feed = Feed(stream)
        mark = feed.read(len(codecs.BOM_UTF8))
        if mark != codecs.BOM_UTF8:
            feed.give_back(mark)
        skip_lines(feed, self.settings.skip_rows)
        return feed

    def _wrong_delimiter(self, fit: Fit, head: bytes, encoding: str) -> str | None:
        """Why a told delimiter cannot be right: it gives one column where another gives even rows."""
        if self.settings.delimiter is None or fit.width > 1:
            return None
        other = detect(list(lines(self._feed(io.BytesIO(head), encoding, head), MAX_RECORD_BYTES)), _inner(encoding))
        if other.width == 1 or other.score < 0.8:
            return None
        return f"wrong delimiter: {self.settings.delimiter!r} gives one column, {other.dialect.delimiter!r} would give {other.width}"

    def _mended(self, file: SourceFile, record: Record, table: Table) -> list[str] | None:
        if self.settings.bad_rows == "error":
            where, todo = f"{file.name} byte {record.offset}", "mend the row, or set bad_rows to quarantine or repair"
            raise GristmillError(where, record.error, todo)
        return repaired(record, table.fit.dialect, len(table.columns), table.encoding) if self.settings.bad_rows == "repair" else None


def _name(encoding: str) -> str:
    return codecs.lookup(encoding).name


_BY_STATE = ("iso2022", "hz", "utf-7", "unicode_escape", "raw_unicode_escape")
"""Encodings in which a byte below 128 need not be that character."""


def _inner(encoding: str) -> str:
    """The encoding in which lines are read: this one, or UTF-8 where the stream has to be recoded before it can be cut into lines."""
    name = _name(encoding)
    return name if is_ascii_based(name) and not name.startswith(_BY_STATE) else "utf-8"


def _ends_with_delimiter(fit: Fit) -> bool:
    """Whether every row ends in a delimiter, so that there is no last column."""
    return fit.width > 1 and not any(row[fit.width - 1] for row in fit.rows)


def _up_to_first_good(records: Iterator[Record]) -> tuple[list[Record], Record | None]:
    """Bad records at the start of a file, and the first good one."""
    before: list[Record] = []
    for record in records:
        if not record.error:
            return before, record
        before.append(record)
    return before, None


def _is_short_header(before: Sequence[Record], dialect: Dialect, width: int) -> bool:
    """Whether the record before the rows names all columns but the last.

    Only when each name stands in quotes: else a delimiter may have been lost between two, and all others would be wrong.
    """
    cells = before[-1].cells if before and before[-1].num_lines == 1 else None
    if cells is None or len(cells) != width - 1 or dialect.quote is None or not has_header([cells]):
        return False
    mark = dialect.quote
    written = dialect.delimiter.join(mark + cell.replace(mark, mark * 2) + mark for cell in cells)
    return before[-1].raw.rstrip(b"\r\n") == written.encode()[:RAW_CAP_BYTES]


def _as_title(record: Record, dialect: Dialect) -> Record:
    raw = dialect.delimiter.join(record.cells or ()).encode()[:RAW_CAP_BYTES]
    return replace(record, error="a title or a row of blanks", raw=raw)


def encoding_of(file: SourceFile) -> str:
    """The encoding of a file, judged by its first 256 kB, or by the first that are not ASCII; raises SourceError."""
    head = file.peek(SAMPLE_BYTES)
    if head.isascii() and len(head) == SAMPLE_BYTES:
        head = _first_beyond_ascii(file)
    whole = head if len(head) < SAMPLE_BYTES else head[: head.rfind(b"\n") + 1] or head
    return decoding.decode(whole).encoding


def _first_beyond_ascii(file: SourceFile) -> bytes:
    """From the line on that holds the first byte beyond ASCII; b"" when there is none before the file ends or breaks."""
    before = b""
    with file.open() as stream, suppress(SourceError):
        while chunk := stream.read(1 << 20):
            if not chunk.isascii():
                data = before + chunk + stream.read(SAMPLE_BYTES)
                first = re.search(rb"[\x80-\xff]", data)
                start = data.rfind(b"\n", 0, first.start()) + 1 if first else 0
                return data[start : start + SAMPLE_BYTES]
            before = chunk[chunk.rfind(b"\n") + 1 :]
    return b""


def repaired(record: Record, dialect: Dialect, width: int, encoding: str = "utf-8") -> list[str] | None:
    """``width`` cells of a bad record: padded, surplus cells joined to the last, broken quotes as plain characters; None: beyond repair."""
    cells = record.cells
    is_whole = record.num_lines == 1 and len(record.raw) < RAW_CAP_BYTES
    if cells is None and is_whole and record.error.startswith(("unclosed", "broken")):
        plain = Dialect(dialect.delimiter, None, skip_space=dialect.skip_space)
        text = record.raw.decode(encoding, "replace")
        cells = next(iter(plain.reader([text])), None)
        cells = [cell.strip(dialect.quote or "") for cell in cells] if cells and len(cells) == width else None
    if not cells:
        return None
    if len(cells) > width and not fits(cells, width):
        return [*cells[: width - 1], dialect.delimiter.join(cells[width - 1 :])]
    return cells + [""] * (width - len(cells))
