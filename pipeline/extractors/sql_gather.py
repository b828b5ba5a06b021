"""The compiled loop that puts the cells of a column together, as Arrow keeps text."""

from __future__ import annotations

import numpy as np

from pipeline.compiled import compiled
from pipeline.extractors.sql_kernels import ESCAPED, MISSING, ODD, VERBATIM


@compiled
def gather(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, kinds: np.ndarray, column: int, num_columns: int,
    escapes: np.ndarray, is_quoted: bool, offsets: np.ndarray, text: np.ndarray, valid: np.ndarray,
) -> int:  # fmt: skip
    """One column of the cells that were read: ``text`` (uint8) takes the bytes of its cells, ``offsets`` (int32) where each begins and ends,
    ``valid`` (uint8) 0 for NULL. Gives the number of odd cells, which are left empty.

    ``escapes`` (int16, 256 or none): the byte that a byte after a backslash stands for, -1 where the backslash stays. ``is_quoted``: whether a
    doubled quote is one.
    """
    num_odd = used = 0
    offsets[0] = 0
    for row in range(len(valid)):
        at = row * num_columns + column
        kind, pos, end = kinds[at], starts[at], ends[at]
        valid[row] = kind != MISSING
        if kind == VERBATIM:
            for i in range(pos, end):
                text[used + i - pos] = data[i]
            used += end - pos
        elif kind == ESCAPED:
            quote = data[pos - 1] if is_quoted else 0
            while pos < end:
                byte = data[pos]
                pos += 1
                if byte == 92 and len(escapes) > 0 and pos < end:
                    if escapes[data[pos]] >= 0:
                        byte = np.uint8(escapes[data[pos]])
                        pos += 1
                elif is_quoted and byte == quote and pos < end and data[pos] == quote:
                    pos += 1
                text[used] = byte
                used += 1
        num_odd += kind == ODD
        offsets[row + 1] = used
    return num_odd
