"""The first pass of ``recurring_lines``: counts the lines of all documents, so that the editor knows what recurs.

Each shard's lines are counted by a task of its own, then merged by ranges of their hashes. What comes out is one frozen table in the work folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.commits import WORK, Build, writing
from pipeline.datasets import read_batches
from pipeline.documents import SCHEMA
from pipeline.errors import SettingsError
from pipeline.filters.line_table import RUNS, TABLE, LineCounter, merge, num_ranges, write_table
from pipeline.filters.recurring_lines import RecurringLines
from pipeline.filters.verdicts import Editor
from pipeline.pools import run_step
from pipeline.progress import Progress
from pipeline.stages.attempts import counted
from pipeline.stages.judging import Failed, edit
from pipeline.stages.ruleset import Rules
from pipeline.units import units

TABLE_FILE = f"{WORK}/recurring.arrow"
RUN_FILE = WORK + "/{}.lines.arrow"
RANGE_FILE = WORK + "/{}.recurring.arrow"


@dataclass(frozen=True)
class Counting:
    """A task: count the lines of a shard as they stand after the editors ``before``."""

    shard: Path
    before: Mapping[str, Editor]
    editor: RecurringLines


@dataclass(frozen=True)
class Merging:
    """A task: the lines that recur in one of ``count`` ranges of hashes."""

    runs: tuple[Path, ...]
    number: int
    count: int
    min_documents: int
    max_inner: float


def needs_counting(rules: Rules) -> str | None:
    """The name of the editor that needs a first pass, None when there is none; raises SettingsError when it could leave empty documents."""
    for name, editor in rules.edit.items():
        if isinstance(editor, RecurringLines):
            if editor.max_share == 1 and "length" not in rules.remove:
                raise SettingsError([f"edit.{name}.max_share: 1 leaves some documents empty; add remove.length, or allow less than 1"])
            return name
    return None


def with_lines_counted(build: Build, shards: Sequence[Path], rules: Rules, executor: Executor, progress: Progress) -> Rules:
    """The rules with what recurs counted over all shards; the rules themselves, at no cost, when no editor asks for it."""
    name = needs_counting(rules)
    if name is None:
        return rules
    folder = build.folder.resolve()
    if build.record("recurring") is None:
        records = run_step(build, "recurring", count_shard, _countings(shards, rules, name), executor, progress)
        mergings = _mergings(folder, records, rules, name)
        merged = run_step(build, "recurring-merge", merge_range, mergings, executor, progress)
        build.finish("recurring", {"lines": _put_together(folder, records, merged)})
    return _with_table(rules, name, folder)


def with_lines_counted_here(folder: Path, shards: Sequence[Path], rules: Rules) -> Rules:
    """The same in this process, for a look at some settings; the table lies in ``folder``."""
    name = needs_counting(rules)
    if name is None:
        return rules
    (folder / WORK).mkdir(parents=True, exist_ok=True)
    records = [count_shard(folder, number, task) for number, task in _countings(shards, rules, name).items()]
    merged = [merge_range(folder, number, task) for number, task in _mergings(folder, records, rules, name).items()]
    _put_together(folder, records, merged)
    return _with_table(rules, name, folder)


def without_counting(rules: Rules) -> Rules:
    """The rules without the editors that know nothing before the whole dataset was counted."""
    return replace(rules, edit={name: editor for name, editor in rules.edit.items() if not isinstance(editor, RecurringLines)})


def count_shard(folder: Path, name: str, task: Counting) -> dict[str, Any]:
    """Count the lines of a shard into sorted runs."""
    documents: dict[str, int] = {}
    file = RUN_FILE.format(name)
    failed: list[Failed] = []
    with writing(folder / file) as sink, pa.ipc.new_file(sink, RUNS) as runs:
        counter = LineCounter(runs.write_batch)
        for read, fault in units(read_batches(task.shard, SCHEMA.names)):
            for source, number in counted(read.column("source")):
                documents[source] = documents.get(source, 0) + number
            if fault is None:
                batch, _ = edit(read, task.before, failed)
                failed.clear()  # the next pass meets the same documents again, and tells of them
                task.editor.count(batch, counter)
        counter.close()
    return {"runs": file, "lines": counter.num_written, "documents": documents}


def merge_range(folder: Path, name: str, task: Merging) -> dict[str, Any]:
    """The lines that recur in one range of hashes, by ascending hash."""
    file = RANGE_FILE.format(name)
    merged = merge(task.runs, task.number, task.count, task.min_documents, task.max_inner)
    with writing(folder / file) as sink, pa.ipc.new_file(sink, TABLE) as ranges:
        ranges.write_batch(merged)
    return {"range": file}


def _countings(shards: Sequence[Path], rules: Rules, name: str) -> dict[str, Counting]:
    names = list(rules.edit)
    before = {earlier: rules.edit[earlier] for earlier in names[: names.index(name)]}
    editor = rules.edit[name]
    assert isinstance(editor, RecurringLines)
    return {f"{number:05d}": Counting(shard.resolve(), before, editor) for number, shard in enumerate(shards)}


def _mergings(folder: Path, records: Sequence[Any], rules: Rules, name: str) -> dict[str, Merging]:
    editor = rules.edit[name]
    assert isinstance(editor, RecurringLines)
    count = num_ranges(sum(record["lines"] for record in records))
    runs = tuple(folder / record["runs"] for record in records)
    return {f"{number:05d}": Merging(runs, number, count, editor.min_documents, editor.max_inner) for number in range(count)}


def _put_together(folder: Path, records: Sequence[Any], merged: Sequence[Any]) -> int:
    """Write the table of all ranges; give the number of its lines."""
    ranges = [pa.ipc.open_file(folder / record["range"]).get_batch(0) for record in merged]
    documents: dict[str, int] = {}
    for record in records:
        for source, number in record["documents"].items():
            documents[source] = documents.get(source, 0) + number
    write_table(folder / TABLE_FILE, ranges, dict(sorted(documents.items())))
    return sum(map(len, ranges))


def _with_table(rules: Rules, name: str, folder: Path) -> Rules:
    editor = rules.edit[name]
    assert isinstance(editor, RecurringLines)
    return replace(rules, edit={**rules.edit, name: editor.with_table(folder / TABLE_FILE)})
