"""Excel workbooks (.xlsx, .xlsm): each sheet is a table, and a row becomes a document.

Read by calamine, some ten times as fast as openpyxl on the same sheets. Formulas are never computed: a cell holds the value that was saved
with it. What is unpacked is counted first, and so is how far the cells lie apart, because a few bytes can claim a table of billions of cells.
"""

from __future__ import annotations

import datetime
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from pipeline.documents import Extracted, Skipped
from pipeline.errors import MissingPackageError
from pipeline.extractors import rows
from pipeline.extractors.batches import BatchBuilder, Rows
from pipeline.extractors.columns import DocumentBatch, is_columnar, one_by_one
from pipeline.extractors.files import SourceError, SourceFile
from pipeline.extractors.headers import Header, find_header, names_of
from pipeline.extractors.rows import RowMapping

MAX_UNPACKED_BYTES = 500_000_000
"""All parts of a workbook together may unpack to this much [j]: a sheet is held in memory while it is read."""
MAX_PARTS = 10_000
MAX_SPREAD = 20
FREE_CELLS = 5_000_000
"""Past so many cells, a sheet's corners may span ``MAX_SPREAD`` times the cells that are there [j]."""
SAMPLE_ROWS = 200

_REFERENCE = re.compile(rb"""\br=["']([A-Z]{1,3})(\d{1,7})["']""")
_CELL = re.compile(rb"<(?:\w+:)?c[\s>/]")


@dataclass(frozen=True)
class XlsxSettings:
    """Which sheets of a workbook are read, and how."""

    sheets: tuple[str, ...] = ()
    """Their names; empty means all."""
    header: bool | None = None
    """Whether the first row names the columns; left out: found out."""
    nulls: tuple[str, ...] = ()
    """Cells that mean "nothing here", beside empty ones."""


@dataclass(frozen=True)
class Workbook:
    """Reads Excel workbooks. ``tables`` says for a sheet how its rows become documents, ``mapping`` for all others."""

    settings: XlsxSettings = field(default_factory=XlsxSettings)
    mapping: RowMapping | None = None
    tables: Mapping[str, RowMapping] = field(default_factory=dict)

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """One item a row, ``row=0`` being the first after the header of its sheet. Raises SettingsError for a wrong mapping."""
        return one_by_one(self.read_batches(file))

    def read_batches(self, file: SourceFile) -> Iterator[Extracted | DocumentBatch]:
        """The same, with rows that need nothing but their columns together in batches."""
        plans: dict[str, rows.RowPlan] = {}
        num_items = 0
        for sheet, piece in self.rows(file):
            num_items += len(piece) if isinstance(piece, Rows) else 1
            if isinstance(piece, Skipped):
                yield piece
                continue
            names = rows.column_names(piece.batch.schema.names)
            piece = Rows(piece.batch.rename_columns(list(names)), piece.numbers)
            if sheet not in plans:
                mapping = self.tables.get(sheet, self.mapping)
                plans[sheet] = rows.plan(names, mapping, f"{file.name}, sheet {sheet}", piece.dicts(SAMPLE_ROWS))
            made = DocumentBatch(piece, plans[sheet], file.locator(sheet=sheet, row=""), "xlsx")
            if is_columnar(plans[sheet]):
                yield made
            else:
                yield from made.items()
        if num_items == 0:
            yield file.skipped("empty: the workbook has no rows")

    def rows(self, file: SourceFile) -> Iterator[tuple[str, Rows | Skipped]]:
        """The sheets in order, each with its rows in batches of text columns (at least one batch for a sheet that has columns)."""
        try:
            with file.open() as stream:
                if not stream.seekable():
                    yield "", file.skipped("compressed workbook: unpack it, this format is compressed inside")
                    return
                if problem := _bomb(stream):
                    yield "", file.skipped(problem)
                    return
                stream.seek(0)
                yield from self._sheets(file, stream)
        except SourceError as error:
            yield "", file.skipped(error.reason)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, KeyError, OSError) as error:
            yield "", file.skipped(f"damaged workbook: {_first_line(error)}")

    def _sheets(self, file: SourceFile, stream: IO[bytes]) -> Iterator[tuple[str, Rows | Skipped]]:
        try:
            import python_calamine as calamine
        except ImportError:
            raise MissingPackageError("python-calamine", "reading .xlsx", "xlsx") from None
        book = calamine.CalamineWorkbook.from_filelike(stream)
        names = [name for name in book.sheet_names if not self.settings.sheets or name in self.settings.sheets]
        for name in self.settings.sheets:
            if name not in book.sheet_names:
                yield name, file.skipped(f"no such sheet: the workbook has none called {name!r}", sheet=name)
        for name in names:
            try:
                for piece in self._rows(book.get_sheet_by_name(name).iter_rows()):
                    yield name, piece
            except (calamine.CalamineError, ValueError) as error:
                yield name, file.skipped(f"damaged sheet: {_first_line(error)}", sheet=name)

    def _rows(self, cells: Iterator[Sequence[Any]]) -> Iterator[Rows]:
        texts = (row for row in (tuple(map(text_of, row)) for row in cells) if any(cell is not None for cell in row))
        ahead = [row for _, row in zip(range(SAMPLE_ROWS), texts, strict=False)]
        if not ahead:
            return
        plain = [[cell or "" for cell in row] for row in ahead]
        told = self.settings.header
        found = find_header(plain) if told is None else Header(0, int(told))
        start = found.num_titles + found.num_rows
        builder = BatchBuilder(names_of(plain[found.num_titles : start], len(plain[0])), self.settings.nulls)
        number = 0
        for row in ahead[start:]:
            builder.add(number, row)
            number += 1
        for row in texts:
            builder.add(number, row)
            number += 1
            if builder.is_full:
                yield builder.take()
        if builder.is_wanted:
            yield builder.take()


def text_of(cell: object) -> str | None:
    """A cell as text: dates and times as ISO 8601 writes them, whole numbers without a point; None for an empty one."""
    if cell is None or cell == "":
        return None
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e16 else repr(cell)
    if isinstance(cell, datetime.timedelta):
        seconds = round(cell.total_seconds())
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell)


def _bomb(stream: IO[bytes]) -> str | None:
    """Why a workbook is not to be unpacked, or None. Counts what its parts really hold, whatever they say."""
    with zipfile.ZipFile(stream) as archive:
        parts = archive.infolist()
        if len(parts) > MAX_PARTS:
            return f"decompression bomb: {len(parts):,} parts"
        if any(part.flag_bits & 1 for part in parts):
            return "encrypted workbook: save it without a password"
        num_bytes = 0
        for part in parts:
            part.file_size = 1 << 40  # what it says itself is no limit
            spread = _Spread()
            with archive.open(part) as stored:
                while chunk := stored.read(1 << 20):
                    num_bytes += len(chunk)
                    if num_bytes > MAX_UNPACKED_BYTES:
                        return f"decompression bomb: unpacks to more than {MAX_UNPACKED_BYTES:,} bytes; save its sheets as CSV"
                    if "worksheets/" in part.filename:
                        spread.add(chunk)
            if spread.problem:
                return spread.problem
    return None


class _Spread:
    """How many cells a sheet has, and how far they lie apart."""

    def __init__(self) -> None:
        self._tail = b""
        self._last_row = self._last_column = self._num_cells = 0

    def add(self, chunk: bytes) -> None:
        """The next bytes of the sheet."""
        text = self._tail + chunk
        cut = max(text.rfind(b"<"), 0) if len(text) < 1 << 24 else len(text)
        for column, row in set(_REFERENCE.findall(text, 0, cut)):
            self._last_row = max(self._last_row, int(row))
            self._last_column = max(self._last_column, _number(column))
        self._num_cells += sum(1 for _ in _CELL.finditer(text, 0, cut))
        self._tail = text[cut:]

    @property
    def problem(self) -> str | None:
        """Why the sheet would take more memory than its cells are worth, or None."""
        rows, columns = self._last_row, self._last_column
        if rows * columns > max(FREE_CELLS, MAX_SPREAD * self._num_cells):
            return f"decompression bomb: {self._num_cells:,} cells spread over {rows:,} rows and {columns:,} columns"
        return None


def _number(letters: bytes) -> int:
    """The number of a column: A is 1, AA is 27."""
    number = 0
    for letter in letters:
        number = 26 * number + letter - 64
    return number


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
