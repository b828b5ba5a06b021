"""A dataset of documents for people: a document with its scores, or what the whole holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets import Dataset, read_batches
from pipeline.documents import SCORES, turns
from pipeline.inspection.bars import bars
from pipeline.inspection.place import Place, locate
from pipeline.inspection.shown import Page, table
from pipeline.inspection.text_page import TextPage
from pipeline.packing.figures import histogram

PARTS = ("", "__removed")
ROLE_STYLES = {"system": "yellow", "developer": "yellow", "user": "cyan", "assistant": "green", "tool": "magenta"}


def found(dataset: Dataset, place: Place, limit: int) -> list[dict[str, Any]]:
    """The document at a place, or the first ``limit`` whose id begins as asked, kept ones before removed ones; each with where it lies."""
    if place.id is not None:
        matches = (match for part in PARTS for match in _by_id(dataset, part, place.id))
        return [match for match, _ in zip(matches, range(limit), strict=False)]
    shard, row = locate(dataset, "", place)
    first = 0
    for batch in read_batches(dataset.folder / shard.path):
        if row < first + len(batch):
            return [{"file": shard.path, "row": row, **batch.slice(row - first, 1).to_pylist()[0]}]
        first += len(batch)
    return []


def _by_id(dataset: Dataset, part: str, start: str) -> Iterator[dict[str, Any]]:
    for path in dataset.files(part):
        first = 0
        for batch in read_batches(path):
            for row in pc.indices_nonzero(pc.starts_with(batch.column("id"), start)).to_pylist():
                where = {"file": path.relative_to(dataset.folder).as_posix(), "row": first + row}
                yield where | batch.slice(row, 1).to_pylist()[0]
            first += len(batch)


def summary(dataset: Dataset) -> dict[str, Any]:
    """What the dataset holds: documents, conversations, turns and characters by source, lengths in log2 bins, scores, and what was removed."""
    sources: dict[str, dict[str, int]] = {}
    lengths: dict[str, int] = {}
    scores: dict[str, dict[str, float]] = {}
    for path in dataset.files():
        for batch in read_batches(path):
            _add_sources(sources, lengths, batch)
            if SCORES in batch.schema.names:
                _add_scores(scores, batch.column(SCORES))
    counts = dataset.manifest.get("counts", {})
    removed: dict[str, int] = {}
    for one in counts.values():
        for rule, number in one.get("removed", {}).items():
            removed[rule] = removed.get(rule, 0) + number
    return {
        "stage": dataset.manifest["stage"],
        "documents": dataset.rows(),
        "sources": dict(sorted(sources.items())),
        "removed": dict(sorted(removed.items(), key=lambda item: (-item[1], item[0]))),
        "quarantined": dataset.rows("__quarantine"),
        "characters": dict(sorted(lengths.items(), key=lambda item: int(item[0]))),
        "scores": scores,
    }


def _add_sources(sources: dict[str, dict[str, int]], lengths: dict[str, int], batch: pa.RecordBatch) -> None:
    names = batch.column("source").dictionary_encode()
    codes = names.indices.to_numpy(zero_copy_only=False)
    view = turns(batch)
    chars = np.bincount(view.document, pc.utf8_length(view.content).to_numpy(zero_copy_only=False), len(batch)).astype(np.int64)
    talk = pc.is_valid(batch.column("messages")).to_numpy(zero_copy_only=False)
    num_turns = np.bincount(view.document[view.message >= 0], minlength=len(batch))
    for code, name in enumerate(names.dictionary.to_pylist()):
        mine = codes == code
        figures = sources.setdefault(name, dict.fromkeys(("documents", "conversations", "turns", "characters"), 0))
        for key, number in zip(figures, (mine.sum(), (mine & talk).sum(), num_turns[mine].sum(), chars[mine].sum()), strict=True):
            figures[key] += int(number)
    for low, count in histogram(chars).items():
        lengths[low] = lengths.get(low, 0) + count


def _add_scores(scores: dict[str, dict[str, float]], column: pa.StructArray) -> None:
    """Number, sum, least and most of each numeric score."""
    for field in column.type:
        values = pc.struct_field(column, field.name).drop_null()
        if not len(values) or not (pa.types.is_floating(field.type) or pa.types.is_integer(field.type)):
            continue
        one = scores.setdefault(field.name, {"documents": 0, "sum": 0.0, "least": float("inf"), "most": float("-inf")})
        bounds = pc.min_max(values).as_py()
        one["documents"] += len(values)
        one["sum"] += float(pc.sum(values).as_py())
        one["least"], one["most"] = min(one["least"], float(bounds["min"])), max(one["most"], float(bounds["max"]))


def print_summary(answer: Mapping[str, Any]) -> None:
    """The summary as tables and bars."""
    page = Page()
    page.line(f"{answer['documents']:,} documents", "bold")
    head = ["source", "documents", "conversations", "turns", "characters"]
    rows = [[name, *(f"{number:,}" for number in figures.values())] for name, figures in answer["sources"].items()]
    for line in table([head, *rows]):
        page.line(f"  {line}")
    page.line("characters of a document", "bold")
    for line in bars(answer["characters"], ""):
        page.line(f"  {line}")
    if answer["scores"]:
        page.line("scores", "bold")
        rows = [[name, *(f"{v:.4g}" for v in (one["least"], one["sum"] / one["documents"], one["most"]))] for name, one in answer["scores"].items()]
        for line in table([["score", "least", "mean", "most"], *rows]):
            page.line(f"  {line}")
    if answer["removed"]:
        page.line(f"removed: {', '.join(f'{rule} {number:,}' for rule, number in answer['removed'].items())}")
    if answer["quarantined"]:
        page.line(f"quarantined: {answer['quarantined']:,}")
    page.flush()


def print_found(answer: Sequence[Mapping[str, Any]]) -> None:
    """Each document: where it lies, its scores, its text or its turns."""
    page = TextPage()
    for row in answer:
        page.line(f"{row['id']}  {row['file']} row {row['row']:,}", "bold")
        page.line(f"  from {row['source']}/{row['locator']}" + (f", group {row['group']}" if row["group"] else ""))
        if row.get("rule"):
            page.line(f"  removed by {row['rule']}: {row['reason']}", "red")
        if row.get(SCORES):
            page.line(f"  scores: {', '.join(f'{n} {v:.4g}' if isinstance(v, float) else f'{n} {v}' for n, v in row[SCORES].items())}")
        if row["meta"]:
            page.line(f"  meta: {row['meta']}", "dim")
        if row["text"] is not None:
            page.runs([(row["text"], "")])
        for message in row["messages"] or ():
            marks = {True: " (learned)", False: " (not learned)", None: ""}[message["train"]]
            page.line(f"-- {message['role']}{marks}", f"bold {ROLE_STYLES.get(message['role'], '')}".strip())
            page.runs([(message["content"] or "", ROLE_STYLES.get(message["role"], ""))])
            if message["extra"]:
                page.line(f"   {message['extra']}", "dim")
        page.line()
    page.flush()
