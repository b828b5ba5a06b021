"""Measurements that anyone can repeat: ``make bench``. One function a benchmark; the tables stand in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.benchmarks import filtering, packing
from pipeline.benchmarks.table import Result, Setup

BENCHMARKS: dict[str, Callable[[Setup], Result]] = {
    "filter": filtering.measure,
    "tokenize": packing.measure,
}
"""Benchmarks by name."""
