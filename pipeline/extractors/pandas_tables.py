"""CSV files read by pandas, for sources whose settings give options of ``pandas.read_csv``."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import pandas as pd

from pipeline.documents import Extracted, Skipped
from pipeline.errors import SettingsError, nearest
from pipeline.extractors import rows, templates
from pipeline.extractors.batches import BatchBuilder, Rows
from pipeline.extractors.files import SourceFile
from pipeline.extractors.rows import RowMapping, RowPlan

CHUNK_ROWS = 1000
SAMPLE_ROWS = 200

_FIXED = ("filepath_or_buffer", "chunksize", "iterator", "encoding", "compression", "storage_options", "memory_map")
"""Parameters of ``read_csv`` that are this module's own."""


@dataclass(frozen=True)
class _Chunk:
    """Rows from the one numbered ``start`` on, a cell being whatever the options make of it, None where pandas has a missing value."""

    names: tuple[str, ...]
    start: int
    cells: list[tuple[Any, ...]]


def read_with_pandas(file: SourceFile, encoding: str, options: Mapping[str, Any], mapping: RowMapping | None) -> Iterator[Extracted]:
    """One item a row. Unless ``options`` say otherwise cells are text, nothing is NaN, and lines that do not fit are each Skipped.

    Raises SettingsError for an option that pandas does not know or a wrong mapping, and what the file's stream raises.
    """
    plan: RowPlan | None = None
    is_empty = True
    for chunk in _read(file, encoding, options):
        is_empty = False
        if isinstance(chunk, Skipped):
            yield chunk
            continue
        names = rows.column_names(chunk.names)
        table = [dict(zip(names, cells, strict=True)) for cells in chunk.cells]
        plan = plan or rows.plan(names, mapping, file.name, table[:SAMPLE_ROWS])
        for number, row in enumerate(table, chunk.start):
            yield plan.document(file.locator(row=number), row, "csv by pandas")
    if is_empty:
        yield file.skipped("empty: the table has no rows")


def rows_with_pandas(file: SourceFile, encoding: str, options: Mapping[str, Any]) -> Iterator[Rows | Skipped]:
    """The same rows in batches of text columns."""
    for chunk in _read(file, encoding, options):
        if isinstance(chunk, Skipped):
            yield chunk
            continue
        building = BatchBuilder(rows.column_names(chunk.names))
        for number, cells in enumerate(chunk.cells, chunk.start):
            building.add(number, [None if cell is None else templates.as_text(cell) for cell in cells])
        yield building.take()


def _read(file: SourceFile, encoding: str, options: Mapping[str, Any]) -> Iterator[_Chunk | Skipped]:
    _check(options)
    given = {"dtype": str, "keep_default_na": False, "index_col": False, "on_bad_lines": "warn", **options}
    start = 0
    try:
        with file.open() as stream:
            for frame, bad_lines in _chunks(stream, {"encoding": encoding, **given}):
                for line, reason in bad_lines:
                    yield file.skipped(f"wrong number of cells: {reason}", line=line)
                if len(frame):
                    plain = frame.astype(object).where(frame.notna(), None)
                    yield _Chunk(tuple(map(str, frame.columns)), start, list(plain.itertuples(index=False, name=None)))
                start += len(frame)
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        yield file.skipped(f"pandas: {(str(error).strip() or type(error).__name__).splitlines()[0]}", row=start)


def _chunks(stream: BinaryIO, options: dict[str, Any]) -> Iterator[tuple[pd.DataFrame, list[tuple[int, str]]]]:
    """Pieces of the table, each with the lines (from 0) that pandas warned of while it read the piece."""
    reader: Iterator[pd.DataFrame] | None = None
    while True:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", pd.errors.ParserWarning)
            reader = reader or pd.read_csv(stream, chunksize=CHUNK_ROWS, **options)
            chunk = next(reader, None)
        told = [re.findall(r"line (\d+)[:,] ([^\n]+)", str(warning.message)) for warning in caught]
        bad_lines = [(int(line) - 1, reason.strip()) for pairs in told for line, reason in pairs]
        if chunk is not None or bad_lines:
            yield pd.DataFrame() if chunk is None else chunk, bad_lines
        if chunk is None:
            return


def _check(options: Mapping[str, Any]) -> None:
    known = [name for name in inspect.signature(pd.read_csv).parameters if name not in _FIXED]
    unknown = [name for name in options if name not in known]
    if unknown:
        what = "no option of pandas.read_csv that can be set here"
        raise SettingsError([f"csv.pandas.{name}: {what}; {nearest(name, known)}" for name in unknown])
