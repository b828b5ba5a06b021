"""The rows of a VALUES list, one at a time, token by token."""

from __future__ import annotations

from collections.abc import Set

from pipeline.extractors.sql_strings import content, text_of
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


_PLAIN_NUMBER = rb"[-+]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?\d++)?+"


def literal_pattern(syntax: Syntax) -> bytes:
    """The pattern of NULL, a plain number or a string; one group-less alternative."""
    hexadecimal = b"|0[xX](?:[0-9A-Fa-f]{2})++" if syntax.dialect == "mysql" else b""
    return b"NULL|null|" + _PLAIN_NUMBER + hexadecimal + b"|(?:_binary )?+(?:" + string_pattern(syntax) + b")"


def cell_of(literal: bytes, syntax: Syntax) -> str | None:
    """The text of one literal of ``literal_pattern``."""
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
