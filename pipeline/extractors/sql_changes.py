"""What statements do to rows that are there already: REPLACE, ON DUPLICATE KEY, ON CONFLICT, UPDATE, DELETE, TRUNCATE.

Understood is what has one meaning without a database: conditions that compare columns with literals, joined by AND; assignments of
literals and of the few expressions that ``sql_values`` works out, which may name columns of the old and the new row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.extractors.sql_functions import OpaqueError, Value, as_text
from pipeline.extractors.sql_heads import Head
from pipeline.extractors.sql_rows import read_cells
from pipeline.extractors.sql_strings import unquoted_name
from pipeline.extractors.sql_syntax import IncompleteError, Lexer, MalformedError, Syntax, Token, lexer_of
from pipeline.extractors.sql_values import known_value


class UnresolvedError(Exception):
    """A statement that only a database can work out."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """``column = expression``; the tokens lie in ``data``."""

    column: str
    data: bytes
    tokens: tuple[Token, ...]
    syntax: Syntax
    new_row: str = ""
    """The name that stands for the row to be inserted, in lower case."""

    def value(self, old: Mapping[str, str | None], new: Mapping[str, str | None]) -> str | None:
        """What the column becomes; both rows by names in lower case. Raises UnresolvedError."""

        def lookup(parts: Sequence[str]) -> Value:
            row = new if len(parts) > 1 and parts[-2].casefold() == self.new_row else old
            if parts[-1].casefold() not in row:
                raise OpaqueError
            return row[parts[-1].casefold()]

        def incoming(name: str) -> Value:
            return new.get(name.casefold())

        try:
            return as_text(known_value(self.data, self.tokens, self.syntax, lookup, incoming))
        except OpaqueError:
            raise UnresolvedError from None


@dataclass(frozen=True, slots=True)
class Conflict:
    """What an INSERT does with a row whose key another row has: ``replace`` it, ``ignore`` the new one, ``update`` the old one."""

    kind: Literal["replace", "ignore", "update"]
    assignments: tuple[Assignment, ...] = ()
    keys: tuple[str, ...] = ()
    """The columns of ON CONFLICT; none: every key of the table counts."""


@dataclass(frozen=True, slots=True)
class Condition:
    """``column operator values``: the operator is ``=``, ``<>``, ``IN``, ``NULL`` or ``NOT NULL``."""

    column: str
    operator: str
    values: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """The rows for which all of ``conditions`` hold go; all rows when there are none."""

    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """The rows for which all of ``conditions`` hold change."""

    assignments: tuple[Assignment, ...]
    conditions: tuple[Condition, ...] = ()


Change = Delete | Update

_AFTER_SET = frozenset([b"WHERE", b"FROM", b"ORDER", b"LIMIT", b"RETURNING", b"OUTPUT", b"", b";"])
_IGNORED_WORDS = ("LOW_PRIORITY", "QUICK", "IGNORE", "ONLY")


def conflict_of(tail: bytes, syntax: Syntax) -> Conflict | None:
    """What the tail of an INSERT says (``ON ..``, ``AS new ON ..``, up to its end); None when it says nothing about conflicts.

    Raises UnresolvedError and MalformedError.
    """
    head = _head(tail, syntax)
    new_row = "excluded"
    if head.skip("AS"):
        new_row = head.name()[-1].casefold()
        if head.word == "(":
            raise UnresolvedError
    if not head.skip("ON"):
        return None
    if head.skip("DUPLICATE"):
        head.skip("KEY")
        if not head.skip("UPDATE"):
            raise UnresolvedError
        return Conflict("update", _assignments(head, new_row)[0])
    if not head.skip("CONFLICT"):
        raise UnresolvedError
    keys = head.columns() or ()
    if head.skip("ON"):  # ON CONFLICT ON CONSTRAINT name
        head.step()
        head.name()
    if not head.skip("DO"):
        raise UnresolvedError
    if head.skip("NOTHING"):
        return Conflict("ignore", keys=keys)
    if not (head.skip("UPDATE") and head.skip("SET")):
        raise UnresolvedError
    assignments, head = _assignments(head, "excluded")
    if head.word == "WHERE":
        raise UnresolvedError
    return Conflict("update", assignments, keys)


def delete_of(statement: bytes, syntax: Syntax) -> tuple[tuple[str, ...], Delete]:
    """The table's name and the change of a DELETE or TRUNCATE; raises UnresolvedError and MalformedError."""
    head = _head(statement, syntax)
    is_truncate = head.skip("TRUNCATE")
    if is_truncate:
        head.skip("TABLE")
    else:
        head.step()
        while head.skip(*_IGNORED_WORDS):
            pass
        head.skip("FROM")
    while head.skip(*_IGNORED_WORDS):
        pass
    name = head.name()
    if is_truncate or head.token.kind in ("end", "delimiter"):
        if head.word == ",":
            raise UnresolvedError
        return name, Delete()
    if not head.skip("WHERE"):
        raise UnresolvedError
    return name, Delete(_conditions(head))


def update_of(statement: bytes, syntax: Syntax) -> tuple[tuple[str, ...], Update]:
    """The table's name and the change of an UPDATE; raises UnresolvedError and MalformedError."""
    head = _head(statement, syntax)
    head.step()
    while head.skip(*_IGNORED_WORDS):
        pass
    name = head.name()
    if not head.skip("SET"):
        raise UnresolvedError
    assignments, head = _assignments(head, "")
    if head.token.kind in ("end", "delimiter"):
        return name, Update(assignments)
    if not head.skip("WHERE"):
        raise UnresolvedError
    return name, Update(assignments, _conditions(head))


def table_of(statement: bytes, syntax: Syntax) -> tuple[str, ...]:
    """The first name of an UPDATE, DELETE, TRUNCATE or MERGE, as well as it can be told; () when there is none."""
    try:
        head = _head(statement, syntax)
        head.step()
        while head.skip(*_IGNORED_WORDS, "FROM", "INTO", "TABLE"):
            pass
        return head.name()
    except (MalformedError, IncompleteError):
        return ()


def _head(statement: bytes, syntax: Syntax) -> Head:
    return Head(lexer_of(syntax), statement, 0, True)


def _assignments(head: Head, new_row: str) -> tuple[tuple[Assignment, ...], Head]:
    """The assignments at the cursor, and a cursor at what follows them."""
    lexer, data = head.lexer, head.data
    entries, _ = read_cells(lexer, data, head.token.start, True, _AFTER_SET)
    if not entries:
        raise UnresolvedError
    assignments = tuple(_assignment(data, entry, lexer.syntax, new_row) for entry in entries)
    return assignments, Head(lexer, data, entries[-1][-1].end, True)


def _assignment(data: bytes, tokens: Sequence[Token], syntax: Syntax, new_row: str) -> Assignment:
    marks = [data[token.start : token.end] if token.kind == "punct" else b"" for token in tokens]
    if b"=" not in marks[1:-1]:
        raise UnresolvedError
    at = marks.index(b"=", 1)
    name = tokens[at - 1]
    if name.kind not in ("word", "name", "string"):
        raise UnresolvedError
    return Assignment(unquoted_name(data[name.start : name.end], syntax), data, tuple(tokens[at + 1 :]), syntax, new_row)


def _conditions(head: Head) -> tuple[Condition, ...]:
    lexer, data = head.lexer, head.data
    entries, end = read_cells(lexer, data, head.token.start, True, frozenset([b"", b";"]))
    if len(entries) != 1 or data[end:].strip():
        raise UnresolvedError
    conditions: list[Condition] = []
    term: list[Token] = []
    for token in [*entries[0], Token("end", end, end)]:
        if token.kind == "end" or (token.kind == "word" and data[token.start : token.end].upper() == b"AND"):
            conditions.append(_condition(data, term, lexer))
            term = []
        else:
            term.append(token)
    return tuple(conditions)


def _condition(data: bytes, tokens: Sequence[Token], lexer: Lexer) -> Condition:
    texts = [data[t.start : t.end].upper() if t.kind in ("word", "punct") else t.kind.encode() for t in tokens]
    while len(texts) > 2 and texts[1] == b".":
        tokens, texts = tokens[2:], texts[2:]
    if len(texts) < 3 or tokens[0].kind not in ("word", "name"):
        raise UnresolvedError
    column, operator = unquoted_name(data[tokens[0].start : tokens[0].end], lexer.syntax), texts[1]
    if operator == b"IS" and texts[2:] in ([b"NULL"], [b"NOT", b"NULL"]):
        return Condition(column, " ".join(text.decode() for text in texts[2:]))
    if operator == b"=":
        return Condition(column, "=", (_literal(data, tokens[2:], lexer.syntax),))
    if operator == b"<" and texts[2] == b">" and len(texts) > 3:
        return Condition(column, "<>", (_literal(data, tokens[3:], lexer.syntax),))
    if operator == b"IN" and texts[2] == b"(" and texts[-1] == b")":
        entries, _ = read_cells(lexer, data, tokens[2].end, True, frozenset([b")"]))
        return Condition(column, "IN", tuple(_literal(data, entry, lexer.syntax) for entry in entries))
    raise UnresolvedError


def _literal(data: bytes, tokens: Sequence[Token], syntax: Syntax) -> str | None:
    try:
        return as_text(known_value(data, tokens, syntax))
    except OpaqueError:
        raise UnresolvedError from None
