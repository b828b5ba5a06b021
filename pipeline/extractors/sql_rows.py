"""The rows of a VALUES list: one at a time, token by token; and many at a time, with one pattern, where they hold plain literals only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from functools import lru_cache

from pipeline.extractors.sql_strings import content, text_of, unescape_mysql
from pipeline.extractors.sql_syntax import Lexer, MalformedError, Syntax, Token, string_pattern
from pipeline.extractors.sql_values import DEFAULT, Cell, evaluate

MAX_ROW_TOKENS = 100_000
"""A row of more tokens is refused: no database has tables of more than 32,767 columns."""

_FOLLOWING_WORDS = frozenset(
    b"COLLATE AS AT UESCAPE AND OR IS IN LIKE NOT BETWEEN DIV MOD XOR ESCAPE USING FOR FROM THEN ELSE END WHEN ORDER SEPARATOR "
    b"YEAR MONTH DAY HOUR MINUTE SECOND WEEK QUARTER MICROSECOND".split()
)
"""The words that may stand after a value within an expression. Any other shows that a quotation was closed at the wrong place."""

_BRACKET = frozenset([b")"])
_MARKS = frozenset(b"+-*/%|&^~<>=!.,:()[]{}?@")


def read_row(lexer: Lexer, data: bytes, pos: int, is_last: bool) -> tuple[int, list[Cell]]:
    """One ``(.., ..)`` at or after ``pos``: the index behind it, and its cells. Raises IncompleteError and MalformedError."""
    token = lexer.token(data, pos, is_last)
    if token.kind == "word" and data[token.start : token.end].upper() == b"ROW":
        token = lexer.token(data, token.end, is_last)
    if data[token.start : token.end] != b"(":
        raise MalformedError(_expected("a row", data, token), token.end)
    cells, end = read_cells(lexer, data, token.end, is_last, _BRACKET)
    return end, [evaluate(data, cell, lexer.syntax) for cell in cells]


def read_cells(lexer: Lexer, data: bytes, pos: int, is_last: bool, closing: Set[bytes]) -> tuple[list[list[Token]], int]:
    """The tokens of each expression of a list with commas up to a token of ``closing`` (upper case), and the index behind that.

    Raises MalformedError where no expression can go on, so that an unclosed quotation does not eat its neighbours.
    """
    cells: list[list[Token]] = [[]]
    last: Token | None = None
    depth = num_tokens = 0
    while True:
        token = lexer.token(data, pos, is_last)
        kind, start, pos = token
        mark = data[start:pos].upper() if kind != "string" else b"'"
        if depth == 0 and mark in closing:
            break
        num_tokens += 1
        if num_tokens > MAX_ROW_TOKENS:
            raise MalformedError(f"too long: a row of more than {MAX_ROW_TOKENS:,} words", pos)
        if kind in ("end", "delimiter"):
            raise MalformedError(_expected("the end of a row", data, token), pos)
        if depth == 0 and mark == b",":
            cells.append([])
            last = None
            continue
        if last is not None and not _may_follow(data, last, token):
            raise MalformedError(_expected("a comma or bracket after a value", data, token), pos)
        if kind == "punct":
            if not _MARKS.issuperset(mark):
                raise MalformedError(_expected("a value", data, token), pos)
            depth += (mark in (b"(", b"[")) - (mark in (b")", b"]"))
            if depth < 0:
                raise MalformedError(_expected("a value", data, token), pos)
        cells[-1].append(token)
        last = token
    if cells == [[]]:
        return [], pos
    if not all(cells):
        raise MalformedError("no valid SQL: a value is missing between two commas", pos)
    return cells, pos


def _may_follow(data: bytes, last: Token, token: Token) -> bool:
    if last.kind == "punct" and data[last.start : last.end] not in (b")", b"]"):
        return True
    if token.kind == "punct":
        return data[token.start : token.end] != b"(" or last.kind in ("word", "name")
    if last.kind == "word":
        return True
    if token.kind == "word":
        return data[token.start : token.end].upper() in _FOLLOWING_WORDS
    return token.kind == "string" and last.kind == "string" and data[token.start] in b"'\""


def _expected(what: str, data: bytes, token: Token) -> str:
    if token.kind == "end":
        return f"cut short: the file ends where {what} is expected"
    found = data[token.start : min(token.end, token.start + 40)].decode("utf-8", "replace")
    return f"no valid SQL: {what} is expected, not {found!r}"


MAX_FAST_COLUMNS = 300
MAX_FAST_ROWS = 1000
"""How many rows one match may take: it bounds the memory of a batch."""

_PLAIN_NUMBER = rb"[-+]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?\d++)?+"


class PlainRows:
    """Reads runs of rows that hold only numbers, NULL and strings, at the speed of ``re``.

    Between two rows stands a comma or, where ``head`` is given, the end of the statement and the same head again. A row is matched only
    when it is followed by either, so that whatever is different (and the last row of a run) is left to ``read_row``.
    """

    def __init__(self, syntax: Syntax, num_columns: int, head: bytes) -> None:
        self._syntax = syntax
        hexadecimal = b"|0[xX](?:[0-9A-Fa-f]{2})++" if syntax.dialect == "mysql" else b""
        literal = b"NULL|null|" + _PLAIN_NUMBER + hexadecimal + b"|(?:_binary )?+(?:" + string_pattern(syntax) + b")"
        row = rb"\(\s*+%s" + rb"\s*+,\s*+%s" * (num_columns - 1) + rb"\s*+\)\s*+"
        again = rb"|;?\s*+(?:GO\s++)?+" if syntax.dialect == "tsql" else rb"|;\s*+"
        separator = b"(?:,\\s*+" + (again + re.escape(head) if head else b"") + b")"
        plain_row = b"(?>" + row.replace(b"%s", b"(?:" + literal + b")") + b")"
        self._run = re.compile(rb"\s*+(?:" + plain_row + separator + b"){1,%d}+" % MAX_FAST_ROWS, re.DOTALL).match
        self._rows = re.compile(row.replace(b"%s", b"(" + literal + b")").decode("latin-1"), re.DOTALL | re.ASCII).findall
        self._is_single = num_columns == 1

    def read(self, data: bytes, pos: int, end: int) -> tuple[int, Iterator[tuple[str | None, ...]]]:
        """The index behind the run of plain rows from ``pos`` up to ``end``, and their cells; ``pos`` and nothing when there is none."""
        found = self._run(data, pos, end)
        if found is None:
            return pos, iter(())
        return found.end(), self._cells(found[0])

    def _cells(self, run: bytes) -> Iterator[tuple[str | None, ...]]:
        syntax = self._syntax
        try:
            text, is_clean = run.decode(syntax.charset), True
        except UnicodeDecodeError:
            text, is_clean = run.decode("latin-1"), False
        for row in self._rows(text):
            literals = (row,) if self._is_single else row
            if is_clean:
                yield tuple([v[1:-1] if v[0] == "'" and "\\" not in v and "'" not in v[1:-1] else _cell(v, syntax) for v in literals])
            else:
                yield tuple([_raw_cell(v.encode("latin-1"), syntax) for v in literals])


def _cell(literal: str, syntax: Syntax) -> str | None:
    first = literal[0]
    if first in "+-.0123456789" and literal[:2] not in ("0x", "0X"):
        return literal
    if literal in ("NULL", "null"):
        return None
    if literal.startswith("_binary ") and syntax.charset == "utf-8":
        literal, first = literal[8:], literal[8]
    if first in "Nn":
        literal, first = literal[1:], "'"
    if first in "'\"" and syntax.is_backslash_escape and syntax.dialect == "mysql":
        return unescape_mysql(literal[1:-1], first)
    if first == "'" and not syntax.is_backslash_escape:
        return literal[1:-1].replace("''", "'")
    return _raw_cell(literal.encode(syntax.charset), syntax)


def _raw_cell(literal: bytes, syntax: Syntax) -> str | None:
    if literal[:1] in b"'\"" or literal[:2].upper() in (b"N'", b"E'"):
        return text_of(content(literal, syntax), syntax.charset)
    if literal[:1] == b"_":
        tokens = [Token("word", 0, 7), Token("string", 8, len(literal))]
    else:
        kind = "string" if literal[-1:] in b"'\"" else "word" if literal[:1] in b"nN" else "number"
        tokens = [Token(kind, 0, len(literal))]
    cell = evaluate(literal, tokens, syntax)
    assert cell is not DEFAULT
    return cell


@lru_cache(maxsize=64)
def plain_rows(syntax: Syntax, num_columns: int, head: bytes) -> PlainRows | None:
    """The reader of plain rows of ``num_columns`` cells, or None when there are too many columns for one pattern."""
    return PlainRows(syntax, num_columns, head) if 0 < num_columns <= MAX_FAST_COLUMNS else None
