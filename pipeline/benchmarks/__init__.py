"""Measurements that anyone can repeat: ``make bench``. One function a benchmark; the tables stand in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.benchmarks import csv_files, deduplication, dumps, filtering, packing, pages, suspects, training
from pipeline.benchmarks.table import Result, Setup

BENCHMARKS: dict[str, Callable[[Setup], Result]] = {
    "csv": csv_files.measure,
    "dumps": dumps.measure,
    "filter": filtering.measure,
    "dedup": deduplication.measure,
    "pages": pages.measure,
    "tokenize": packing.measure,
    "train": training.measure,
    "suspects": suspects.measure,
}
"""Benchmarks by name."""
