"""The units of a task (documents, files): a task notes which of them it is at, so that one that kills or hangs its worker can be found.

A task walks over its units with ``units``. While it runs, its mark, a file in the work folder, says where it is; a mark without a record
beside it tells that the worker died there. ``pipeline.attending`` finds the one unit; the task then runs again and is told to leave it out.
"""

from __future__ import annotations

import faulthandler
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

S = TypeVar("S")  # a list of units, or a record batch: what has a length and can be sliced

STEPS = 64
"""A search goes through a range of units in so many steps, so that of 4,096 documents one is found in two deaths."""

_PLACE = b"%20d %20d\n"
_PLACE_BYTES = len(_PLACE % (0, 0))
_NOWHERE = (-1, -1)


@dataclass(frozen=True)
class Orders:
    """How a task goes over its units."""

    lost: Mapping[int, str] = field(default_factory=dict)
    """Units that are left out because they kill their worker, by number, and what they did."""
    only: tuple[int, int] | None = None
    """A search looks at these only (from, to), a few at a time."""
    watchdog_seconds: float = 0
    """The process ends when a task gives no sign of life for so long; 0: never."""


class Watch:
    """A task under way: its orders, and its mark."""

    def __init__(self, mark: Path, orders: Orders) -> None:
        self.orders = orders
        self._file = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._armed = 0.0
        with suppress(OSError):
            os.write(self._file, _PLACE % _NOWHERE)  # what the watchdog writes stands below
        self.beat()

    def note(self, place: tuple[int, int]) -> None:
        """Say that the units ``place`` (from, to) are being worked on."""
        with suppress(OSError):  # a full disk shows itself where data is written; the mark only helps a search
            os.pwrite(self._file, _PLACE % place, 0)

    def beat(self) -> None:
        """A sign of life: the watchdog counts from here. It needs no interpreter lock, so that it also ends a regular expression."""
        now = time.monotonic()
        if self.orders.watchdog_seconds and now - self._armed >= min(1.0, self.orders.watchdog_seconds / 10):
            self._armed = now
            faulthandler.dump_traceback_later(self.orders.watchdog_seconds, exit=True, file=self._file)

    def end(self) -> None:
        """The task is over."""
        if self.orders.watchdog_seconds:
            faulthandler.cancel_dump_traceback_later()
        os.close(self._file)


_under_way: ContextVar[Watch | None] = ContextVar("under_way", default=None)


@contextmanager
def watching(mark: Path, orders: Orders) -> Iterator[None]:
    """Around the call of a task's function."""
    watch = Watch(mark, orders)
    token = _under_way.set(watch)
    try:
        yield
    finally:
        _under_way.reset(token)
        watch.end()


def beat() -> None:
    """A sign of life from a task that does long work between two units."""
    watch = _under_way.get()
    if watch is not None:
        watch.beat()


def units(pieces: Iterable[S]) -> Iterator[tuple[S, str | None]]:
    """The pieces of a task's work, whole where all is well: a piece to work on with None, or units to put into quarantine with the reason."""
    watch = _under_way.get()
    if watch is None:
        yield from ((piece, None) for piece in pieces)
        return
    first = 0
    for piece in pieces:
        sized: Any = piece
        end = first + len(sized)
        for start, stop in _spans(first, end, watch.orders):
            watch.note((start, stop))
            watch.beat()
            yield (piece if (start, stop) == (first, end) else sized[start - first : stop - first]), watch.orders.lost.get(start)
        watch.note(_NOWHERE)
        first = end


def _spans(start: int, stop: int, orders: Orders) -> Iterator[tuple[int, int]]:
    """The stretches of units from ``start`` to ``stop`` that are worked on at once, each lost one alone."""
    step = max(1, stop - start)
    if orders.only is not None:
        step = max(1, -(-(orders.only[1] - orders.only[0]) // STEPS))
        start, stop = max(start, orders.only[0]), min(stop, orders.only[1])
    edges = sorted({*range(start, stop, step), *(edge for unit in orders.lost for edge in (unit, unit + 1) if start <= edge < stop), stop})
    yield from pairwise(edges)


def place_of(mark: Path) -> tuple[int, int] | None:
    """The units (from, to) that a task that left this mark was at, None when it was at none."""
    try:
        start, stop = map(int, mark.read_bytes()[:_PLACE_BYTES].split())
    except (OSError, ValueError):
        return None
    return (start, stop) if (start, stop) != _NOWHERE else None


def was_stopped(mark: Path) -> bool:
    """Whether the watchdog ended the task that left this mark: its traceback stands below the place."""
    try:
        return mark.stat().st_size > _PLACE_BYTES
    except OSError:
        return False
