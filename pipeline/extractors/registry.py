"""Which extractor reads which kind of file, and in which version; none of them is imported before a file of its kind is met."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from pipeline.documents import Extracted
from pipeline.extractors.files import Kind, SourceFile


class Extractor(Protocol):
    """Reads one file of a source; never raises for what the file holds, and yields one item for each unit it reads."""

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """Documents, and what became of every other unit."""
        ...


class Entry(NamedTuple):
    """A class of ``pipeline.extractors``; ``version`` goes up with every change that makes other documents of the same file."""

    module: str
    name: str
    version: int


EXTRACTORS: dict[Kind, Entry] = {
    "html": Entry("html", "HtmlPages", 3),
    "warc": Entry("warc", "WarcPages", 3),
    "csv": Entry("tables", "CsvTable", 2),
    "sql": Entry("sql", "SqlDump", 3),
    "jsonl": Entry("records", "JsonLines", 2),
    "json": Entry("records", "JsonFile", 2),
    "parquet": Entry("records", "ParquetRows", 1),
    "arrow": Entry("records", "ArrowRows", 1),
    "sqlite": Entry("databases_sqlite", "SqliteFile", 1),
    "xlsx": Entry("xlsx", "Workbook", 1),
    "text": Entry("plain_text", "PlainText", 1),
}
"""A warc holds pages, so its version goes up with that of html."""


def versions() -> dict[str, int]:
    """The version of every extractor by the kind of file that it reads."""
    return {kind: entry.version for kind, entry in EXTRACTORS.items()}


def load(kind: Kind) -> Callable[..., Any]:
    """The extractor's class."""
    entry = EXTRACTORS[kind]
    extractor: Callable[..., Any] = getattr(import_module(f"pipeline.extractors.{entry.module}"), entry.name)
    return extractor
