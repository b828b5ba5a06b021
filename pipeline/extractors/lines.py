"""Lines of a byte stream, bounded in length, with their offsets: what CSV and JSON lines are read from."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from pipeline.documents import RAW_CAP_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its line feed, and where it stood. A line beyond the cap ``is_cut``: ``raw`` is only its beginning."""

    offset: int
    raw: bytes
    num_bytes: int
    is_cut: bool = False


class Readable(Protocol):
    """What lines are read from: every binary stream is one."""

    def readline(self, limit: int, /) -> bytes:
        """The next line with its line feed, or so much of it."""


def lines(stream: Readable, max_bytes: int, offset: int = 0) -> Iterator[Line]:
    """The lines of ``stream``, split at line feeds only, never holding more than ``max_bytes`` of one; raises what ``stream`` raises.

    ``offset`` is where the stream stands already.
    """
    while raw := stream.readline(max_bytes + 1):
        if len(raw) <= max_bytes:
            yield Line(offset, raw, len(raw))
            offset += len(raw)
            continue
        num_bytes = len(raw)
        while raw[-1:] != b"\n" and (more := stream.readline(max_bytes)):
            raw = raw[:RAW_CAP_BYTES] + more[-1:]
            num_bytes += len(more)
        yield Line(offset, raw[:RAW_CAP_BYTES], num_bytes, is_cut=True)
        offset += num_bytes


def is_ascii_based(encoding: str) -> bool:
    """Whether a line feed is the byte 10, and only it, so that undecoded bytes can be split into lines (not so in UTF-16)."""
    try:
        return "a\n".encode(encoding) == b"a\n"
    except (UnicodeError, LookupError):
        return False


def as_utf8(stream: BinaryIO, encoding: str) -> BinaryIO:
    """``stream`` re-encoded from ``encoding``; what cannot be decoded becomes the byte 255, no UTF-8, so that its line is noticed."""
    return io.BufferedReader(_Recoded(stream, encoding))


def with_line_feeds(stream: BinaryIO) -> BinaryIO:
    """``stream`` with line feeds for carriage returns, for files of which every line ends in a lone carriage return."""
    return io.BufferedReader(_LineFeeds(stream))


class _Recoded(io.RawIOBase):
    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream, self._encoding = stream, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while not self._ready and not self._ended:
            data = self._stream.read(io.DEFAULT_BUFFER_SIZE)
            self._ended = not data
            self._ready = self._decode(data)
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _decode(self, data: bytes) -> bytes:
        try:
            return self._decoder.decode(data, final=self._ended).encode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            self._decoder = codecs.getincrementaldecoder(self._encoding)("replace")
            return self._decoder.decode(data, final=self._ended).encode().replace("\ufffd".encode(), b"\xff")


class _LineFeeds(io.RawIOBase):
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._stream.read(len(view))
        view[: len(data)] = data.replace(b"\r", b"\n")
        return len(data)
