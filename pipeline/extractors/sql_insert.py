"""The rows of INSERT and REPLACE statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from pipeline.documents import RAW_CAP_BYTES
from pipeline.extractors.sql_ddl import unquoted
from pipeline.extractors.sql_events import Broken, Row
from pipeline.extractors.sql_heads import read_insert
from pipeline.extractors.sql_reader import NEXT_LINE, NEXT_ROW, NEXT_ROW_OR_LINE, NEXT_STATEMENT, Reader
from pipeline.extractors.sql_rows import plain_rows, read_cells, read_row
from pipeline.extractors.sql_syntax import MalformedError, Syntax, Token
from pipeline.extractors.sql_tables import Tables, Target
from pipeline.extractors.sql_values import DEFAULT, Cell, evaluate

FAST_AFTER_ROWS = 16
"""A pattern for the rows of a table is compiled once it has this many rows: it costs as much as reading some dozens."""

MAX_REPEATED_HEAD_BYTES = 4096

_TAILS = frozenset([b"ON", b"AS", b"RETURNING", b"OPTION", b"WHERE"])
"""Words that may follow the rows of an INSERT."""
_TSQL_STATEMENTS = frozenset(
    [
        b"GO", b"INSERT", b"CREATE", b"SET", b"DROP", b"ALTER", b"UPDATE", b"DELETE", b"SELECT", b"PRINT", b"EXEC", b"EXECUTE", b"DECLARE",
        b"IF", b"BEGIN", b"END", b"COMMIT", b"USE", b"TRUNCATE", b"MERGE",
    ]
)


class Inserts:
    """Reads one INSERT after another, and remembers the last: most dumps repeat its head."""

    def __init__(self, reader: Reader, tables: Tables) -> None:
        self._reader, self._tables = reader, tables
        self.forget()

    def forget(self) -> None:
        """Tables have changed: the next head is read anew."""
        self._head = b""
        self._syntax: Syntax | None = None
        self._target: Target | None = None
        self._num_cells = 0
        self.has_tail = False

    def read(self) -> Iterator[Row | Broken]:
        """The rows of the INSERT at the current place, which is passed over but for its tail (``has_tail``: ON DUPLICATE KEY and the like).

        Raises MalformedError when the statement holds no rows that can be read.
        """
        reader = self._reader
        self.has_tail = False
        if self._head and self._syntax == reader.syntax and reader.window.data.startswith(self._head, reader.pos):
            assert self._target is not None
            reader.pos += len(self._head)
            yield from self._rows(self._target)
            return
        self.forget()
        end, head = reader.attempt(partial(read_insert, reader.lexer))
        if head.form not in ("VALUES", "SET"):
            raise MalformedError("rows from a query: only a database can answer it", end)
        if head.form == "SET":
            reader.pos = end
            yield from self._assigned(head.name)
            return
        self._target = self._tables.target(head.name, head.columns, reader.syntax.dialect)
        # The head reaches to the bracket of the first row, so that it can be recognised as a whole.
        length = end - reader.pos
        end, _ = reader.attempt(lambda data, pos, is_last: (reader.lexer.skip_trivia(data, pos + length, is_last), None))
        self._head, self._syntax = reader.window.data[reader.pos : end], reader.syntax
        if len(self._head) > MAX_REPEATED_HEAD_BYTES:
            self._head = b""
        reader.pos = end
        yield from self._rows(self._target)

    def _rows(self, target: Target) -> Iterator[Row | Broken]:
        reader = self._reader
        is_tsql = reader.syntax.dialect == "tsql"
        if target.listed is None and not target.columns:
            # Any piece of a text in brackets would pass for a row of a table of which nothing is known.
            landmark = NEXT_LINE if is_tsql else NEXT_STATEMENT
        else:
            landmark = NEXT_ROW_OR_LINE if is_tsql else NEXT_ROW
        while True:
            try:
                if self._num_cells and self._tables.num_rows(target.table) >= FAST_AFTER_ROWS:
                    yield from self._plain_rows(target)
                reader.token()
                end, cells = self._row()
                self._num_cells = len(cells)
                yield self._made(target, cells, end)
                reader.pos = end
                reader.pos, after = reader.attempt(self._separator)
                self.has_tail = after == "tail"
                if after != "row":
                    return
            except MalformedError as error:
                broken, found = reader.recover(error, landmark)
                yield broken
                if found is None or found.lastgroup != "row":
                    return

    def _plain_rows(self, target: Target) -> Iterator[Row]:
        reader, fit = self._reader, target.fit(self._num_cells)
        head = self._head if _may_repeat(self._head, reader.syntax) else b""
        plain = plain_rows(reader.syntax, self._num_cells, head)
        if plain is None or fit is None:
            return
        table, columns, tail = target.table, fit.columns, fit.tail
        while True:
            end, cells = plain.read(reader.window.data, reader.pos, reader.pos + reader.limit_bytes)
            if end == reader.pos:
                return
            index = self._tables.num_rows(table)
            for values in cells:
                yield Row(table, columns, values + tail if tail else values, index)
                index += 1
            self._tables.set_num_rows(table, index)
            reader.pos = end

    def _row(self) -> tuple[int, list[Cell]]:
        reader = self._reader
        try:
            return reader.attempt(partial(read_row, reader.lexer))
        except MalformedError:
            if not (reader.is_guess and reader.syntax.is_backslash_escape):
                raise
            guessed = reader.syntax
            reader.set_syntax(replace(guessed, is_backslash_escape=False))
            try:
                return reader.attempt(partial(read_row, reader.lexer))
            except MalformedError:
                reader.set_syntax(guessed)
                raise

    def _made(self, target: Target, cells: Sequence[Cell], end: int) -> Row | Broken:
        fit = target.fit(len(cells))
        if fit is None:
            reader = self._reader
            return Broken(reader.offset, target.misfit(len(cells)), reader.window.data[reader.pos : end][:RAW_CAP_BYTES])
        values = tuple(column.default if cell is DEFAULT else cell for cell, column in zip(cells, fit.given, strict=True))
        index = self._tables.num_rows(target.table)
        self._tables.set_num_rows(target.table, index + 1)
        return Row(target.table, fit.columns, values + fit.tail, index)

    def _separator(self, data: bytes, pos: int, is_last: bool) -> tuple[int, Literal["row", "tail", "end"]]:
        """What follows a row: another, the tail of the statement, or its end; and the index to read on at."""
        token = self._reader.lexer.token(data, pos, is_last)
        mark = data[token.start : min(token.end, token.start + 40)].upper()
        if mark == b",":
            return token.end, "row"
        if token.kind in ("delimiter", "end"):
            return token.end, "end"
        if token.kind == "word" and mark in _TAILS:
            return token.end, "tail"
        if token.kind == "word" and mark in _TSQL_STATEMENTS and self._reader.syntax.dialect == "tsql":
            return token.start, "end"
        shown = data[token.start : min(token.end, token.start + 40)].decode("utf-8", "replace")
        raise MalformedError(f"no valid SQL: a row is followed by {shown!r}", token.end)

    def _assigned(self, name: tuple[str, ...]) -> Iterator[Row | Broken]:
        """The one row of INSERT .. SET a = 1, b = 'x'."""
        reader = self._reader
        end, row = reader.attempt(self._assignments)
        target = self._tables.target(name, tuple(column for column, _ in row), reader.syntax.dialect)
        yield self._made(target, [cell for _, cell in row], end)
        self.has_tail = reader.window.data[end - 2 : end].upper() in _TAILS
        reader.pos = end

    def _assignments(self, data: bytes, pos: int, is_last: bool) -> tuple[int, list[tuple[str, Cell]]]:
        syntax = self._reader.syntax
        entries, end = read_cells(self._reader.lexer, data, pos, is_last, frozenset([b"", syntax.delimiter, b"ON", b"AS"]))
        return end, [_assignment(data, entry, syntax) for entry in entries]


def _assignment(data: bytes, tokens: Sequence[Token], syntax: Syntax) -> tuple[str, Cell]:
    marks = [data[token.start : token.end] if token.kind == "punct" else b"" for token in tokens]
    if b"=" not in marks[1:-1]:
        raise MalformedError("no valid SQL: an assignment is expected", tokens[-1].end)
    at = marks.index(b"=", 1)
    name = tokens[at - 2 if marks[at - 1] == b":" else at - 1]
    return unquoted(data[name.start : name.end], syntax), evaluate(data, tokens[at + 1 :], syntax)


def _may_repeat(head: bytes, syntax: Syntax) -> bool:
    """Whether no part of ``head`` can be taken for a row, and a semicolon ends a statement."""
    return b"'" not in head and not (syntax.is_double_quote_string and b'"' in head) and syntax.delimiter == b";"
