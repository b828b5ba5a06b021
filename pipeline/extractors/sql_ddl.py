"""The small statements of a dump, read with sqlparse: CREATE TABLE and DROP TABLE for tables and columns, SET and USE for how to read on.

sqlparse gets each statement as a skeleton: comments are gone, and every string and quoted name is replaced by a number in quotes that
points to it. So no dialect's quoting can mislead it, and only its lexer is used, which has no caps and runs in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from sqlparse import lexer as sqlparse_lexer
from sqlparse import tokens as kinds

from pipeline.extractors.sql_strings import unquoted_name
from pipeline.extractors.sql_syntax import Dialect, Syntax, Token, codec_of
from pipeline.extractors.sql_values import DEFAULT, Cell, evaluate


class Item(NamedTuple):
    """A token of a small statement. ``kind``: word (``text`` in upper case), name, string, number or mark."""

    kind: str
    text: str
    written: str = ""
    """A word as it is written."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a CREATE TABLE: its name and what a row holds that does not give it."""

    name: str
    default: str | None = None
    has_default: bool = False
    """Whether ``default`` is a literal; no default, or one that a database must work out, is False."""
    is_computed: bool = False
    """A generated column or a row version: some dialects leave it out of an INSERT that names no columns."""
    is_counted: bool = False
    """An identity column, which T-SQL leaves out in the same way; the database numbers the rows that do not give it."""
    type: str = ""
    """The first word of its type, in upper case."""
    size: int = 0
    """The first number in brackets behind it: ``bit(16)``."""
    is_exact: bool = True
    """Whether its keys differ by case: MySQL's text does not, but for binary collations."""

    def value(self, cell: Cell) -> str | None:
        """What the column holds where a row gives ``cell``."""
        return self.default if cell is DEFAULT else cell


@dataclass(frozen=True, slots=True)
class Definition:
    """A CREATE TABLE: the parts of its name (schema, table), its columns, its key; no columns when the statement lists none."""

    name: tuple[str, ...]
    columns: tuple[Column, ...] = ()
    key: tuple[str, ...] = ()
    parents: tuple[tuple[str, ...], ...] = ()
    """Tables whose columns come first: INHERITS, PARTITION OF, LIKE."""
    unique: tuple[tuple[str, ...], ...] = ()
    """Further keys: UNIQUE."""
    first_number: int = 1
    """What the database counts from: AUTO_INCREMENT = 100."""
    is_conditional: bool = False
    """IF NOT EXISTS."""

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """All keys, each as names of columns that are there."""
        names = {column.name.casefold(): column.name for column in reversed(self.columns)}
        keys = [tuple(names.get(name.casefold(), "") for name in key) for key in (self.key, *self.unique)]
        return tuple(dict.fromkeys(key for key in keys if key and "" not in key))


def items_of(data: bytes, tokens: Sequence[Token], syntax: Syntax) -> list[Item]:
    """The tokens of one statement as sqlparse sees them."""
    quoted: list[Item] = []
    words: list[str] = []
    for token in tokens:
        raw = data[token.start : token.end]
        if token.kind == "string":
            cell = evaluate(data, [token], syntax)
            quoted.append(Item("string", "" if cell is None or cell is DEFAULT else cell))
            words.append(f"'{len(quoted) - 1}'")
        elif token.kind == "name" or (token.kind == "word" and not _PLAIN_WORD.fullmatch(raw)):
            quoted.append(Item("name", unquoted_name(raw, syntax)))
            words.append(f'"{len(quoted) - 1}"')
        else:
            words.append(raw.decode("ascii", "replace"))
    return _lexed(" ".join(words), quoted)


_PLAIN_WORD = re.compile(rb"[A-Za-z_]\w*+")


def _lexed(skeleton: str, quoted: Sequence[Item]) -> list[Item]:
    items: list[Item] = []
    for kind, text in sqlparse_lexer.tokenize(skeleton):
        if kind in kinds.Whitespace:
            continue
        if kind in kinds.String:
            items.append(quoted[int(text[1:-1])])
        elif kind in kinds.Number:
            items.append(Item("number", text))
        elif text[0].isalpha() or text[0] == "_":
            items += [Item("word", word.upper(), word) for word in text.split()]
        else:
            items.append(Item("mark", text))
    return items


class Cursor:
    """A place in a list of items."""

    def __init__(self, items: Sequence[Item], dialect: Dialect) -> None:
        self.items, self.dialect, self.next = items, dialect, 0

    def peek(self) -> str:
        """The text at the cursor when it is a word or a mark, else its kind in lower case, "" at the end."""
        if self.next >= len(self.items):
            return ""
        item = self.items[self.next]
        return item.text if item.kind in ("word", "mark") else item.kind

    def skip(self, *words: str) -> bool:
        """Pass over ``words`` when all of them stand here."""
        here = [item.text for item in self.items[self.next : self.next + len(words)] if item.kind in ("word", "mark")]
        if here != list(words):
            return False
        self.next += len(words)
        return True

    def name(self) -> tuple[str, ...]:
        """The parts of a name with dots, () when none stands here."""
        parts: list[str] = []
        while self.next < len(self.items) and self.items[self.next].kind in ("word", "name", "string"):
            parts.append(self._part(self.items[self.next]))
            self.next += 1
            if not self.skip("."):
                break
        return tuple(parts)

    def _part(self, item: Item) -> str:
        if item.kind != "word":
            return item.text
        return item.written.lower() if self.dialect == "postgresql" else item.written

    def names_in_brackets(self) -> tuple[str, ...]:
        """The first name of each entry of a bracketed list: ``(a, `b`(10), "c" DESC)``."""
        return tuple(name[-1] for entry in split_list(self.bracketed()) if (name := Cursor(entry, self.dialect).name()))

    def bracketed(self) -> list[Item]:
        """The items between the bracket here and its partner."""
        depth, start = 0, self.next + 1
        while self.next < len(self.items):
            mark = self.items[self.next].text if self.items[self.next].kind == "mark" else ""
            depth += (mark == "(") - (mark == ")")
            self.next += 1
            if depth == 0:
                return list(self.items[start : self.next - 1])
        return list(self.items[start:])


def split_list(items: Sequence[Item]) -> list[list[Item]]:
    """The entries of a list with commas, those in brackets left whole."""
    entries: list[list[Item]] = [[]]
    depth = 0
    for item in items:
        mark = item.text if item.kind == "mark" else ""
        depth += (mark == "(") - (mark == ")")
        if depth == 0 and mark == ",":
            entries.append([])
        else:
            entries[-1].append(item)
    return [entry for entry in entries if entry]


def after_table(items: Sequence[Item], dialect: Dialect) -> Cursor:
    """A cursor at the name that follows TABLE."""
    cursor = Cursor(items, dialect)
    while cursor.next < len(items) and not cursor.skip("TABLE"):
        cursor.next += 1
    for words in (("IF", "NOT", "EXISTS"), ("IF", "EXISTS"), ("ONLY",)):
        cursor.skip(*words)
    return cursor


def dropped_tables(items: Sequence[Item], dialect: Dialect) -> list[tuple[str, ...]]:
    """The names of a DROP TABLE."""
    cursor = after_table(items, dialect)
    names = [cursor.name()]
    while cursor.skip(","):
        names.append(cursor.name())
    return [name for name in names if name]


_CONSTRAINTS: dict[Dialect, frozenset[str]] = {
    "mysql": frozenset(["PRIMARY", "UNIQUE", "CONSTRAINT", "FOREIGN", "CHECK", "KEY", "INDEX", "FULLTEXT", "SPATIAL", "PERIOD"]),
    "postgresql": frozenset(["PRIMARY", "UNIQUE", "CONSTRAINT", "FOREIGN", "CHECK", "EXCLUDE", "LIKE"]),
    "sqlite": frozenset(["PRIMARY", "UNIQUE", "CONSTRAINT", "FOREIGN", "CHECK"]),
    "tsql": frozenset(["PRIMARY", "UNIQUE", "CONSTRAINT", "FOREIGN", "CHECK", "INDEX", "PERIOD"]),
}
"""The words that begin an entry of CREATE TABLE which is no column: reserved in the dialect, so that no column has such a bare name."""


def definition(items: Sequence[Item], dialect: Dialect) -> Definition:
    """What a CREATE TABLE says."""
    cursor = after_table(items, dialect)
    is_conditional = ("NOT", "EXISTS") in pairwise(item.text for item in items[: cursor.next])
    found = Definition(cursor.name())
    parents: list[tuple[str, ...]] = []
    if cursor.skip("PARTITION", "OF") or cursor.skip("LIKE"):
        return replace(found, parents=(cursor.name(),))
    if cursor.peek() != "(":
        return found
    entries = split_list(cursor.bracketed())
    if entries and entries[0][0].text in ("SELECT", "WITH") and entries[0][0].kind == "word":
        return found
    columns: list[Column] = []
    key: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = []
    for entry in entries:
        inside = Cursor(entry, dialect)
        if entry[0].kind == "word" and entry[0].text in _CONSTRAINTS[dialect]:
            is_primary, names = key_of_constraint(inside)
            key = names if is_primary else key
            unique += [names] if names and not is_primary else []
            if inside.skip("LIKE"):
                parents.append(inside.name())
        elif name := inside.name():
            columns.append(column_of(name[-1], inside))
            key = (name[-1],) if _has_words(inside, "PRIMARY", "KEY") else key
            unique += [(name[-1],)] if _has_words(inside, "UNIQUE") else []
    if cursor.skip("INHERITS") and cursor.peek() == "(":
        parents += [Cursor(entry, dialect).name() for entry in split_list(cursor.bracketed())]
    options = Cursor(items[cursor.next :], dialect)
    if dialect == "sqlite":
        columns = [replace(column, is_counted=True) if (column.name,) == key and column.type == "INTEGER" else column for column in columns]
    if dialect == "mysql" and any(item.text.endswith("_BIN") or item.text == "BINARY" for item in options.items if item.kind == "word"):
        columns = [replace(column, is_exact=True) for column in columns]
    return Definition(found.name, tuple(columns), key, tuple(parents), tuple(unique), _first_number(options), is_conditional)


def is_from_query(items: Sequence[Item], defined: Definition) -> bool:
    """Whether a CREATE TABLE brings rows: CREATE TABLE .. AS SELECT."""
    return not defined.columns and not defined.parents and any(item.kind == "word" and item.text == "SELECT" for item in items)


def _first_number(options: Cursor) -> int:
    """What AUTO_INCREMENT says among the options of a table."""
    for option, mark, value in zip(options.items, options.items[1:], options.items[2:], strict=False):
        if option.text == "AUTO_INCREMENT" and mark.text == "=" and value.kind == "number" and value.text.isdigit():
            return int(value.text)
    return 1


def key_of_constraint(entry: Cursor) -> tuple[bool, tuple[str, ...]]:
    """Whether this is the primary key, and the columns of the key; none where the entry is no key or covers parts of values only."""
    start = entry.next
    if entry.skip("CONSTRAINT") and entry.peek() not in ("PRIMARY", "UNIQUE"):
        entry.name()
    is_primary = entry.skip("PRIMARY", "KEY")
    if not is_primary and not entry.skip("UNIQUE"):
        entry.next = start
        return False, ()
    while entry.peek() not in ("(", ""):
        entry.next += 1
    parts = split_list(entry.bracketed()) if entry.peek() == "(" else []
    if any(item.text == "(" for part in parts for item in part):
        return is_primary, ()
    return is_primary, tuple(name[-1] for part in parts if (name := Cursor(part, entry.dialect).name()))


def _has_words(column: Cursor, *words: str) -> bool:
    texts = [item.text if item.kind == "word" else "" for item in _outside_brackets(column.items)]
    return words in (tuple(texts[at : at + len(words)]) for at in range(len(texts)))


def _outside_brackets(items: Sequence[Item]) -> list[Item]:
    outside, depth = [], 0
    for item in items:
        mark = item.text if item.kind == "mark" else ""
        if depth == 0:
            outside.append(item)
        depth += (mark == "(") - (mark == ")")
    return outside


_COUNTED = frozenset(["AUTO_INCREMENT", "AUTOINCREMENT", "IDENTITY", "SERIAL", "BIGSERIAL", "SMALLSERIAL"])
_TEXT_TYPES = (["CHAR"], ["VARCHAR"], ["TINYTEXT"], ["TEXT"], ["MEDIUMTEXT"], ["LONGTEXT"], ["ENUM"], ["SET"], ["NCHAR"], ["NVARCHAR"])
_AFTER_DEFAULT = frozenset(
    [
        "NOT",
        "NULL",
        "COMMENT",
        "ON",
        "PRIMARY",
        "UNIQUE",
        "KEY",
        "CHECK",
        "REFERENCES",
        "CONSTRAINT",
        "COLLATE",
        "INVISIBLE",
        "VISIBLE",
        "AFTER",
        "FIRST",
        "::",
        ")",
    ]
)
"""What may follow a default that is a literal; an operator may not."""


def column_of(name: str, entry: Cursor) -> Column:
    """The column whose name the cursor has just passed."""
    rest = _outside_brackets(entry.items[entry.next :])
    words = [item.text if item.kind in ("word", "mark") else "" for item in rest]
    is_counted = not _COUNTED.isdisjoint(words)
    is_computed = not is_counted and ("AS" in words or (words[:1] in (["ROWVERSION"], ["TIMESTAMP"]) and entry.dialect == "tsql"))
    found, default = _default(entry) if "DEFAULT" in words and not is_counted else (False, None)
    is_counted = is_counted or "NEXTVAL" in words
    numbers = [item.text for item in entry.items[entry.next + 1 : entry.next + 3] if item.kind == "number" and item.text.isdigit()]
    is_exact = entry.dialect != "mysql" or words[:1] not in _TEXT_TYPES or any(w.endswith("_BIN") or w == "BINARY" for w in words)
    return Column(name, default, found, is_computed, is_counted, words[0] if words else "", int(numbers[0]) if numbers else 0, is_exact)


def _default(entry: Cursor) -> tuple[bool, str | None]:
    """Whether the column has a literal default, and which."""
    items = entry.items
    start = next(i for i, item in enumerate(items) if (item.kind, item.text) == ("word", "DEFAULT")) + 1
    value = [item for item in items[start:] if (item.kind, item.text) != ("mark", "(")]
    sign = value.pop(0).text if value and value[0].text in ("-", "+") else ""
    if not value:
        return False, None
    first, after = value[0], value[1] if len(value) > 1 else Item("mark", ")")
    if after.text not in _AFTER_DEFAULT:
        return False, None
    if first.kind in ("string", "number"):
        return True, sign + first.text
    if first.kind == "word" and first.text in ("NULL", "TRUE", "FALSE"):
        return True, None if first.text == "NULL" else first.written
    return False, None


def changed_syntax(items: Sequence[Item], syntax: Syntax) -> Syntax:
    """How to read on after a SET statement."""
    for index, item in enumerate(items):
        values = items[index + 1 :]
        if item.kind != "word" and not item.text.startswith("@@"):
            continue
        word = item.text.removeprefix("@@").upper()
        if word == "NAMES" or (word in ("CHARSET", "CHARACTER") and index == 1):
            values = values[1:] if word == "CHARACTER" else values
            return _with_charset(syntax, values)
        if not values or values[0].text not in ("=", ":", "TO", "ON", "OFF"):
            continue
        if word == "CLIENT_ENCODING":
            return _with_charset(syntax, values[1:])
        syntax = _with_mode(syntax, word, values)
    return syntax


def _with_charset(syntax: Syntax, values: Sequence[Item]) -> Syntax:
    name = (values[0].written or values[0].text) if values else ""
    codec = codec_of(name, syntax.dialect)
    return replace(syntax, charset=codec) if codec else syntax


def _with_mode(syntax: Syntax, word: str, values: Sequence[Item]) -> Syntax:
    end = next((i for i, item in enumerate(values) if (item.kind, item.text) == ("mark", ",")), len(values))
    texts = [item.text.upper() for item in values[:end]]
    if word == "SQL_MODE" and any(item.kind == "string" for item in values[:end]):
        modes = set(re.findall(r"\w+", " ".join(texts)))
        ansi = not modes.isdisjoint({"ANSI_QUOTES", "ANSI"})
        return replace(syntax, is_backslash_escape="NO_BACKSLASH_ESCAPES" not in modes, is_double_quote_string=not ansi)
    if word == "STANDARD_CONFORMING_STRINGS" and syntax.dialect == "postgresql":
        return replace(syntax, is_backslash_escape=texts[-1:] not in (["ON"], ["TRUE"], ["1"], ["YES"]))
    if word == "QUOTED_IDENTIFIER" and syntax.dialect == "tsql":
        return replace(syntax, is_double_quote_string="OFF" in texts)
    return syntax


def search_path(items: Sequence[Item], dialect: Dialect) -> str | None:
    """The schema that names without one belong to after ``SET search_path = schema, ..``; None for other statements."""
    cursor = Cursor(items, dialect)
    if not (cursor.skip("SET", "SEARCH_PATH") and (cursor.skip("=") or cursor.skip("TO"))):
        return None
    return (cursor.name() or ("",))[-1]
