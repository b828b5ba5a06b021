"""What a scorer is, and which text of a document it looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.spans import Layout, layouts

Find = Callable[[str], Path]
"""Gives the file that a settings file names; raises SettingsError when there is none."""

Figures = Mapping[str, NDArray[np.generic]]
"""A number for each text, by the name of the field; nan where it does not apply."""

SEPARATOR = "\n\n"
"""Stands between two turns that are scored as one text."""

UNSPACED_SHARE = 0.2
"""From this share of characters in scripts without blanks on (Chinese, Japanese, Thai, Lao, Burmese, Khmer) statistics of words are null."""


class Scorer(Protocol):
    """Gives numbers or names for each document. Pure, sees one batch, keeps no state."""

    version: ClassVar[int]

    def resolve(self, find: Find) -> Self:
        """The same scorer with the contents of the files it names read in, ready to be pickled to a worker."""
        ...

    def fields(self) -> dict[str, pa.DataType]:
        """The columns it gives, each named with the scorer's name before it."""
        ...

    def score(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """One array for each field, one value for each document; null where it does not apply."""
        ...


def scored_texts(batch: pa.RecordBatch) -> pa.LargeStringArray:
    """The text that is scored, null where there is none: a plain document's text, or a conversation's learned turns, an empty line between two.

    A turn is learned from when its ``train`` says so, or by its role (assistant) when ``train`` is null.
    """
    text, messages = batch.column("text"), batch.column("messages")
    if messages.null_count == len(messages):
        return text
    flat = messages.flatten()
    learned = pc.fill_null(pc.coalesce(flat.field("train"), pc.equal(flat.field("role"), "assistant")), False)
    lengths = pc.fill_null(pc.list_value_length(messages), 0).to_numpy(zero_copy_only=False)
    owner = np.repeat(np.arange(len(batch)), lengths)[learned.to_numpy(zero_copy_only=False)]
    content = pc.fill_null(flat.field("content"), "").filter(learned)
    bounds = np.searchsorted(owner, np.arange(len(batch) + 1))
    pieces = content.to_pylist()
    joined = pa.array([SEPARATOR.join(pieces[low:high]) for low, high in pairwise(bounds.tolist())], pa.large_string())
    return pc.coalesce(text, pc.if_else(pa.array(np.diff(bounds) > 0), joined, pa.scalar(None, pa.large_string())))


def figures(texts: pa.LargeStringArray, fields: Mapping[str, pa.DataType], measure: Callable[[Layout], Figures]) -> dict[str, pa.Array]:
    """``measure`` over the texts, a piece at a time, as arrays of the types in ``fields``; nan and texts that are null become null."""
    parts: list[Figures] = [measure(layout) for layout in layouts(texts)]
    missing = pc.is_null(texts).to_numpy(zero_copy_only=False)
    return {name: _array([part[name] for part in parts], missing, kind) for name, kind in fields.items()}


def floats(names: Sequence[str]) -> dict[str, pa.DataType]:
    """Fields of 32-bit floats."""
    return dict.fromkeys(names, pa.float32())


def _array(parts: Sequence[NDArray[np.generic]], missing: NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    values = np.concatenate(parts) if parts else np.zeros(0)
    absent = missing | np.isnan(values) if values.dtype.kind == "f" else missing
    return pa.array(np.where(absent, 0, values), mask=absent).cast(kind)
