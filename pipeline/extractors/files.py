"""Opens the files of a source: finds them, decompresses them under a cap, and says what kind each one is."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import pyarrow as pa

from pipeline import decoding, documents
from pipeline.errors import UsageError
from pipeline.remote import Place, RemoteFile, Url

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_EXPANDED_BYTES = 50_000_000_000
"""No compressed file may expand to more than this."""

FREE_EXPANSION_BYTES = 100_000_000
MAX_RATIO = 200
"""Past ``FREE_EXPANSION_BYTES`` a file may expand to ``MAX_RATIO`` times its size: text seldom passes 30, a bomb 1,000."""

XZ_MEMORY_BYTES = 256_000_000
"""An xz stream that asks for a larger dictionary is refused (``xz -9`` asks for 64 MiB). Arrow refuses Zstandard windows over 128 MiB."""

BUFFER_BYTES = 1 << 18


class SourceError(Exception):
    """A file cannot be read to its end: ``reason`` says why, in words for the quarantine."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class SourceFile:
    """One file of a source. ``name`` is its path relative to the source with ``/`` (bytes that are no UTF-8 as surrogates)."""

    path: Path
    name: str

    def open(self) -> BinaryIO:
        """A buffered stream of the content, decompressed when its magic number says gzip, Zstandard, bzip2 or xz.

        Seekable when the file is not compressed. Raises SourceError, here and in every read, when the file
        is missing, no regular file, damaged, cut short or expands beyond the caps.
        """
        stored = _open_regular(self.path)
        try:
            magic = stored.read(6)
            stored.seek(0)
            inner = _decompressor(magic, stored)
            size = os.fstat(stored.fileno()).st_size
        except (OSError, EOFError, pa.ArrowException) as error:
            stored.close()
            raise SourceError(_reason(error)) from None
        limit = None if inner is stored else min(MAX_EXPANDED_BYTES, max(FREE_EXPANSION_BYTES, MAX_RATIO * size))
        return io.BufferedReader(_Guarded(inner, stored, limit), BUFFER_BYTES)

    def peek(self, num_bytes: int) -> bytes:
        """The first ``num_bytes`` of the decompressed content, fewer when it is shorter; raises SourceError."""
        with self.open() as stream:
            return stream.read(num_bytes)

    def locator(self, **parts: object) -> str:
        """``documents.locator`` of this file or, with ``row=17`` and the like, of a part of it."""
        return documents.locator(self.name, **parts)

    def skipped(self, error: str, offset: int | None = None, raw: bytes = b"", **parts: object) -> documents.Skipped:
        """The quarantine entry for this file or a part of it."""
        return documents.Skipped(self.locator(**parts), error, offset, raw[: documents.RAW_CAP_BYTES])


def _open_regular(path: Path) -> io.FileIO:
    """The file as stored. A FIFO or device never blocks: it is opened without waiting, looked at, and refused."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise SourceError(_reason(error)) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise SourceError("is not a regular file")
    return io.FileIO(handle, "rb")


def _compression(magic: bytes) -> str | None:
    heads = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd", "bzip2": b"BZh", "xz": b"\xfd7zXZ\x00"}
    return next((name for name, head in heads.items() if magic.startswith(head)), None)


def _decompressor(magic: bytes, stored: io.FileIO) -> Any:
    match _compression(magic):
        case "gzip":
            return gzip.GzipFile(fileobj=stored, mode="rb")
        case "zstd":
            return _ArrowStream(pa.CompressedInputStream(pa.PythonFile(stored, mode="r"), "zstd"))
        case "bzip2":
            return bz2.BZ2File(cast(BinaryIO, stored))
        case "xz":
            return _XzStream(stored)
        case _:
            return stored


class _ArrowStream(io.RawIOBase):
    """pyarrow's Zstandard reader as a raw stream: unlike zstandard's, it notices a stream that was cut short."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        return int(self._stream.readinto(buffer))


class _XzStream(io.RawIOBase):
    """``lzma.LZMAFile`` with a memory limit, which that class does not offer."""

    def __init__(self, stored: io.FileIO) -> None:
        self._stored = stored
        self._decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while True:
            pending = self._decoder.unused_data if self._decoder.eof else b""
            more = self._stored.read(1 << 16) if self._decoder.eof or self._decoder.needs_input else b""
            if self._decoder.eof:
                pending = (pending + more).lstrip(b"\0")
                if not pending and not more:
                    return 0
                self._decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)
            elif self._decoder.needs_input and not more:
                raise EOFError("is cut short")
            data = self._decoder.decompress(pending or more, len(view))
            if data:
                view[: len(data)] = data
                return len(data)


class _Guarded(io.RawIOBase):
    """Turns every error of the stream below into SourceError and stops a stream that expands without end."""

    def __init__(self, inner: Any, stored: io.FileIO, limit: int | None) -> None:
        self._inner, self._stored, self._limit = inner, stored, limit
        self._total = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._inner is self._stored

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._stored.seek(offset, whence)

    def tell(self) -> int:
        return self._stored.tell() if self.seekable() else self._total

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        try:
            count = int(self._inner.readinto(buffer) or 0)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException, MemoryError) as error:
            raise SourceError(_reason(error)) from None
        self._total += count
        if self._limit is not None and self._total > self._limit:
            raise SourceError(f"decompression bomb: expands beyond {self._limit:,} bytes")
        return count

    def close(self) -> None:
        self._stored.close()
        super().close()


def _reason(error: BaseException) -> str:
    """The error in words, without a path: reasons go into datasets that must be the same on every machine."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return f"cannot be read: {text}"


def list_files(root: Place) -> Iterator[SourceFile | RemoteFile | documents.Skipped]:
    """Every file below ``root`` in the order of the bytes of its relative name; a single file lists itself.

    Names that begin with a dot and folders that begin with two underscores (parts of a dataset) are left out. What is refused comes
    as Skipped: links that lead out of the folder or to a folder, FIFOs, devices, folders that cannot be opened. Raises UsageError when
    there is nothing at ``root``.
    """
    if isinstance(root, Url):
        yield from (file for file in root.files() if not _is_left_out_below(file.name))
        return
    if not root.exists():
        raise UsageError(str(root), "no such file or folder", "mend the path")
    if not root.is_dir():
        yield _file(root.resolve(), root.name, root.resolve().parent)
        return
    inside = root.resolve()
    waiting = _entries(root, "", inside)
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, tuple):
            waiting += _entries(*entry, inside)
        else:
            yield entry


_Entry = SourceFile | documents.Skipped | tuple[Path, str]


def _entries(folder: Path, prefix: str, inside: Path) -> list[_Entry]:
    """What one folder holds, last name first; a folder in it is a tuple, sorted as if ``/`` were part of its name."""
    try:
        with os.scandir(folder) as listing:
            found = [(item.name, item.is_dir(follow_symlinks=False)) for item in listing]
    except OSError as error:
        return [documents.Skipped(documents.locator(prefix.rstrip("/") or "."), _reason(error))]
    seen = [(os.fsencode(name) + b"/" * is_dir, name, is_dir) for name, is_dir in found if not _is_left_out(name, is_dir)]
    return [
        (folder / name, f"{prefix}{name}/") if is_dir else _file(folder / name, prefix + name, inside)
        for _, name, is_dir in sorted(seen, reverse=True)
    ]


def _is_left_out_below(name: str) -> bool:
    *folders, last = name.split("/")
    return _is_left_out(last, False) or any(_is_left_out(folder, True) for folder in folders)


def _is_left_out(name: str, is_dir: bool) -> bool:
    return name.startswith(".") or (is_dir and name.startswith("__")) or name in ("__manifest.json", "__run.json")


def _file(path: Path, name: str, inside: Path) -> SourceFile | documents.Skipped:
    try:
        mode = path.stat().st_mode
        target = path.resolve(strict=True) if path.is_symlink() else None
    except (OSError, RuntimeError) as error:
        return documents.Skipped(documents.locator(name), _reason(error))
    if target is not None and not target.is_relative_to(inside):
        return documents.Skipped(documents.locator(name), "is a link that leads out of the folder; copy the file in to have it read")
    if stat.S_ISDIR(mode):
        return documents.Skipped(documents.locator(name), "is a link to a folder; its files are read where they lie")
    if not stat.S_ISREG(mode):
        return documents.Skipped(documents.locator(name), "is not a regular file")
    return SourceFile(path, name)


Kind = Literal["html", "warc", "csv", "sql", "jsonl", "json", "parquet", "arrow", "sqlite", "xlsx", "text"]

_KINDS_BY_SUFFIX: dict[str, Kind] = {
    ".html": "html", ".htm": "html", ".xhtml": "html", ".warc": "warc",
    ".csv": "csv", ".tsv": "csv", ".tab": "csv",
    ".sql": "sql", ".dump": "sql",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
    ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow",
    ".xlsx": "xlsx", ".xlsm": "xlsx",
    ".sqlite": "sqlite", ".sqlite3": "sqlite", ".db": "sqlite", ".db3": "sqlite",
    ".txt": "text", ".text": "text", ".md": "text", ".markdown": "text", ".rst": "text",
}  # fmt: skip

_COMPRESSION_SUFFIXES = (".gz", ".zst", ".bz2", ".xz")

_ARROW_STREAM = b"\xff\xff\xff\xff"

SNIFF_BYTES = 1 << 16


def kind_of(file: SourceFile) -> Kind | None:
    """What reads this file, by its content and its name; None when no reader knows it (an image, an archive, other binary data).

    Binary formats are known by their magic number, kinds of text by the name, and by the content only where the name says nothing.
    A file that cannot be opened keeps the kind of its name, so that its reader reports why.
    """
    named = kind_of_name(file.name)
    try:
        head = file.peek(SNIFF_BYTES)
    except SourceError:
        return named or "text"
    if head.startswith(b"SQLite format 3\0"):
        return "sqlite"
    if named == "sqlite":  # such names are given to other things too
        named = None
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04") and (named == "xlsx" or b"xl/w" in head):
        return "xlsx"
    if head.startswith((b"ARROW1", _ARROW_STREAM)):
        return "arrow"
    if named in ("parquet", "arrow", "warc"):
        return named
    if head.startswith(b"WARC/"):
        return "warc"
    if decoding.is_binary(head):
        return None
    return named or _kind_of_text(decoding.decode(head).text)


def kind_of_name(name: str) -> Kind | None:
    """The kind that a file name promises (``posts.sql.gz`` is "sql"), or None."""
    lowered = name.lower()
    for suffix in _COMPRESSION_SUFFIXES:
        lowered = lowered.removesuffix(suffix)
    return _KINDS_BY_SUFFIX.get(os.path.splitext(lowered)[1])  # noqa: PTH122 (a name, not a path)


_HTML = re.compile(r"<!doctype\s+html|<html[\s>]|<head[\s>]|<body[\s>]", re.IGNORECASE)
_SQL = re.compile(
    r"-- (MySQL|MariaDB|PostgreSQL|SQLite)\b.*dump|^(CREATE|DROP) (TABLE|DATABASE|SCHEMA)\b|^INSERT INTO\b"
    r"|^PRAGMA foreign_keys\b|^/\*!\d{5}",
    re.IGNORECASE | re.MULTILINE,
)


def _kind_of_text(head: str) -> Kind:
    start = head.lstrip("\ufeff \t\r\n")
    if _HTML.search(start[:2000]):
        return "html"
    if start.startswith(("{", "[")):
        return _kind_of_json(start)
    if _SQL.search(start[:20_000]):
        return "sql"
    return "csv" if _looks_like_table(start.split("\n")[:-1][:50]) else "text"


def _kind_of_json(start: str) -> Kind:
    """"jsonl" when a whole line is one value and another follows, "json" when only the whole can be one, else "text"."""
    first, _, rest = start.partition("\n")
    if _is_json(first):
        return "jsonl" if rest.lstrip().startswith(("{", "[")) or first.startswith("{") else "json"
    return "json" if re.match(r"\{\s*\"|\[\s*[\[{\"\d]", start) else "text"


def is_json_lines(head: bytes) -> bool:
    """Whether content that begins with ``head`` is one JSON object a line, whatever its name: a whole first line, and more after it."""
    first, _, rest = head.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")
    return first.startswith(b"{") and bool(rest.strip()) and _is_json(first.decode("utf-8", "replace"))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _looks_like_table(lines: list[str]) -> bool:
    """At least three lines with the same number of one delimiter, two or more commas, or one or more of the rarer ones."""
    counts = ({line.count(mark) for line in lines} for mark in "\t;|,")
    least = (1, 1, 1, 2)
    return len(lines) >= 3 and any(len(count) == 1 and min(count) >= low for count, low in zip(counts, least, strict=True))
