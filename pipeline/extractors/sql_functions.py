"""The functions that stand in expressions around values, and what they make of them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence

from pipeline.extractors.sql_geometry import stored_geometry
from pipeline.extractors.sql_strings import hex_of, unescape_unicode
from pipeline.extractors.sql_syntax import Syntax

Value = str | bytes | None


MAX_GROWN_CHARS = 1 << 26
"""``replace`` may not make a longer text than this: nested calls could grow one without end."""


class OpaqueError(Exception):
    """An expression whose value only a database knows."""


class Number(str):
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


def arithmetic(operator: str, left: Value, right: Value) -> Value:
    """A sum, difference or product of whole numbers; raises OpaqueError for others."""
    if not (isinstance(left, Number) and isinstance(right, Number)):
        raise OpaqueError
    if not (re.fullmatch(r"[-+]?\d{1,18}", left) and re.fullmatch(r"[-+]?\d{1,18}", right)):
        raise OpaqueError
    a, b = int(left), int(right)
    return Number(a + b if operator == "+" else a - b if operator == "-" else a * b)


def unhexed(digits: bytes) -> bytes:
    """The bytes of pairs of hex digits; raises OpaqueError."""
    try:
        return binascii.unhexlify(digits)
    except binascii.Error:
        raise OpaqueError from None


def _strings(values: Sequence[Value], count: int) -> list[str]:
    texts = [as_text(value) for value in values]
    if len(texts) != count or None in texts:
        raise OpaqueError
    return [text for text in texts if text is not None]


def _replace(values: Sequence[Value], syntax: Syntax) -> Value:
    if None in values:
        return None
    text, old, new = _strings(values, 3)
    if not old:
        return text
    if len(new) > len(old) and len(text) + text.count(old) * (len(new) - len(old)) > MAX_GROWN_CHARS:
        raise OpaqueError
    return text.replace(old, new)


def _char(values: Sequence[Value], syntax: Syntax) -> Value:
    numbers = [int(v) for v in values if isinstance(v, Number) and re.fullmatch(r"\d{1,7}", v)]
    limit = 127 if syntax.dialect == "mysql" else 0x10FFFF
    if len(numbers) != len(values) or any(n > limit or 0xD800 <= n <= 0xDFFF for n in numbers):
        raise OpaqueError
    return "".join(map(chr, numbers))


def _concat(values: Sequence[Value], syntax: Syntax) -> Value:
    if None in values and syntax.dialect == "mysql":
        return None
    return "".join(as_text(value) or "" for value in values)


def _length(values: Sequence[Value], syntax: Syntax) -> Value:
    (text,) = _strings(values, 1)
    return Number(len(text.encode("utf-8", "surrogatepass")) if syntax.dialect == "mysql" else len(text))


def _decode(values: Sequence[Value], syntax: Syntax) -> Value:
    text, form = _strings(values, 2)
    if form.lower() == "hex":
        return unhexed(text.encode("ascii", "replace"))
    return _from_base64(values[:1], syntax) if form.lower() == "base64" else _opaque()


def _opaque() -> Value:
    raise OpaqueError


def _from_base64(values: Sequence[Value], syntax: Syntax) -> Value:
    (text,) = _strings(values, 1)
    try:
        return base64.b64decode(text.encode("ascii", "replace"))
    except binascii.Error:
        raise OpaqueError from None


def _unhex(values: Sequence[Value], syntax: Syntax) -> Value:
    (text,) = _strings(values, 1)
    return unhexed(text.encode("ascii", "replace"))


def _unistr(values: Sequence[Value], syntax: Syntax) -> Value:
    (text,) = _strings(values, 1)
    return unescape_unicode(text)


def _geometry(values: Sequence[Value], syntax: Syntax) -> Value:
    if syntax.dialect != "mysql" or len(values) not in (1, 2):
        return _opaque()
    srid = values[1] if len(values) == 2 else "0"
    (text,) = _strings(values[:1], 1)
    try:
        return stored_geometry(text, int(srid or "0"))
    except ValueError:
        return _opaque()


FUNCTIONS: dict[str, Callable[[Sequence[Value], Syntax], Value]] = {
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
    "ST_GEOMFROMTEXT": _geometry,
    "GEOMFROMTEXT": _geometry,
}
