"""Where a row stands in its file, to the byte: found again, because the readers of rows keep no positions."""

from __future__ import annotations

import codecs
import mmap
import re
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from pipeline.extractors.batches import Rows
from pipeline.extractors.dialects import MAX_RECORD_BYTES, Records
from pipeline.extractors.files import SourceFile
from pipeline.extractors.lines import Line, lines, with_line_feeds
from pipeline.extractors.sql_copy import text_cells
from pipeline.extractors.sql_heads import CopyHead
from pipeline.extractors.sql_rows import read_row
from pipeline.extractors.sql_settings import SqlSettings
from pipeline.extractors.sql_syntax import HEAD_BYTES, IncompleteError, MalformedError, Syntax, detect, lexer_of, syntax_of
from pipeline.extractors.sql_window import utf16_of
from pipeline.extractors.tables import SAMPLE_BYTES, CsvSettings, CsvTable, encoding_of

NEAR_RECORDS = 8
"""Bad records among the lines of a header are counted behind it, so that a record may stand so far from where its number says."""

AROUND_BYTES = 1 << 14
"""A row of a dump is looked for so far, and four times its own length, on either side of what was found of its text."""

MAX_FOUND, MAX_BRACKETS = 1000, 200
"""So many places of its text, and brackets before each, are tried."""

NUM_PIECES, MANY = 16, 20
"""So many pieces of its text are weighed against each other; a piece that stands at so many places or more is a common one."""

_PLAIN = re.compile(r"[A-Za-z0-9 .,]+")
"""What no dump escapes."""


@dataclass(frozen=True)
class Span:
    """Bytes ``start`` to ``end`` of a file, unpacked where it is compressed."""

    start: int
    end: int


def csv_record(file: SourceFile, settings: CsvSettings, number: int) -> Span | None:
    """Where record ``number`` of the table stands, counted as the reader counts; None where the file is recoded before it is read (UTF-16).

    The records are read one by one, and counted from where the reader's first row is met. Raises SourceError.
    """
    reader = CsvTable(replace(settings, nulls=(), bad_rows="quarantine"))
    first, wanted = _rows_of(reader, file, number)
    if first is None or wanted is None:
        return None
    encoding, head = settings.encoding or encoding_of(file), file.peek(SAMPLE_BYTES)
    with file.open() as stream:
        table = reader.open(stream, head, encoding)
    if table.encoding != codecs.lookup(encoding).name:
        return None
    taken: list[Line] = []
    records = Records(_noted(file, settings.skip_rows, head, taken), table.fit.dialect, table.encoding, len(table.columns))
    expected: int | None = None
    recent: deque[Span] = deque(maxlen=NEAR_RECORDS)
    for index, record in enumerate(records):
        cells = (record.cells or [])[: len(table.columns)]
        if expected is None and index >= first[0] and not record.error and cells == first[1]:
            expected = index - first[0] + number
        if record.offset == wanted or (not record.error and cells == wanted):
            ends = [line.offset + line.num_bytes for line in taken if line.offset >= record.offset]
            recent.append(Span(record.offset, ends[record.num_lines - 1]))
            if expected is not None and index >= expected:
                return recent[-1]
        if expected is not None and index > expected + NEAR_RECORDS:
            break
        taken[:] = [line for line in taken if line.offset > record.offset]
    return recent[-1] if recent else None


def _rows_of(reader: CsvTable, file: SourceFile, number: int) -> tuple[tuple[int, list[str | None]] | None, list[str | None] | int | None]:
    """Number and cells of the first row, and the cells of row ``number``, or the offset of what stands there and is no row."""
    first: tuple[int, list[str | None]] | None = None
    for piece in reader.rows(file):
        if not isinstance(piece, Rows):
            if piece.locator == file.locator(row=number):
                return first or (number, []), piece.offset
        elif len(piece):
            first = first or (int(piece.numbers[0]), list(piece.dicts(1)[0].values()))
            here = np.flatnonzero(piece.numbers == number)
            if len(here):
                return first, list(piece.part(int(here[0]), 1).dicts()[0].values())
    return first, None


def _noted(file: SourceFile, skip_rows: int, head: bytes, taken: list[Line]) -> Iterator[Line]:
    """The lines of a table behind its byte order mark and what is left out before it; each is put into ``taken``."""
    with file.open() as stored:
        stream = with_line_feeds(stored) if b"\r" in head and b"\n" not in head else stored
        start = len(stream.read(3)) if head.startswith(codecs.BOM_UTF8) else 0
        for index, line in enumerate(lines(stream, MAX_RECORD_BYTES, start)):
            if index >= skip_rows:
                taken.append(line)
                yield line


def sql_row(file: SourceFile, row: Mapping[str, str | None], settings: SqlSettings) -> Span | None:
    """Where a row of a dump stands: its brackets in an INSERT, its line in a COPY. None where no such row is written in the file.

    The plain piece of its text that stands at the fewest places is searched for, and what surrounds it is read as the dump's reader does. So a row
    that a later statement changed, or whose text is not in UTF-8, is not found. Raises SourceError.
    """
    pieces = {found for cell in row.values() for found in _PLAIN.findall(cell or "")}
    with _mapped(file) as data:
        head = data[:HEAD_BYTES]
        if not pieces or utf16_of(head):
            return None
        longest = sorted(pieces, key=lambda piece: (-len(piece), piece))[:NUM_PIECES]
        needle = min((piece.encode() for piece in (*longest, *_beginnings(row))), key=lambda needle: _num_places(data, needle))
        around = AROUND_BYTES + 4 * sum(len((cell or "").encode()) for cell in row.values())
        told = detect(head) if settings.dialect == "auto" else settings.dialect
        syntax = syntax_of(told or "mysql")
        found = data.find(needle)
        for _ in range(MAX_FOUND):
            if found < 0:
                return None
            start = max(0, found - around)
            window = data[start : found + around]
            for span in (*_inserted(window, found - start, syntax, row), *_copied(window, found - start, row)):
                return Span(start + span.start, start + span.end)
            found = data.find(needle, found + 1)
    return None


def _beginnings(row: Mapping[str, str | None]) -> list[str]:
    """How the first two cells may stand beside each other: all there is to search for where no cell is a text."""
    cells = [cell for cell in row.values() if cell is not None][:2]
    return [mark.join(cells) for mark in ("\t", ",", ", ", "','", "', '", ",'", ", '") if len(cells) == 2]


def _num_places(data: mmap.mmap, needle: bytes) -> int:
    """At how many places it stands, as far as ``MANY``; more than that where it stands nowhere."""
    found, number = data.find(needle), 0
    while found >= 0 and number < MANY:
        found, number = data.find(needle, found + 1), number + 1
    return number or MANY + 1


@contextmanager
def _mapped(file: SourceFile) -> Iterator[mmap.mmap]:
    """The content of a file as memory that the system takes back as it likes; unpacked into a temporary file where it is compressed."""
    with file.open() as stream, tempfile.TemporaryFile() as copy:
        if not stream.seekable():
            shutil.copyfileobj(stream, copy, 1 << 20)
            copy.flush()
        with file.path.open("rb") as stored, mmap.mmap((stored if stream.seekable() else copy).fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _inserted(window: bytes, found: int, syntax: Syntax, row: Mapping[str, str | None]) -> Iterator[Span]:
    """The row in brackets around ``found`` that has these cells, whether backslashes escape or not."""
    for read in (syntax, replace(syntax, is_backslash_escape=not syntax.is_backslash_escape)):
        start = found
        for _ in range(MAX_BRACKETS):
            start = window.rfind(b"(", 0, start)
            if start < 0:
                break
            try:
                end, cells = read_row(lexer_of(read), window, start, is_last=True)
            except (IncompleteError, MalformedError):
                continue
            if end > found and _are_cells(cells, row):
                yield Span(start, end)


def _copied(window: bytes, found: int, row: Mapping[str, str | None]) -> Iterator[Span]:
    start, end = window.rfind(b"\n", 0, found) + 1, window.find(b"\n", found) + 1
    cells = text_cells(window[start : end - 1].removesuffix(b"\r"), _COPY, "utf-8") if end else None
    if cells is not None and len(cells) > 1 and _are_cells(cells, row):
        yield Span(start, end)


_COPY = CopyHead((), None, b"\t", b"\\N")


def _are_cells(cells: Sequence[object], row: Mapping[str, str | None]) -> bool:
    """Whether the texts of ``cells`` are those of a row, but for columns that were left out when it was written."""
    written = Counter(cell for cell in cells if isinstance(cell, str))
    known = Counter(cell for cell in row.values() if cell is not None)
    return len(cells) > 0 and written <= known and (known - written).total() <= len(row) - len(cells)
