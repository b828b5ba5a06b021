"""CSV and TSV files: a row becomes a document or a conversation."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, BinaryIO, ClassVar, Literal

from pipeline import decoding
from pipeline.documents import Extracted
from pipeline.errors import GristmillError
from pipeline.extractors import rows
from pipeline.extractors.dialects import MAX_RECORD_BYTES, Dialect, Fit, Record, Records, detect, fits, has_header
from pipeline.extractors.files import SourceError, SourceFile
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
    header: bool | None = None
    """Whether the first row names the columns; without names they are called column_0, column_1."""
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
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ValueError(f"encoding is {self.encoding!r}, which Python does not know; examples: utf-8, cp1252, shift_jis") from None

    def told(self) -> dict[str, Any]:
        """The fields of a dialect that these settings fix."""
        told = {"delimiter": self.delimiter, "quote": self.quote, "escape": self.escape}
        return {name: mark or None for name, mark in told.items() if mark is not None}


@dataclass(frozen=True)
class Table:
    """An opened CSV file: its columns, rows of the sample, and all records after the header."""

    columns: tuple[str, ...]
    sample: tuple[list[str], ...]
    fit: Fit
    before: tuple[Record, ...]
    """Records before the header that are no rows of this table."""
    records: Iterator[Record]


@dataclass(frozen=True)
class CsvTable:
    """Reads CSV and TSV files."""

    version: ClassVar[int] = 1

    settings: CsvSettings = field(default_factory=CsvSettings)
    mapping: RowMapping | None = None

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """One item a row, ``row=0`` being the first after the header. Raises SettingsError for a wrong mapping."""
        try:
            if self.settings.pandas:
                from pipeline.extractors.pandas_tables import read_with_pandas

                yield from read_with_pandas(file, self.settings.encoding or _encoding_of(_head(file)), self.settings.pandas, self.mapping)
            else:
                yield from self._read(file)
        except SourceError as error:
            yield file.skipped(error.reason)

    def _read(self, file: SourceFile) -> Iterator[Extracted]:
        head = _head(file)
        if what := decoding.is_binary(head):
            yield file.skipped(f"not text: it {what}", raw=head)
            return
        with file.open() as stream:
            table = self.open(stream, head)
            if problem := self._wrong_delimiter(table.fit, head):
                yield file.skipped(problem, raw=head)
                return
            sample = [self._row(table.columns, cells) for cells in table.sample]
            plan = rows.plan(table.columns, self.mapping, file.name, sample)
            for record in table.before:
                yield file.skipped(f"before the table: {record.error}", record.offset, record.raw, bytes=record.offset)
            number = -1
            for number, record in enumerate(table.records):
                cells = record.cells if not record.error else self._mended(file, record, table)
                if cells is None:
                    yield file.skipped(record.error, record.offset, record.raw, row=number)
                else:
                    kind = "csv" if len(table.columns) > 1 else "csv of one column"
                    yield plan.document(file.locator(row=number), self._row(table.columns, cells), kind)
            if number < 0:
                yield file.skipped("empty: the table has no rows")

    def open(self, stream: BinaryIO, head: bytes) -> Table:
        """The table of a stream that begins with ``head``; raises what the stream raises."""
        encoding = self.settings.encoding or _encoding_of(head)
        is_whole = len(head) < SAMPLE_BYTES
        sample = list(self._lines(io.BytesIO(head), encoding, head))
        if not is_whole and len(sample) > 1:
            del sample[-1]
        inner = encoding if is_ascii_based(encoding) else "utf-8"
        fit = detect(sample, inner, self.settings.told(), is_whole)
        records = Records(self._lines(stream, encoding, head), fit.dialect, inner, fit.width if fit.rows else None)
        before, first, iterator = _up_to_first_good(records)
        if first is None:
            return Table((), (), fit, (), iter(before))
        width = records.width = records.width or len(first.cells or ())
        is_named = self._is_named(fit, before, width)
        columns = rows.column_names((first.cells or [])[:width] if is_named else [""] * width)
        if self.settings.header is False:
            return Table(columns, fit.rows[:SAMPLE_ROWS], fit, (), chain(before, [first], iterator))
        rest = iterator if is_named else chain([first], iterator)
        return Table(columns, fit.rows[is_named : SAMPLE_ROWS + is_named], fit, tuple(before), rest)

    def _is_named(self, fit: Fit, before: Sequence[Record], width: int) -> bool:
        """Whether the first good record is the header: it is not when a record before it was one, of another width than the rows."""
        if self.settings.header is not None:
            return self.settings.header
        headers = [record for record in before if record.cells and 2 * len(record.cells) > width and has_header([record.cells])]
        return not any(len(record.cells or ()) > 1 for record in headers) and has_header(fit.rows)

    def _lines(self, stream: BinaryIO, encoding: str, head: bytes) -> Iterator[Line]:
        if not is_ascii_based(encoding):
            stream = as_utf8(stream, encoding)
        if b"\r" in head and b"\n" not in head:
            stream = with_line_feeds(stream)
        for number, line in enumerate(lines(stream, MAX_RECORD_BYTES)):
            if number == 0 and line.raw.startswith(codecs.BOM_UTF8):
                line = Line(line.offset, line.raw.removeprefix(codecs.BOM_UTF8), line.num_bytes, line.is_cut)
            if number >= self.settings.skip_rows:
                yield line

    def _wrong_delimiter(self, fit: Fit, head: bytes) -> str | None:
        """Why a told delimiter cannot be right: it gives one column where another gives even rows."""
        if self.settings.delimiter is None or fit.width > 1:
            return None
        encoding = self.settings.encoding or _encoding_of(head)
        inner = encoding if is_ascii_based(encoding) else "utf-8"
        other = detect(list(self._lines(io.BytesIO(head), encoding, head)), inner)
        if other.width == 1 or other.score < 0.8:
            return None
        return f"wrong delimiter: {self.settings.delimiter!r} gives one column, {other.dialect.delimiter!r} would give {other.width}"

    def _row(self, columns: Sequence[str], cells: Sequence[str]) -> dict[str, str | None]:
        nulls = self.settings.nulls
        return {name: None if cell in nulls else cell for name, cell in zip(columns, cells, strict=False)}

    def _mended(self, file: SourceFile, record: Record, table: Table) -> list[str] | None:
        if self.settings.bad_rows == "error":
            where, todo = f"{file.name} byte {record.offset}", "mend the row, or set bad_rows to quarantine or repair"
            raise GristmillError(where, record.error, todo)
        return repaired(record, table.fit.dialect, len(table.columns)) if self.settings.bad_rows == "repair" else None


def _up_to_first_good(records: Records) -> tuple[list[Record], Record | None, Iterator[Record]]:
    """Bad records at the start of a file, the first good one, and the rest."""
    before: list[Record] = []
    iterator = iter(records)
    for record in iterator:
        if not record.error:
            return before, record, iterator
        before.append(record)
    return before, None, iterator


def _head(file: SourceFile) -> bytes:
    return file.peek(SAMPLE_BYTES)


def _encoding_of(head: bytes) -> str:
    """The encoding of a file that begins with ``head``, judged by whole lines of it."""
    whole = head if len(head) < SAMPLE_BYTES else head[: head.rfind(b"\n") + 1] or head
    return decoding.decode(whole).encoding


def repaired(record: Record, dialect: Dialect, width: int) -> list[str] | None:
    """``width`` cells of a bad record: padded, surplus cells joined to the last, broken quotes as plain characters; None: beyond repair."""
    cells = record.cells
    if cells is None and record.num_lines == 1 and record.error.startswith(("unclosed", "broken")):
        plain = Dialect(dialect.delimiter, None, skip_space=dialect.skip_space)
        text = record.raw.decode("utf-8", "replace")
        cells = next(iter(plain.reader([text])), None)
        cells = [cell.strip(dialect.quote or "") for cell in cells] if cells and len(cells) == width else None
    if not cells:
        return None
    if len(cells) > width and not fits(cells, width):
        return [*cells[: width - 1], dialect.delimiter.join(cells[width - 1 :])]
    return cells + [""] * (width - len(cells))
