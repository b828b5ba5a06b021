"""The validation split: by group, stable, never empty where it need not be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.packing.split import split_hashes, validation


def hashes(keys: list[str], seed: int = 0) -> np.ndarray:
    """Hashes of some keys."""
    return split_hashes(pa.array(keys, pa.string()), seed)


def test_hashes_are_the_same_everywhere() -> None:
    """The hash of a key is fixed for ever: it decides what a model was validated on."""
    assert hashes(["thread-1", "ünï", ""], 7).tolist() == EXPECTED_HASHES
    assert hashes(["thread-1"], 8)[0] != EXPECTED_HASHES[0]


EXPECTED_HASHES = [229729104133650350, 11195478067428091811, 12186550282453175927]


@given(keys=st.lists(st.text(max_size=5)), share=st.floats(0, 0.9))
def test_groups_are_never_parted(keys: list[str], share: float) -> None:
    """All rows of a group are on the same side, and both sides have one when there are two groups and a share."""
    keys = [key.encode("utf-8", "replace").decode() for key in keys]
    chosen = validation(hashes(keys), share)
    sides: dict[str, set[bool]] = {}
    for key, side in zip(keys, chosen.tolist(), strict=True):
        sides.setdefault(key, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    if share > 0 and len(sides) > 1:
        assert chosen.any()
        assert not chosen.all()
    if share == 0:
        assert not chosen.any()


def test_adding_documents_moves_no_other() -> None:
    """The split of what was there stays when documents are added."""
    keys = [f"page-{i}" for i in range(2000)]
    before, after = validation(hashes(keys[:1000]), 0.1), validation(hashes(keys), 0.1)
    assert before.tolist() == after[:1000].tolist()
    assert after.mean() == pytest.approx(0.1, abs=0.03)
