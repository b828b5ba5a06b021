"""The values of a JSON file one after another, without holding the whole file, however large its list is."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

MAX_VALUE_CHARS = 64_000_000
"""One value (a row, or a file that is one object) longer than this is refused."""

_CHUNK_BYTES = 1 << 18
_BLANK = re.compile(r"[ \t\r\n]*")


class BrokenJsonError(Exception):
    """The text is not JSON; ``position`` counts characters from the start of the file."""

    def __init__(self, reason: str, position: int) -> None:
        self.reason, self.position = reason, position
        super().__init__(reason, position)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def parse(text: str) -> Any:
    """The value of a whole JSON text; raises BrokenJsonError for anything else, also for NaN and for nesting too deep to read."""
    try:
        start = _end_of_blank(text, 0)
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise BrokenJsonError(*_told(error, 0)) from None
    if _end_of_blank(text, end) != len(text):
        raise BrokenJsonError("text after the end of the value", end)
    return value


def values(stream: BinaryIO) -> Iterator[Any]:
    """The elements of the list that ``stream`` (UTF-8) holds, or its one value when that is no list.

    Where the text stops being JSON, a BrokenJsonError is yielded as the last item. Bytes that are no UTF-8 become lone surrogates,
    which no document may hold.
    """
    try:
        yield from _values(_Text(stream))
    except BrokenJsonError as error:
        yield error


def _values(text: _Text) -> Iterator[Any]:
    if text.peek() != "[":
        yield text.value()
        text.expect_end()
        return
    text.skip()
    if text.peek() == "]":
        text.skip()
        text.expect_end()
        return
    while True:
        yield text.value()
        mark = text.peek()
        text.skip()
        if mark == "]":
            text.expect_end()
            return
        if mark != ",":
            raise BrokenJsonError("a comma or the end of the list is missing", text.position)


class _Text:
    """A window on the decoded stream that begins at the next value."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._buffer, self._start, self._dropped = "", 0, 0
        self._ended = False

    @property
    def position(self) -> int:
        return self._dropped + self._start

    def peek(self) -> str:
        """The next character that is no blank, or nothing at the end."""
        while True:
            self._start = _end_of_blank(self._buffer, self._start)
            if self._start < len(self._buffer) or self._ended:
                return self._buffer[self._start : self._start + 1]
            self._read(_CHUNK_BYTES)

    def skip(self) -> None:
        """Pass the character that ``peek`` gave."""
        self._start += 1

    def value(self) -> Any:
        """The next value. The window doubles until the value and the character after it are in."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._start)
                if self._ended or _end_of_blank(self._buffer, end) < len(self._buffer):
                    self._start = end
                    return value
            except (ValueError, RecursionError) as error:
                if self._ended or isinstance(error, RecursionError):
                    raise BrokenJsonError(*_told(error, self._dropped)) from None
            if len(self._buffer) - self._start > MAX_VALUE_CHARS:
                raise BrokenJsonError(f"no end of a value within {MAX_VALUE_CHARS:,} characters", self.position)
            self._read(max(_CHUNK_BYTES, len(self._buffer) - self._start))

    def expect_end(self) -> None:
        """Raise BrokenJsonError unless only blanks are left."""
        if self.peek():
            raise BrokenJsonError("text after the end of the value", self.position)

    def _read(self, num_bytes: int) -> None:
        data = self._stream.read(num_bytes)
        self._ended = not data
        self._dropped += self._start
        self._buffer = self._buffer[self._start :] + self._decoder.decode(data, final=self._ended)
        self._start = 0


def _end_of_blank(text: str, start: int) -> int:
    match = _BLANK.match(text, start)
    return match.end() if match else start


def _told(error: ValueError | RecursionError, dropped: int) -> tuple[str, int]:
    if isinstance(error, json.JSONDecodeError):
        return error.msg, dropped + error.pos
    return ("nested too deep" if isinstance(error, RecursionError) else str(error)), dropped


def name_of(value: Any) -> str:
    """What JSON calls a value."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "null")
