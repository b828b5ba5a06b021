"""Packing: every sequence in exactly one row, rows nearly full, always the same plan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.packing.plan import Plan, alone, best_fit, counted, gathered, sequential, shuffled, spans, wrapped

lengths_and_capacity = st.integers(1, 60).flatmap(lambda capacity: st.tuples(st.lists(st.integers(1, capacity), max_size=200), st.just(capacity)))


def used(plan: Plan, lengths: np.ndarray) -> list[int]:
    """Tokens in each row."""
    return [int(lengths[plan.sequences[a:b]].sum()) for a, b in zip(plan.offsets[:-1], plan.offsets[1:], strict=True)]


def rows_one_by_one(lengths: list[int], capacity: int) -> list[int]:
    """Best-fit decreasing as the textbook has it, one sequence at a time: the free tokens of each row, sorted."""
    free: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in free if room >= length]
        if fitting:
            free.remove(min(fitting))
            free.append(min(fitting) - length)
        else:
            free.append(capacity - length)
    return sorted(free)


@given(given=lengths_and_capacity)
def test_every_sequence_is_in_one_row(given: tuple[list[int], int]) -> None:
    """No sequence is lost or doubled, no row holds more than its capacity or nothing."""
    lengths, capacity = np.array(given[0], dtype=np.int32), given[1]
    plan = shuffled(best_fit(lengths, capacity), 3)
    assert sorted(plan.sequences.tolist()) == list(range(len(lengths)))
    assert all(0 < tokens <= capacity for tokens in used(plan, lengths))


@given(given=lengths_and_capacity)
def test_bulk_placing_is_best_fit_decreasing(given: tuple[list[int], int]) -> None:
    """Placing equal lengths together leaves the same free space as placing them one by one."""
    lengths, capacity = given
    plan = best_fit(np.array(lengths, dtype=np.int32), capacity)
    assert sorted(capacity - tokens for tokens in used(plan, np.array(lengths, dtype=np.int64))) == rows_one_by_one(lengths, capacity)


def test_rows_are_full() -> None:
    """100,000 log-normal lengths fill rows of 2,048 to .999."""
    lengths = np.clip(np.random.default_rng(0).lognormal(5.5, 1.1, 100_000).astype(np.int32), 1, 2048)
    plan = best_fit(lengths, 2048)
    assert lengths.sum() / (len(plan) * 2048) > 0.999


@pytest.mark.parametrize("capacity", [300, 70_000])
def test_large_capacities_work_too(capacity: int) -> None:
    """Beyond 16 bits the plan is as sound."""
    lengths = np.random.default_rng(1).integers(1, capacity + 1, 3000).astype(np.int32)
    plan = best_fit(lengths, capacity)
    assert max(used(plan, lengths)) <= capacity
    assert sorted(plan.sequences.tolist()) == list(range(3000))


@pytest.mark.parametrize("wrong", [0, 11, -1])
def test_lengths_outside_a_row_are_refused(wrong: int) -> None:
    """A sequence that fits no row, or is none, is a ValueError."""
    with pytest.raises(ValueError, match="between 1 and 10"):
        best_fit(np.array([5, wrong]), 10)


def test_the_seed_decides_the_order() -> None:
    """The same seed gives the same order on every machine, another seed another one; the rows stay what they are."""
    plan = alone(np.full(50, 2), 4)
    assert shuffled(plan, 1).sequences.tolist() == shuffled(plan, 1).sequences.tolist()
    assert shuffled(plan, 1).sequences.tolist() != shuffled(plan, 2).sequences.tolist()
    assert shuffled(plan, 0).sequences.tolist() != plan.sequences.tolist()
    assert shuffled(alone(np.full(8, 2), 4), 42).sequences.tolist() == EXPECTED_ORDER


EXPECTED_ORDER = [6, 2, 5, 1, 7, 3, 4, 0]


def test_a_part_of_a_plan_is_a_plan() -> None:
    """Rows 2 to 4 hold what they held; a stop beyond the end is the end."""
    plan = best_fit(np.array([3, 9, 4, 4, 10, 2, 1]), 10)
    part = plan.rows(1, 3)
    assert [part.sequences[a:b].tolist() for a, b in zip(part.offsets[:-1], part.offsets[1:], strict=True)] == [
        plan.sequences[plan.offsets[row] : plan.offsets[row + 1]].tolist() for row in (1, 2)
    ]
    assert len(plan.rows(1, 99)) == len(plan) - 1


@given(given=lengths_and_capacity)
def test_sequential_rows_take_what_comes_next(given: tuple[list[int], int]) -> None:
    """Sequences stay in order, and a row ends only where the next one does not fit."""
    lengths, capacity = np.array(given[0], dtype=np.int32), given[1]
    plan = sequential(lengths, capacity)
    assert plan.sequences.tolist() == list(range(len(lengths)))
    rows = used(plan, lengths)
    assert all(0 < tokens <= capacity for tokens in rows)
    assert all(tokens + lengths[plan.sequences[stop]] > capacity for tokens, stop in zip(rows, plan.offsets[1:-1], strict=False))


@given(given=lengths_and_capacity)
def test_wrapped_rows_are_full(given: tuple[list[int], int]) -> None:
    """Every token stands once, in order, and only the last row has room."""
    lengths, capacity = np.array(given[0], dtype=np.int32), given[1]
    plan = wrapped(lengths, capacity)
    rows = [int(plan.size[a:b].sum()) for a, b in zip(plan.offsets[:-1], plan.offsets[1:], strict=True)]
    assert rows[:-1] == [capacity] * (len(rows) - 1) if rows else not len(lengths)
    tokens = [(s, t) for s, a, n in zip(plan.sequences.tolist(), plan.start.tolist(), plan.size.tolist(), strict=True) for t in range(a, a + n)]
    assert tokens == [(s, t) for s, length in enumerate(lengths.tolist()) for t in range(length)]


def test_spans() -> None:
    """Spans are concatenated; empty ones and none at all are fine."""
    assert spans(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert spans(np.array([], dtype=np.int64), np.array([], dtype=np.int64)).tolist() == []


@given(sizes=st.lists(st.integers(0, 5) | st.integers(90, 300), max_size=8), seed=st.integers(0, 99))
def test_spans_are_gathered_alike_however_long_they_are(sizes: list[int], seed: int) -> None:
    """Long spans are copied and short ones indexed; the values and their type are the same."""
    values = np.arange(2000, dtype=np.int32)
    starts = np.random.default_rng(seed).integers(0, 1700, len(sizes))
    found = gathered(values, starts, np.array(sizes, dtype=np.int64))
    assert found.tolist() == [value for start, size in zip(starts.tolist(), sizes, strict=True) for value in range(start, start + size)]
    assert found.dtype == np.int32


@given(flags=st.lists(st.booleans()))
def test_flags_are_counted(flags: list[bool]) -> None:
    """The sum before each place and after the last."""
    assert counted(np.array(flags, dtype=bool)).tolist() == [sum(flags[:place]) for place in range(len(flags) + 1)]
