r"""Values of a database as text, exactly: the same text means the same value of its column, and the value can be had back from it.

PostgreSQL    its own text, as in its dumps: ``t``/``f``, ``\x..`` for bytea, ``{a,b}`` for arrays, times in UTC, the shortest exact floats.
MySQL         its own text: times in UTC, BIT as a whole number, FLOAT the shortest that reads back to the same single.
SQLite        whole numbers and text as they are, floats as the shortest text that reads back to the same double.
binary data   (MySQL, SQLite) is text where it is UTF-8, as wikis keep their pages, else ``0x`` and hex digits; what as text would begin
              with ``0x`` is hex too, so that no two values look alike. Text that is no UTF-8 is treated in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

BATCH_ROWS = 4096
BATCH_BYTES = 4_000_000
"""A batch is closed at these sizes, so that memory does not grow with the table."""


def text_of_bytes(raw: bytes) -> str:
    """Binary data as text where it is UTF-8, else as hex."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return f"0x{raw.hex().upper()}"
    return f"0x{raw.hex().upper()}" if text[:2] == "0x" else text


def text_of_text(raw: bytes) -> str:
    """What SQLite calls text, as text where it is UTF-8, else as hex."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return f"0x{raw.hex().upper()}"


def text_of(value: Any) -> str | None:
    """A value as PyMySQL (without decoders) and sqlite3 give it, as text."""
    if value is None or type(value) is str:
        return value
    return text_of_bytes(value) if isinstance(value, bytes) else repr(value)


def shortest_single(text: str | None) -> str | None:
    """The shortest text that reads back to the same float of single precision; ``text`` is that float written as a double."""
    return None if text is None else repr(float(str(np.float32(text))))


def batches_of_rows(rows: Iterable[Sequence[Any]], names: Sequence[str], singles: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, Sequence[Any]]]:
    """Rows as batches of nullable strings, each with its last row as the driver gave it. What came before an error comes before it here too."""
    pending: list[Sequence[Any]] = []
    num_bytes, fault = 0, None
    try:
        for row in rows:
            pending.append(row)
            for value in row:
                if value.__class__ is str or value.__class__ is bytes:
                    num_bytes += len(value)
            if len(pending) >= BATCH_ROWS or num_bytes >= BATCH_BYTES:
                yield _batch_of_rows(pending, names, singles), pending[-1]
                pending, num_bytes = [], 0
    except Exception as error:
        fault = error
    if pending:
        yield _batch_of_rows(pending, names, singles), pending[-1]
    if fault is not None:
        raise fault


def _batch_of_rows(rows: Sequence[Sequence[Any]], names: Sequence[str], singles: Sequence[str]) -> pa.RecordBatch:
    columns = []
    for name, cells in zip(names, zip(*rows, strict=True), strict=True):
        texts = [cell if cell is None or cell.__class__ is str else text_of(cell) for cell in cells]
        columns.append(pa.array(map(shortest_single, texts) if name in singles else texts, pa.string()))
    return pa.RecordBatch.from_arrays(columns, schema=string_schema(names))


def batches_of_copy(lines: Iterable[bytes | memoryview], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of PostgreSQL's ``COPY .. TO STDOUT (FORMAT csv, FORCE_QUOTE *)``, one row a line of ``lines``, as batches of nullable strings.

    What came before an error comes before it here too.
    """
    block = bytearray()
    num_rows, fault = 0, None
    try:
        for line in lines:
            block += line
            num_rows += 1
            if num_rows >= BATCH_ROWS or len(block) >= BATCH_BYTES:
                yield _batch_of_copy(bytes(block), names, num_rows)
                block.clear()
                num_rows = 0
    except Exception as error:
        fault = error
    if num_rows:
        yield _batch_of_copy(bytes(block), names, num_rows)
    if fault is not None:
        raise fault


def _batch_of_copy(block: bytes, names: Sequence[str], num_rows: int) -> pa.RecordBatch:
    """All values are quoted but NULL, which is nothing at all."""
    numbered = [str(number) for number in range(len(names))]
    table = csv.read_csv(
        pa.BufferReader(block),
        csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=numbered),
        csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        csv.ConvertOptions(
            column_types=dict.fromkeys(numbered, pa.binary()), null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    ).combine_chunks()
    assert table.num_rows == num_rows
    columns = [_as_strings(column.chunk(0)) for column in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=string_schema(names))


def _as_strings(column: pa.Array) -> pa.Array:
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowInvalid:  # a database of encoding SQL_ASCII may hold any bytes
        return pa.array([None if raw is None else text_of_text(raw) for raw in column.to_pylist()], pa.string())


def string_schema(names: Sequence[str]) -> pa.Schema:
    """The schema of a batch: all columns nullable strings."""
    return pa.schema([(name, pa.string()) for name in names])


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names of a query's columns, a second ``id`` as ``id_2``."""
    seen: dict[str, None] = {}
    for name in names:
        shown, count = name, 1
        while shown in seen:
            count += 1
            shown = f"{name}_{count}"
        seen[shown] = None
    return tuple(seen)
