"""Records that do not fit into memory: kept in files by ranges of a whole number, and given back range by range.

Little data never touches the disk. The files are pickles that only this process reads, in a folder of its own: cells may be of any type,
which no column of Arrow could hold.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUCKETS = 32
"""The files of one step; a bucket that is too large is divided again."""

BUFFER_BYTES = 8 * 2**20
"""So much of a spill waits in memory, divided evenly among its buckets."""

MAX_BUCKET_BYTES = 16 * 2**20
"""A bucket of more is divided before it is loaded; records take some four times their text in memory."""

HASH_BITS = 60
_BITS_A_STEP = 5

Record = tuple[Any, ...]


def hash_of(key: str) -> int:
    """A whole number below 2 ** HASH_BITS, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> (64 - HASH_BITS)


def size_of(cells: Collection[Any]) -> int:
    """About how many bytes the cells of a row take when they are written."""
    size = 64 + 16 * len(cells)
    for cell in cells:
        if isinstance(cell, str | bytes):
            size += len(cell)
        elif isinstance(cell, tuple | list):
            size += size_of(cell)
        elif isinstance(cell, dict):
            size += size_of(cell.values()) + size_of(cell.keys())
    return size


@dataclass
class Bucket:
    """The records of one range, in the order in which they came; ``low`` and ``high`` are the least and greatest of their numbers."""

    path: Path
    step: int
    buffer_bytes: int
    low: int = 0
    high: int = 0
    num_bytes: int = 0
    num_records: int = 0
    _waiting: list[Record] | None = None
    _num_waiting_bytes: int = 0

    def add(self, number: int, record: Record, size: int) -> None:
        """Put in one record of about ``size`` bytes."""
        waiting = self._waiting = [] if self._waiting is None else self._waiting
        self.low, self.high = (min(self.low, number), max(self.high, number)) if self.num_records else (number, number)
        waiting.append((number, size, *record))
        self.num_records += 1
        self.num_bytes += size
        self._num_waiting_bytes += size
        if self._num_waiting_bytes > self.buffer_bytes:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                pickle.dump(waiting, file, protocol=pickle.HIGHEST_PROTOCOL)
            self._waiting, self._num_waiting_bytes = None, 0

    def records(self) -> Iterator[Record]:
        """The records, each with its number and its size in front; may be asked for again until ``drop``."""
        if self.path.exists():
            with self.path.open("rb") as file:
                while file.peek(1):
                    yield from pickle.load(file)
        yield from self._waiting or ()

    def drop(self) -> None:
        """Free what the bucket holds."""
        self.path.unlink(missing_ok=True)
        self._waiting = None

    @property
    def is_large(self) -> bool:
        """Whether it is too large to be loaded."""
        return self.num_bytes > MAX_BUCKET_BYTES

    @property
    def can_divide(self) -> bool:
        """Whether its records have more than one number, so that dividing it helps."""
        return self.low != self.high and self.step * _BITS_A_STEP < HASH_BITS

    def divided(self) -> Spill:
        """Its records in smaller buckets, by the next bits of their numbers."""
        spill = Spill(self.path.with_suffix(f".{self.step}"), step=self.step)
        for number, size, *record in self.records():
            spill.add(number, tuple(record), size)
        self.drop()
        return spill


class Spill:
    """Records in buckets by the leading bits of a number: ``step`` 0 by the first five, 1 by the next."""

    def __init__(self, folder: Path, step: int = 0, place: Callable[[int], int] | None = None, num_buckets: int = BUCKETS) -> None:
        shift = HASH_BITS - _BITS_A_STEP * (step + 1)
        self._place = place or (lambda number: number >> shift & BUCKETS - 1)
        self.buckets = [Bucket(folder / f"{index:03d}", step + 1, BUFFER_BYTES // num_buckets) for index in range(num_buckets)]

    def add(self, number: int, record: Record, size: int) -> None:
        """Put one record of about ``size`` bytes where its number belongs."""
        self.buckets[self._place(number)].add(number, record, size)

    def drop(self) -> None:
        """Free all buckets."""
        for bucket in self.buckets:
            bucket.drop()

    @property
    def num_records(self) -> int:
        """How many records there are."""
        return sum(bucket.num_records for bucket in self.buckets)

    @property
    def size(self) -> int:
        """About how many bytes they take."""
        return sum(bucket.num_bytes for bucket in self.buckets)

    def small_buckets(self) -> Iterator[Bucket]:
        """All buckets that hold anything, divided until they can be loaded; only one whose records have one number stays large.

        Each is dropped when the next is asked for.
        """
        for bucket in self.buckets:
            if bucket.is_large and bucket.can_divide:
                yield from bucket.divided().small_buckets()
            elif bucket.num_records:
                yield bucket
                bucket.drop()


def in_order(folder: Path, num_bytes: int, highest: int) -> Spill:
    """A spill for records with numbers from 0 to ``highest``, about ``num_bytes`` in all, in buckets by ranges of the number.

    Its buckets one after another, each sorted, are all records in the order of their numbers.
    """
    num_buckets = max(1, min(512, -(-num_bytes // (MAX_BUCKET_BYTES // 2))))
    return Spill(folder, place=lambda number: number * num_buckets // (highest + 1), num_buckets=num_buckets)
