"""Figures of a token set: every length in its bin, every document once, shares of what there is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.packing.figures import document_lengths, histogram, in_order, shares
from pipeline.packing.sequences import ENCODED


@given(st.lists(st.integers(1, 2**40), min_size=1))
def test_each_length_lies_in_its_bin(lengths: list[int]) -> None:
    """A bin counts the lengths from its lower bound up to its double."""
    found = histogram(np.array(lengths, dtype=np.int64))
    assert found == {low: sum(int(low) <= length < 2 * int(low) for length in lengths) for low in found}
    assert sum(found.values()) == len(lengths)
    assert list(found) == sorted(found, key=int)


def piece(name: str, start: int, size: int, source: str = "s") -> dict[str, object]:
    """An encoded sequence."""
    return {"id": name, "source": source, "split_hash": 0, "start": start, "input_ids": [1] * size, "learned": [1] * size}


def test_pieces_of_a_document_are_one_length() -> None:
    """A document's length is where its last piece ends, overlap counted once."""
    rows = [piece("a", 0, 10), piece("a", 8, 10), piece("b", 0, 5), piece("c", 0, 4, "t")]
    found = document_lengths(pa.RecordBatch.from_pylist(rows, schema=ENCODED))
    assert found == {"s": {"4": 1, "16": 1}, "t": {"4": 1}}
    assert document_lengths(pa.RecordBatch.from_pylist([], schema=ENCODED)) == {}


def test_bins_are_put_in_order() -> None:
    """Bins are numbers, and stand in their order whatever order they came in."""
    assert [(source, list(bins)) for source, bins in in_order({"t": {"8": 1, "16": 1, "2": 3}, "s": {}}).items()] == [
        ("s", []),
        ("t", ["2", "8", "16"]),
    ]


def test_shares_of_a_split() -> None:
    """Shares are of the room, of all that the rows hold, and of the tokens; an empty split has none."""
    figures = {"rows": 2, "sequences": 3, "tokens": 150, "learned": 75, "padding": 50, "tokens_unlearned": 0}
    assert shares(figures, 100) == {"utilisation": 0.75, "padding_share": 0.25, "learned_share": 0.5}
    assert shares(dict.fromkeys(figures, 0), 100) == {"utilisation": 0.0, "padding_share": 0.0, "learned_share": 0.0}
