"""Fitting documents into rows: nothing is lost without being told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.packing.cut import LINE, PARAGRAPH, Cuts, cut

documents = st.lists(st.lists(st.booleans(), max_size=40), min_size=1, max_size=12)


def run(masks: list[list[bool]], length: int, policy: str) -> Cuts:
    """Cut documents given by their masks, all with one policy."""
    sizes = [len(mask) for mask in masks]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    learned = np.array([flag for mask in masks for flag in mask], dtype=bool)
    may = np.ones(len(masks), dtype=bool)
    return cut(offsets, learned, length, may & (policy == "split"), may & (policy == "truncate"))


@given(masks=documents, length=st.integers(8, 20), policy=st.sampled_from(["split", "truncate", "drop"]))
def test_sequences_fit_and_teach(masks: list[list[bool]], length: int, policy: str) -> None:
    """Each sequence fits a row and has a learned token after its first; each document is in sequences or in one of the two lists."""
    cuts = run(masks, length, policy)
    for document, start, size in zip(cuts.document.tolist(), cuts.start.tolist(), cuts.size.tolist(), strict=True):
        assert 2 <= size <= length
        assert any(masks[document][start + 1 : start + size])
    became = set(cuts.document.tolist()), set(cuts.too_long.tolist()), set(cuts.teaches_nothing.tolist())
    assert sorted(became[0] | became[1] | became[2]) == list(range(len(masks)))
    assert sum(map(len, became)) == len(masks)
    assert policy == "drop" or not became[1]


@given(sizes=st.lists(st.integers(2, 200), min_size=1, max_size=8), length=st.integers(8, 30))
def test_splitting_keeps_every_token(sizes: list[int], length: int) -> None:
    """The pieces of a split document, all of it learned, follow each other without gap or overlap."""
    cuts = run([[True] * size for size in sizes], length, "split")
    for document, size in enumerate(sizes):
        mine = cuts.document == document
        ends = (cuts.start + cuts.size)[mine].tolist()
        assert [0, *ends[:-1]] == cuts.start[mine].tolist()
        assert ends[-1] == size


@pytest.mark.parametrize(("size", "expected"), [(16, [8, 8]), (17, [8, 7, 2]), (18, [8, 8, 2]), (9, [7, 2])])
def test_no_piece_is_a_single_token(size: int, expected: list[int]) -> None:
    """A rest of one token takes one from the piece before it: alone it would teach nothing."""
    assert run([[True] * size], 8, "split").size.tolist() == expected


def test_truncating_can_take_the_answer() -> None:
    """A conversation cut off before its answer teaches nothing, and is reported so."""
    cuts = run([[False] * 10 + [True] * 3, [False] * 5 + [True] * 9], 8, "truncate")
    assert cuts.teaches_nothing.tolist() == [0]
    assert (cuts.document.tolist(), cuts.size.tolist()) == ([1], [8])


@given(sizes=st.lists(st.integers(2, 200), min_size=1, max_size=8), length=st.integers(8, 30), overlap=st.integers(0, 3), seed=st.integers(0, 99))
def test_overlap_and_breaks_keep_every_token(sizes: list[int], length: int, overlap: int, seed: int) -> None:
    """Beyond their context, the pieces follow each other without gap; each fits a row and teaches."""
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    breaks = np.random.default_rng(seed).choice([0, 0, 0, LINE, PARAGRAPH], offsets[-1]).astype(np.int8)
    yes = np.ones(len(sizes), dtype=bool)
    cuts = cut(offsets, np.ones(offsets[-1], dtype=bool), length, yes, ~yes, overlap, breaks)
    assert not len(cuts.teaches_nothing)
    for document, size in enumerate(sizes):
        mine = cuts.document == document
        told = [t for a, n, c in zip(cuts.start[mine], cuts.size[mine], cuts.context[mine], strict=True) for t in range(a + c, a + n)]
        assert told == list(range(size))
        assert cuts.size[mine].max() <= length
        assert set(cuts.context[mine][1:].tolist()) <= {overlap}


def test_a_document_is_split_at_a_paragraph() -> None:
    """The last paragraph's end in the second half of a row is where it is cut, else a line's, else the row's end."""
    breaks = np.zeros(40, np.int8)
    breaks[[5, 6, 12]] = (PARAGRAPH, LINE, LINE)
    yes = np.ones(1, dtype=bool)
    cuts = cut(np.array([0, 40]), np.ones(40, dtype=bool), 10, yes, ~yes, 0, breaks)
    assert cuts.size.tolist() == [6, 7, 10, 10, 7]
