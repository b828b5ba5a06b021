"""Folding, words and hashes: vectorised, and equal to what Python's own functions say."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import text

TRICKY = "ÀÉ ﬁn ½ ²x \u00a0 e\u0301 İI ΑΣ ΣΑ한글 \u1112\u1161\u11ab 日本語、中文 😀a\U0001d7d8 foo_bar ¼٣ \u200bzero\u00adsoft ™ Ǆ \x00a\x1fb"
PINNED = ["38fa791dc805ba5a", "7eaff76f4c23c31a", "8d77e7846efe09e5", "1c23ae278fe85afe", "c5af132dae41d7d2"]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def column(values: list[str]) -> pa.LargeStringArray:
    """An Arrow column."""
    return pa.array(values, pa.large_string())


@given(st.lists(texts, max_size=8))
@example([TRICKY, "", TRICKY.lower(), "a", "\n"])
def test_vectorised_words_are_the_words_of_the_definition(values: list[str]) -> None:
    """Each word of each text has one hash, equal for equal words and different for different ones, wherever they stand."""
    hashed = text.word_hashes(column(values))
    assert len(hashed) == len(values)
    hash_of: dict[str, int] = {}
    for row, value in enumerate(values):
        expected = re.findall(r"\w+", unicodedata.normalize("NFKC", value).lower())
        assert text.words(value) == expected
        assert len(hashed[row]) == len(expected)
        for word, found in zip(expected, hashed[row].tolist(), strict=True):
            assert hash_of.setdefault(word, found) == found
    assert len(set(hash_of.values())) == len(hash_of)


@given(st.lists(texts, max_size=8))
@example([TRICKY, "ASCII only", ""])
def test_fold_is_nfkc_and_lower_case(values: list[str]) -> None:
    """The folded column equals Python's folding of each text."""
    assert text.fold(column(values)).to_pylist() == [unicodedata.normalize("NFKC", value).lower() for value in values]


def test_every_character_is_judged_as_the_regex_judges_it() -> None:
    """A text of all characters falls into the words that the regex finds."""
    everything = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    assert len(text.word_hashes(column([everything]))[0]) == len(text.words(everything))


def test_a_slice_with_nulls_is_read_as_its_values() -> None:
    """Offsets of a slice are respected, a null is an empty text, and bytes that are not UTF-8 cost only themselves."""
    whole = pa.array(["zero", "One two", None, "one", b"b\xff two"], pa.large_binary()).cast(pa.large_string(), safe=False)
    hashed = text.word_hashes(whole.slice(1))
    assert hashed.lengths.tolist() == [2, 0, 1, 2]
    assert hashed[0].tolist() == [hashed[2][0], hashed[3][1]]
    assert text.word_hashes(whole.slice(0, 0)).lengths.tolist() == []


def test_long_words_and_long_columns() -> None:
    """A word longer than a page is one word, told from another by its last letter; text beyond one chunk is hashed like the first."""
    long = "x" * 5000
    hashed = text.word_hashes(column([f"{long}a {long}b {long}a", "some words " * 500_000, "some words"]))
    assert hashed[0][0] == hashed[0][2] != hashed[0][1]
    assert len(hashed[1]) == 1_000_000
    assert np.array_equal(hashed[1][-2:], hashed[2])


def test_word_hashes_are_the_same_on_every_machine() -> None:
    """The hashes of a few words are pinned: they may stand in files that another machine reads."""
    hashed = text.word_hashes(column(["Grist für die Mühle, incomprehensibilities"]))
    assert [f"{value:016x}" for value in hashed.values.tolist()] == PINNED


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=6), st.integers(1, 5))
def test_ngrams_are_equal_exactly_where_the_words_are(rows: list[list[int]], n: int) -> None:
    """As many n-gram hashes as windows, equal where the windows are; a short sequence is one window, an empty one none."""
    values = text.mix(np.array([value for row in rows for value in row], np.uint64))
    grams = text.ngram_hashes(text.Ragged(values, text.offsets_of(np.array([len(row) for row in rows], np.int64))), n)
    window_of: dict[int, tuple[int, ...]] = {}
    for row, words in enumerate(rows):
        windows = [tuple(words[i : i + n]) for i in range(max(len(words) - n + 1, min(len(words), 1)))]
        assert len(grams[row]) == len(windows)
        for window, found in zip(windows, grams[row].tolist(), strict=True):
            assert window_of.setdefault(found, window) == window
    assert len(set(window_of.values())) == len(window_of)


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=6), st.data())
def test_ragged_sequences_are_taken_like_lists(rows: list[list[int]], data: st.DataObject) -> None:
    """``take`` picks sequences, ``tails`` their last values, ``joined`` merges neighbours."""
    ragged = text.Ragged(np.array([v for row in rows for v in row], np.uint64), text.offsets_of(np.array([len(row) for row in rows])))
    picked = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    counts = np.array([data.draw(st.integers(0, len(row))) for row in rows], np.int64)
    taken, tails = ragged.take(np.array(picked, np.int64)), ragged.tails(counts)
    assert [taken[i].tolist() for i in range(len(taken))] == [rows[i] for i in picked]
    assert [tails[i].tolist() for i in range(len(tails))] == [row[len(row) - count :] for row, count in zip(rows, counts.tolist(), strict=True)]
    assert ragged.joined(np.array([0, len(rows)], np.int64))[0].tolist() == [v for row in rows for v in row]


@given(st.lists(texts, max_size=8))
def test_visible_characters_are_counted(values: list[str]) -> None:
    """Every character counts but ASCII white space and control characters."""
    assert text.visible_chars(column(values)).tolist() == [sum(char > " " for char in value) for value in values]
