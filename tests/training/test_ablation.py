"""What an ablation says of its losses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.ablation import Ablation

losses = st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)), min_size=2, max_size=6)


def of(pairs: list[tuple[float, float]]) -> Ablation:
    """An ablation of a rule from pairs of losses, one a seed."""
    with_it, without_it = ({seed: pair[arm] for seed, pair in enumerate(pairs)} for arm in (0, 1))
    return Ablation("the rule x", with_it, without_it, {"with": 10, "without": 10})


@given(losses, st.floats(-0.5, 0.5))
def test_what_both_arms_share_does_not_count(pairs: list[tuple[float, float]], shift: float) -> None:
    """The same number added to every loss changes neither the difference nor the spread; the arms exchanged turn the sign."""
    one, moved = of(pairs), of([(a + shift + 1, b + shift + 1) for a, b in pairs])
    assert moved.mean_difference == pytest.approx(one.mean_difference, abs=1e-9)
    assert moved.spread == pytest.approx(one.spread, abs=1e-9)
    turned = of([(b, a) for a, b in pairs])
    assert turned.mean_difference == pytest.approx(-one.mean_difference, abs=1e-9) and turned.spread == pytest.approx(one.spread)


def test_the_sentence_follows_the_figures() -> None:
    """A difference that seeds do not reach is a finding with a direction; one within their spread may be chance."""
    clear = of([(2.00, 2.31), (2.02, 2.30), (1.98, 2.32)])
    assert clear.exceeds and "exceeds the spread, so the rule x helps" in clear.sentence() and "higher" in clear.sentence()
    worse = of([(2.31, 2.00), (2.30, 2.02), (2.32, 1.98)])
    assert worse.exceeds and "harms" in worse.sentence() and "lower" in worse.sentence()
    chance = of([(2.0, 2.1), (2.3, 2.2), (1.8, 1.9)])
    assert not chance.exceeds and "may be chance" in chance.sentence()


def test_one_seed_proves_nothing() -> None:
    """With one seed there is no spread, and it is said."""
    one = of([(2.0, 3.0)])
    assert one.spread is None and one.exceeds is None and "one seed" in one.sentence()
    assert json.loads(json.dumps(one.to_plain()))["spread"] is None
