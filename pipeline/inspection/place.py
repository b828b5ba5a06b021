"""Which row of a dataset is meant: by number, by shard and number, or by a document's id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.datasets import Dataset, Shard
from pipeline.errors import UsageError, nearest

_ID_DIGITS = 32
"""An id has 32 hex digits; a number so long is one."""


@dataclass(frozen=True)
class Place:
    """``row`` counts in ``shard``, or in the whole split where that is None; ``id`` is an id or its beginning, and then ``row`` is None."""

    row: int | None = None
    shard: str | None = None
    id: str | None = None


def place_of(asked: str) -> Place:
    """What ``NUMBER``, ``SHARD:NUMBER`` or an id asks for."""
    shard, colon, row = asked.rpartition(":")
    if row.isascii() and row.isdigit() and len(row) < _ID_DIGITS:
        return Place(row=int(row), shard=shard if colon else None)
    if not asked or colon:
        raise UsageError(asked or "ROW", "is neither a row nor an id", "write a number from 0, SHARD:ROW, or the beginning of an id")
    return Place(id=asked.lower())


def locate(dataset: Dataset, part: str, place: Place) -> tuple[Shard, int]:
    """The shard, and the row in it, of a place that has a row; raises UsageError when there is none."""
    assert place.row is not None
    shards = [shard for shard in dataset.shards if shard.part == part]
    if place.shard is not None:
        shard = _named(place.shard, shards)
        if place.row >= shard.rows:
            raise UsageError(f"{place.shard}:{place.row}", f"is not there: {shard.path} has {shard.rows:,} rows", "count from 0")
        return shard, place.row
    row = place.row
    for shard in shards:
        if row < shard.rows:
            return shard, row
        row -= shard.rows
    total = sum(shard.rows for shard in shards)
    raise UsageError(str(place.row), f"is not there: {part or dataset.folder} has {total:,} rows", "count from 0")


def _named(name: str, shards: Sequence[Shard]) -> Shard:
    """A shard by its path, its file's name with or without its ending, or its number."""
    for number, shard in enumerate(shards):
        file = shard.path.rpartition("/")[2]
        if name in (shard.path, file, file.partition(".")[0], str(number)):
            return shard
    raise UsageError(name, "is no shard of that split", nearest(name, [shard.path for shard in shards]))
