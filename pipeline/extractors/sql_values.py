r"""The values of SQL literals and of the few expressions that dumping programs write around them.

Evaluated are ``replace('..\n..','\n',char(10))`` and ``unistr`` (sqlite), CAST and CONVERT, string concatenation, whole-number sums,
``decode(.., 'hex')``, array constructors and the like. Anything else (``NOW()``, ``ST_GeomFromText(..)``) cannot be known without a
database: it stays as it is written. Nothing is looked up by name but in the table ``FUNCTIONS``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from pipeline.extractors.sql_functions import FUNCTIONS, Number, OpaqueError, Value, arithmetic, as_text, unhexed
from pipeline.extractors.sql_strings import content, text_of, unescape_unicode, unquoted_name
from pipeline.extractors.sql_syntax import Syntax, Token, codec_of


class Keyword(Enum):
    """A cell that is no value but stands for one."""

    DEFAULT = "DEFAULT"


DEFAULT: Final = Keyword.DEFAULT
Cell = str | None | Keyword

MAX_DEPTH = 40
"""Expressions nested deeper than this stay as they are written."""


def evaluate(data: bytes, tokens: Sequence[Token], syntax: Syntax) -> Cell:
    """The value of one cell of a VALUES list, which is at least one token."""
    if len(tokens) == 1 and data[tokens[0].start : tokens[0].end].upper() == b"DEFAULT":
        return DEFAULT
    try:
        return as_text(known_value(data, tokens, syntax))
    except OpaqueError:
        return text_of(data[tokens[0].start : tokens[-1].end], syntax.charset)


Lookup = Callable[[Sequence[str]], Value]
"""The value of a column by the parts of its name; raises OpaqueError when there is none."""


def known_value(
    data: bytes, tokens: Sequence[Token], syntax: Syntax, lookup: Lookup | None = None, incoming: Callable[[str], Value] | None = None
) -> Value:
    """The value of an expression, which may name columns where ``lookup`` is given; ``incoming`` answers MySQL's ``VALUES(column)``.

    Raises OpaqueError when only a database knows it.
    """
    expression = _Expression(data, tokens, syntax, lookup, incoming)
    value = expression.value(0)
    if expression.next < len(tokens):
        raise OpaqueError
    return value


_TYPED_LITERALS = ("DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "INTERVAL", "JSON", "JSONB", "UUID")


class _Expression:
    """A cursor over the tokens of one cell; each method reads one rule of the grammar or raises OpaqueError."""

    def __init__(self, data: bytes, tokens: Sequence[Token], syntax: Syntax, lookup: Lookup | None, incoming: Callable[[str], Value] | None) -> None:
        self._data, self._tokens, self._syntax = data, tokens, syntax
        self._lookup, self._incoming = lookup, incoming
        self.next = 0

    def _peek(self, ahead: int = 0) -> str:
        """The token at the cursor in upper case when it is a word or punctuation, else its kind in lower case; "" at the end."""
        if self.next + ahead >= len(self._tokens):
            return ""
        kind, start, end = self._tokens[self.next + ahead]
        return self._data[start:end].upper().decode("latin-1") if kind in ("word", "punct") else kind

    def _take(self) -> bytes:
        if self.next >= len(self._tokens):
            raise OpaqueError
        _, start, end = self._tokens[self.next]
        self.next += 1
        return self._data[start:end]

    def _expect(self, mark: str) -> None:
        if self._peek() != mark:
            raise OpaqueError
        self.next += 1

    def value(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise OpaqueError
        left = self._product(depth)
        while (operator := self._peek()) in ("+", "-", "||"):
            self.next += 1
            left = self._combine(operator, left, self._product(depth))
        return left

    def _product(self, depth: int) -> Value:
        left = self._postfix(depth)
        while self._peek() == "*":
            self.next += 1
            left = arithmetic("*", left, self._postfix(depth))
        return left

    def _combine(self, operator: str, left: Value, right: Value) -> Value:
        is_text = operator == "||" and self._syntax.dialect != "mysql"
        if operator == "+" and self._syntax.dialect == "tsql" and not (isinstance(left, Number) and isinstance(right, Number)):
            is_text = True
        if not is_text:
            return arithmetic(operator, left, right)
        return None if left is None or right is None else (as_text(left) or "") + (as_text(right) or "")

    def _postfix(self, depth: int) -> Value:
        value = self._primary(depth)
        while (word := self._peek()) in ("::", "COLLATE"):
            self.next += 1
            if word == "COLLATE":
                self._take()
            else:
                self._type_name()
        return value

    def _type_name(self) -> None:
        self._take()
        while self._peek() in ("VARYING", "PRECISION", "WITH", "WITHOUT", "TIME", "ZONE", "."):
            if self._take() == b".":
                self._take()
        if self._peek() == "(":
            while self._take() != b")":
                pass
        while self._peek() in ("[", "]", "number") and self._peek():
            self.next += 1

    def _primary(self, depth: int) -> Value:
        mark = self._peek()
        if mark == "string":
            return self._string()
        if mark == "number":
            return self._number(self._take())
        if mark in ("-", "+"):
            self.next += 1
            operand = self._primary(depth + 1) if depth < MAX_DEPTH else None
            if not isinstance(operand, Number) or operand[:1] in "+-":
                raise OpaqueError
            return Number(mark + operand)
        if mark == "(":
            self.next += 1
            value = self.value(depth + 1)
            self._expect(")")
            return value
        if mark == "name" and self._lookup is not None:
            return self._column(self._lookup)
        if mark == "name" and self._data[self._tokens[self.next].start] == ord('"'):
            return text_of(self._take()[1:-1].replace(b'""', b'"'), self._syntax.charset)
        return self._word(depth)

    def _string(self) -> Value:
        token = self._take()
        prefix = token[:1].upper()
        if prefix == b"X":
            return unhexed(token[2:-1])
        if prefix == b"B":
            return self._bits(token[2:-1])
        if prefix == b"U":
            return self._unicode_string(token)
        parts = [content(token, self._syntax)]
        while self._peek() == "string" and self._data[self._tokens[self.next].start] in b"'\"":
            parts.append(content(self._take(), self._syntax))
        return text_of(b"".join(parts), self._syntax.charset)

    def _unicode_string(self, token: bytes) -> str:
        escape = "\\"
        if self._peek() == "UESCAPE":
            self.next += 1
            escape = content(self._take(), self._syntax).decode("latin-1")[:1]
        text = text_of(token[3:-1].replace(b"''", b"'"), self._syntax.charset)
        return unescape_unicode(text if escape == "\\" else text.replace("\\", "\\\\").replace(escape, "\\"))

    def _number(self, token: bytes) -> Value:
        kind = token[:2].lower()
        if kind == b"0b":
            return self._bits(token[2:])
        if kind != b"0x":
            is_real = self._syntax.dialect == "sqlite" and b"e" in token.lower()
            return Number(float(token) if is_real and math.isinf(float(token)) else token.decode("ascii"))
        digits = token[2:]
        if self._syntax.dialect in ("mysql", "tsql"):
            return unhexed(b"0" * (len(digits) % 2) + digits)
        return Number(int(digits, 16)) if 0 < len(digits) <= 16 else Number(token.decode("ascii"))

    def _bits(self, digits: bytes) -> Value:
        if digits.strip(b"01"):
            raise OpaqueError
        if self._syntax.dialect != "mysql":
            return digits.decode("ascii")
        return int(digits or b"0", 2).to_bytes((len(digits) + 7) // 8, "big")

    def _word(self, depth: int) -> Value:
        word = self._peek()
        if word in ("NULL", "TRUE", "FALSE"):
            text = self._take().decode("ascii")
            return None if word == "NULL" else text
        after = self._peek(1)
        if word.startswith("_") and after in ("string", "number"):
            return self._introduced(word)
        if after == "string" and (word in _TYPED_LITERALS or word == "BINARY"):
            self.next += 1
            return self._string()
        if word == "ARRAY" and after == "[":
            self.next += 1
            return _array_text(self._array(depth + 1))
        if after == "(" and word in ("CAST", "TRY_CAST", "CONVERT"):
            self.next += 2
            return self._converted(depth + 1, is_type_first=word == "CONVERT" and self._syntax.dialect == "tsql")
        if after == "(" and word in FUNCTIONS:
            self.next += 2
            return FUNCTIONS[word](self._arguments(depth + 1), self._syntax)
        if word == "VALUES" and after == "(" and self._incoming is not None:
            self.next += 2
            value = self._incoming(unquoted_name(self._take(), self._syntax))
            self._expect(")")
            return _typed(value)
        if word and after != "(" and self._lookup is not None:
            return self._column(self._lookup)
        raise OpaqueError

    def _column(self, lookup: Lookup) -> Value:
        parts = [unquoted_name(self._take(), self._syntax)]
        while self._peek() == ".":
            self.next += 1
            parts.append(unquoted_name(self._take(), self._syntax))
        return _typed(lookup(parts))

    def _introduced(self, word: str) -> Value:
        """MySQL's ``_utf8mb4 '..'``, ``_latin1 0xE9``, ``_binary '..'``."""
        self.next += 1
        is_string = self._peek() == "string" and self._data[self._tokens[self.next].start] in b"'\""
        raw: Value = content(self._take(), self._syntax) if is_string else self._primary(MAX_DEPTH)
        codec = codec_of(word[1:], self._syntax.dialect)
        if word == "_BINARY" or codec is None or not isinstance(raw, bytes):
            return raw
        return text_of(raw, codec)

    def _converted(self, depth: int, is_type_first: bool) -> Value:
        """The rest of CAST(x AS type), CONVERT(x, type), CONVERT(x USING charset), CONVERT(type, x, style): x."""
        if is_type_first:
            self._type_name()
            self._expect(",")
        value = self.value(depth)
        open_brackets = 1
        while open_brackets:
            mark = self._take()
            open_brackets += (mark == b"(") - (mark == b")")
        return value

    def _arguments(self, depth: int) -> list[Value]:
        values: list[Value] = []
        while self._peek() != ")":
            values.append(self.value(depth))
            if self._peek() != ")":
                self._expect(",")
        self.next += 1
        return values

    def _array(self, depth: int) -> list[object]:
        self._expect("[")
        items: list[object] = []
        while self._peek() != "]":
            items.append(self._array(depth + 1) if self._peek() == "[" and depth < MAX_DEPTH else self.value(depth))
            if self._peek() != "]":
                self._expect(",")
        self.next += 1
        return items


def _typed(value: Value) -> Value:
    """A cell as a value to reckon with: what looks like a whole number is one."""
    return Number(value) if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value) else value


def _array_text(items: Sequence[object]) -> str:
    """PostgreSQL's text of an array: ``{a,"b,c",NULL,{1,2}}``."""
    return "{" + ",".join(_array_text(i) if isinstance(i, list) else _array_item(as_text(i)) for i in items) + "}"  # type: ignore[arg-type]


def _array_item(text: str | None) -> str:
    if text is None:
        return "NULL"
    if text and text.upper() != "NULL" and not re.search(r'[{},"\\\s]', text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
