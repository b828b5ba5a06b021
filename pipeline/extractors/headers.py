"""Where the names of a table's columns stand: under titles, in one row or in two, or nowhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.extractors.rows import numbered

MAX_NAME_CHARS = 100
"""Our own choice [j]: a column of a form is called by its question."""
MAX_TITLES = 20
"""More sparse rows than this before a table are rows of it [j]."""

_NO_NAME = re.compile(r"[-+$€£\d.,:/%\s]*\d[-+$€£\d.,:/%\sTZ]*|\S+@\S+\.\S+|https?://\S+|.*[.!?]\s.*[.!?]\W?|.*\n.*\n.*", re.DOTALL)
_NUMBER = re.compile(r"\s*[-+(]?[$€£]?\s*\d[\d.,\s]*(e[-+]?\d+)?\s*[%€$£)]?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    """The rows of titles before the names, and the rows of names: none, one, or two where the first is of merged cells."""

    num_titles: int = 0
    num_rows: int = 0


def find_header(rows: Sequence[Sequence[str]]) -> Header:
    """The header of a table that begins with ``rows``, all of one width."""
    sparse = 0
    if rows and len(rows[0]) >= 3:
        sparse = next((index for index, row in enumerate(rows) if sum(bool(cell.strip()) for cell in row) > 1), 0)
    for num_titles in {sparse: None, 0: None} if sparse <= MAX_TITLES else {0: None}:
        if has_header(rows[num_titles:]):
            return Header(num_titles, 2 if _is_double(rows[num_titles:]) else 1)
    return Header()


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of ``rows`` names the columns: short, different, filled, and neither numbers, dates nor addresses.

    A first row of which a cell stands in its column again is none. In doubt there are names: files without are the exception.
    """
    if not rows:
        return False
    names = [cell.strip() for cell in rows[0]]
    filled = [name for name in names if name]
    if len(filled) * 2 < len(names) or any(len(name) > MAX_NAME_CHARS or _NO_NAME.fullmatch(name) for name in filled):
        return False
    body = [row for row in rows[1:] if row != rows[0]]
    return not any(name == row[column].strip() for row in body for column, name in enumerate(names) if name)


def is_evident(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of ``rows`` must be the header: it holds words over a column of numbers."""
    return any(
        name.strip() and not _NUMBER.fullmatch(name) and all(_NUMBER.fullmatch(row[column]) for row in rows[1:])
        for column, name in enumerate(rows[0])
    )


def _is_double(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a second row of names stands below the first: it fills what merged cells left blank, and is words where numbers follow."""
    if len(rows) < 3 or not rows[0][0].strip() or all(cell.strip() for cell in rows[0]):
        return False
    upper, lower = rows[0], rows[1]
    filled = [column for column, cell in enumerate(lower) if cell.strip()]
    fills_blanks = all(lower[column].strip() for column, cell in enumerate(upper) if not cell.strip())
    if not fills_blanks or any(_NO_NAME.fullmatch(lower[column].strip()) for column in filled):
        return False
    below = [cells for column in filled if (cells := [row[column] for row in rows[2:] if row[column].strip()])]
    numeric = [cells for cells in below if 2 * sum(_NUMBER.fullmatch(cell) is not None for cell in cells) > len(cells)]
    return 2 * len(numeric) > len(below)


def names_of(header: Sequence[Sequence[str]], width: int) -> tuple[str, ...]:
    """A name for each of ``width`` columns, as it is written, if it is nothing; ``text_2`` where one stands twice, ``col_3`` where none can."""
    if not header:
        return tuple(f"col_{index}" for index in range(width))
    cells = _merged(header[0], header[1]) if len(header) > 1 else list(header[0][:width])
    cells += [""] * (width - len(cells))
    return numbered(cell if cell.strip() or cell not in cells[:index] else f"col_{index}" for index, cell in enumerate(cells))


def _merged(upper: Sequence[str], lower: Sequence[str]) -> list[str]:
    """Names of two rows in one; a cell of the upper row reaches over the blanks to its right that have a name below."""
    names, reaching = [], ""
    for above, below in zip(upper, lower, strict=False):
        reaching = above.strip() or (reaching if below.strip() else "")
        names.append(f"{reaching} {below.strip()}".strip())
    return names
