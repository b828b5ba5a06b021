"""A source of ``stages/extract.yaml``: its settings, the extractor of each file, and its division into parts.

Parts are cut where a hash of the file's name says so, so that one file added, changed or removed touches only its own part.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from pipeline.commits import ShardWriter
from pipeline.documents import (
    QUARANTINE,
    REMOVED,
    SCHEMA,
    Document,
    Extracted,
    Removed,
    Skipped,
    Superseded,
    to_batch,
)
from pipeline.extractors.files import Kind, SourceFile, kind_of, list_files
from pipeline.extractors.html import HtmlSettings
from pipeline.extractors.rows import RowMapping
from pipeline.extractors.sql import SqlSettings
from pipeline.extractors.tables import CsvSettings
from pipeline.report import Counts, Report
from pipeline.settings import digest, to_plain

MAX_PART_BYTES = 64 * 2**20
MAX_PART_FILES = 512
PART_CUT_ONE_IN = 64
"""A part ends after a file whose name hashes to 0 modulo this (64 files on average), or at the sizes above."""

BATCH_DOCUMENTS = 512
BATCH_CHARS = 4_000_000


class Extractor(Protocol):
    """Reads one file of a source; never raises for what the file holds, and yields one item for each unit it reads."""

    version: ClassVar[int]

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """Documents, and what became of every other unit."""
        ...


@dataclass(frozen=True)
class SourceSettings:
    """One source: where it lies and how it is read. Everything but ``path`` can be left out."""

    path: str
    html: HtmlSettings = field(default_factory=HtmlSettings)
    csv: CsvSettings = field(default_factory=CsvSettings)
    sql: SqlSettings = field(default_factory=SqlSettings)
    rows: RowMapping | None = None
    """How a row becomes a document, in files that hold one table (CSV, JSON lines, Parquet)."""
    tables: Mapping[str, RowMapping] = field(default_factory=dict)
    """The same for each table of a dump."""


@dataclass(frozen=True)
class ExtractSettings:
    """``stages/extract.yaml``."""

    sources: Mapping[str, SourceSettings] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A unit of work: some files of one source, with the digest of each one's bytes."""

    source: str
    settings: SourceSettings
    files: tuple[tuple[SourceFile, str], ...]
    refused: tuple[Skipped, ...] = ()

    @property
    def key(self) -> str:
        """Digest of all that decides what this part becomes."""
        files = [[file.name, sha256] for file, sha256 in self.files]
        refused = [[item.locator, item.error] for item in self.refused]
        return digest([self.source, settings_for_key(self.settings), files, refused])


def settings_for_key(settings: SourceSettings) -> dict[str, Any]:
    """The settings that decide what a file becomes: all but where the source lies, and the extractors' versions."""
    plain = {name: value for name, value in to_plain(settings).items() if name != "path"}
    return {**plain, "versions": {kind: _extractor(kind, settings).version for kind in _EXTRACTORS}}


def list_parts(source: str, settings: SourceSettings, file_digest: Callable[[Path], str]) -> list[Part]:
    """The files of a source in the order of their names, divided into parts; raises UsageError when there is nothing at its path."""
    parts: list[Part] = []
    files: list[tuple[SourceFile, str]] = []
    refused: list[Skipped] = []
    num_bytes = 0

    def cut() -> None:
        nonlocal files, refused, num_bytes
        if files or refused:
            parts.append(Part(source, settings, tuple(files), tuple(refused)))
        files, refused, num_bytes = [], [], 0

    for item in list_files(Path(settings.path).absolute()):
        if isinstance(item, Skipped):
            refused.append(item)
            continue
        try:
            size, sha256 = item.path.stat().st_size, file_digest(item.path)
        except OSError as error:
            refused.append(item.skipped(f"cannot be read: {error.strerror}"))
            continue
        if files and num_bytes + size > MAX_PART_BYTES:
            cut()
        files.append((item, sha256))
        num_bytes += size
        if len(files) >= MAX_PART_FILES or _ends_part(item.name):
            cut()
    cut()
    return parts


def _ends_part(name: str) -> bool:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[0] % PART_CUT_ONE_IN == 0


def source_name(path: Path) -> str:
    """A source's name from its path: the file or folder name without its suffixes, other characters than letters, digits, ``._-`` as ``-``."""
    resolved = path.resolve()
    stem = resolved.name if resolved.is_dir() else resolved.name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "source"


_EXTRACTORS: dict[Kind, str] = {
    "html": "pipeline.extractors.html:HtmlPages",
    "csv": "pipeline.extractors.tables:CsvTable",
    "sql": "pipeline.extractors.sql:SqlDump",
    "jsonl": "pipeline.extractors.records:JsonLines",
    "json": "pipeline.extractors.records:JsonFile",
    "parquet": "pipeline.extractors.records:ParquetRows",
    "arrow": "pipeline.extractors.records:ArrowRows",
    "text": "pipeline.extractors.plain_text:PlainText",
}


def _extractor(kind: Kind, settings: SourceSettings) -> Extractor:
    module, _, name = _EXTRACTORS[kind].partition(":")
    build = getattr(import_module(module), name)
    extractor: Extractor
    if kind == "html":
        extractor = build(settings.html)
    elif kind == "csv":
        extractor = build(settings.csv, settings.rows)
    elif kind == "sql":
        extractor = build(settings.sql, settings.tables)
    else:
        extractor = build() if kind == "text" else build(settings.rows)
    return extractor


def read_part(folder: Path, name: str, part: Part) -> dict[str, Any]:
    """Extract one part into shards below ``folder`` named after the task; gives counts and shards (JSON-able)."""
    counts = Counts()
    with (
        ShardWriter(folder, "", name, SCHEMA, always=True) as kept,
        ShardWriter(folder, "__removed", name, REMOVED) as removed,
        ShardWriter(folder, "__quarantine", name, QUARANTINE) as quarantine,
    ):
        for batch in _batched(_read(part)):
            documents = [item for item in batch if isinstance(item, Document)]
            dropped = [item for item in batch if isinstance(item, Removed)]
            skipped = [item for item in batch if isinstance(item, Skipped)]
            _count(counts, batch)
            if documents:
                kept.write(to_batch(part.source, documents))
            if dropped:
                removed.write(_removed_batch(part.source, dropped))
            if skipped:
                quarantine.write(_quarantine_batch(part.source, skipped))
    shards = [vars(shard) for writer in (kept, removed, quarantine) for shard in writer.shards]
    report = Report()
    report.of(part.source).add(counts)
    return {"key": part.key, "counts": report.to_plain(), "shards": shards}


def _read(part: Part) -> Iterator[Extracted]:
    yield from part.refused
    for file, _ in part.files:
        kind = kind_of(file)
        if kind is None:
            yield file.skipped("unknown kind: neither text nor a format that is read here", raw=_head(file))
            continue
        yield from _extractor(kind, part.settings).read(file)


def _head(file: SourceFile) -> bytes:
    try:
        with file.path.open("rb") as stream:
            return stream.read(256)
    except OSError:
        return b""


def _batched(items: Iterator[Extracted]) -> Iterator[list[Extracted]]:
    batch: list[Extracted] = []
    num_chars = 0
    for item in items:
        batch.append(item)
        num_chars += _size(item)
        if len(batch) >= BATCH_DOCUMENTS or num_chars >= BATCH_CHARS:
            yield batch
            batch, num_chars = [], 0
    if batch:
        yield batch


def _size(item: Extracted) -> int:
    document = item.document if isinstance(item, Removed) else item
    if not isinstance(document, Document):
        return 0
    return len(document.text or "") + sum(len(message.content) for message in document.messages or ())


def _count(counts: Counts, batch: Sequence[Extracted]) -> None:
    for item in batch:
        if isinstance(item, Document):
            counts.read += 1 + item.merged
            counts.kept += 1
            counts.merged += item.merged
            how = str(item.meta.get("extractor", "unknown"))
            counts.choices[how] = counts.choices.get(how, 0) + 1
        elif isinstance(item, Removed):
            counts.read += 1
            counts.remove(item.rule)
        elif isinstance(item, Superseded):
            counts.read += item.units
            counts.superseded += item.units
        else:
            counts.read += 1
            counts.quarantine(item.error)


def _removed_batch(source: str, items: Sequence[Removed]) -> pa.RecordBatch:
    batch = to_batch(source, [item.document for item in items])
    rules, reasons = pa.array([item.rule for item in items], pa.string()), pa.array([item.reason for item in items], pa.string())
    empty = [pa.nulls(len(items), field.type) for field in list(REMOVED)[len(SCHEMA) + 2 :]]
    return pa.RecordBatch.from_arrays([*batch.columns, rules, reasons, *empty], schema=REMOVED)


def _quarantine_batch(source: str, items: Sequence[Skipped]) -> pa.RecordBatch:
    rows = [{"source": source, "locator": i.locator, "error": i.error, "offset": i.offset, "raw": i.raw or None} for i in items]
    return pa.RecordBatch.from_pylist(rows, schema=QUARANTINE)
