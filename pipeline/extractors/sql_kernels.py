"""Compiled loops over the bytes of a dump: where the cells of plain rows lie.

A kernel reads rows only as far as each byte of them is one of a few plain forms, and stops before the first row that is not, which is
left to the exact reader; so it decides nothing that the exact reader would decide otherwise. Of each cell it notes where its content begins
and ends and of which kind it is.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.compiled import compiled

VERBATIM: Final = 0
"""The bytes are the text."""
MISSING: Final = 1
"""NULL."""
ESCAPED: Final = 2
"""The text after doubled quotes and the backslash escapes of MySQL or COPY are resolved."""
ODD: Final = 3
"""Start and end of an expression that the exact evaluation must read."""

BACKSLASH: Final = 1
"""Flag: a backslash escapes in strings."""
MYSQL: Final = 2
"""Flag: escapes as MySQL has them, and ``_binary '..'``; without it a string with escapes is ODD."""
DOUBLE_QUOTE: Final = 4
"""Flag: ``"`` begins a string."""
UTF8: Final = 8
"""Flag: text is UTF-8; without it, cells with other bytes than ASCII are ODD."""
TSQL: Final = 16
"""Flag: statements need no semicolon, and GO may stand between them."""
BRACKETS: Final = 32
"""Flag: expressions may hold square brackets (PostgreSQL's arrays)."""

STOPPED: Final = 0
"""The next row is not plain, or none follows."""
STARVED: Final = 1
"""The next row reaches beyond the bytes at hand."""
FULL: Final = 2
"""There is no room for the cells of another row."""

MAX_CELLS: Final = 1 << 18
"""So many cells are read at once."""


@compiled
def _is_space(byte: int) -> bool:
    return byte == 32 or 9 <= byte <= 13


@compiled
def _is_word(byte: int) -> bool:
    return 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122 or byte == 95 or byte >= 128


@compiled
def _skip_space(data: np.ndarray, pos: int, end: int) -> int:
    while pos < end and _is_space(data[pos]):
        pos += 1
    return pos


@compiled
def _has(data: np.ndarray, pos: int, end: int, what: np.ndarray) -> bool:
    if pos + len(what) > end:
        return False
    for i in range(len(what)):  # noqa: SIM110 (numba has no all())
        if data[pos + i] != what[i]:
            return False
    return True


@compiled
def _is_utf8(data: np.ndarray, pos: int, end: int) -> bool:
    """Whether the bytes are UTF-8 as Python reads it (RFC 3629: no overlong forms, no surrogates, nothing over U+10FFFF)."""
    while pos < end:
        first = data[pos]
        pos += 1
        if first < 0x80:
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
            low = 0xA0 if first == 0xE0 else 0x80
            high = 0x9F if first == 0xED else 0xBF
        elif 0xF0 <= first <= 0xF4:
            more = 3
            low = 0x90 if first == 0xF0 else 0x80
            high = 0x8F if first == 0xF4 else 0xBF
        else:
            return False
        if pos + more > end or data[pos] < low or data[pos] > high:
            return False
        for i in range(1, more):
            if data[pos + i] < 0x80 or data[pos + i] > 0xBF:
                return False
        pos += more
    return True


@compiled
def _string(data: np.ndarray, pos: int, end: int, has_backslash: bool) -> tuple[int, bool, bool, bool]:
    """The index of the quote that closes the string at ``pos`` (-1: beyond the bytes at hand), and whether the string holds doubled quotes,
    backslashes that escape, and bytes over 127.
    """
    quote = data[pos]
    pos += 1
    doubled = escaped = high = False
    while pos < end:
        byte = data[pos]
        if byte == quote:
            if pos + 1 >= end:
                return -1, doubled, escaped, high
            if data[pos + 1] != quote:
                return pos, doubled, escaped, high
            doubled = True
            pos += 2
        elif byte == 92 and has_backslash:
            escaped = True
            pos += 2
        else:
            high |= byte >= 128
            pos += 1
    return -1, doubled, escaped, high


@compiled
def _number(data: np.ndarray, pos: int, end: int) -> int:
    """The index behind the plain number at ``pos``; ``pos`` when there is none, or one of an exponent of more than two digits."""
    start = pos
    if data[pos] == 43 or data[pos] == 45:
        pos += 1
    num_digits = 0
    while pos < end and 48 <= data[pos] <= 57:
        pos += 1
        num_digits += 1
    if pos < end and data[pos] == 46:
        pos += 1
        while pos < end and 48 <= data[pos] <= 57:
            pos += 1
            num_digits += 1
    if num_digits == 0:
        return start
    if pos < end and (data[pos] == 69 or data[pos] == 101):
        after = pos + 1
        if after < end and (data[after] == 43 or data[after] == 45):
            after += 1
        if after < end and 48 <= data[after] <= 57:
            pos = after
            while pos < end and 48 <= data[pos] <= 57:
                pos += 1
            if pos - after > 2:
                return start  # it may be more than any float: SQLite's way to write infinity
    return pos


@compiled
def _word(data: np.ndarray, pos: int, end: int) -> int:
    """What the word at ``pos`` is: 4 for NULL and TRUE, 5 for FALSE (its length), 0 for any other."""
    if pos + 5 >= end:
        return 0
    a, b, c, d, e = data[pos] | 32, data[pos + 1] | 32, data[pos + 2] | 32, data[pos + 3] | 32, data[pos + 4]
    if a == 110 and b == 117 and c == 108 and d == 108 and not _is_word(e):
        return 4
    if a == 116 and b == 114 and c == 117 and d == 101 and not _is_word(e):
        return 4
    if a == 102 and b == 97 and c == 108 and d == 115 and (e | 32) == 101 and not _is_word(data[pos + 5]):
        return 5
    return 0


@compiled
def _expression(data: np.ndarray, pos: int, end: int, flags: int) -> int:
    """The index of the comma or bracket that ends the expression at ``pos``; -1: beyond the bytes at hand, -2: not to be read here."""
    depth = 0
    while pos < end:
        byte = data[pos]
        if byte == 39 or (byte == 34 and flags & DOUBLE_QUOTE):
            if data[pos - 1] | 32 == 101 and not flags & BACKSLASH:
                return -2  # E'..' has escapes of its own
            pos, _, _, _ = _string(data, pos, end, flags & BACKSLASH != 0)
            if pos < 0:
                return -1
        elif byte == 40 or (byte == 91 and flags & BRACKETS):
            depth += 1
        elif depth == 0 and (byte == 44 or byte == 41):
            return pos
        elif byte == 41 or (byte == 93 and flags & BRACKETS):
            depth -= 1
            if depth < 0:
                return -2
        elif byte == 45 or byte == 47:
            if pos + 1 >= end:
                return -1
            if (byte == 45 and data[pos + 1] == 45) or (byte == 47 and data[pos + 1] == 42):
                return -2
        elif not (_is_space(byte) or _is_word(byte) or byte == 43 or byte == 42 or byte == 46 or byte == 44 or byte == 58 or byte == 124):
            return -2
        pos += 1
    return -1


@compiled
def _cell(data: np.ndarray, pos: int, end: int, flags: int) -> tuple[int, int, int, int]:
    """The cell at ``pos``: kind, start and end of its content, and the index of the comma or bracket behind it (-1, -2 as above)."""
    start, kind, stop = pos, VERBATIM, pos
    byte = data[pos]
    is_binary = False
    if byte == 95 and flags & MYSQL and pos + 9 < end:
        is_binary = data[pos + 1] == 98 and data[pos + 2] == 105 and data[pos + 3] == 110 and data[pos + 4] == 97
        is_binary = is_binary and data[pos + 5] == 114 and data[pos + 6] == 121 and data[pos + 7] == 32 and data[pos + 8] == 39
        if is_binary:
            pos, byte = pos + 8, data[pos + 8]
    elif byte | 32 == 110 and pos + 1 < end and data[pos + 1] == 39:
        pos, byte = pos + 1, data[pos + 1]
    if byte == 39 or (byte == 34 and flags & DOUBLE_QUOTE):
        stop, doubled, escaped, high = _string(data, pos, end, flags & BACKSLASH != 0)
        if stop < 0:
            return VERBATIM, 0, 0, -1
        content = pos + 1
        pos = stop + 1
        if doubled or escaped:
            kind = ESCAPED
        if (escaped and not flags & MYSQL) or (high and not (flags & UTF8 or is_binary)) or (high and not _is_utf8(data, content, stop)):
            kind = ODD
    elif 48 <= byte <= 57 or byte == 43 or byte == 45 or byte == 46:
        content = pos
        stop = pos = _number(data, pos, end)
        if content == stop:
            kind = ODD
    else:
        content = pos
        length = _word(data, pos, end)
        stop = pos = pos + length
        kind = ODD if length == 0 else MISSING if byte | 32 == 110 else VERBATIM
    if kind != ODD or pos > start:
        after = _skip_space(data, pos, end)
        if after >= end:
            return VERBATIM, 0, 0, -1
        if data[after] == 44 or data[after] == 41:
            return (ODD, start, pos, after) if kind == ODD else (kind, content, stop, after)
    after = _expression(data, start, end, flags)
    return ODD, start, after, after


@compiled
def _next_row(data: np.ndarray, pos: int, end: int, flags: int, head: np.ndarray, tail: np.ndarray) -> int:
    """Where the row after the one that ends at ``pos`` begins, or what is to stand for it; -1 and -2 as above.

    Between them stands a comma, or ``tail``, the end of the statement and the same ``head`` again.
    """
    pos = _skip_space(data, pos, end)
    if pos >= end:
        return -1
    if data[pos] == 44:
        return _skip_space(data, pos + 1, end)
    if len(head) == 0:
        return -2
    if pos + len(tail) + len(head) + 64 > end:
        return -1
    if len(tail) > 0:
        if not _has(data, pos, end, tail):
            return -2
        pos = _skip_space(data, pos + len(tail), end)
        if pos >= end:
            return -1
    if data[pos] == 59:
        pos = _skip_space(data, pos + 1, end)
    elif not flags & TSQL:
        return -2
    if flags & TSQL and pos + 2 < end and data[pos] | 32 == 103 and data[pos + 1] | 32 == 111 and _is_space(data[pos + 2]):
        pos = _skip_space(data, pos + 2, end)
    if pos + len(head) > end:
        return -1
    if not _has(data, pos, end, head):
        return -2
    return pos + len(head)


@compiled
def read_rows(
    data: np.ndarray, pos: int, num_columns: int, limit: int, flags: int, head: np.ndarray, tail: np.ndarray,
    starts: np.ndarray, ends: np.ndarray, kinds: np.ndarray,
) -> tuple[int, int, int, int]:  # fmt: skip
    """The plain rows ``(.., ..)`` from ``pos`` on (uint8 ``data``): their number, the index behind what was read, why it stopped, and how
    many of the rows belong to statements whose end was seen.

    ``starts``, ``ends`` (int32) and ``kinds`` (uint8) take one entry a cell, row by row. No row is longer than ``limit`` bytes.
    """
    end = len(data)
    num_rows = num_ended = at = 0
    while True:
        if at + num_columns > len(starts):
            return num_rows, pos, FULL, num_ended
        here = _skip_space(data, pos, end)
        if here >= end:
            return num_rows, pos, STARVED, num_ended
        if data[here] != 40:
            return num_rows, pos, STOPPED, num_ended
        for column in range(num_columns):
            here = _skip_space(data, here + 1, end)
            if here >= end:
                return num_rows, pos, STARVED, num_ended
            kind, start, stop, here = _cell(data, here, end, flags)
            if here < 0:
                return num_rows, pos, STARVED if here == -1 else STOPPED, num_ended
            if (data[here] == 41) != (column == num_columns - 1) or (kind == ODD and start == stop):
                return num_rows, pos, STOPPED, num_ended
            starts[at + column], ends[at + column], kinds[at + column] = start, stop, kind
        if here + 1 - pos > limit:
            return num_rows, pos, STOPPED, num_ended
        after = _next_row(data, here + 1, end, flags, head, tail)
        if after < 0:
            return num_rows, pos, STARVED if after == -1 else STOPPED, num_ended
        at += num_columns
        num_rows += 1
        if data[_skip_space(data, here + 1, end)] != 44:
            num_ended = num_rows
        pos = after


@compiled
def read_lines(
    data: np.ndarray, pos: int, num_columns: int, limit: int, flags: int, delimiter: int, null: np.ndarray,
    starts: np.ndarray, ends: np.ndarray, kinds: np.ndarray,
) -> tuple[int, int, int, int]:  # fmt: skip
    r"""The same for the lines of COPY data in text form; the line ``\.`` and lines with another number of cells are not plain."""
    end = len(data)
    num_rows = at = 0
    while True:
        if at + num_columns > len(starts):
            return num_rows, pos, FULL, num_rows
        here, column = pos, 0
        while column < num_columns:
            start = here
            escaped = high = odd = False
            while here < end and data[here] != delimiter and data[here] != 10:
                byte = data[here]
                if byte == 92:
                    escaped = True
                    here += 1
                    if here >= end:
                        return num_rows, pos, STARVED, num_rows
                    byte = data[here]
                    if byte == 10 or byte == 13:
                        return num_rows, pos, STOPPED, num_rows
                    odd |= 48 <= byte <= 55 or byte == 120
                high |= byte >= 128
                here += 1
            if here >= end:
                return num_rows, pos, STARVED, num_rows
            is_line_end = data[here] == 10
            if is_line_end != (column == num_columns - 1):
                return num_rows, pos, STOPPED, num_rows
            stop = here - 1 if is_line_end and here > start and data[here - 1] == 13 else here
            if num_columns == 1 and stop == start + 2 and data[start] == 92 and data[start + 1] == 46:
                return num_rows, pos, STOPPED, num_rows
            starts[at + column], ends[at + column] = start, stop
            if stop - start == len(null) and _has(data, start, end, null):
                kinds[at + column] = MISSING
            elif odd or (high and not (flags & UTF8 and _is_utf8(data, start, stop))):
                kinds[at + column] = ODD
            else:
                kinds[at + column] = ESCAPED if escaped else VERBATIM
            here += 1
            column += 1
        if here - pos > limit:
            return num_rows, pos, STOPPED, num_rows
        pos = here
        at += num_columns
        num_rows += 1
