"""Units: every one is worked on once and in order, whatever is lost or looked for; the mark says where a task is."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.units import STEPS, Orders, place_of, units, watching

SIZES = st.lists(st.integers(0, 300), max_size=6)


def pieces_of(sizes: list[int]) -> list[list[int]]:
    """Lists of the given sizes that count through."""
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    return [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


@given(SIZES, st.sets(st.integers(0, 1500), max_size=5))
def test_lost_units_stand_alone_and_all_others_once(sizes: list[int], lost: set[int]) -> None:
    """Of any pieces, with any units lost: each unit comes once, in order, a lost one alone with its reason, others without."""
    with watching(Path("/dev/null"), Orders({unit: f"reason {unit}" for unit in lost})):
        seen = list(units(pieces_of(sizes)))
    assert [unit for piece, _ in seen for unit in piece] == list(range(sum(sizes)))
    for piece, fault in seen:
        assert (piece, fault) == ([piece[0]], f"reason {piece[0]}") if lost & set(piece) else fault is None


@given(SIZES, st.tuples(st.integers(0, 1500), st.integers(1, 1500)))
def test_a_search_looks_at_its_range_in_few_steps(sizes: list[int], place: tuple[int, int]) -> None:
    """A search sees the units of its range, each once, in at most STEPS more stretches than there are pieces."""
    start, stop = place[0], place[0] + place[1]
    with watching(Path("/dev/null"), Orders(only=(start, stop))):
        seen = [piece for piece, _ in units(pieces_of(sizes))]
    assert [unit for piece in seen for unit in piece] == [unit for unit in range(sum(sizes)) if start <= unit < stop]
    assert len(seen) <= STEPS + len(sizes)


def test_the_mark_says_where_a_task_is(tmp_path: Path) -> None:
    """While a piece is worked on its units stand in the mark; between pieces and after them none do."""
    mark, places = tmp_path / "mark", []
    with watching(mark, Orders()):
        assert place_of(mark) is None
        places += [place_of(mark) for _ in units([[1, 2], [3]])]
        assert place_of(mark) is None
    assert places == [(0, 2), (2, 3)]


def test_without_a_task_pieces_pass_through() -> None:
    """Outside a step nothing is cut or left out."""
    assert list(units([[1, 2], []])) == [([1, 2], None), ([], None)]
