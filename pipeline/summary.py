"""The short account that ends every stage: where each unit went, in figures that add up, and the next command; as lines, or as JSON."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.datasets import Dataset
from pipeline.report import Counts, Report

TOP = 12
"""Longest list of reasons or choices printed for one stage."""


def conclude(arguments: Namespace, dataset: Dataset, unit: str, lines: Sequence[str] = (), following: str = "") -> None:
    """Print what became of the ``unit``s of each source, the reasons, further ``lines`` and the next command; with ``--json`` as data."""
    report = Report.from_plain(dataset.manifest["counts"])
    total = report.total()
    tables = (("removed", total.removed), ("quarantined", total.quarantined), ("edited", total.edited), ("read as", total.choices))
    told = [*_table(report, unit), *(f"{title}: {_list(table)}" for title, table in tables if table), *lines]
    say(arguments, dataset, told, {"counts": report.to_plain()}, following)


def say(arguments: Namespace, dataset: Dataset, lines: Sequence[str], data: Mapping[str, Any], following: str) -> None:
    """Print the end of a stage: ``lines``, or with ``--json`` the same as ``data``; nothing with ``--quiet``. ``following``: the next command."""
    stage, output = dataset.manifest["stage"], dataset.folder
    if arguments.json:
        print(json.dumps({"stage": stage, "output": str(output), "digest": dataset.digest, **data, "next": following}, ensure_ascii=False, indent=1))
    elif not arguments.quiet:
        print("\n".join([f"\n{stage}: {output}", *(f"  {line}" for line in lines), f"  next: {following}"]))
    sys.stdout.flush()


def _table(report: Report, unit: str) -> list[str]:
    head = ["source", f"{unit} read", "kept", "removed", "merged", "superseded", "quarantined"]
    rows = [[name, *_figures(counts)] for name, counts in sorted(report.sources.items())]
    if len(rows) > 1:
        rows.append(["all", *_figures(report.total())])
    shown = [i for i in range(len(head)) if i < 4 or any(row[i] != "0" for row in rows)]
    table = [[row[i] for i in shown] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(shown))]
    return ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]) for row in table]


def _figures(counts: Counts) -> list[str]:
    numbers = (counts.read, counts.kept, sum(counts.removed.values()), counts.merged, counts.superseded, sum(counts.quarantined.values()))
    return [f"{number:,}" for number in numbers]


def _list(table: Mapping[str, int]) -> str:
    ranked = sorted(table.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(number for _, number in ranked[TOP:])
    return ", ".join([*(f"{name} {number:,}" for name, number in ranked[:TOP]), *([f"others {rest:,}"] if rest else [])])
