"""The compiled loops say what the plain ones say."""

from __future__ import annotations

import unicodedata
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline import text
from pipeline.dedup.compared import Pieces, piece_words
from pipeline.dedup.near import Near, sketch
from pipeline.dedup.similarity import Compared, measure

pytest.importorskip("numba")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
LONG = "x" * 3000


def pieces_of(values: list[str]) -> Pieces:
    """Each value as a plain document."""
    n = len(values)
    return Pieces(pa.array(values, pa.large_string()), np.arange(n + 1), np.full(n, -1), np.zeros(n, np.bool_))


@settings(max_examples=60)
@given(st.lists(texts, max_size=6))
@example(["ÀÉ ﬁn e\u0301 İI ΑΣ 日本語、中文 😀a foo_bar ¼", "", f"{LONG}a {LONG}b", "eightchr ninechars1", "end"])
def test_compiled_words_are_the_plain_ones(values: list[str]) -> None:
    """The same hashes for every text, long words and all scripts included."""
    plain, _ = piece_words(pieces_of(values), compiled=False)
    compiled, _ = piece_words(pieces_of(values), compiled=True)
    assert np.array_equal(plain.values, compiled.values) and np.array_equal(plain.offsets, compiled.offsets)


def test_compiled_sketches_and_similarities_are_the_plain_ones() -> None:
    """Sketches, scores and verdicts are equal to the bit."""
    random = Random(5)
    base = [f"word{random.randrange(300)}" for _ in range(900)]
    values = [" ".join(base[: random.randrange(5, 900)]) for _ in range(40)] + ["", "one"]
    words, answers = piece_words(pieces_of(values), compiled=False)
    assert np.array_equal(sketch(words, Near()), sketch(words, Near(), compiled=True))
    one, other = (np.array(side) for side in zip(*[(a, b) for a in range(40) for b in range(a)], strict=True))
    plain, compiled = (measure(Compared(words, answers, compiled), one, other, Near()) for compiled in (False, True))
    assert np.array_equal(plain[0], compiled[0]) and np.array_equal(plain[1], compiled[1])
    assert 0 < plain[1].sum() < len(one)


def test_the_characters_that_join_the_one_before_are_all_known() -> None:
    """What the folding looks up in a few ranges of Unicode is what all of it holds."""
    made = [unicodedata.decomposition(chr(point)).split() for point in range(0x110000)]
    assert text._joining() == {chr(int(parts[1], 16)) for parts in made if len(parts) == 2 and parts[0][0] != "<"}


def test_as_many_words_as_characters_have_room() -> None:
    """Each text of one letter is a word: more words than every other byte could begin."""
    plain, _ = piece_words(pieces_of(["a"] * 5000), compiled=False)
    compiled, _ = piece_words(pieces_of(["a"] * 5000), compiled=True)
    assert np.array_equal(plain.values, compiled.values) and np.array_equal(plain.offsets, compiled.offsets)
