"""Rows read back are the rows that were written, in every format."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import DatasetError
from pipeline.packing.reading import read_rows
from pipeline.packing.rows import ROWS, write_rows

FORMATS = ["arrow", "jsonl", "parquet"]


def rows(number: int) -> pa.RecordBatch:
    """Rows of two sequences, the second one padding."""
    one = {"input_ids": [5, 6, 0], "labels": [-100, 6, -100], "position_ids": [0, 1, 0], "sequence_lengths": [2, 1]}
    pieces = [{"id": "d", "start": 0, "end": 2}, {"id": None, "start": 0, "end": 1}]
    return pa.RecordBatch.from_pylist([{**one, "pieces": pieces}] * number, schema=ROWS)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("number", [1, 64, 300])
def test_what_was_written_is_read(name: str, number: int, tmp_path: Path) -> None:
    """All rows come back, in order, of the schema ROWS, and of the columns that were asked for."""
    path = tmp_path / f"part.{name}"
    write_rows(path, [rows(number)], name)
    batches = list(read_rows(path))
    assert all(batch.schema == ROWS for batch in batches)
    assert [row for batch in batches for row in batch.to_pylist()] == rows(number).to_pylist()
    assert [row for batch in read_rows(path, ["pieces"]) for row in batch.to_pylist()] == rows(number).select(["pieces"]).to_pylist()


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_named(name: str, tmp_path: Path) -> None:
    """A file that is cut off, or holds something else, is an error that names it."""
    path = tmp_path / f"part.{name}"
    write_rows(path, [rows(100)], name)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=f"part.{name}"):
        list(read_rows(path))
    path.write_bytes(b"\xff{nothing\n")
    with pytest.raises(DatasetError, match=f"part.{name}"):
        list(read_rows(path))
