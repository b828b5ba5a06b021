"""The rows of INSERT and REPLACE statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, cast

import pyarrow as pa

from pipeline.documents import RAW_CAP_BYTES
from pipeline.extractors.sql_batches import read_inserted
from pipeline.extractors.sql_changes import Conflict, UnresolvedError, conflict_of
from pipeline.extractors.sql_events import Broken, Row, Rows, Settled, Unresolved
from pipeline.extractors.sql_heads import read_insert
from pipeline.extractors.sql_reader import NEXT_LINE, NEXT_ROW, NEXT_ROW_OR_LINE, NEXT_STATEMENT, Reader
from pipeline.extractors.sql_rows import read_cells, read_row
from pipeline.extractors.sql_strings import unquoted_name
from pipeline.extractors.sql_syntax import LOOKAHEAD_BYTES, IncompleteError, MalformedError, Syntax, Token
from pipeline.extractors.sql_tables import Tables, Target
from pipeline.extractors.sql_values import Cell, evaluate

MAX_REPEATED_HEAD_BYTES = 4096

_TAILS = frozenset([b"ON", b"AS", b"RETURNING", b"OPTION", b"WHERE"])
"""Words that may follow the rows of an INSERT."""
_TSQL_STATEMENTS = frozenset(
    [
        b"GO",
        b"INSERT",
        b"CREATE",
        b"SET",
        b"DROP",
        b"ALTER",
        b"UPDATE",
        b"DELETE",
        b"SELECT",
        b"PRINT",
        b"EXEC",
        b"EXECUTE",
        b"DECLARE",
        b"IF",
        b"BEGIN",
        b"END",
        b"COMMIT",
        b"USE",
        b"TRUNCATE",
        b"MERGE",
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
        self._conflict: Conflict | None = None
        self._tail, self._tail_conflict = b"", cast(Conflict | None, None)
        self._first = 0
        self.has_tail = False

    def read(self) -> Iterator[Row | Rows | Settled | Broken]:
        """The rows of the INSERT at the current place, which is passed over but for its tail (``has_tail``: ON DUPLICATE KEY and the like).

        ``settle`` must be called behind it. Raises MalformedError when the statement holds no rows that can be read.
        """
        reader = self._reader
        self.has_tail = False
        if self._target is not None:
            self._first = self._tables.num_rows(self._target.table)
        if self._head and self._syntax == reader.syntax and reader.window.data.startswith(self._head, reader.pos):
            assert self._target is not None
            reader.pos += len(self._head)
            yield from self._rows(self._target)
            return
        self.forget()
        end, head = reader.attempt(partial(read_insert, reader.lexer))
        if head.form not in ("VALUES", "SET"):
            raise MalformedError("rows from a query: only a database can answer it", end)
        self._conflict = Conflict(head.conflict) if head.conflict else None
        if head.form == "SET":
            reader.pos = end
            yield from self._assigned(head.name)
            return
        self._target = self._tables.target(head.name, head.columns, reader.syntax.dialect)
        self._first = self._tables.num_rows(self._target.table)
        # The head reaches to the bracket of the first row, so that it can be recognised as a whole.
        length = end - reader.pos
        end, _ = reader.attempt(lambda data, pos, is_last: (reader.lexer.skip_trivia(data, pos + length, is_last), None))
        self._head, self._syntax = reader.window.data[reader.pos : end], reader.syntax
        if len(self._head) > MAX_REPEATED_HEAD_BYTES:
            self._head = b""
        reader.pos = end
        yield from self._rows(self._target)

    def settle(self, tail: bytes) -> Iterator[Settled | Unresolved]:
        """What the statement that was read last, whose tail this is, does with rows whose key is there already."""
        target, reader = self._target, self._reader
        if target is None:
            return
        try:
            self._tail, self._tail_conflict = tail, conflict_of(tail, reader.syntax) if tail else None
        except (UnresolvedError, MalformedError, IncompleteError):
            self._tail, self._tail_conflict = b"", None
            yield Unresolved(target.table, "INSERT", reader.offset, tail[:RAW_CAP_BYTES])
        yield from self._settled(target, self._tables.num_rows(target.table))

    def _settled(self, target: Target, stop: int) -> Iterator[Settled]:
        conflict = self._tail_conflict or self._conflict
        if conflict is not None and stop > self._first:
            yield Settled(target.table, self._first, stop, conflict, self._reader.offset, self._tail[:RAW_CAP_BYTES])
        self._first = stop

    def _rows(self, target: Target) -> Iterator[Row | Rows | Settled | Broken]:
        reader = self._reader
        is_tsql = reader.syntax.dialect == "tsql"
        if target.listed is None and not target.columns:
            # Any piece of a text in brackets would pass for a row of a table of which nothing is known.
            landmark = NEXT_LINE if is_tsql else NEXT_STATEMENT
        else:
            landmark = NEXT_ROW_OR_LINE if is_tsql else NEXT_ROW
        while True:
            try:
                if self._num_cells and reader.offset >= reader.compiled_after_bytes:
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

    def _plain_rows(self, target: Target) -> Iterator[Rows | Settled]:
        """As many plain rows as follow each other, also over the ends of statements with the same head and tail."""
        reader, tables, fit = self._reader, self._tables, target.fit(self._num_cells)
        if fit is None:
            return
        head = self._head if reader.syntax.delimiter == b";" else b""
        while True:
            window = reader.window
            run = read_inserted(window.data, reader.pos, reader.lexer, fit, reader.limit_bytes, head, self._tail)
            if run.num_rows:
                first = tables.num_rows(target.table)
                tail = [pa.repeat(pa.scalar(value, pa.string()), run.num_rows) for value in fit.tail]
                tables.set_num_rows(target.table, first + run.num_rows)
                reader.pos = run.end
                yield Rows(target.table, fit.columns, [*run.columns, *tail], first)
                if run.num_ended:
                    yield from self._settled(target, first + run.num_ended)
            if run.is_starved and not window.is_last and len(window.data) - reader.pos <= reader.limit_bytes + LOOKAHEAD_BYTES:
                window.more(reader.pos)
                reader.pos = 0
            elif not run.is_full:
                return

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
        values = tuple(column.value(cell) for cell, column in zip(cells, fit.given, strict=True))
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
            return token.start, "tail"
        if token.kind == "word" and mark in _TSQL_STATEMENTS and self._reader.syntax.dialect == "tsql":
            return token.start, "end"
        shown = data[token.start : min(token.end, token.start + 40)].decode("utf-8", "replace")
        raise MalformedError(f"no valid SQL: a row is followed by {shown!r}", token.end)

    def _assigned(self, name: tuple[str, ...]) -> Iterator[Row | Broken]:
        """The one row of INSERT .. SET a = 1, b = 'x'."""
        reader = self._reader
        end, row = reader.attempt(self._assignments)
        target = self._target = self._tables.target(name, tuple(column for column, _ in row), reader.syntax.dialect)
        self._first = self._tables.num_rows(target.table)
        yield self._made(target, [cell for _, cell in row], end)
        self.has_tail = reader.window.data[end - 2 : end].upper() in _TAILS
        reader.pos = end - 2 if self.has_tail else end

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
    return unquoted_name(data[name.start : name.end], syntax), evaluate(data, tokens[at + 1 :], syntax)
