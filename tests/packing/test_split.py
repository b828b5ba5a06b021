"""The splits: by group, stable, from every source, never empty where they need not be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.packing.split import SPLITS, assign, split_hashes

shares_of = st.fixed_dictionaries({"validation": st.floats(0, 0.45), "test": st.floats(0, 0.45)})


def hashes(keys: list[str], seed: int = 0) -> np.ndarray:
    """Hashes of some keys."""
    return split_hashes(pa.array(keys, pa.string()), seed)


def test_hashes_are_the_same_everywhere() -> None:
    """The hash of a key is fixed for ever: it decides what a model was validated on."""
    assert hashes(["thread-1", "ünï", ""], 7).tolist() == EXPECTED_HASHES
    assert hashes(["thread-1"], 8)[0] != EXPECTED_HASHES[0]


EXPECTED_HASHES = [229729104133650350, 11195478067428091811, 12186550282453175927]


@given(rows=st.lists(st.tuples(st.text(max_size=5), st.integers(0, 3))), shares=shares_of)
def test_groups_are_never_parted(rows: list[tuple[str, int]], shares: dict[str, float]) -> None:
    """All rows of a group are in one split, and no split with a share is empty when there are groups enough."""
    keys = [key.encode("utf-8", "replace").decode() for key, _ in rows]
    chosen = assign(hashes(keys), np.array([source for _, source in rows], np.int64), shares)
    sides: dict[str, set[int]] = {}
    for key, side in zip(keys, chosen.tolist(), strict=True):
        sides.setdefault(key, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    wanted = [0, *(split for split, name in enumerate(SPLITS) if split and shares[name] > 0)]
    if len(sides) >= len(wanted):
        assert set(wanted) <= set(chosen.tolist())
    assert set(chosen.tolist()) <= set(wanted)


def test_every_source_is_in_every_split() -> None:
    """A small source gives its share too, and keeps something for training."""
    keys = [f"big-{n}" for n in range(1000)] + [f"small-{n}" for n in range(12)] + ["lone"]
    sources = np.array([0] * 1000 + [1] * 12 + [2])
    for seed in range(20):
        chosen = assign(hashes(keys, seed), sources, {"validation": 0.1, "test": 0.05})
        assert set(chosen[sources == 1].tolist()) == {0, 1, 2}
        assert chosen[sources == 2].tolist() == [0]
        assert (chosen == 1).mean() == pytest.approx(0.1, abs=0.03)
        assert (chosen == 2).mean() == pytest.approx(0.05, abs=0.03)


def test_adding_documents_moves_no_other() -> None:
    """The split of what was there stays when documents are added."""
    keys = [f"page-{i}" for i in range(2000)]
    before, after = (assign(hashes(part), np.zeros(len(part), np.int64), {"validation": 0.1, "test": 0.1}) for part in (keys[:1000], keys))
    assert before.tolist() == after[:1000].tolist()
