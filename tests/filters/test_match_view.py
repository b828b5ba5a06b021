"""The view for matching and its way back to the original."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filters.match_view import collapse, fold, folded
from pipeline.filters.sentences import Protected, split

ODD = st.text(alphabet=st.sampled_from("aB c.İß\u200b\u00ad’“ﬁ𝐀ＡаО*\n가\u0301。、"), max_size=60)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("I can’t", "i can't"),
        ("I \u200bc\u00ada\u200bnnot", "i cannot"),
        ("Ｉ ｃａｎｎｏｔ．", "i cannot."),
        ("𝐈 𝐜𝐚𝐧𝐧𝐨𝐭", "i cannot"),
        ("I саn't аssist", "i can't assist"),
        ("**I cannot**", "i cannot"),
        ("I\u00a0cannot", "i cannot"),
        ("Canâ€™t", "can't"),
        ("Как языковая модель", "как языковая модель"),
    ],
)
def test_disguises_are_seen_through(text: str, seen: str) -> None:
    """Curly quotes, invisible and full-width characters, look-alikes and emphasis read as plain lower-case text; Russian stays Russian."""
    assert fold(text).text == seen


@given(ODD)
def test_every_position_maps_into_the_original_in_order(text: str) -> None:
    """Positions of the view map to offsets of the original that never run backwards; the ends map to the ends."""
    view = fold(text)
    origins = [view.origin(position) for position in range(len(view.text) + 1)]
    assert origins == sorted(origins)
    assert origins[-1] == len(text)
    assert all(0 <= origin <= len(text) for origin in origins)
    assert view.origin(0, before=True) == 0


@given(st.text(alphabet="ab \n\t", max_size=40))
def test_collapse_leaves_single_blanks(text: str) -> None:
    """White space becomes single blanks, and letters still map to themselves."""
    view = collapse(text)
    assert "  " not in view.text and "\n" not in view.text
    assert all(text[view.origin(i)] == c for i, c in enumerate(view.text) if c != " ")


def sentences(text: str) -> list[str]:
    """The sentences of a text."""
    return [text[start:end] for start, end in split(text)]


def test_sentences_end_where_they_end() -> None:
    """Abbreviations and numbered items do not end a sentence; list lines and paragraphs do; a wrapped line goes on."""
    assert sentences("dr. smith came. he left, e.g. by bus!") == ["dr. smith came.", "he left, e.g. by bus!"]
    assert sentences("1. mix it.\n2. bake it.") == ["1. mix it.", "2. bake it."]
    assert sentences("a heading\n\nsome text here\nanother line of it") == ["a heading", "some text here", "another line of it"]
    assert sentences("as\nan\nai model,\ni cannot.") == ["as\nan\nai model,\ni cannot."]
    assert sentences("我没有。光合作用。") == ["我没有。", "光合作用。"]
    assert sentences("") == []


@given(st.text(alphabet="ab .!?\n\"'。", max_size=60))
def test_sentences_cover_all_letters(text: str) -> None:
    """Every letter lies in exactly one sentence, and sentences come in order."""
    spans = split(text)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert sum(sum(c.isalnum() for c in text[s:e]) for s, e in spans) == sum(c.isalnum() for c in text)


def test_quotations_and_code_are_protected() -> None:
    """What begins in quotation marks, code or a quoted line is nobody's own words; an open quotation lasts to its paragraph's end."""
    for text in ('he said "x marks it"', "call `x`", "```\nx\n```\n", "> x is quoted", 'he said "and x\n\nnext', "「x」と言う"):
        assert Protected(text, False).covers(text.index("x")), text
    assert not Protected('he said "y". x', False).covers(13)
    assert Protected("code:\n\n    x = 1\n", True).covers(11)


def test_hostile_lengths_take_no_time() -> None:
    """Long runs of marks, blanks and quotes are split in linear time."""
    for text in ("." * 200_000 + "x", " " * 200_000 + "x", '"' * 100_000, "!" * 100_000 + "a", "\n" * 100_000 + "b", "a\n" * 50_000, "`" * 100_000):
        split(text)
        Protected(text, True)
        collapse(text)


@given(ODD)
def test_the_fast_way_to_fold_shows_the_same(text: str) -> None:
    """Without the way back to the original the view reads the same."""
    assert folded(text) == fold(text).text
