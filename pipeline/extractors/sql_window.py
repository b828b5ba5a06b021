"""A window that moves over a dump: the bytes at hand, where they lie in the file, and more of them on demand."""

from __future__ import annotations

import codecs
from typing import IO

from pipeline.extractors.files import SourceError

_UNSAFE = frozenset(["gbk", "gb18030", "big5", "big5hkscs", "shift_jis", "cp932", "cp949", "cp950", "johab", "hz", "utf-7"])
"""Encodings in which a byte that looks like a quote or backslash may be half a character."""

_PIECE_BYTES = 1 << 14
"""How much is asked of the stream at once: what a damaged stream gave before its error is lost from the call that meets it."""


def is_ascii_safe(codec: str) -> bool:
    """Whether every ASCII byte of text in ``codec`` is that ASCII character."""
    return codec not in _UNSAFE and not codec.startswith(("utf-16", "utf-32"))


class Window:
    """The part of a stream that is held in memory.

    Text in UTF-16 and in the encodings that are not safe to scan is turned into UTF-8 on the way in (what is no text becomes U+FFFD);
    offsets then count the bytes of the UTF-8.
    """

    def __init__(self, stream: IO[bytes], chunk_bytes: int) -> None:
        self._read_piece = getattr(stream, "read1", stream.read)
        self._chunk_bytes = chunk_bytes
        self._decoder: codecs.IncrementalDecoder | None = None
        self._peeked = b""
        self.data = b""
        self.base = 0
        """The offset of ``data`` in the stream."""
        self.is_last = False
        """Whether nothing follows after ``data``."""
        self.error: str | None = None
        """Why the stream ended before its end."""

    def peek(self, num_bytes: int) -> bytes:
        """The first bytes of the stream, before any are at hand."""
        self._peeked = self._read_raw(num_bytes)
        self.is_last = False
        return self._peeked

    def more(self, pos: int) -> None:
        """Let go of what lies before ``pos``, which becomes 0, and read on.

        As much is read as is kept, so that growing to any size costs linear time.
        """
        kept = self.data[pos:]
        self.base += pos
        self.data = kept + self._read(max(self._chunk_bytes, len(kept)))

    def transcode(self, codec: str, pos: int) -> None:
        """Read everything from ``pos`` on as text in ``codec``."""
        if self._decoder is not None:
            return
        self._decoder = codecs.getincrementaldecoder(codec)("replace")
        self.data = self.data[:pos] + self._decoder.decode(self.data[pos:], self.is_last).encode()

    def _read(self, num_bytes: int) -> bytes:
        raw = self._read_raw(num_bytes)
        return raw if self._decoder is None else self._decoder.decode(raw, self.is_last).encode()

    def _read_raw(self, num_bytes: int) -> bytes:
        parts = [self._peeked[:num_bytes]]
        self._peeked = self._peeked[num_bytes:]
        wanted = num_bytes - len(parts[0])
        while wanted > 0 and not self.is_last:
            try:
                part = self._read_piece(min(wanted, _PIECE_BYTES))
            except (SourceError, OSError, EOFError) as error:
                self.error = error.reason if isinstance(error, SourceError) else f"cannot be read: {error}"
                part = b""
            self.is_last = not part
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)


def utf16_of(head: bytes) -> str | None:
    """The codec of a dump in UTF-16, by its byte order mark or its zero bytes; None for others."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = head[:20:2], head[1:20:2]
    if len(head) >= 20 and not odd.strip(b"\0") and b"\0" not in even:
        return "utf-16-le"
    return "utf-16-be" if len(head) >= 20 and not even.strip(b"\0") and b"\0" not in odd else None
