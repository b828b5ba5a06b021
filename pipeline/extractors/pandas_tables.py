"""CSV files read by pandas, for sources whose settings give options of ``pandas.read_csv``."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import pandas as pd

from pipeline.documents import Extracted
from pipeline.errors import SettingsError, nearest
from pipeline.extractors import rows
from pipeline.extractors.files import SourceFile
from pipeline.extractors.rows import RowMapping, RowPlan

CHUNK_ROWS = 1000
SAMPLE_ROWS = 200

_FIXED = ("filepath_or_buffer", "chunksize", "iterator", "encoding", "compression", "storage_options", "memory_map")
"""Parameters of ``read_csv`` that are this module's own."""


def read_with_pandas(file: SourceFile, encoding: str, options: Mapping[str, Any], mapping: RowMapping | None) -> Iterator[Extracted]:
    """One item a row. Unless ``options`` say otherwise cells are text, nothing is NaN, and lines that do not fit are each Skipped.

    Raises SettingsError for an option that pandas does not know or a wrong mapping, and what the file's stream raises.
    """
    _check(options)
    given = {"dtype": str, "keep_default_na": False, "index_col": False, "on_bad_lines": "warn", **options}
    start = 0
    plan: RowPlan | None = None
    try:
        with file.open() as stream:
            for chunk, bad_lines in _chunks(stream, {"encoding": encoding, **given}):
                names = rows.column_names([str(name) for name in chunk.columns])
                plain = chunk.astype(object).where(chunk.notna(), None)
                table = [dict(zip(names, cells, strict=True)) for cells in plain.itertuples(index=False, name=None)]
                plan = plan or rows.plan(names, mapping, file.name, table[:SAMPLE_ROWS])
                for line, reason in bad_lines:
                    yield file.skipped(f"wrong number of cells: {reason}", line=line)
                for number, row in enumerate(table, start):
                    yield plan.document(file.locator(row=number), row, "csv by pandas")
                start += len(table)
        if start == 0:
            yield file.skipped("empty: the table has no rows")
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
