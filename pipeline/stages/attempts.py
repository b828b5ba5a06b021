"""Rules at work on a batch: one document that a rule cannot bear costs that document only, and an answer of the wrong shape is told in a line."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.documents import turns
from pipeline.errors import GristmillError
from pipeline.filters.verdicts import CUTS, VERDICTS, Editor, Edits, Filter

T = TypeVar("T")

HOPELESS = 32
"""A rule that fails on every one of so many documents is broken: the run ends, rather than quarantine everything."""

MAX_ERROR_CHARS = 300
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
_SEE = "see docs/cleaning.md"


@dataclass(frozen=True)
class Failure:
    """A document that a rule raised on: its row in the batch, and the error."""

    row: int
    error: str


def attempt(name: str, work: Callable[[pa.RecordBatch], T], batch: pa.RecordBatch) -> tuple[list[tuple[np.ndarray, T]], list[Failure]]:
    """What ``work`` makes of the batch, in as few pieces as its failures allow, each with its rows (int64, ascending overall).

    A batch that it raises on is halved until the documents stand alone that it cannot bear. Errors meant for the user, and a lack of memory,
    pass through; so does, as one, a failure on each of at least ``HOPELESS`` documents.
    """
    done: list[tuple[np.ndarray, T]] = []
    failures: list[Failure] = []
    last: Exception | None = None
    todo = [np.arange(len(batch))] if len(batch) else []
    while todo:
        rows = todo.pop()
        try:
            done.append((rows, work(batch if len(rows) == len(batch) else batch.take(pa.array(rows)))))
        except (GristmillError, MemoryError):
            raise
        except Exception as error:
            last = error
            if len(rows) == 1:
                failures.append(Failure(int(rows[0]), f"{name} failed: {_told(error)}"))
            else:
                todo += reversed(np.array_split(rows, 2))
    if last is not None and not done and len(failures) >= HOPELESS:
        frame = traceback.extract_tb(last.__traceback__)[-1]
        what = f"fails on every document ({_told(last)} at {Path(frame.filename).name}:{frame.lineno})"
        raise GristmillError(name, what, "mend it, or leave it out of the settings")
    return done, failures


def _told(error: Exception) -> str:
    text = _ADDRESS.sub("0x...", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text}"[:MAX_ERROR_CHARS].removesuffix(": ")


def judged(place: str, rule: Filter, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rule's verdicts in the schema ``VERDICTS``; raises GristmillError when they are of another shape."""
    verdict: Any = rule.judge(batch)
    if not isinstance(verdict, pa.RecordBatch | pa.Table):
        raise GristmillError(place, f"its verdict is a {type(verdict).__name__} and not a RecordBatch", f"build it with verdicts(); {_SEE}")
    missing = [name for name in VERDICTS.names if name not in verdict.schema.names]
    if missing:
        raise GristmillError(place, f"its verdict has no column {', '.join(missing)}", f"build it with verdicts(); {_SEE}")
    if len(verdict) != len(batch):
        raise GristmillError(place, f"its verdict has {len(verdict)} rows for {len(batch)} documents", "give one row a document")
    try:
        table = pa.table({name: verdict.column(name) for name in VERDICTS.names}).cast(VERDICTS).combine_chunks()
    except (pa.ArrowException, ValueError) as error:
        raise GristmillError(place, f"its verdict has a column of the wrong type ({_told(error)})", _SEE) from None
    return pa.RecordBatch.from_arrays([_whole(table[name]) for name in VERDICTS.names], schema=VERDICTS)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def edited(place: str, editor: Editor, batch: pa.RecordBatch, is_own: bool) -> Edits:
    """What the editor made of the batch; for a user's own one (``is_own``) it is also checked that the cuts tell all that was changed."""
    edits: Any = editor.edit(batch)
    if not is_own:
        return edits  # type: ignore[no-any-return]
    if not isinstance(edits, Edits):
        raise GristmillError(place, f"gave a {type(edits).__name__} and not Edits", f"use edit_pieces(); {_SEE}")
    if edits.batch.schema != batch.schema or not edits.batch.column("id").equals(batch.column("id")):
        raise GristmillError(place, "gave other columns or other documents than it got", "rewrite the text only, in the same order")
    try:
        cuts = edits.cuts.select(CUTS.names).cast(CUTS)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise GristmillError(place, f"its cuts are not of the schema CUTS ({_told(error)})", f"use edit_pieces(); {_SEE}") from None
    wrong = _untold(batch, edits.batch, cuts)
    if wrong is not None:
        raise GristmillError(place, f"changed the text of {wrong} otherwise than its cuts say", f"use edit_pieces(); {_SEE}")
    return Edits(edits.batch, cuts)


def _untold(before: pa.RecordBatch, after: pa.RecordBatch, cuts: pa.Table) -> str | None:
    """The id of a document whose new text is not the old one with the cuts made, None when there is none."""
    texts, wanted = _pieces(before), _pieces(after)
    if texts.keys() != wanted.keys():
        return str(next(iter(texts.keys() ^ wanted.keys()))[0])
    for cut in sorted(cuts.to_pylist(), key=lambda row: (row["id"], row["seq"])):
        key = (cut["id"], cut["message"])
        old, new = cut["before"] or "", cut["after"] or ""
        text, start = texts.get(key), cut["start"]
        if text is None or text[start : start + len(old)] != old:
            return str(cut["id"])
        texts[key] = text[:start] + new + text[start + len(old) :]
    return next((str(key[0]) for key, text in texts.items() if text != wanted[key]), None)


def _pieces(batch: pa.RecordBatch) -> dict[tuple[str, int], str]:
    view, ids = turns(batch), batch.column("id").to_pylist()
    keys = ((ids[document], message) for document, message in zip(view.document.tolist(), view.message.tolist(), strict=True))
    return dict(zip(keys, view.content.to_pylist(), strict=True))


def scored(place: str, scorer: Any, fields: Mapping[str, pa.DataType], batch: pa.RecordBatch) -> list[pa.Array]:
    """The scorer's columns in the order and of the types of ``fields``; raises GristmillError when they are not one value a document."""
    scores: Any = scorer.score(batch)
    if not isinstance(scores, Mapping) or set(scores) != set(fields):
        found = ", ".join(map(str, scores)) if isinstance(scores, Mapping) else type(scores).__name__
        raise GristmillError(place, f"gave {found or 'nothing'} where its fields are {', '.join(fields)}", "give one array a field")
    columns = []
    for name, kind in fields.items():
        try:
            column = scores[name] if isinstance(scores[name], pa.Array) else pa.array(scores[name], from_pandas=False)
            column = column.cast(kind)
        except (pa.ArrowException, TypeError) as error:
            raise GristmillError(place, f"its score {name} is not of type {kind} ({_told(error)})", "give what fields() promises") from None
        if len(column) != len(batch):
            raise GristmillError(place, f"its score {name} has {len(column)} values for {len(batch)} documents", "give one value a document")
        columns.append(column)
    return columns


def rows_of(batch: pa.RecordBatch, rows: np.ndarray) -> pa.RecordBatch:
    """Those rows of the batch, itself when they are all."""
    return batch if len(rows) == len(batch) else batch.take(pa.array(rows, pa.int64()))


def counted(values: pa.Array) -> list[tuple[str, int]]:
    """Each value with how often it stands there."""
    return [(entry["values"], entry["counts"]) for entry in pc.value_counts(values).to_pylist()]
