"""What the tables in files are called."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.extractors.files import SourceFile, kind_of


def table_name(file_name: str) -> str:
    """What the table in a file that holds one is called: ``posts`` of ``export/posts.csv.gz``."""
    return file_name.rpartition("/")[2].partition(".")[0]


def known_tables(files: Iterable[SourceFile]) -> list[str]:
    """The tables of all files, those without rows included. Dumps are read for it, so ask only when something is wrong."""
    from pipeline.extractors.batches import TableBatch
    from pipeline.extractors.sql_dump import table_batches
    from pipeline.extractors.sql_settings import SqlSettings

    dumps: list[SourceFile] = []
    others: list[SourceFile] = []
    for file in files:
        (dumps if kind_of(file) == "sql" else others).append(file)
    found = [item.name for item in table_batches(dumps, SqlSettings()) if isinstance(item, TableBatch)] if dumps else []
    return list(dict.fromkeys((*found, *(table_name(file.name) for file in others))))
