"""Reads a SQL dump as a stream of tables and rows. Nothing in it is ever executed.

The scanner goes from statement to statement. Those that bring rows (INSERT, REPLACE, COPY) are read row by row, so that a statement of
any size needs the memory of one row; small statements that matter (CREATE TABLE, DROP TABLE, SET, USE) go to ``sql_ddl``; all others are
passed over token by token. What cannot be read becomes ``Broken``, and reading goes on at the next row or statement.

Every piece is read by a function of (bytes, index, whether the file ends there) which raises IncompleteError when it needs more bytes. So
the events do not depend on how the stream falls into chunks, and the work is linear: the window grows by doubling, and what was looked at
in vain may not exceed what was read (``sql_reader.SLACK_BYTES``).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Literal

from pipeline.documents import RAW_CAP_BYTES
from pipeline.extractors import sql_alter, sql_changes, sql_ddl
from pipeline.extractors.sql_copy import read_copy_rows
from pipeline.extractors.sql_events import Broken, Changed, CreateTable, DropTable, Event, RenameTable, Row, Rows, Unresolved
from pipeline.extractors.sql_insert import Inserts
from pipeline.extractors.sql_reader import NEXT_LINE, NEXT_STATEMENT, Reader
from pipeline.extractors.sql_syntax import HEAD_BYTES, LOOKAHEAD_BYTES, Dialect, IncompleteError, MalformedError, Token, detect, syntax_of
from pipeline.extractors.sql_tables import Tables
from pipeline.extractors.sql_window import Window, utf16_of

__all__ = ["Broken", "CreateTable", "DropTable", "Event", "Row", "Rows", "scan"]

CHUNK_BYTES = 1 << 20
MAX_ROW_BYTES = 1 << 25
"""A row, a small statement, a comment or a line of COPY data longer than this is Broken: it bounds the memory."""

_FOREIGN = {
    b"PGDMP": "not text: a pg_dump archive; turn it into SQL with pg_restore -f",
    b"SQLite format 3\0": "not text: a SQLite database, not a dump of one",
}

_STATEMENTS = frozenset(
    [
        "ALTER", "ANALYZE", "ATTACH", "BACKUP", "BEGIN", "CALL", "CHECKPOINT", "CLOSE", "CLUSTER", "COMMENT", "COMMIT", "DBCC",
        "DEALLOCATE", "DECLARE", "DELETE", "DENY", "DETACH", "DISABLE", "DISCARD", "DO", "ELSE", "ENABLE", "END", "EXEC", "EXECUTE",
        "EXPLAIN", "FETCH", "FLUSH", "GRANT", "HANDLER", "IF", "IMPORT", "INSTALL", "KILL", "LISTEN", "LOAD", "LOCK", "MERGE", "NOTIFY",
        "OPEN", "OPTIMIZE", "PRAGMA", "PREPARE", "PRINT", "PURGE", "RAISERROR", "REASSIGN", "REFRESH", "REINDEX", "RELEASE", "RENAME",
        "REPAIR", "RESET", "RESTORE", "RETURN", "REVOKE", "ROLLBACK", "SAVE", "SAVEPOINT", "SECURITY", "SELECT", "SHOW", "SHUTDOWN",
        "SOURCE", "START", "TABLE", "TRUNCATE", "UNLISTEN", "UNLOCK", "UPDATE", "USE", "VACUUM", "VALUES", "WAITFOR", "WHILE", "WITH",
        "XA",
    ]
)  # fmt: skip
"""Statements that bring no rows and change nothing about how to read on."""

_CHANGES = frozenset(["UPDATE", "DELETE", "TRUNCATE", "MERGE"])
"""Statements that change the rows which are there already."""

_ROUTINES = frozenset(["TRIGGER", "PROCEDURE", "PROC", "FUNCTION", "EVENT", "PACKAGE"])
_OBJECTS = _ROUTINES | frozenset(
    [
        "TABLE", "VIEW", "INDEX", "TYPE", "SEQUENCE", "SCHEMA", "DATABASE", "EXTENSION", "ROLE", "USER", "DOMAIN", "AGGREGATE", "RULE",
    ]
)  # fmt: skip
_TSQL_STARTS = frozenset([b"GO", b"INSERT", b"CREATE", b"SET", b"DROP"])

_CHANGING = re.compile(rb"NAMES|CHARSET|CHARACTER|ENCODING|SQL_MODE|CONFORMING|QUOTED_|SEARCH_PATH", re.IGNORECASE)
"""What a SET must hold to be worth the time of sqlparse."""

MAX_STATEMENT_TOKENS = 100_000
"""A CREATE TABLE of more words than this is refused; sqlparse reads about as many in a second."""

SHORT_BYTES = 32
"""A file may end with a statement as short as this (COMMIT, UNLOCK TABLES) that has no semicolon: it is not cut short."""


COMPILED_AFTER_BYTES = 1 << 18
"""The compiled loops take half a second to load, and some seconds where they were never used before."""


def scan(
    stream: IO[bytes],
    dialect: Literal["auto"] | Dialect = "auto",
    chunk_bytes: int = CHUNK_BYTES,
    max_row_bytes: int = MAX_ROW_BYTES,
    compiled_after_bytes: int = COMPILED_AFTER_BYTES,
    tables: Tables | None = None,
) -> Iterator[Event]:
    """The tables and rows of a dump, in its order, and a Broken for each piece that cannot be read.

    Values are text as a client of the database shows it: strings decoded, numbers and booleans as written, binary data as text where it
    is UTF-8 and else as ``0x..``. A column that a statement leaves out holds its default where that is a literal; otherwise it is missing.
    From ``compiled_after_bytes`` on plain rows come as Rows, many at a time; all others as Row. ``tables``: what earlier files of the same
    database have told. Memory is bounded by ``chunk_bytes`` and ``max_row_bytes``; the events are the same for every ``chunk_bytes``.
    """
    window = Window(stream, chunk_bytes)
    head = window.peek(HEAD_BYTES)
    codec = utf16_of(head)
    if codec:
        window.transcode(codec, 0)
        head = head.decode(codec, "replace").encode()
    head = head.removeprefix(codecs.BOM_UTF8)
    found = detect(head)
    foreign = next((error for magic, error in _FOREIGN.items() if head.startswith(magic)), None)
    if foreign or (b"\0" in head and found is None):
        yield Broken(0, foreign or "not text: binary data", head[:RAW_CAP_BYTES])
        return
    chosen = found if dialect == "auto" else dialect
    reader = Reader(window, syntax_of(chosen or "mysql"), max_row_bytes, chosen is None, compiled_after_bytes)
    yield from _Scanner(reader, tables or Tables()).events()
    if window.error:
        yield Broken(window.base + len(window.data), window.error, b"")


class _Scanner:
    """Goes from statement to statement."""

    def __init__(self, reader: Reader, tables: Tables) -> None:
        self._reader, self._tables = reader, tables
        self._inserts = Inserts(reader, self._tables)

    def events(self) -> Iterator[Event]:
        """All events up to the end of the stream."""
        reader = self._reader
        while True:
            try:
                first = reader.token()
                if first.kind == "end":
                    return
                if first.kind == "delimiter":
                    reader.pos = first.end
                else:
                    yield from self._statement(first)
            except MalformedError as error:
                yield reader.recover(error, NEXT_LINE if reader.syntax.dialect == "tsql" else NEXT_STATEMENT)[0]

    def _statement(self, first: Token) -> Iterator[Event]:
        reader = self._reader
        word = reader.text(first).decode("latin-1")
        if word in ("INSERT", "REPLACE"):
            yield from self._inserts.read()
            yield from self._tail()
        elif word == "COPY":
            yield from read_copy_rows(reader, self._tables)
        elif word == "CREATE":
            yield from self._create()
        elif word == "DROP":
            yield from self._drop()
        elif word == "ALTER":
            yield from self._alter()
        elif word in _CHANGES:
            yield from self._change(word)
        elif word == "SET":
            self._set()
        elif word == "USE" and reader.syntax.dialect == "mysql":
            self._use()
        elif word == "GO" or (word == "DELIMITER" and reader.syntax.dialect == "mysql") or self._is_client_command(first):
            self._client_line()
        elif word in _STATEMENTS:
            yield from self._pass_over()
        else:
            yield reader.recover(MalformedError("no valid SQL: no statement begins so", first.end), NEXT_LINE)[0]

    def _is_client_command(self, first: Token) -> bool:
        r"""Whether this is psql's ``\connect``, sqlite's ``.mode`` or the like."""
        mark = self._reader.window.data[first.start : first.start + 2]
        return mark[:1] == b"\\" or (mark[:1] == b"." and mark[1:].isalpha())

    def _client_line(self) -> None:
        """A line for the client program, which is passed over. Only MySQL's DELIMITER is heeded."""
        end, line = self._reader.attempt(_line)
        self._reader.pos = end
        words = line.split()
        if words and words[0].upper() == b"DELIMITER" and len(words) > 1 and len(words[1]) <= LOOKAHEAD_BYTES // 2:
            self._reader.set_syntax(replace(self._reader.syntax, delimiter=words[1]))

    def _items(self) -> list[sql_ddl.Item]:
        """The small statement at the current place, which is passed over."""
        reader = self._reader
        reader.pos, tokens = reader.attempt(self._parse_statement)
        return sql_ddl.items_of(reader.window.data, tokens, reader.syntax)

    def _parse_statement(self, data: bytes, pos: int, is_last: bool) -> tuple[int, list[Token]]:
        lexer = self._reader.lexer
        tokens: list[Token] = []
        depth = 0
        while True:
            token = lexer.token(data, pos, is_last)
            if len(tokens) > MAX_STATEMENT_TOKENS:
                raise MalformedError(f"too long: a statement of more than {MAX_STATEMENT_TOKENS:,} words", pos)
            if token.kind == "end" and depth > 0:
                raise MalformedError("cut short: the file ends inside a statement", pos)
            if token.kind in ("delimiter", "end"):
                return token.end, tokens
            if depth == 0 and tokens and b"\n" in data[pos : token.start] and self._begins_statement(data[token.start : token.end]):
                return token.start, tokens
            mark = data[token.start : token.end] if token.kind == "punct" else b""
            depth += (mark == b"(") - (mark == b")")
            tokens.append(token)
            pos = token.end

    def _begins_statement(self, word: bytes) -> bool:
        """Whether a line that begins with ``word`` begins a T-SQL statement, which the one before needs no semicolon for."""
        return self._reader.syntax.dialect == "tsql" and word.upper() in _TSQL_STARTS

    def _written(self) -> bytes:
        """The small statement at the current place without its delimiter; it is passed over."""
        reader = self._reader
        end, tokens = reader.attempt(self._parse_statement)
        statement = reader.window.data[reader.pos : tokens[-1].end if tokens else reader.pos]
        reader.pos = end
        return statement

    def _cut_short(self, offset: int, raw: bytes) -> Iterator[Broken]:
        """Broken when the statement from ``offset`` to here ends with the file and not with a delimiter."""
        reader = self._reader
        is_ended = reader.window.data[: reader.pos].endswith(reader.syntax.delimiter) or reader.syntax.dialect == "tsql"
        if not is_ended and reader.offset - offset > SHORT_BYTES:
            yield Broken(offset, "cut short: the file ends inside a statement", raw[:RAW_CAP_BYTES])

    def _tail(self) -> Iterator[Event]:
        """What follows the rows of an INSERT."""
        reader = self._reader
        if not self._inserts.has_tail:
            yield from self._inserts.settle(b"")
            return
        offset = reader.offset
        tail = self._written()
        yield from self._inserts.settle(tail)
        yield from self._cut_short(offset, tail)

    def _change(self, verb: str) -> Iterator[Event]:
        """An UPDATE, DELETE, TRUNCATE or MERGE; of no interest where the dump has not told of its table."""
        reader = self._reader
        offset = reader.offset
        statement = self._written()
        yield from self._cut_short(offset, statement)
        name = sql_changes.table_of(statement, reader.syntax)
        table = self._tables.shown(name) if name else None
        if table is None:
            return
        try:
            if verb == "MERGE":
                raise sql_changes.UnresolvedError
            parse = sql_changes.update_of if verb == "UPDATE" else sql_changes.delete_of
            yield Changed(table, parse(statement, reader.syntax)[1], verb, offset, statement[:RAW_CAP_BYTES])
        except (sql_changes.UnresolvedError, MalformedError, IncompleteError):
            yield Unresolved(table, verb, offset, statement[:RAW_CAP_BYTES])

    def _alter(self) -> Iterator[Event]:
        """An ALTER TABLE or CREATE UNIQUE INDEX."""
        reader = self._reader
        offset, raw = reader.offset, reader.raw()
        items, dialect = self._items(), reader.syntax.dialect
        yield from self._cut_short(offset, raw)
        name = sql_alter.altered_table(items, dialect)
        definition = self._tables.known(name) if name else None
        if definition is None or not name:
            return
        self._inserts.forget()
        altered = sql_alter.altered(items, definition, dialect)
        shown = self._tables.redefine(name, altered.definition)
        if altered.definition != definition:
            yield CreateTable(shown, altered.definition, altered.renamed)
        if altered.new_name:
            yield RenameTable(*self._tables.rename(name, altered.new_name))
        if not altered.is_resolved:
            yield Unresolved(shown, "ALTER", offset, raw)

    def _create(self) -> Iterator[Event]:
        reader = self._reader
        _, kind = reader.attempt(self._parse_created_object)
        if kind == "INDEX":
            yield from self._alter()
            return
        if kind != "TABLE":
            yield from self._pass_over(kind)
            return
        offset, raw = reader.offset, reader.raw()
        items = self._items()
        defined = sql_ddl.definition(items, reader.syntax.dialect)
        if defined.name:
            self._inserts.forget()
            yield CreateTable(*self._tables.define(defined))
        if sql_ddl.is_from_query(items, defined):
            yield Broken(offset, "rows from a query: only a database can answer it", raw[: reader.offset - offset])

    def _parse_created_object(self, data: bytes, pos: int, is_last: bool) -> tuple[int, str]:
        """What kind of object a CREATE makes: the first word of ``_OBJECTS``."""
        for _ in range(30):
            token = self._reader.lexer.token(data, pos, is_last)
            word = data[token.start : token.end].upper().decode("latin-1") if token.kind == "word" else ""
            if token.kind in ("end", "delimiter") or word in _OBJECTS:
                return token.end, word
            pos = token.end
        return pos, ""

    def _drop(self) -> Iterator[DropTable]:
        for name in sql_ddl.dropped_tables(self._items(), self._reader.syntax.dialect):
            self._inserts.forget()
            yield DropTable(self._tables.drop(name))

    def _set(self) -> None:
        reader = self._reader
        end, _ = reader.attempt(self._parse_statement)
        if _CHANGING.search(reader.window.data, reader.pos, end) is None:
            reader.pos = end
            return
        items = self._items()
        path = sql_ddl.search_path(items, self._reader.syntax.dialect)
        if path is not None:
            self._move_to(path)
        self._reader.set_syntax(sql_ddl.changed_syntax(items, self._reader.syntax))

    def _use(self) -> None:
        items = self._items()
        if len(items) > 1:
            self._move_to(items[1].written or items[1].text)

    def _move_to(self, schema: str) -> None:
        self._tables.schema = schema
        self._inserts.forget()

    def _pass_over(self, created: str = "") -> Iterator[Broken]:
        """Go behind a statement that brings no rows; Broken when the file ends before it does.

        The body of a routine may hold statements of its own, between BEGIN and END; that of a rule, in brackets.
        """
        reader, is_tsql = self._reader, self._reader.syntax.dialect == "tsql"
        offset, raw = reader.offset, reader.raw()
        has_blocks = created in _ROUTINES and reader.syntax.delimiter == b";"
        depth = num_blocks = 0
        last_kind, last_word, last_offset = "", b"", -1
        while True:
            token = reader.token()
            if last_kind == "string" and token.kind in ("word", "number", "string") and reader.offset == last_offset:
                raise MalformedError("no valid SQL: a quotation is closed at the wrong place", token.end)
            word = reader.text(token) if token.kind in ("word", "punct") else b""
            if is_tsql and last_kind and reader.is_after_newline and self._begins_statement(word) and (word == b"GO" or not has_blocks):
                return
            if token.kind == "end":
                if not is_tsql and reader.offset - offset > SHORT_BYTES:
                    yield Broken(offset, "cut short: the file ends inside a statement", raw)
                return
            reader.pos = token.end
            if token.kind == "delimiter" and not (is_tsql and has_blocks) and num_blocks == 0 and (depth == 0 or created != "RULE"):
                return
            depth = max(0, depth + (word == b"(") - (word == b")"))
            if has_blocks:
                num_blocks = max(0, num_blocks + _block_change(word, last_word))
            last_kind, last_word, last_offset = token.kind, word, reader.offset


def _block_change(word: bytes, last_word: bytes) -> int:
    """How a word of a routine's body changes the depth of its blocks: BEGIN and CASE open one, END closes one, END IF and the like none."""
    if word == b"END":
        return -1
    if last_word == b"END":
        return 1 if word in (b"IF", b"LOOP", b"WHILE", b"REPEAT") else 0
    return 1 if word in (b"BEGIN", b"CASE") else 0


def _line(data: bytes, pos: int, is_last: bool) -> tuple[int, bytes]:
    end = data.find(b"\n", pos) + 1
    if end == 0 and not is_last:
        raise IncompleteError
    end = end or len(data)
    return end, data[pos:end]
