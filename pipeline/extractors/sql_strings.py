"""What the strings of SQL stand for: quotes, the escapes of each dialect, and the bytes inside as text."""

from __future__ import annotations

import re

from pipeline.extractors.sql_syntax import Syntax

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def text_of(raw: bytes, charset: str) -> str:
    """Bytes of a text value as text. What is no ``charset`` is read as Windows-1252, or as hex when control bytes show binary data."""
    try:
        return raw.decode(charset)
    except UnicodeDecodeError:
        pass
    if _CONTROL.search(raw):
        return hex_of(raw)
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def hex_of(raw: bytes) -> str:
    """``0x`` and upper-case hex digits."""
    return f"0x{raw.hex().upper()}"


_MYSQL_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}
MYSQL_ESCAPES: tuple[int, ...] = tuple(-1 if chr(byte) in "%_" else ord(_MYSQL_ESCAPES.get(chr(byte), chr(byte))) for byte in range(256))
"""What a byte after a backslash stands for in MySQL's strings; -1: the backslash stays."""
_MYSQL_PAIRS = (("\\'", "'"), ('\\"', '"'), ("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t"), ("\\0", "\0"), ("\\Z", "\x1a"))
_MYSQL_ESCAPE = re.compile(r"\\(.)|(['\"])\2", re.DOTALL)


def unescape_mysql(body: str, quote: str) -> str:
    """The text of a MySQL string's inside, where a backslash escapes and a doubled ``quote`` is one."""
    doubled = quote + quote
    if doubled not in body and "\\\\" not in body:
        for pair, char in _MYSQL_PAIRS:
            body = body.replace(pair, char)
        if "\\" not in body:
            return body
    return _MYSQL_ESCAPE.sub(lambda m: _mysql_escape(m, quote), body)


def _mysql_escape(found: re.Match[str], quote: str) -> str:
    if found[1] is not None:
        return _MYSQL_ESCAPES.get(found[1], found[1])
    return found[2] if found[2] == quote else found[0]


_PG_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))|''",
    re.DOTALL,
)
_PG_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def unescape_postgres(body: str, charset: str) -> str:
    """The inside of an E'...' with its escapes resolved; ``body`` and the result hold bytes as the characters 0 to 255."""
    return _PG_ESCAPE.sub(lambda m: _pg_escape(m, charset), body)


def _pg_escape(found: re.Match[str], charset: str) -> str:
    high, low, short, long, in_hex, octal, other = found.groups()
    if other is not None:
        return _PG_ESCAPES.get(other, other)
    if in_hex or octal:
        return chr(int(in_hex or "0", 16) or int(octal or "0", 8) & 255)
    if high:
        return _bytes_of(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00, charset)
    return _bytes_of(int(short or long, 16), charset) if short or long else "'"


def _bytes_of(codepoint: int, charset: str) -> str:
    try:
        return chr(codepoint).encode(charset).decode("latin-1")
    except (UnicodeEncodeError, ValueError, OverflowError):
        return f"\\u{codepoint:04x}"


_UNICODE_ESCAPE = re.compile(r"\\(?:\\|\+([0-9a-fA-F]{6})|u?([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")


def unescape_unicode(body: str) -> str:
    r"""``\0061``, ``\+000061``, ``\u0061``, ``\U00000061`` and ``\\`` as U&'..' and sqlite's unistr() know them."""
    text = _UNICODE_ESCAPE.sub(lambda m: _character(m[1] or m[2] or m[3]), body)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if any("\ud800" <= c <= "\udfff" for c in text) else text


def _character(digits: str | None) -> str:
    if digits is None:
        return "\\"
    codepoint = int(digits, 16)
    return chr(codepoint) if codepoint <= 0x10FFFF else "\ufffd"


def content(token: bytes, syntax: Syntax) -> bytes:
    """The bytes that a text string stands for, in the character set of the dump; ``token`` with its prefix and quotes."""
    if token[:1] == b"$":
        tag = token.index(b"$", 1) + 1
        return token[tag:-tag]
    start = token.index(b'"') if token.endswith(b'"') else token.index(b"'")
    prefix, quote, body = token[:start].upper(), chr(token[start]), token[start + 1 : -1]
    if prefix == b"E" or (syntax.is_backslash_escape and syntax.dialect != "mysql"):
        return unescape_postgres(body.decode("latin-1"), syntax.charset).encode("latin-1") if b"\\" in body else body.replace(b"''", b"'")
    if syntax.is_backslash_escape and b"\\" in body:
        return unescape_mysql(body.decode("latin-1"), quote).encode("latin-1")
    return body.replace(token[start : start + 1] * 2, token[start : start + 1])


_COPY_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_COPY_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}

COPY_ESCAPES: tuple[int, ...] = tuple(_COPY_ESCAPES.get(bytes([byte]), bytes([byte]))[0] for byte in range(256))
"""What a byte after a backslash stands for in COPY data, but for digits and ``x``."""


def unescape_copy(field: bytes, charset: str) -> str:
    """The text of a field of COPY data in text form."""
    return text_of(_COPY_ESCAPE.sub(_copy_escape, field) if b"\\" in field else field, charset)


def _copy_escape(found: re.Match[bytes]) -> bytes:
    octal, in_hex, other = found.groups()
    if octal is not None:
        return bytes([int(octal, 8) & 255])
    return bytes([int(in_hex, 16)]) if in_hex is not None else _COPY_ESCAPES.get(other, other)


def unquoted_name(raw: bytes, syntax: Syntax) -> str:
    """A name without its quotes; PostgreSQL folds a name without quotes to lower case."""
    first = raw[:1]
    if first in (b'"', b"`", b"'"):
        return text_of(raw[1:-1].replace(first * 2, first), syntax.charset)
    if first == b"[":
        return text_of(raw[1:-1].replace(b"]]", b"]"), syntax.charset)
    name = text_of(raw, syntax.charset)
    return name.lower() if syntax.dialect == "postgresql" else name
