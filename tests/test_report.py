"""Counts balance, or it is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import AccountingError
from pipeline.report import Counts, Report

tables = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 9))
counts = st.builds(Counts, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), tables, tables, tables, tables)


@given(counts)
def test_only_balanced_counts_pass(one: Counts) -> None:
    """check() accepts exactly the counts whose parts add up to what was read."""
    parts = one.kept + one.merged + one.superseded + sum(one.removed.values()) + sum(one.quarantined.values())
    one.read = parts
    one.check("x")
    one.read = parts + 1
    with pytest.raises(AccountingError, match="x: "):
        one.check("x")


@given(st.lists(counts, max_size=4))
def test_sum_does_not_depend_on_the_order(parts: list[Counts]) -> None:
    """Adding the counts of parts in any order gives the same report, and it survives JSON."""
    forth, back = Report(), Report()
    for part in parts:
        forth.of("s").add(part)
    for part in reversed(parts):
        back.of("s").add(part)
    assert forth.to_plain() == back.to_plain() == Report.from_plain(forth.to_plain()).to_plain()
