"""Replacements in a text, applied and written down as cuts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.documents import Turns, with_contents
from pipeline.filters.verdicts import CUTS, Edits, no_cuts

MAX_PER_STEP = 256
"""More replacements than this in one step on one text (a file of CRLF lines) are written down in so many longer stretches."""


class Replacement(NamedTuple):
    """Characters ``start`` to ``end`` of a text become ``after``."""

    start: int
    end: int
    after: str
    rule: str


Step = Callable[[str, str], tuple[str, Sequence[tuple[int, str, str, str]]]]
"""From content and role to the new content and the cuts made, each (start, before, after, rule)."""


def edit_pieces(batch: pa.RecordBatch, view: Turns, step: Step) -> Edits:
    """The batch with ``step`` applied to each piece of ``view``, and the cuts."""
    ids = batch.column("id")
    rows: dict[str, list[object]] = {name: [] for name in CUTS.names}
    changed: list[int] = []
    contents: list[str] = []
    seqs: dict[int, int] = {}
    for piece, (role, content) in enumerate(zip(view.role.to_pylist(), view.content.to_pylist(), strict=True)):
        new, cuts = step(content, role)
        if new == content:
            continue
        changed.append(piece)
        contents.append(new)
        document = int(view.document[piece])
        for start, before, after, rule in cuts:
            seq = seqs.get(document, 0)
            seqs[document] = seq + 1
            fields = (ids[document].as_py(), seq, int(view.message[piece]), rule, start, before, after)
            for name, value in zip(CUTS.names, fields, strict=True):
                rows[name].append(value)
    if not changed:
        return Edits(batch, no_cuts())
    edited = with_contents(batch, view.take(np.array(changed, np.int64)), pa.array(contents, pa.large_string()))
    return Edits(edited, pa.table(rows, schema=CUTS))


def apply(text: str, replacements: Sequence[Replacement]) -> tuple[str, list[tuple[int, str, str, str]]]:
    """``text`` with sorted, disjoint ``replacements`` made, and the cuts, last first, so that each ``start`` counts in ``text`` itself."""
    pieces: list[str] = []
    done = 0
    for item in replacements:
        pieces += (text[done : item.start], item.after)
        done = item.end
    new = "".join((*pieces, text[done:]))
    if len(replacements) > MAX_PER_STEP:
        replacements = _joined(text, replacements)
    cuts = [(r.start, text[r.start : r.end], r.after, r.rule) for r in reversed(replacements) if text[r.start : r.end] != r.after]
    return new, cuts


def _joined(text: str, replacements: Sequence[Replacement]) -> list[Replacement]:
    """At most ``MAX_PER_STEP`` longer replacements that make the same text."""
    size = -(-len(replacements) // MAX_PER_STEP)
    joined = []
    for first in range(0, len(replacements), size):
        group = replacements[first : first + size]
        start, end = group[0].start, group[-1].end
        pieces, done = [], start
        for item in group:
            pieces += [text[done : item.start], item.after]
            done = item.end
        joined.append(Replacement(start, end, "".join(pieces), group[0].rule))
    return joined
