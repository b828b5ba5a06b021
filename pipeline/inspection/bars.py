"""Histograms and shares as lines of text."""

from __future__ import annotations

from collections.abc import Mapping

_WIDTH = 40
_BLOCK = "#"


def bars(histogram: Mapping[str, int], unit: str) -> list[str]:
    """One line a log2 bin: its range, a bar, how many; bins between the first and the last that are empty are shown too."""
    counts = {int(low): count for low, count in histogram.items()}
    if not counts:
        return []
    low, most = min(counts), max(counts.values())
    rows = []
    while low <= max(counts):
        rows.append((f"{low:,}-{2 * low - 1:,}", counts.get(low, 0)))
        low = max(1, low * 2)
    label, number = max(len(row[0]) for row in rows), max(len(f"{row[1]:,}") for row in rows)
    return [f"{name:>{label}} {unit}  {count:>{number},}  {_BLOCK * -(-count * _WIDTH // most)}".rstrip() for name, count in rows]
