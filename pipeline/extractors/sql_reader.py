"""A place in a dump that is being read: a piece is tried on the bytes at hand, then on more of them, and passed over when it is broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from pipeline.documents import RAW_CAP_BYTES
from pipeline.extractors.sql_events import Broken
from pipeline.extractors.sql_syntax import LOOKAHEAD_BYTES, IncompleteError, Lexer, MalformedError, Syntax, Token, lexer_of
from pipeline.extractors.sql_window import Window, is_ascii_safe

T = TypeVar("T")
Parser = Callable[[bytes, int, bool], tuple[int, T]]
"""Reads one piece from (bytes, index, whether the file ends with them): gives the index behind it and what it is.

Raises IncompleteError when more bytes may change that, MalformedError when it is none.
"""

SLACK_BYTES = 1 << 24
"""So much may be looked at in vain before a broken piece is passed over whole rather than searched for the statements in it."""

MAX_LANDMARK_BYTES = 1 << 20
"""Blanks within a landmark that go on for longer are not looked through."""

_KEYS = (
    rb"(?=(?:INSERT|REPLACE|CREATE|DROP|COPY|SET|LOCK|UNLOCK|ALTER|SELECT|BEGIN|START|COMMIT|USE|UPDATE|DELETE|PRAGMA|GRANT|COMMENT"
    rb"|DELIMITER|GO)\b|--|/\*)"
)
"""What a statement begins with, or the comment before it."""

STATEMENT_HERE = re.compile(_KEYS, re.IGNORECASE)
NEXT_LINE = re.compile(rb"\n[ \t]*+" + _KEYS, re.IGNORECASE)
"""Where a line begins with a statement."""
NEXT_STATEMENT = re.compile(rb";[ \t]*+\r?\n\s*+" + _KEYS, re.IGNORECASE)
"""The same after a line that ends with a semicolon: safer, since text may hold lines that look like statements."""
NEXT_ROW = re.compile(rb"(?P<row>\)\s*+,\s*+(?=\())|" + NEXT_STATEMENT.pattern, re.IGNORECASE)
"""Where the next row or the next statement begins."""
NEXT_ROW_OR_LINE = re.compile(rb"(?P<row>\)\s*+,\s*+(?=\())|" + NEXT_LINE.pattern, re.IGNORECASE)


class Reader:
    """``pos`` is the index in the window of the piece that is read next."""

    def __init__(self, window: Window, syntax: Syntax, limit_bytes: int, is_guess: bool, compiled_after_bytes: int) -> None:
        self.window, self.pos = window, 0
        self.compiled_after_bytes = compiled_after_bytes
        """From this offset on plain rows are read by compiled loops, which are not loaded for small dumps."""
        self.is_guess = is_guess
        """Whether the dialect was not told from anything: then a row that cannot be read decides about backslashes."""
        self.is_after_newline = False
        """Whether a line break stood before the last token."""
        self.limit_bytes = limit_bytes
        """A piece longer than this is not read."""
        self._vain_bytes = 0
        self.set_syntax(syntax)

    def set_syntax(self, syntax: Syntax) -> None:
        """Read on as ``syntax`` says."""
        if not is_ascii_safe(syntax.charset):
            self.window.transcode(syntax.charset, self.pos)
            syntax = replace(syntax, charset="utf-8")
        self.syntax: Syntax = syntax
        self.lexer: Lexer = lexer_of(syntax)

    @property
    def offset(self) -> int:
        """Where ``pos`` lies in the stream."""
        return self.window.base + self.pos

    def raw(self) -> bytes:
        """The bytes at the current place, as many as quarantine keeps; more are read for it."""
        while len(self.window.data) - self.pos < RAW_CAP_BYTES and not self.window.is_last:
            self.window.more(self.pos)
            self.pos = 0
        return self.window.data[self.pos : self.pos + RAW_CAP_BYTES]

    def attempt(self, parse: Parser[T]) -> tuple[int, T]:
        """What ``parse`` makes of the bytes here, and the index behind it. Raises MalformedError, also for a piece too long."""
        while True:
            window = self.window
            try:
                end, value = parse(window.data, self.pos, window.is_last)
            except IncompleteError:
                if len(window.data) - self.pos > self.limit_bytes + LOOKAHEAD_BYTES:
                    raise self._too_long() from None
                window.more(self.pos)
                self.pos = 0
                continue
            except MalformedError as error:
                if error.end - self.pos > self.limit_bytes:
                    raise self._too_long() from None
                raise
            if end - self.pos > self.limit_bytes:
                raise self._too_long()
            return end, value

    def _too_long(self) -> MalformedError:
        return MalformedError(f"too long: a row or statement of more than {self.limit_bytes:,} bytes", self.pos + self.limit_bytes)

    def token(self) -> Token:
        """The next token; comments before it are passed over, it itself is not."""
        data, start = self.window.data, self.pos
        try:
            token = self.lexer.token(data, start, self.window.is_last)
        except (IncompleteError, MalformedError):
            return self._token_in_steps()
        if token.end - start > self.limit_bytes:
            return self._token_in_steps()
        self.is_after_newline = b"\n" in data[start : token.start]
        self.pos = token.start
        return token

    def _token_in_steps(self) -> Token:
        """The next token, read comment by comment: so many of them may stand before it as there are."""
        self.is_after_newline = False
        while True:
            end, _ = self.attempt(self._trivium)
            if end == self.pos:
                return self.attempt(self._token)[1]
            self.is_after_newline = self.is_after_newline or b"\n" in self.window.data[self.pos : end]
            self.pos = end

    def _trivium(self, data: bytes, pos: int, is_last: bool) -> tuple[int, None]:
        if pos + LOOKAHEAD_BYTES > len(data) and not is_last:
            raise IncompleteError
        return self.lexer.trivium(data, pos, is_last), None

    def _token(self, data: bytes, pos: int, is_last: bool) -> tuple[int, Token]:
        token = self.lexer.token(data, pos, is_last)
        return token.end, token

    def text(self, token: Token) -> bytes:
        """A word or mark in upper case; of what is longer than a keyword only the beginning."""
        return self.window.data[token.start : min(token.end, token.start + 40)].upper()

    def recover(self, error: MalformedError, landmark: re.Pattern[bytes]) -> tuple[Broken, re.Match[bytes] | None]:
        """Pass over a broken piece up to behind the next ``landmark`` in it or after it (None: there is none, the file is at its end)."""
        offset, looked_at = self.offset, error.end - self.pos
        raw = self.raw()
        self._vain_bytes += looked_at
        is_spent = self._vain_bytes > SLACK_BYTES + offset
        self.pos = min(self.pos + max(looked_at if is_spent else 0, 1), len(self.window.data))
        found = self._find(landmark)
        passed = self.offset - offset
        return Broken(offset, f"{error.reason}; {passed:,} bytes passed over", raw[:passed]), found

    def _find(self, landmark: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Go behind the next ``landmark``; to the end of the file when there is none."""
        while True:
            data, is_last = self.window.data, self.window.is_last
            found = landmark.search(data, self.pos)
            if found is not None and (found.end() + LOOKAHEAD_BYTES <= len(data) or is_last):
                self.pos = found.end()
                return found
            if is_last:
                self.pos = len(data)
                return None
            # A landmark may have begun in the marks and blanks that the window ends with.
            kept = len(data[self.pos : len(data) - LOOKAHEAD_BYTES].rstrip(b";), \t\r\n\f\v")) if len(data) > LOOKAHEAD_BYTES else 0
            keep = found.start() if found is not None else self.pos + kept
            self.window.more(keep if len(data) - keep <= MAX_LANDMARK_BYTES else len(data) - LOOKAHEAD_BYTES)
            self.pos = 0
