"""How the benchmark of suspects spoils its rows and counts what was found; training is left to `make bench`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.benchmarks.suspects import KINDS, LETTERS, SWAPPED, Pair, docstrings, score, spoil
from pipeline.inspection.outliers import Outlier

PAIRS = [Pair(f"question {n}", f"the answer of number {n} has words") for n in range(80)]


@given(st.sampled_from(list(KINDS.values())), st.integers(0, 50))
def test_a_seeded_share_is_spoiled_and_nothing_else(kinds: tuple[str, ...], seed: int) -> None:
    """5% differ from what they were, each in the way that is said of it; all others are untouched, and the seed alone decides."""
    spoiled = spoil(PAIRS, kinds, seed)
    assert spoiled == spoil(PAIRS, kinds, seed)
    changed = [(before, after) for before, after in zip(PAIRS, spoiled, strict=True) if after.spoiled]
    assert len(changed) == 4
    assert all(before == after for before, after in zip(PAIRS, spoiled, strict=True) if not after.spoiled)
    for before, after in changed:
        assert after.question == before.question and after.answer != before.answer
        if after.spoiled == SWAPPED:
            assert after.answer in {pair.answer for pair in PAIRS}
        elif after.spoiled == LETTERS:
            assert [len(word) for word in after.answer.split()] == [len(word) for word in before.answer.split()]
        else:
            assert Counter(after.answer.split()) == Counter(before.answer.split())
    assert {SWAPPED if after.spoiled == SWAPPED else "gibberish" for _, after in changed} == set(kinds)


def test_the_score_counts_the_top() -> None:
    """Precision is of the top 5%, what was found of each kind is of all of that kind; a kind that is not there has no share."""
    blank = Outlier("", None, "train", "none", 0.0, {}, 1, None, 1.0, None, 0.0)
    kinds = [SWAPPED, None, LETTERS, None, *[None] * 74, SWAPPED, LETTERS]
    found = score([(blank, kind) for kind in kinds])
    assert (found.precision, found.swapped, found.gibberish) == (0.5, 0.5, 0.5)
    assert score([(blank, None)] * 20).swapped is None


def test_every_python_brings_a_set_along(tmp_path: Path) -> None:
    """The docstrings are the same at every call, enough for a share to mean something, and no answer stands there twice."""
    pairs = docstrings(tmp_path)
    assert pairs == docstrings(tmp_path) and len(pairs) >= 100
    assert len({pair.answer for pair in pairs}) == len(pairs)
