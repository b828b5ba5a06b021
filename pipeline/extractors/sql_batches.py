r"""Many plain rows at once, as Arrow columns: the compiled loops of ``sql_kernels``, and the exact evaluation of the odd cells among them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extractors.sql_events import Columns
from pipeline.extractors.sql_heads import CopyHead
from pipeline.extractors.sql_rows import cell_of, literal_pattern, read_cells
from pipeline.extractors.sql_strings import COPY_ESCAPES, MYSQL_ESCAPES, unescape_copy
from pipeline.extractors.sql_syntax import IncompleteError, Lexer, MalformedError, Syntax
from pipeline.extractors.sql_tables import Fit
from pipeline.extractors.sql_values import Cell, evaluate

MAX_COLUMNS = 4096
"""A row of more cells is left to the exact reader."""


@lru_cache(maxsize=1)
def kernels() -> Any | None:
    """The compiled loops, loaded when first needed; None where numba cannot be had."""
    try:
        return import_module("pipeline.extractors.sql_kernels")
    except ImportError:
        return None


class Run(NamedTuple):
    """Plain rows that were read: ``columns`` (none when there were no rows), the index behind them, how many of them belong to statements
    whose end was seen, and whether more rows may follow: at once, or when there are more bytes.
    """

    columns: Columns
    num_rows: int
    end: int
    num_ended: int = 0
    is_full: bool = False
    is_starved: bool = False


class _Cells:
    """Room for the positions of the cells of one run; used again and again."""

    def __init__(self, num_cells: int) -> None:
        self.starts, self.ends = np.empty(num_cells, np.int32), np.empty(num_cells, np.int32)
        self.kinds = np.empty(num_cells, np.uint8)


@lru_cache(maxsize=1)
def _room(num_cells: int) -> _Cells:
    return _Cells(num_cells)


Kernel = Callable[[np.ndarray, int, np.ndarray, np.ndarray, np.ndarray], tuple[int, int, int, int]]
"""Reads rows of these bytes from this index into starts, ends and kinds."""

OddCell = Callable[[bytes, int], str | None]
"""The text of an odd cell of this column; raises MalformedError when the exact reader must see its row."""


def read_inserted(data: bytes, pos: int, lexer: Lexer, fit: Fit, limit: int, head: bytes, tail: bytes) -> Run:
    """The plain rows of a VALUES list from ``pos`` on, and of those that follow with the same ``head`` (and, before it, ``tail``)."""
    loops, syntax, num_columns = kernels(), lexer.syntax, len(fit.given)
    if loops is None or not 0 < num_columns <= MAX_COLUMNS:
        return Run([], 0, pos)
    flags = _flags(loops, syntax)

    def kernel(raw: np.ndarray, start: int, *room: np.ndarray) -> tuple[int, int, int, int]:
        found: tuple[int, int, int, int] = loops.read_rows(raw, start, num_columns, limit, flags, _bytes(head), _bytes(tail), *room)
        return found

    def odd_cell(piece: bytes, column: int) -> str | None:
        cell = odd_value(piece, lexer)
        return fit.given[column].value(cell)

    escapes = MYSQL_ESCAPES if syntax.is_backslash_escape and syntax.dialect == "mysql" else ()
    return _read(loops, data, pos, num_columns, kernel, odd_cell, escapes, is_quoted=True)


def read_copied(data: bytes, pos: int, syntax: Syntax, head: CopyHead, num_columns: int, limit: int) -> Run:
    """The plain lines of COPY data in text form from ``pos`` on."""
    loops = kernels()
    if loops is None or not 0 < num_columns <= MAX_COLUMNS or len(head.delimiter) != 1 or head.delimiter in b"\\\r\n":
        return Run([], 0, pos)
    flags = _flags(loops, syntax)

    def kernel(raw: np.ndarray, start: int, *room: np.ndarray) -> tuple[int, int, int, int]:
        found: tuple[int, int, int, int] = loops.read_lines(raw, start, num_columns, limit, flags, head.delimiter[0], _bytes(head.null), *room)
        return found

    def odd_cell(piece: bytes, column: int) -> str | None:
        return unescape_copy(piece, syntax.charset)

    return _read(loops, data, pos, num_columns, kernel, odd_cell, COPY_ESCAPES, is_quoted=False)


def _read(loops: Any, data: bytes, pos: int, num_columns: int, kernel: Kernel, odd_cell: OddCell, escapes: tuple[int, ...], is_quoted: bool) -> Run:
    room = _room(loops.MAX_CELLS)
    raw = np.frombuffer(data, np.uint8)
    num_rows, end, why, num_ended = kernel(raw, pos, room.starts, room.ends, room.kinds)
    if num_rows == 0:
        return Run([], 0, pos, is_starved=why == loops.STARVED)
    num_cells = num_rows * num_columns
    starts, ends, kinds = room.starts[:num_cells], room.ends[:num_cells], room.kinds[:num_cells]
    odd: list[dict[int, str | None]] = [{} for _ in range(num_columns)]
    for at in np.flatnonzero(kinds == loops.ODD).tolist():
        row, column = divmod(at, num_columns)
        try:
            odd[column][row] = odd_cell(data[starts[at] : ends[at]], column)
        except MalformedError:
            # The rows before it are read again, to learn where it begins.
            num_rows, end, _, num_ended = kernel(raw, pos, *(part[: row * num_columns] for part in (room.starts, room.ends, room.kinds)))
            why = loops.STOPPED
            break
    if num_rows == 0:
        return Run([], 0, pos)
    sizes = (ends - starts).reshape(-1, num_columns)[:num_rows].sum(axis=0, dtype=np.int64)
    table, gather = np.array(escapes, np.int16), import_module("pipeline.extractors.sql_gather").gather
    columns: Columns = []
    for column, size in enumerate(sizes.tolist()):
        offsets, text, valid = np.empty(num_rows + 1, np.int32), np.empty(max(size, 1), np.uint8), np.empty(num_rows, np.uint8)
        gather(raw, starts, ends, kinds, column, num_columns, table, is_quoted, offsets, text, valid)
        columns.append(_patched(_array(offsets, text, valid), {row: text for row, text in odd[column].items() if row < num_rows}))
    return Run(columns, num_rows, end, num_ended, why == loops.FULL, why == loops.STARVED)


def _array(offsets: np.ndarray, text: np.ndarray, valid: np.ndarray) -> pa.StringArray:
    nulls = len(valid) - int(valid.sum())
    bitmap = pa.py_buffer(np.packbits(valid, bitorder="little")) if nulls else None
    return pa.StringArray.from_buffers(len(valid), pa.py_buffer(offsets), pa.py_buffer(text[: offsets[-1]]), bitmap, nulls)


def _patched(array: pa.StringArray, cells: dict[int, str | None]) -> pa.StringArray:
    if not cells:
        return array
    mask = np.zeros(len(array), bool)
    mask[list(cells)] = True
    return pc.replace_with_mask(array, pa.array(mask), pa.array(list(cells.values()), pa.string()))


def _flags(loops: Any, syntax: Syntax) -> int:
    flags = loops.BACKSLASH * syntax.is_backslash_escape | loops.DOUBLE_QUOTE * syntax.is_double_quote_string
    flags |= loops.MYSQL * (syntax.dialect == "mysql") | loops.TSQL * (syntax.dialect == "tsql")
    return int(flags | loops.BRACKETS * (syntax.dialect == "postgresql") | loops.UTF8 * (syntax.charset == "utf-8"))


def _bytes(raw: bytes) -> np.ndarray:
    return np.frombuffer(raw + b"\0", np.uint8)[:-1]


def odd_value(piece: bytes, lexer: Lexer) -> Cell:
    """The value of an expression that fills its cell; raises MalformedError when the exact reader must decide where the cell ends."""
    literal = piece.strip()
    if _literal(lexer.syntax).fullmatch(literal):
        return cell_of(literal, lexer.syntax)
    whole = piece + b")"
    try:
        cells, end = read_cells(lexer, whole, 0, True, frozenset([b")"]))
    except IncompleteError:
        raise MalformedError("unclosed", len(piece)) from None
    if len(cells) != 1 or end != len(whole):
        raise MalformedError("more than one cell", len(piece))
    return evaluate(whole, cells[0], lexer.syntax)


@lru_cache(maxsize=64)
def _literal(syntax: Syntax) -> re.Pattern[bytes]:
    return re.compile(literal_pattern(syntax), re.DOTALL)
