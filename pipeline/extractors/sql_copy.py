r"""The rows of PostgreSQL's COPY data: lines of tab-separated text with ``\N`` and backslash escapes, or CSV."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache, partial

import pyarrow as pa

from pipeline.documents import RAW_CAP_BYTES
from pipeline.extractors.sql_batches import read_copied
from pipeline.extractors.sql_events import Broken, Row, Rows
from pipeline.extractors.sql_heads import CopyHead, read_copy
from pipeline.extractors.sql_reader import STATEMENT_HERE, Reader
from pipeline.extractors.sql_strings import text_of, unescape_copy
from pipeline.extractors.sql_syntax import LOOKAHEAD_BYTES, IncompleteError, MalformedError
from pipeline.extractors.sql_tables import Tables, Target

END_OF_DATA = b"\\."

_LINE_END = re.compile(rb"\n")

Cells = tuple[str | None, ...]


def read_copy_rows(reader: Reader, tables: Tables) -> Iterator[Row | Rows | Broken]:
    """The rows of the COPY at the current place, which is passed over. Raises MalformedError when it has no data that can be read."""
    end, head = reader.attempt(partial(read_copy, reader.lexer))
    reader.pos = end
    if head is None:
        return
    rows = _Rows(reader, tables, tables.target(head.name, head.columns, "postgresql"), head)
    yield from rows.csv() if head.is_csv else rows.text()


class _Rows:
    """The data of one COPY."""

    def __init__(self, reader: Reader, tables: Tables, target: Target, head: CopyHead) -> None:
        self._reader, self._tables, self._target, self._head = reader, tables, target, head
        self._num_cells = 0

    def text(self) -> Iterator[Row | Rows | Broken]:
        r"""Rows of one line each, up to the line ``\\.``; plain lines many at a time, others one by one."""
        reader, head, charset = self._reader, self._head, self._reader.syntax.charset
        while True:
            if reader.offset >= reader.compiled_after_bytes:
                yield from self._plain_lines()
            try:
                stop, _ = reader.attempt(_line)
            except MalformedError as error:
                broken, found = reader.recover(error, _LINE_END)
                yield broken
                if found is None:
                    return
                continue
            line = reader.window.data[reader.pos : stop].removesuffix(b"\n").removesuffix(b"\r")
            if line == END_OF_DATA:
                reader.pos = stop
                return
            made = self._made(text_cells(line, head, charset), line)
            if isinstance(made, Broken) and STATEMENT_HERE.match(line):
                yield Broken(made.offset, f"cut short: the data of a COPY of {self._target.table} ends without \\.", made.raw)
                return
            yield made
            reader.pos = stop

    def _plain_lines(self) -> Iterator[Rows]:
        reader, tables, table = self._reader, self._tables, self._target.table
        while self._num_cells:
            window, fit = reader.window, self._target.fit(self._num_cells)
            assert fit is not None
            run = read_copied(window.data, reader.pos, reader.syntax, self._head, self._num_cells, reader.limit_bytes)
            if run.num_rows:
                first = tables.num_rows(table)
                tail = [pa.repeat(pa.scalar(value, pa.string()), run.num_rows) for value in fit.tail]
                tables.set_num_rows(table, first + run.num_rows)
                reader.pos = run.end
                yield Rows(table, fit.columns, [*run.columns, *tail], first)
            if run.is_starved and not window.is_last and len(window.data) - reader.pos <= reader.limit_bytes + LOOKAHEAD_BYTES:
                window.more(reader.pos)
                reader.pos = 0
            elif not run.is_full:
                return

    def csv(self) -> Iterator[Row | Broken]:
        r"""Rows in CSV, up to the line ``\\.``."""
        reader, head, charset = self._reader, self._head, self._reader.syntax.charset
        is_header = head.has_header
        while True:
            try:
                end, cells = reader.attempt(partial(csv_cells, head=head, charset=charset))
            except MalformedError as error:
                broken, found = reader.recover(error, _LINE_END)
                yield broken
                if found is None:
                    return
                continue
            if cells is not None and not is_header:
                yield self._made(cells, reader.window.data[reader.pos : end])
            is_header = False
            reader.pos = end
            if cells is None:
                return

    def _made(self, cells: Cells | None, raw: bytes) -> Row | Broken:
        table = self._target.table
        fit = self._target.fit(len(cells)) if cells is not None else None
        if cells is None or fit is None:
            reason = f"no valid COPY data: a row of {table} ends inside an escape" if cells is None else self._target.misfit(len(cells))
            return Broken(self._reader.offset, reason, raw[:RAW_CAP_BYTES])
        self._num_cells = len(cells)
        index = self._tables.num_rows(table)
        self._tables.set_num_rows(table, index + 1)
        return Row(table, fit.columns, cells + fit.tail if fit.tail else cells, index)


def _line(data: bytes, pos: int, is_last: bool) -> tuple[int, None]:
    r"""The index behind the next line, or behind a last line ``\\.`` that has no line break."""
    end = data.find(b"\n", pos) + 1
    if end > 0:
        return end, None
    if not is_last:
        raise IncompleteError
    if data[pos:].strip() == END_OF_DATA:
        return len(data), None
    raise MalformedError("cut short: the file ends inside the data of a COPY", len(data))


def text_cells(line: bytes, head: CopyHead, charset: str) -> Cells | None:
    """The cells of one line without its line break; None when it ends inside an escape."""
    if b"\\" not in line:
        try:
            cells = line.decode(charset).split(head.delimiter.decode("latin-1"))
        except UnicodeDecodeError:
            return tuple(None if field == head.null else text_of(field, charset) for field in line.split(head.delimiter))
        if head.null == b"\\N":
            return tuple(cells)
        null = text_of(head.null, charset)
        return tuple(None if cell == null else cell for cell in cells)
    if (len(line) - len(line.rstrip(b"\\"))) % 2:
        return None
    return tuple(None if field == head.null else unescape_copy(field, charset) for field in _fields(line, head.delimiter))


def _fields(line: bytes, delimiter: bytes) -> list[bytes]:
    """The line split at the delimiters that no backslash escapes."""
    if b"\\" + delimiter not in line:
        return line.split(delimiter)
    mark = re.escape(delimiter)
    return [m[1] for m in re.finditer(rb"(?:^|(?<=%s))((?:[^\\%s]|\\.)*+)(?:%s|$)" % (mark, mark, mark), line, re.DOTALL)]


def csv_cells(data: bytes, pos: int, is_last: bool, head: CopyHead, charset: str) -> tuple[int, Cells | None]:
    r"""The cells of the CSV record at ``pos`` and the index of the next one; None for the line ``\.`` that ends the data.

    Raises IncompleteError, and MalformedError at the end of the file.
    """
    field, quoted_field = _csv_patterns(head.delimiter, head.quote, head.escape)
    cells: list[str | None] = []
    while True:
        found = field.match(data, pos)
        if found is None and (data[pos : pos + 1] != head.quote or quoted_field.match(data, pos)):
            raise MalformedError("no valid CSV: a quotation mark stands where none may be", pos)
        is_end = found is not None and not cells and found[2] == END_OF_DATA and found[3] != head.delimiter
        if found is None or (found.end() == len(data) and not (is_end and is_last)):
            if not is_last:
                raise IncompleteError
            raise MalformedError("cut short: the file ends inside the data of a COPY", len(data))
        quoted, plain, separator = found.groups()
        pos = found.end()
        if is_end:
            return pos, None
        if quoted is not None:
            cells.append(text_of(_csv_unescaped(quoted, head), charset))
        else:
            cells.append(None if plain == head.null else text_of(plain, charset))
        if separator != head.delimiter:
            return pos, tuple(cells)


@lru_cache(maxsize=16)
def _csv_patterns(delimiter: bytes, quote: bytes, escape: bytes) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """A field with what follows it, and a field in quotes with a byte that may not follow it."""
    mark, quote, escape = re.escape(delimiter), re.escape(quote), re.escape(escape)
    inside = rb"(?:[^%s%s]|%s.)*+" % (quote, escape, escape) if escape != quote else rb"(?:[^%s]|%s%s)*+" % (quote, quote, quote)
    field = rb"(?:%s(%s)%s|([^%s\r\n%s]*+))(%s|\r?\n|\r?\Z)" % (quote, inside, quote, mark, quote, mark)
    return re.compile(field, re.DOTALL), re.compile(rb"%s%s%s[^\r]" % (quote, inside, quote), re.DOTALL)


def _csv_unescaped(field: bytes, head: CopyHead) -> bytes:
    if head.escape == head.quote:
        return field.replace(head.quote * 2, head.quote)
    return re.sub(re.escape(head.escape) + rb"([%s%s])" % (re.escape(head.quote), re.escape(head.escape)), rb"\1", field)
