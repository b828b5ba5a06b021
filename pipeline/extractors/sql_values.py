r"""The values of SQL literals and of the few expressions that dumping programs write around them.

Evaluated are ``replace('..\n..','\n',char(10))`` and ``unistr`` (sqlite), CAST and CONVERT, string concatenation, whole-number sums,
``decode(.., 'hex')``, array constructors and the like. Anything else (``NOW()``, ``ST_GeomFromText(..)``) cannot be known without a
database: it stays as it is written. Nothing is looked up by name but in the table ``_FUNCTIONS``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from pipeline.extractors.sql_strings import content, hex_of, text_of, unescape_unicode
from pipeline.extractors.sql_syntax import Syntax, Token, codec_of

Value = str | bytes | None


class Keyword(Enum):
    """A cell that is no value but stands for one."""

    DEFAULT = "DEFAULT"


DEFAULT: Final = Keyword.DEFAULT
Cell = str | None | Keyword

MAX_DEPTH = 40
"""Expressions nested deeper than this stay as they are written."""

MAX_GROWN_CHARS = 1 << 26
"""``replace`` may not make a longer text than this: nested calls could grow one without end."""


class _OpaqueError(Exception):
    """An expression whose value only a database knows."""


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def as_text(value: Value) -> str | None:
    """A value as a cell: binary data is text where it is valid UTF-8, else hex."""
    if not isinstance(value, bytes):
        return None if value is None else str(value)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return hex_of(value)


def evaluate(data: bytes, tokens: Sequence[Token], syntax: Syntax) -> Cell:
    """The value of one cell of a VALUES list, which is at least one token."""
    if len(tokens) == 1 and data[tokens[0].start : tokens[0].end].upper() == b"DEFAULT":
        return DEFAULT
    cell = _Expression(data, tokens, syntax)
    try:
        value = cell.value(0)
        if cell.next < len(tokens):
            raise _OpaqueError
    except _OpaqueError:
        return text_of(data[tokens[0].start : tokens[-1].end], syntax.charset)
    return as_text(value)


_TYPED_LITERALS = ("DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "INTERVAL", "JSON", "JSONB", "UUID")


class _Expression:
    """A cursor over the tokens of one cell; each method reads one rule of the grammar or raises _OpaqueError."""

    def __init__(self, data: bytes, tokens: Sequence[Token], syntax: Syntax) -> None:
        self._data, self._tokens, self._syntax = data, tokens, syntax
        self.next = 0

    def _peek(self, ahead: int = 0) -> str:
        """The token at the cursor in upper case when it is a word or punctuation, else its kind in lower case; "" at the end."""
        if self.next + ahead >= len(self._tokens):
            return ""
        kind, start, end = self._tokens[self.next + ahead]
        return self._data[start:end].upper().decode("latin-1") if kind in ("word", "punct") else kind

    def _take(self) -> bytes:
        if self.next >= len(self._tokens):
            raise _OpaqueError
        _, start, end = self._tokens[self.next]
        self.next += 1
        return self._data[start:end]

    def _expect(self, mark: str) -> None:
        if self._peek() != mark:
            raise _OpaqueError
        self.next += 1

    def value(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise _OpaqueError
        left = self._product(depth)
        while (operator := self._peek()) in ("+", "-", "||"):
            self.next += 1
            left = self._combine(operator, left, self._product(depth))
        return left

    def _product(self, depth: int) -> Value:
        left = self._postfix(depth)
        while self._peek() == "*":
            self.next += 1
            left = _arithmetic("*", left, self._postfix(depth))
        return left

    def _combine(self, operator: str, left: Value, right: Value) -> Value:
        is_text = operator == "||" and self._syntax.dialect != "mysql"
        if operator == "+" and self._syntax.dialect == "tsql" and not (isinstance(left, _Number) and isinstance(right, _Number)):
            is_text = True
        if not is_text:
            return _arithmetic(operator, left, right)
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
            if not isinstance(operand, _Number) or operand[:1] in "+-":
                raise _OpaqueError
            return _Number(mark + operand)
        if mark == "(":
            self.next += 1
            value = self.value(depth + 1)
            self._expect(")")
            return value
        if mark == "name" and self._data[self._tokens[self.next].start] == ord('"'):
            return text_of(self._take()[1:-1].replace(b'""', b'"'), self._syntax.charset)
        return self._word(depth)

    def _string(self) -> Value:
        token = self._take()
        prefix = token[:1].upper()
        if prefix == b"X":
            return _unhexed(token[2:-1])
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
            return _Number(token.decode("ascii"))
        digits = token[2:]
        if self._syntax.dialect in ("mysql", "tsql"):
            return _unhexed(b"0" * (len(digits) % 2) + digits)
        return _Number(int(digits, 16)) if 0 < len(digits) <= 16 else _Number(token.decode("ascii"))

    def _bits(self, digits: bytes) -> Value:
        if digits.strip(b"01"):
            raise _OpaqueError
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
        if after == "(" and word in _FUNCTIONS:
            self.next += 2
            return _FUNCTIONS[word](self._arguments(depth + 1), self._syntax)
        raise _OpaqueError

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


def _array_text(items: Sequence[object]) -> str:
    """PostgreSQL's text of an array: ``{a,"b,c",NULL,{1,2}}``."""
    return "{" + ",".join(_array_text(i) if isinstance(i, list) else _array_item(as_text(i)) for i in items) + "}"  # type: ignore[arg-type]


def _array_item(text: str | None) -> str:
    if text is None:
        return "NULL"
    if text and text.upper() != "NULL" and not re.search(r'[{},"\\\s]', text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _arithmetic(operator: str, left: Value, right: Value) -> Value:
    if not (isinstance(left, _Number) and isinstance(right, _Number)):
        raise _OpaqueError
    if not (re.fullmatch(r"[-+]?\d{1,18}", left) and re.fullmatch(r"[-+]?\d{1,18}", right)):
        raise _OpaqueError
    a, b = int(left), int(right)
    return _Number(a + b if operator == "+" else a - b if operator == "-" else a * b)


def _unhexed(digits: bytes) -> bytes:
    try:
        return binascii.unhexlify(digits)
    except binascii.Error:
        raise _OpaqueError from None


def _strings(values: Sequence[Value], count: int) -> list[str]:
    texts = [as_text(value) for value in values]
    if len(texts) != count or None in texts:
        raise _OpaqueError
    return [text for text in texts if text is not None]


def _replace(values: Sequence[Value], syntax: Syntax) -> Value:
    if None in values:
        return None
    text, old, new = _strings(values, 3)
    if not old:
        return text
    if len(new) > len(old) and len(text) + text.count(old) * (len(new) - len(old)) > MAX_GROWN_CHARS:
        raise _OpaqueError
    return text.replace(old, new)


def _char(values: Sequence[Value], syntax: Syntax) -> Value:
    numbers = [int(v) for v in values if isinstance(v, _Number) and re.fullmatch(r"\d{1,7}", v)]
    limit = 127 if syntax.dialect == "mysql" else 0x10FFFF
    if len(numbers) != len(values) or any(n > limit or 0xD800 <= n <= 0xDFFF for n in numbers):
        raise _OpaqueError
    return "".join(map(chr, numbers))


def _concat(values: Sequence[Value], syntax: Syntax) -> Value:
    if None in values and syntax.dialect == "mysql":
        return None
    return "".join(as_text(value) or "" for value in values)


def _length(values: Sequence[Value], syntax: Syntax) -> Value:
    (text,) = _strings(values, 1)
    return _Number(len(text.encode("utf-8", "surrogatepass")) if syntax.dialect == "mysql" else len(text))


def _decode(values: Sequence[Value], syntax: Syntax) -> Value:
    text, form = _strings(values, 2)
    if form.lower() == "hex":
        return _unhexed(text.encode("ascii", "replace"))
    return _from_base64(values[:1], syntax) if form.lower() == "base64" else _opaque()


def _opaque() -> Value:
    raise _OpaqueError


def _from_base64(values: Sequence[Value], syntax: Syntax) -> Value:
    (text,) = _strings(values, 1)
    try:
        return base64.b64decode(text.encode("ascii", "replace"))
    except binascii.Error:
        raise _OpaqueError from None


def _unhex(values: Sequence[Value], syntax: Syntax) -> Value:
    (text,) = _strings(values, 1)
    return _unhexed(text.encode("ascii", "replace"))


def _unistr(values: Sequence[Value], syntax: Syntax) -> Value:
    (text,) = _strings(values, 1)
    return unescape_unicode(text)


_FUNCTIONS: dict[str, Callable[[Sequence[Value], Syntax], Value]] = {
    "REPLACE": _replace,
    "CHAR": _char,
    "CHR": _char,
    "NCHAR": _char,
    "CONCAT": _concat,
    "LENGTH": _length,
    "DECODE": _decode,
    "FROM_BASE64": _from_base64,
    "UNHEX": _unhex,
    "UNISTR": _unistr,
}
