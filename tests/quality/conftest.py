"""What the tests of the scorers share: batches and single scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.documents import Document, Message, to_batch
from pipeline.quality.scorers import Scorer

ROOT = Path(__file__).resolve().parents[2]


def find(name: str) -> Path:
    """The file of the checkout that a settings file names."""
    return ROOT / name


def plain(*texts: str) -> pa.RecordBatch:
    """A batch of plain documents."""
    return to_batch("test", [Document(locator=f"rows#row={row}", text=text) for row, text in enumerate(texts)])


def chat(*talks: Sequence[Message]) -> pa.RecordBatch:
    """A batch of conversations."""
    return to_batch("test", [Document(locator=f"rows#row={row}", messages=tuple(turns)) for row, turns in enumerate(talks)])


def scores(scorer: Scorer, *texts: str) -> dict[str, list[Any]]:
    """The columns of plain documents as lists, floats rounded to 4 digits."""
    columns = scorer.score(plain(*texts))
    assert {name: column.type for name, column in columns.items()} == scorer.fields()
    return {name: [round(v, 4) if isinstance(v, float) else v for v in column.to_pylist()] for name, column in columns.items()}
