"""Which sequences share a row: global best-fit decreasing over a histogram of lengths.

Best-fit decreasing takes the sequences from long to short and puts each into the fullest row it still fits in. Sequences of one length
are interchangeable, so all of them are placed at once: the rows with the least sufficient space take as many as they hold, then the next.
The work then grows with the number of different lengths and not with the number of sequences.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plan:
    """Rows of sequences: row ``r`` holds ``sequences[offsets[r]:offsets[r + 1]]``, in this order.

    offsets    int64[rows + 1]
    sequences  int64[sequences]  indices of sequences, each once
    """

    offsets: np.ndarray
    sequences: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self, start: int, stop: int) -> Plan:
        """The plan of rows ``start`` to ``stop`` alone."""
        offsets = self.offsets[start : min(stop, len(self)) + 1]
        return Plan(offsets - offsets[0], self.sequences[offsets[0] : offsets[-1]])


def best_fit(lengths: np.ndarray, capacity: int) -> Plan:
    """Pack sequences of ``lengths`` (int[n], 1 to ``capacity`` tokens; else ValueError) into rows of at most ``capacity`` tokens."""
    if len(lengths) and (lengths.min() < 1 or lengths.max() > capacity):
        raise ValueError(f"lengths must lie between 1 and {capacity}, not {lengths.min()} to {lengths.max()}")
    small = np.asarray(lengths, dtype=np.uint16 if capacity < 2**16 else np.uint32)  # 16 bits sort by radix
    order = np.argsort(small, kind="stable")[::-1]
    row_of, num_rows = _place(np.bincount(small, minlength=capacity + 1), capacity)
    by_row = np.argsort(row_of, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=num_rows))])
    return Plan(offsets.astype(np.int64), order[by_row].astype(np.int64))


def alone(num_sequences: int) -> Plan:
    """A row for each sequence."""
    return Plan(np.arange(num_sequences + 1, dtype=np.int64), np.arange(num_sequences, dtype=np.int64))


def shuffled(plan: Plan, seed: int) -> Plan:
    """The same rows in an order that only ``seed`` and the number of rows decide."""
    order = np.argsort(mixed(np.arange(len(plan), dtype=np.uint64), seed), kind="stable")
    sizes = np.diff(plan.offsets)[order]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Plan(offsets, plan.sequences[spans(plan.offsets[:-1][order], sizes)])


def spans(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The indices ``starts[i] .. starts[i] + sizes[i] - 1`` of all i, one after the other (int64)."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(total, dtype=np.int64)


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
