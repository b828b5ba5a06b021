"""Exact duplicates are found however they are folded, and the right one is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dedup.exact import Exact

Find = Callable[..., Any]
share_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def removed(found: Any) -> list[int]:
    """The rows that were removed."""
    rows: list[int] = found.removed["row"].to_pylist()
    return rows


@share_fixtures
@given(st.lists(texts, max_size=12), st.lists(st.integers(0, 50), max_size=3))
def test_byte_copies_are_exactly_the_repeats(find: Find, values: list[str], cuts: list[int]) -> None:
    """With ``fold: bytes`` a text goes exactly when it stood before, the first of it stays, and each file split says the same."""
    found = find(values, Exact(fold="bytes"), None, cuts)
    repeats = [row for row, value in enumerate(values) if value in values[:row]]
    assert removed(found) == repeats
    assert find(values, Exact(fold="bytes"), None) == found
    assert set(found.removed["rule"].to_pylist()) <= {"exact"}
    assert set(found.removed["score"].to_pylist()) <= {1.0}


@share_fixtures
@given(st.lists(texts, min_size=1, max_size=6), st.data())
def test_copies_are_found_by_every_fold(find: Find, values: list[str], data: st.DataObject) -> None:
    """Whatever the fold and the text, of two equal texts only one is left."""
    again = [*values, *data.draw(st.permutations(values))]
    for exact in (Exact(fold="bytes"), Exact(fold="space"), Exact(fold="words")):
        found = find(again, exact, None)
        kept = [again[row] for row in range(len(again)) if row not in removed(found)]
        assert len(kept) == len(set(kept))


@pytest.mark.parametrize(
    ("fold", "same"),
    [("bytes", {"The Ground. "}), ("space", {"The Ground. ", "the  GROUND.\n"}), ("words", {"The Ground. ", "the  GROUND.\n", "\uff34he, ground!"})],
)
def test_how_far_each_fold_goes(find: Find, fold: Literal["bytes", "space", "words"], same: set[str]) -> None:
    """Bytes, then case and white space, then everything but words counts for nothing."""
    for other in ("The Ground. ", "the  GROUND.\n", "\uff34he, ground!", "the round"):
        assert bool(removed(find(["The Ground. ", other], Exact(fold=fold), None))) == (other in same)


def test_texts_without_words_are_compared_by_their_characters(find: Find) -> None:
    """No two texts are one merely because neither holds a word."""
    assert removed(find(["!!!", "???", " !!!", "", "  "])) == [2, 4]


def test_the_copy_with_the_most_visible_characters_is_kept(find: Find) -> None:
    """Punctuation is worth keeping, white space is not."""
    values = ["Well yes it is so", "Well, yes. It is so!", "Well   yes  it   is   so        \n\n\n"]
    found = find(values, Exact(), None)
    assert removed(found) == [0, 2]
    assert len(set(found.removed["duplicate_of"].to_pylist())) == 1
    assert found.groups["row"].to_pylist() == [1]
    assert found.groups["id"].to_pylist() == found.removed["duplicate_of"].to_pylist()[:1]


def test_conversations_are_compared_by_the_turns_that_are_asked_for(find: Find) -> None:
    """Whole, prompts or answers; the system's turns never count, and without a turn to compare nothing is a duplicate."""
    one = [("system", "Be terse."), ("user", "Why is the sky blue?"), ("assistant", "Scattering.")]
    same_prompt = [("user", "why is the sky blue"), ("assistant", "It is not.")]
    same_answer = [("user", "What does dust do?"), ("assistant", "Scattering")]
    same_both = [("system", "Be kind."), ("user", "Why is the sky blue?"), ("assistant", "scattering")]
    no_answer = [("user", "Hello?")]
    items = [one, same_prompt, same_answer, same_both, no_answer, [("user", "Hi?")], "Why is the sky blue?", "Scattering."]
    assert removed(find(items, Exact(), None)) == [3]
    assert removed(find(items, Exact(compare="prompts"), None)) == [1, 3]
    assert removed(find(items, Exact(compare="answers"), None)) == [2, 3]


def test_nothing_asked_nothing_removed(find: Find) -> None:
    """Without settings for either, and without documents, there are no duplicates."""
    assert removed(find(["same", "same"], None, None)) == []
    assert removed(find([])) == removed(find([], None, None)) == []
    assert find([]).groups.num_rows == 0
