"""What a filter and an editor are, and what they answer.

A filter gives a reason to remove a document, or null. An editor rewrites text and records every cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self

import pyarrow as pa

VERDICTS = pa.schema(
    [("rule_id", pa.string()), ("reason", pa.string()), ("message", pa.int64()), ("start", pa.int64()), ("end", pa.int64()), ("score", pa.float64())]
)
"""One row a document, in the batch's order; a null ``reason`` keeps it.

``rule_id`` is the rule of a rule set that spoke (null where there are none), ``message`` the turn's index (-1: the plain text, null: the
whole document), ``start`` and ``end`` the span in characters of that piece of text, ``score`` what was compared with a threshold.
"""

CUTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("message", pa.int64(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        ("before", pa.large_string()),
        ("after", pa.large_string()),
    ]
)
"""One row an edit: at character ``start`` of the text as it stood at that moment, ``before`` was replaced by ``after``.

Applied in the order of ``seq`` they turn the original into the edited text; applied backwards they restore the original.
``message`` is the turn's index, -1 for the plain text. ``rule`` is the editor's rule id (the stage puts the editor's name before it).
"""

Find = Callable[[str], Path]
"""Gives the file that a settings file names; raises SettingsError when there is none."""


@dataclass(frozen=True)
class Edits:
    """What an editor made of a batch: the same rows, ids and order, and a table of ``CUTS`` (``seq`` counts from 0 within a document)."""

    batch: pa.RecordBatch
    cuts: pa.Table


class Filter(Protocol):
    """Gives a reason to remove a document. Pure, sees one batch, keeps no state."""

    version: ClassVar[int]

    def resolve(self, find: Find) -> Self:
        """The same filter with the contents of the lists it names read in, ready to be pickled to a worker."""
        ...

    def judge(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Verdicts (schema ``VERDICTS``) for a batch of documents (``documents.SCHEMA``)."""
        ...


class Editor(Protocol):
    """Rewrites text. Same rows, same ids, same order; every cut is recorded."""

    version: ClassVar[int]

    def resolve(self, find: Find) -> Self:
        """The same editor with the contents of the lists it names read in."""
        ...

    def edit(self, batch: pa.RecordBatch) -> Edits:
        """The batch with its text rewritten, and the cuts."""
        ...


def no_cuts() -> pa.Table:
    """An empty table of cuts."""
    return CUTS.empty_table()


def verdicts(num_documents: int, found: Sequence[tuple[int, dict[str, object]]]) -> pa.RecordBatch:
    """Verdicts for ``num_documents`` of which only the rows in ``found`` (row, fields) have a reason; the first of a row counts."""
    columns: dict[str, list[object]] = {name: [None] * num_documents for name in VERDICTS.names}
    for row, fields in found:
        if columns["reason"][row] is None:
            for name, value in fields.items():
                columns[name][row] = value
    return pa.RecordBatch.from_pydict(columns, schema=VERDICTS)
