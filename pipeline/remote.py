"""Inputs by URL: object stores and other file systems that can list, through Arrow or fsspec. Outputs stay on this machine.

Arrow itself reads ``s3://``, ``gs://``, ``abfs://`` and ``hdfs://``; other schemes (``sftp://``, ``hf://``, ...) need fsspec and its package for
them. A web server (``http://``) cannot list its files. Keys and passwords come from where each store's own tools look for them, never from a URL.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pipeline.commits import writing
from pipeline.errors import DatasetError, UsageError, nearest

ARROW_SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
DATABASES = ("postgresql", "postgres", "mysql", "mariadb", "sqlite")
"""Schemes of live databases, whose addresses pass through here; their reader knows more options."""
QUERY = ("endpoint_override", "region", "scheme", "anonymous")
"""What may stand behind the ``?`` of a URL; all else could be a key."""

BLOCK_BYTES = 8 << 20
"""Each block is one request to a store, and the memory of one open file."""
PATIENCE_SECONDS = 30
"""A store that does not answer for so long is an error; Google's client alone would try for 15 minutes."""

READERS = 16
"""Files whose bytes are fetched at once while digests are taken: a store answers slowly but many."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_KEYS = "give keys as its own tools take them (environment variables or their files), never in a URL"


@dataclass(frozen=True)
class Url:
    """A place on a file system elsewhere; holds no password."""

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def scheme(self) -> str:
        """``s3``, ``gs``, ..."""
        return urlsplit(self.text).scheme

    @property
    def name(self) -> str:
        """The last part of the path, else the bucket."""
        parts = urlsplit(self.text)
        return unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.netloc.partition("@")[0]

    def files(self) -> list[RemoteFile]:
        """Every file below this place in the order of the bytes of its relative name; one file lists itself. Raises UsageError."""
        from pyarrow import fs

        with _errors(self):
            store, path = _store(self)
            there = store.get_file_info(path)
            if there.type == fs.FileType.File:
                return [RemoteFile(self, path, path.rpartition("/")[2], there.size, there.mtime_ns or 0)]
            found = store.get_file_info(fs.FileSelector(path, recursive=True)) if there.type == fs.FileType.Directory else []
        if there.type == fs.FileType.NotFound:
            raise UsageError(self.text, "no such file or folder", "mend the URL")
        inside = f"{path.rstrip('/')}/"
        files = [RemoteFile(self, i.path, i.path.removeprefix(inside), i.size, i.mtime_ns or 0) for i in found if i.type == fs.FileType.File]
        return sorted(files, key=lambda file: os.fsencode(file.name))


@dataclass(frozen=True)
class RemoteFile:
    """One file below a URL: ``path`` in its store, ``name`` relative to the URL."""

    url: Url
    path: str
    name: str
    size: int
    mtime_ns: int

    def __str__(self) -> str:
        return f"{self.url.scheme}://{self.path}"

    def stat(self) -> Any:
        """Size and time of change, as a local file's."""
        return SimpleNamespace(st_size=self.size, st_mtime_ns=self.mtime_ns)

    def open(self, mode: Literal["rb"] = "rb") -> BinaryIO:
        """A stream of the stored bytes; raises UsageError, here and in its reads, when the store fails."""
        with _errors(self.url, str(self)):
            store, path = _store(self.url, self.path)
            return io.BufferedReader(_Stream(store.open_input_stream(path), self), BLOCK_BYTES)

    def fetch(self, target: Path) -> str:
        """Copy the file to ``target``, whole or not at all; gives the SHA-256 of its bytes."""
        state = hashlib.sha256()
        with self.open() as stream, writing(target) as file:
            while block := stream.read(BLOCK_BYTES):
                state.update(block)
                file.write(block)
        return state.hexdigest()


class _Stream(io.RawIOBase):
    """Arrow's stream, whose errors become one line."""

    def __init__(self, stream: Any, file: RemoteFile) -> None:
        self._stream, self._source = stream, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        with _errors(self._source.url, str(self._source)):
            return int(self._stream.readinto(buffer))

    def close(self) -> None:
        self._stream.close()
        super().close()


Place = Path | Url
"""Where an input lies."""


def place(text: str) -> Place:
    """A path, or a URL when ``text`` is one; raises UsageError for a URL that holds a key or that nothing here can list."""
    matched = _URL.fullmatch(text)
    if matched is None:
        return Path(text)
    scheme = matched[1].lower()
    parts = urlsplit(text)
    if scheme == "file":
        return Path(unquote(parts.path))
    shown = f"{scheme}://..."
    is_database = scheme.partition("+")[0] in DATABASES
    user, at, _ = (matched[2] if is_database else parts.netloc).rpartition("@")
    if ":" in user or (at and scheme == "s3"):
        todo = "name password_env or password_file in the source's database settings" if is_database else _KEYS
        raise UsageError(shown, "holds a key or a password", todo)
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name not in QUERY and not (is_database and "pass" not in name.lower()):
            raise UsageError(shown, f"has the parameter {name}, which is not known here", f"known: {', '.join(QUERY)}; {_KEYS}")
    if scheme in ("http", "https"):
        raise UsageError(shown, "a web server cannot list its files", "download them, or name a store (s3://, gs://, abfs://, hdfs://)")
    return Url(f"{scheme}://{matched[2].rstrip('/')}" if not parts.query else f"{scheme}://{matched[2]}")


def local(given: Place) -> Path:
    """The place when it is on this machine; raises UsageError for a URL."""
    if isinstance(given, Url):
        raise UsageError(str(given), "is not on this machine", "only inputs of extract, filter and tokenize may be URLs")
    return given


def digests(files: Sequence[RemoteFile], file_digest: Any) -> list[str]:
    """``file_digest`` of each file, many at a time."""
    with ThreadPoolExecutor(READERS) as threads:
        return list(threads.map(file_digest, files))


def _store(url: Url, path: str | None = None) -> tuple[Any, str]:
    store, base = _connect(url.text)
    return store, base if path is None else path


@lru_cache(maxsize=64)
def _connect(text: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it; one connection a process."""
    from pyarrow import fs

    url, parts = Url(text), urlsplit(text)
    if url.scheme == "s3":
        return _s3(parts), unquote(parts.netloc + parts.path)
    if url.scheme in ARROW_SCHEMES:
        if url.scheme in ("gs", "gcs"):
            text += f"{'&' if parts.query else '?'}retry_limit_seconds={PATIENCE_SECONDS}"
        store, path = fs.FileSystem.from_uri(text)
        return store, path
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]
        from fsspec.registry import known_implementations  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError(text, f"{url.scheme}:// needs the package fsspec", "run: pip install fsspec") from None
    if url.scheme not in known_implementations:
        raise UsageError(text, "is of an unknown scheme", nearest(url.scheme, {*ARROW_SCHEMES, *known_implementations}))
    store, path = url_to_fs(text)
    return fs.PyFileSystem(fs.FSSpecHandler(store)), path


def _s3(parts: Any) -> Any:
    """S3 by the URL's parameters, else by the variables that AWS's own tools read; keys by their usual chain."""
    from pyarrow import fs

    query, env = dict(parse_qsl(parts.query)), os.environ
    endpoint = query.get("endpoint_override") or env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or ""
    scheme, _, host = endpoint.rpartition("://")
    region = query.get("region") or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    region = region or ("us-east-1" if endpoint else fs.resolve_s3_region(parts.netloc))
    options = {"endpoint_override": host, "scheme": query.get("scheme") or scheme or "https"} if endpoint else {}
    anonymous = query.get("anonymous", "").lower() in ("true", "1", "yes")
    return fs.S3FileSystem(anonymous=anonymous, region=region, connect_timeout=10, request_timeout=60, **options)


@contextmanager
def _errors(url: Url, where: str = "") -> Iterator[None]:
    """Errors of a store as one line without a query or a key."""
    try:
        yield
    except UsageError:
        raise
    except ImportError as error:
        raise UsageError(where or url.text, f"{url.scheme}:// needs a package ({_first_line(error)})", "install it") from None
    except Exception as error:  # each library has errors of its own
        todo = f"check the URL and your access to it; {_KEYS}"
        raise UsageError(where or url.text, f"cannot be read ({_first_line(error)})", todo) from None


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return re.sub(r"(?i)((?:key|token|secret|password|signature)\w*['\"]?\s*[=:]\s*)\S+", r"\1...", lines[0] if lines else type(error).__name__)[:300]


@dataclass(frozen=True)
class Fetched:
    """Datasets of a store, copied: their folders, in the order of their names, below ``folder``."""

    folder: Path
    datasets: tuple[Path, ...]

    @classmethod
    def of(cls, url: Url, files: Sequence[RemoteFile], folder: Path) -> Self:
        """Copy the datasets that lie at ``url`` or directly below it, as far as they are not there yet: manifests and kept shards, checked."""
        from pipeline.datasets import MANIFEST, open_dataset

        known = {file.name: file for file in files}
        prefixes = [name.removesuffix(MANIFEST) for name in known if name == MANIFEST or (name.count("/") == 1 and name.endswith(f"/{MANIFEST}"))]
        prefixes = [""] if "" in prefixes else [prefix for prefix in prefixes if not prefix.startswith(".")]
        made = []
        for prefix in prefixes:
            target = folder / _plain_name(prefix.rstrip("/") or url.name)
            target.mkdir(parents=True, exist_ok=True)
            known[prefix + MANIFEST].fetch(target / MANIFEST)
            for shard in open_dataset(target).shards:
                if shard.part == "":
                    _fetch_checked(url, known.get(prefix + shard.path), target / _plain_name(shard.path), shard.sha256)
            made.append(target)
        return cls(folder, tuple(made))


def _plain_name(name: str) -> str:
    if name in ("", ".", "..") or "/" in name:
        raise DatasetError(name, "is no name for a dataset or a shard of one", "the manifest is damaged; copy the dataset again")
    return name


def _fetch_checked(url: Url, file: RemoteFile | None, target: Path, sha256: str) -> None:
    from pipeline.datasets import file_sha256

    if target.is_file() and file_sha256(target) == sha256:
        return
    if file is None or file.fetch(target) != sha256:
        raise DatasetError(str(file or url), "is missing" if file is None else "its bytes are not those that were written", "copy the dataset again")
