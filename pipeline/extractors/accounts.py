"""Counts what becomes of the units of a source."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.documents import Document, Extracted, Merged, Removed, Skipped, Superseded
from pipeline.extractors.columns import DocumentBatch
from pipeline.report import Counts


def count_batch(counts: Counts, batch: DocumentBatch, num_documents: int) -> None:
    """Count rows of which so many became documents, and the others hold no text."""
    counts.read += len(batch.rows)
    counts.kept += num_documents
    counts.remove(batch.plan.without_text[0], len(batch.rows) - num_documents)
    if num_documents:
        counts.choices[batch.label] = counts.choices.get(batch.label, 0) + num_documents


def count_items(counts: Counts, batch: Sequence[Extracted]) -> None:
    """Count what became of units."""
    for item in batch:
        if isinstance(item, Document):
            counts.read += 1 + item.merged
            counts.kept += 1
            counts.merged += item.merged
            how = str(item.meta.get("extractor", "unknown"))
            counts.choices[how] = counts.choices.get(how, 0) + 1
        elif isinstance(item, Removed):
            counts.read += 1
            counts.remove(item.rule)
        elif isinstance(item, Merged):
            counts.read += item.units
            counts.merged += item.units
        elif isinstance(item, Superseded):
            counts.read += item.units
            counts.superseded += item.units
        elif isinstance(item, Skipped):
            counts.read += 1
            counts.quarantine(item.error)
        else:
            raise AssertionError(f"a row that waits was not gathered: {item.locator}")
