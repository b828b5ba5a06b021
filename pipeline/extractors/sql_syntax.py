"""What the dialects of SQL dumps look like: how one is recognised, and how its text falls into tokens.

Everything here works on bytes, because a dump may change its character set in the middle and holds values that are no text at all.
Every multi-byte encoding that reaches this module keeps ASCII bytes for ASCII characters (``sql_window`` sees to that).
All patterns use possessive repetition or bounded lookahead, so no input makes one of them backtrack.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

Dialect = Literal["mysql", "postgresql", "sqlite", "tsql"]

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)


@dataclass(frozen=True, slots=True)
class Syntax:
    """How the text is to be read at one point of a dump; ``SET`` statements change it."""

    dialect: Dialect
    is_backslash_escape: bool
    """Whether a backslash escapes in a plain ``'...'``: MySQL's default, and PostgreSQL's before standard_conforming_strings."""
    is_double_quote_string: bool
    """Whether ``"..."`` is a string rather than a name: MySQL without ANSI_QUOTES."""
    charset: str = "utf-8"
    """A Python codec."""
    delimiter: bytes = b";"
    """What ends a statement; MySQL's client command DELIMITER changes it."""


def syntax_of(dialect: Dialect) -> Syntax:
    """How a dump of ``dialect`` is read until it says otherwise."""
    is_mysql = dialect == "mysql"
    return Syntax(dialect, is_backslash_escape=is_mysql, is_double_quote_string=is_mysql)


HEAD_BYTES = 1 << 16
"""How much of a file is looked at to tell its dialect."""

_SIGNS = re.compile(
    rb"""^(?:
      (?P<mysql> --\ (?:MySQL|MariaDB)\ dump | --\ phpMyAdmin | /\*M?!\d{5} | LOCK\ TABLES\ ` | SET\ NAMES\ \w | DELIMITER\ \S
               | SET\ (?:SESSION\ |GLOBAL\ )?SQL_MODE | (?:CREATE|DROP|INSERT|REPLACE|USE|ALTER)\ [^'"\n]{0,80}`
               | \)[^'\n]{0,80}\bENGINE\s?= )
    | (?P<postgresql> --\ PostgreSQL\ database | SET\ (?:standard_conforming_strings|search_path|client_encoding)\b
               | COPY\ [^'\n]{1,4000}\ FROM\ STDIN\b | CREATE\ (?:EXTENSION|SEQUENCE)\b | SELECT\ pg_catalog\. | \\(?:connect|restrict)\ )
    | (?P<sqlite> PRAGMA\ \w | BEGIN\ TRANSACTION; | --\ SQLite )
    | (?P<tsql> GO[ \t]*\r?$ | USE\ \[ | (?:CREATE|DROP|INSERT|ALTER)\ [^'"\n]{0,80}\[dbo\]
               | SET\ (?:ANSI_NULLS|NOCOUNT|QUOTED_IDENTIFIER|IDENTITY_INSERT)\b )
    )""",
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
_FAINT_SIGNS = re.compile(
    rb"""(?P<mysql> \bAUTO_INCREMENT\b | \bENGINE\s?= | \b_binary\s' | \bUNSIGNED\b | ` )
    | (?P<postgresql> \bcharacter\ varying\b | '::[a-z] | \b(?:BIG)?SERIAL\b | \bBYTEA\b | \bAS\ \$\$ | [(,]\s?E' | \bON\ CONFLICT\b )
    | (?P<sqlite> \bAUTOINCREMENT\b | \bINSERT\ OR\ \w | \bsqlite_sequence\b | \bWITHOUT\ ROWID\b | ,char\(10\)\) )
    | (?P<tsql> \[dbo\]\. | \bNVARCHAR\b | [(,]\s?N' | \bIDENTITY\s?\( | \[[A-Za-z]\w{0,60}\]\s[(\[] )""",
    re.IGNORECASE | re.VERBOSE,
)


def detect(head: bytes) -> Dialect | None:
    """The dialect of a dump that begins with ``head``: the first sure sign decides, else the first faint one; None without any.

    Binary data has no dialect: null bytes, which no program writes into a dump, are borne only beside a sure sign.
    """
    found = _SIGNS.search(head) or (_FAINT_SIGNS.search(head) if b"\0" not in head else None)
    return next(dialect for dialect in DIALECTS if found[dialect] is not None) if found else None


_CHARSETS = {
    "utf8": "utf-8", "utf8mb3": "utf-8", "utf8mb4": "utf-8", "unicode": "utf-8", "binary": "utf-8", "ascii": "utf-8", "sql_ascii": "utf-8",
    "win": "cp1251", "alt": "cp866", "koi8": "koi8-r", "koi8r": "koi8-r", "koi8u": "koi8-u",
    "latin2": "iso8859-2", "latin5": "iso8859-9", "latin7": "iso8859-13", "greek": "iso8859-7", "hebrew": "iso8859-8",
    "ujis": "euc-jp", "eucjpms": "euc-jp", "euckr": "euc-kr", "euc_cn": "gb2312", "tis620": "tis-620", "uhc": "cp949",
    "sjis": "cp932", "macroman": "mac-roman", "macce": "mac-latin2",
}  # fmt: skip
"""The databases' names of character sets where Python has another name for them."""


def codec_of(charset: str, dialect: Dialect) -> str | None:
    """The Python codec for a character set as ``SET NAMES`` or ``client_encoding`` names it, or None when it has none."""
    name = charset.lower()
    if name == "latin1":
        return "cp1252" if dialect == "mysql" else "latin-1"
    if name.startswith("win1"):
        name = f"cp{name[3:]}"
    try:
        codec = codecs.lookup(_CHARSETS.get(name, name))
    except (LookupError, ValueError):
        return None
    return codec.name if codec._is_text_encoding else None


LOOKAHEAD_BYTES = 64
"""How far past its end the bytes can decide what a token is: a dollar tag, a delimiter, the version of a conditional comment."""


class IncompleteError(Exception):
    """What is being read reaches beyond the bytes at hand, or so near their end that more of them may change it."""


class MalformedError(Exception):
    """What is being read is no SQL, or none that can be understood; ``end`` is how far it was looked at (an index, not an offset)."""

    def __init__(self, reason: str, end: int) -> None:
        self.reason, self.end = reason, end
        super().__init__(reason)


class Token(NamedTuple):
    """A piece of SQL: ``kind`` is string, name (quoted), word, number, punct, delimiter or end (of the file)."""

    kind: str
    start: int
    end: int


_BACKSLASHED = rb"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'"
_STANDARD = rb"'[^']*+(?:''[^']*+)*+'"
_QUOTED = {False: _STANDARD, True: _BACKSLASHED}

_NESTED = re.compile(rb"/\*|\*/")
_TAG_PATTERN = rb"\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]{0,60}+)?\$"
_TAG = re.compile(_TAG_PATTERN)


def string_pattern(syntax: Syntax) -> bytes:
    """The pattern of a string in quotes, with its prefix; one group-less alternative."""
    plain = _QUOTED[syntax.is_backslash_escape]
    double = b"|" + plain.replace(b"'", b'"') if syntax.is_double_quote_string else b""
    return rb"[Ee]" + _BACKSLASHED + rb"|(?:[BbNnXx]|[Uu]&)?" + plain + double


class Lexer:
    """Finds the tokens of one syntax. Comments, and the frame of MySQL's conditional comments, count as white space."""

    def __init__(self, syntax: Syntax) -> None:
        self.syntax = syntax
        dialect = syntax.dialect
        self._has_nested_comments = dialect in ("postgresql", "tsql")
        self._has_dollar_quotes = dialect == "postgresql"
        self._trivia = re.compile(_trivia_pattern(dialect), re.DOTALL).match
        self._token = re.compile(_token_pattern(syntax), re.DOTALL).match

    def token(self, data: bytes, pos: int, is_last: bool) -> Token:
        """The next token at or after ``pos``. Raises IncompleteError when more bytes may change it, MalformedError when none can."""
        start = self.skip_trivia(data, pos, is_last)
        if start == len(data):
            if not is_last:
                raise IncompleteError
            return Token("end", start, start)
        delimiter = self.syntax.delimiter
        if delimiter != b";" and data.startswith(delimiter, start):
            return Token("delimiter", start, start + len(delimiter))
        found = self._token(data, start)
        assert found is not None and found.lastgroup is not None
        kind, end = found.lastgroup, found.end()
        if kind == "punct":
            self._check_closed(data, start, is_last)
        if end + LOOKAHEAD_BYTES > len(data) and not is_last:
            raise IncompleteError
        if kind == "punct" and delimiter == b";" and data[start] == 59:
            return Token("delimiter", start, end)
        return Token(kind, start, end)

    def skip_trivia(self, data: bytes, pos: int, is_last: bool) -> int:
        """The index after white space and comments; raises as ``token`` does."""
        while True:
            found = self.trivium(data, pos, is_last)
            if found == pos:
                return pos
            pos = found

    def trivium(self, data: bytes, pos: int, is_last: bool) -> int:
        """The index after one run of white space or one comment, ``pos`` itself when there is none."""
        found = self._trivia(data, pos)
        if found is None:
            return pos
        end = found.end()
        if found.lastgroup == "block":
            end = self._end_of_comment(data, pos, is_last)
        if end + LOOKAHEAD_BYTES > len(data) and not is_last:
            raise IncompleteError
        return end

    def _end_of_comment(self, data: bytes, pos: int, is_last: bool) -> int:
        if not self._has_nested_comments:
            end = data.find(b"*/", pos + 2) + 2
            if end >= 2:
                return end
        else:
            depth = 0
            for mark in _NESTED.finditer(data, pos):
                depth += 1 if mark[0] == b"/*" else -1
                if depth == 0:
                    return mark.end()
        if is_last:
            raise MalformedError("unclosed comment: it reaches to the end of the file", len(data))
        raise IncompleteError

    def _check_closed(self, data: bytes, pos: int, is_last: bool) -> None:
        """A quote that is read as punctuation has no partner: more bytes may bring it."""
        mark = data[pos : pos + 1]
        is_open = mark in (b"'", b'"', b"`") or (self._has_dollar_quotes and mark == b"$" and _TAG.match(data, pos) is not None)
        if self.syntax.dialect in ("sqlite", "tsql") and mark == b"[":
            is_open = True
        if not is_open:
            return
        if is_last:
            raise MalformedError(f"unclosed quotation: it begins with {mark.decode()}", len(data))
        raise IncompleteError


def _trivia_pattern(dialect: Dialect) -> bytes:
    conditional = rb"|/\*M?!(?![5-9]\d{5})(?:\d{5,6})?+|\*/" if dialect == "mysql" else b""
    dashes = rb"--(?![\d(@.])[^\n]*+" if dialect == "mysql" else rb"--[^\n]*+"
    marks = rb"|\#[^\n]*+" if dialect == "mysql" else b""
    return rb"(?:\s|\xef\xbb\xbf|\x1a)++|" + dashes + marks + conditional + rb"|(?P<block>/\*)"


def _token_pattern(syntax: Syntax) -> bytes:
    names = rb"`[^`]*+(?:``[^`]*+)*+`"
    if not syntax.is_double_quote_string:
        names += rb'|"[^"]*+(?:""[^"]*+)*+"'
    if syntax.dialect in ("sqlite", "tsql"):
        names += rb"|\[[^\]]*+(?:\]\][^\]]*+)*+\]"
    strings = string_pattern(syntax)
    if syntax.dialect == "postgresql":
        strings += b"|(?P<tag>" + _TAG_PATTERN + b").*?(?P=tag)"
    number = rb"(?:0[xX][0-9A-Fa-f]++|0[bB][01]++|(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?\d++)?+)(?![\w\x80-\xff])"
    word = rb"[\w@\x80-\xff](?:[\w@\#\x80-\xff]++|\$(?=[\w\x80-\xff]))*+"
    patterns = {"string": strings, "name": names, "number": number, "word": rb"\#?" + word, "punct": rb"::|\|\||."}
    return b"|".join(b"(?P<%s>%s)" % (kind.encode(), pattern) for kind, pattern in patterns.items())


@lru_cache(maxsize=64)
def _lexer(syntax: Syntax) -> Lexer:
    return Lexer(syntax)


def lexer_of(syntax: Syntax) -> Lexer:
    """The lexer of ``syntax``, made once."""
    return _lexer(syntax)
