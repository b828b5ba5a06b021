"""Which sequences share a row: global best-fit decreasing over a histogram of lengths, or simpler ways to compare it with.

Best-fit decreasing takes the sequences from long to short and puts each into the fullest row it still fits in. Sequences of one length
are interchangeable, so all of them are placed at once: the rows with the least sufficient space take as many as they hold, then the next.
The work then grows with the number of different lengths and not with the number of sequences.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np

_LONG = 100
"""From about so many values a span on, copying spans one by one costs less than an index for every value."""


@dataclass(frozen=True)
class Plan:
    """Rows of sequences: row ``r`` holds ``sequences[offsets[r]:offsets[r + 1]]``, in this order.

    offsets      int64[rows + 1]
    sequences    int64[pieces]  indices of sequences, each once unless ``wrapped`` cuts it
    start, size  int32[pieces]  the tokens of the sequence that stand there: all of it, unless it is cut
    """

    offsets: np.ndarray
    sequences: np.ndarray
    start: np.ndarray
    size: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self, start: int, stop: int) -> Plan:
        """The plan of rows ``start`` to ``stop`` alone."""
        offsets = self.offsets[start : min(stop, len(self)) + 1]
        part = slice(offsets[0], offsets[-1])
        return Plan(offsets - offsets[0], self.sequences[part], self.start[part], self.size[part])

    def of(self, sequences: np.ndarray) -> Plan:
        """The same rows, with ``sequences[i]`` in place of sequence ``i``."""
        return Plan(self.offsets, sequences[self.sequences], self.start, self.size)


def best_fit(lengths: np.ndarray, capacity: int) -> Plan:
    """Pack sequences of ``lengths`` (int[n], 1 to ``capacity`` tokens; else ValueError) into rows of at most ``capacity`` tokens."""
    _check(lengths, capacity)
    small = np.asarray(lengths, dtype=np.uint16 if capacity < 2**16 else np.uint32)  # 16 bits sort by radix
    order = np.argsort(small, kind="stable")[::-1]
    row_of, num_rows = _place(np.bincount(small, minlength=capacity + 1), capacity)
    by_row = np.argsort(row_of, kind="stable")
    return _whole(np.bincount(row_of, minlength=num_rows), order[by_row].astype(np.int64), lengths)


def sequential(lengths: np.ndarray, capacity: int) -> Plan:
    """Fill each row with the sequences that come next, as many as fit. Raises ValueError as ``best_fit`` does."""
    _check(lengths, capacity)
    ends = np.cumsum(lengths, dtype=np.int64)
    counts, first = [], 0
    while first < len(ends):
        stop = int(np.searchsorted(ends, ends[first] - lengths[first] + capacity, side="right"))
        counts.append(stop - first)
        first = stop
    return _whole(np.array(counts, np.int64), np.arange(len(ends), dtype=np.int64), lengths)


def wrapped(lengths: np.ndarray, capacity: int) -> Plan:
    """Write all sequences one after the other and cut every ``capacity`` tokens: no row but the last has room left, but sequences are cut."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    edges = np.union1d(np.arange(0, total, capacity), np.concatenate([[0], ends])) if total else np.zeros(1, np.int64)
    begins, stops = edges[:-1], edges[1:]
    sequences = np.searchsorted(ends, begins, side="right").astype(np.int64)
    start = (begins - (ends - lengths)[sequences]).astype(np.int32)
    counts = np.bincount(begins // capacity, minlength=-(-total // capacity))
    return Plan(_offsets(counts), sequences, start, (stops - begins).astype(np.int32))


def alone(lengths: np.ndarray, capacity: int) -> Plan:
    """A row for each sequence. Raises ValueError as ``best_fit`` does."""
    _check(lengths, capacity)
    return _whole(np.ones(len(lengths), np.int64), np.arange(len(lengths), dtype=np.int64), lengths)


PACKERS = {"best_fit": best_fit, "sequential": sequential, "wrapped": wrapped, "none": alone}
"""By the name that ``pack`` in ``stages/tokenize.yaml`` uses."""


def shuffled(plan: Plan, seed: int) -> Plan:
    """The same rows in an order that only ``seed`` and the number of rows decide."""
    order = np.argsort(mixed(np.arange(len(plan), dtype=np.uint64), seed), kind="stable")
    counts = np.diff(plan.offsets)[order]
    pieces = spans(plan.offsets[:-1][order], counts)
    return Plan(_offsets(counts), plan.sequences[pieces], plan.start[pieces], plan.size[pieces])


def _check(lengths: np.ndarray, capacity: int) -> None:
    if len(lengths) and (lengths.min() < 1 or lengths.max() > capacity):
        raise ValueError(f"lengths must lie between 1 and {capacity}, not {lengths.min()} to {lengths.max()}")


def _whole(counts: np.ndarray, sequences: np.ndarray, lengths: np.ndarray) -> Plan:
    """A plan of uncut sequences; ``counts``: how many each row holds."""
    return Plan(_offsets(counts), sequences, np.zeros(len(sequences), np.int32), np.asarray(lengths)[sequences].astype(np.int32))


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def spans(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The indices ``starts[i] .. starts[i] + sizes[i] - 1`` of all i, one after the other (int64)."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(total, dtype=np.int64)


def gathered(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """``values[starts[i] : starts[i] + sizes[i]]`` of all i, one after the other; ``values`` keep their type."""
    if not len(starts) or int(sizes.sum()) < _LONG * len(starts):
        picked: np.ndarray = values[spans(starts, sizes)]
        return picked
    return np.concatenate([values[start:end] for start, end in zip(starts.tolist(), (starts + sizes).tolist(), strict=True)])


def counted(flags: np.ndarray) -> np.ndarray:
    """How many of the first ``i`` flags (bool[n]) are set: int32[n + 1]."""
    sums = np.zeros(len(flags) + 1, dtype=np.int32)
    np.cumsum(flags, out=sums[1:])
    return sums


def _place(counts: np.ndarray, capacity: int) -> tuple[np.ndarray, int]:
    """The row of each sequence, sequences ordered from long to short (int32[n]), and the number of rows; ``counts`` by length."""
    row_of = np.empty(int(counts.sum()), dtype=np.int32)
    rooms: dict[int, list[np.ndarray]] = {}  # tokens left in a row -> the rows with that many left
    levels: list[int] = []  # the keys of rooms, ascending
    position = num_rows = 0

    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left:
            level = bisect_left(levels, length)
            if level < len(levels):
                room = levels[level]
                rows = _take_rows(rooms, levels, level, -(-left // (room // length)))
            else:
                room, needed = capacity, -(-left // (capacity // length))
                rows = np.arange(num_rows, num_rows + needed, dtype=np.int32)
                num_rows += needed
            each = room // length
            placed = min(left, len(rows) * each)
            row_of[position : position + placed] = np.repeat(rows, each)[:placed]
            position, left = position + placed, left - placed
            full, rest = divmod(placed, each)
            _put_rows(rooms, levels, room - each * length, rows[:full])
            _put_rows(rooms, levels, room - rest * length, rows[full : full + 1])
    return row_of, num_rows


def _take_rows(rooms: dict[int, list[np.ndarray]], levels: list[int], level: int, wanted: int) -> np.ndarray:
    """Up to ``wanted`` rows off the level, which disappears when it is used up."""
    room = levels[level]
    chunks = rooms[room]
    rows = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
    if len(rows) > wanted:
        rooms[room] = [rows[wanted:]]
    else:
        del rooms[room], levels[level]
    return rows[:wanted]


def _put_rows(rooms: dict[int, list[np.ndarray]], levels: list[int], room: int, rows: np.ndarray) -> None:
    if not room or not len(rows):
        return
    if room not in rooms:
        rooms[room] = []
        insort(levels, room)
    rooms[room].append(rows)


def mixed(values: np.ndarray, seed: int) -> np.ndarray:
    """SplitMix64 (Steele, Lea, Flood 2014) of ``values`` (uint64): numpy's own generators may change from version to version."""
    with np.errstate(over="ignore"):
        z = values * np.uint64(0x9E3779B97F4A7C15) + np.uint64((seed * 0xD1B54A32D192ED03 + 0x9E3779B97F4A7C15) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
