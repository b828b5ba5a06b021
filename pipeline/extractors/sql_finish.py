"""The rows of a table as a database shows them: all its columns in order, numbers that it gives out itself, spellings of its types."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extractors.sql_ddl import Column
from pipeline.extractors.sql_strings import hex_of

MAX_NUMBER = 2**62


@dataclass(frozen=True)
class Layout:
    """The columns of a table, and what earlier names of some were."""

    columns: tuple[Column, ...]
    renamed: tuple[tuple[str, str], ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """One nullable string for each column."""
        return pa.schema([(column.name, pa.string()) for column in self.columns])

    def aligned(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with all columns: what they do not give is the column's literal default, else null."""
        given = dict(zip(batch.schema.names, batch.columns, strict=True))
        for old, new in self.renamed:
            if old in given and new not in given:
                given[new] = given.pop(old)
        folded = {name.casefold(): cells for name, cells in reversed(given.items())}
        columns = [given.get(column.name, folded.get(column.name.casefold())) for column in self.columns]
        filled = [
            pa.repeat(pa.scalar(column.default, pa.string()), len(batch)) if cells is None else cells
            for column, cells in zip(self.columns, columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(filled, schema=self.schema)

    def numbered(self, batches: Iterator[pa.RecordBatch], first: int) -> Iterator[pa.RecordBatch]:
        """The rows with the numbers that the database gives them where they have none: one more than the largest before them."""
        at = next((index for index, column in enumerate(self.columns) if column.is_counted), None)
        last = first - 1
        for batch in batches:
            if at is None:
                yield batch
                continue
            cells = batch.column(at)
            given = _whole_numbers(cells)
            if given is None:
                at = None
            elif cells.null_count:
                numbers, last = _filled(given, last)
                batch = batch.set_column(at, batch.schema.field(at), pa.array(numbers, pa.int64()).cast(pa.string()))
            elif len(batch):
                last = max(last, pc.max(given).as_py())
            yield batch

    def spelled(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with values as the database shows them where it spells them in one way only."""
        for index, column in enumerate(self.columns):
            spell = _spelling(column)
            if spell is not None:
                batch = batch.set_column(index, batch.schema.field(index), spell(batch.column(index)))
        return batch


def _whole_numbers(cells: pa.StringArray) -> pa.Int64Array | None:
    """The cells as numbers; None when some are not whole numbers that leave room for more."""
    try:
        numbers = cells.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return numbers if len(numbers) == numbers.null_count or pc.max(numbers).as_py() < MAX_NUMBER else None


def _filled(given: pa.Int64Array, last: int) -> tuple[list[int], int]:
    numbers = []
    for number in given.to_pylist():
        number = last + 1 if number is None else number
        last = max(last, number)
        numbers.append(number)
    return numbers, last


Spelling = Callable[[pa.StringArray], pa.StringArray]

_EPOCHS = {"DATE": "1970-01-01", "TIMESTAMP": "1970-01-01 00:00:00", "TIMESTAMPTZ": "1970-01-01 00:00:00+00"}


def _spelling(column: Column) -> Spelling | None:
    if column.type == "BIT" and column.size > 8:
        return lambda cells: _mapped(cells, lambda cell: _padded(cell, (column.size + 7) // 8))
    if column.type == "JSONB":
        return lambda cells: _mapped(cells, _json_text)
    if column.type in _EPOCHS:
        return lambda cells: pc.if_else(pc.fill_null(pc.equal(cells, "epoch"), False), _EPOCHS[column.type], cells)
    return None


def _mapped(cells: pa.StringArray, spell: Callable[[str], str]) -> pa.StringArray:
    return pa.array([None if cell is None else spell(cell) for cell in cells.to_pylist()], pa.string())


def _padded(cell: str, num_bytes: int) -> str:
    """A bit field as all its bytes: MySQL shows leading zeros."""
    raw = bytes.fromhex(cell[2:]) if re.fullmatch(r"0x(?:[0-9A-F]{2})+", cell) else cell.encode("utf-8", "surrogatepass")
    raw = raw.rjust(num_bytes, b"\0")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return hex_of(raw)


class _Literal(str):
    """A number as JSON writes it."""

    __slots__ = ()


def _json_text(cell: str) -> str:
    """PostgreSQL's text of a jsonb value: keys by length and then by bytes, the last of equal keys, one space after marks."""
    try:
        value = json.loads(cell, parse_int=_Literal, parse_float=_Literal, parse_constant=_refuse)
        return _json_of(value)
    except (ValueError, RecursionError):
        return cell


def _refuse(name: str) -> None:
    raise ValueError(name)


def _json_of(value: object) -> str:
    if isinstance(value, dict):
        pairs: Sequence[tuple[str, object]] = sorted(value.items(), key=lambda pair: (len(pair[0].encode()), pair[0].encode()))
        return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {_json_of(item)}" for key, item in pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json_of, value)) + "]"
    return str(value) if isinstance(value, _Literal) else json.dumps(value, ensure_ascii=False)


def is_ascending(batches: Iterator[pa.RecordBatch], keys: Sequence[Sequence[str]]) -> bool:
    """Whether the only key is one column of whole numbers, each greater than the one before: then no two rows have the same."""
    if len(keys) != 1 or len(keys[0]) != 1:
        return False
    last = -(2**63)
    for batch in batches:
        numbers = _whole_numbers(batch.column(keys[0][0]))
        if numbers is None or numbers.null_count:
            return False
        if not len(numbers):
            continue
        values = numbers.to_numpy()
        if values[0] <= last or not (np.diff(values) > 0).all():
            return False
        last = int(values[-1])
    return True
