"""Repairs are right, small, recorded, and leave code alone."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filters.cut_slop import CutSlop
from pipeline.filters.edits import MAX_PER_STEP
from pipeline.filters.repair_signs import look
from pipeline.filters.repair_text import RepairText
from tests.filters.conftest import chat, contents, find, pieces, plain, put_back

REPAIR = RepairText()
CUT = CutSlop().resolve(find)
SAYINGS = (
    "As an AI language model, I have no opinions.",
    "Water boils at 100 degrees.",
    "I hope this helps!",
    "AI 언어 모델로서 저는 의견이 없습니다.",
)
ODD = st.text(alphabet=st.sampled_from("ab \t\n\r\x00\x0c\x85\u2028é\u0301\u00ad\u200b\u200d\u200e\ufeffâ€™Ã©क्ष👨👩ש`~"), max_size=80)


def repaired(text: str) -> str:
    """A plain document after repair."""
    return contents(REPAIR.edit(plain(text)).batch)[0]


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("Itâ€™s a cafÃ©.", "It’s a café."),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a\x00b\x07c\x1b[31mred\x1b[0m", "abcred"),
        ("I\x92m \x93here\x94 \x96 \x85\x80 5", "I’m “here” –\n€ 5"),
        ("\x90\x9d \x81 \x91\x92\x93\x94\x95", ""),
        ("\ufeffhel\u200blo wor\u00adld", "hello world"),
        ("cafe\u0301", "café"),
        ("end  \nnext\t\n", "end\nnext\n"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        ("a\n  \n \n\t\n \nb", "a\n\n\nb"),
    ],
)
def test_what_is_broken_is_mended(broken: str, whole: str) -> None:
    """Wrong encodings, line ends, control and invisible characters, Unicode form and white space."""
    assert repaired(broken) == whole


@pytest.mark.parametrize(
    "text",
    [
        "plain text\n\n    indented code\n\tand a tab\n",
        "क्‍ष and می‌خواهم need their joiners",
        "👨‍👩‍👧 and ❤️ and 🏴\U000e0067\U000e0062\U000e007f",
        "right-to-left \u200f(שלום)\u200e marks",
        "café, naïve, Zürich, 東京, Ελλάδα",
        "```\ntrailing  \n\n\n\n\nblank lines, Ã© and e\u0301\n```\n",
        "~~~python\nx = 'Ã©'   \n",
    ],
)
def test_what_is_whole_stays(text: str) -> None:
    """Code between fences and indentation, joiners that a script or emoji needs, and right accents are not touched."""
    edits = REPAIR.edit(plain(text))
    assert contents(edits.batch) == [text]
    assert edits.cuts.num_rows == 0


def test_cuts_are_small_and_named() -> None:
    """One repaired character is recorded alone, with its rule and place, not as a whole text."""
    text = "x" * 500 + "Ã©" + "y" * 500 + " \n"
    rows = REPAIR.edit(plain(text)).cuts.to_pylist()
    assert [(r["rule"], r["start"], r["before"], r["after"]) for r in rows] == [("mojibake", 500, "Ã©", "é"), ("space", 1001, " ", "")]


def test_a_file_of_crlf_lines_makes_few_cuts() -> None:
    """Very many repairs of one kind in one text are recorded in a bounded number of stretches."""
    batch = plain("line\r\n" * 10_000)
    edits = REPAIR.edit(batch)
    assert contents(edits.batch) == ["line\n" * 10_000]
    assert 0 < edits.cuts.num_rows <= MAX_PER_STEP
    assert put_back(edits.batch, edits.cuts) == pieces(batch)


def test_each_repair_can_be_switched_off() -> None:
    """With everything off nothing changes; with one on, only that is repaired."""
    text = "cafÃ© e\u0301\x00\u200b \r\n"
    off = dict.fromkeys(("mojibake", "line_ends", "controls", "invisible", "unicode", "space"), False)
    assert contents(RepairText(**off).edit(plain(text)).batch) == [text]
    for name in off:
        assert {row["rule"] for row in RepairText(**(off | {name: True})).edit(plain(text if name != "space" else "a \n")).cuts.to_pylist()} == {name}


@given(st.lists(ODD, min_size=1, max_size=4))
def test_cuts_put_back_give_the_original(texts: list[str]) -> None:
    """For any text, documents and conversations: repaired text with the cuts put back is the original."""
    for batch in (plain(*texts), chat(*texts, question=texts[-1])):
        edits = REPAIR.edit(batch)
        assert put_back(edits.batch, edits.cuts) == pieces(batch)


@given(st.text(max_size=200))
def test_any_text_passes(text: str) -> None:
    """Arbitrary Unicode is neither lost nor a reason to fail, and plain letters always survive."""
    batch = plain(text)
    edits = REPAIR.edit(batch)
    assert put_back(edits.batch, edits.cuts) == pieces(batch)


@given(st.lists(st.one_of(ODD, st.sampled_from(SAYINGS)), min_size=1, max_size=4).map(" ".join))
def test_cuts_of_both_editors_put_back_give_the_original(text: str) -> None:
    """Through repair and cutting in a row, documents and conversations: the cuts put back, last editor first, give the original."""
    for batch in (plain(text), chat(text)):
        first = REPAIR.edit(batch)
        second = CUT.edit(first.batch)
        assert put_back(second.batch, second.cuts) == pieces(first.batch)
        assert put_back(first.batch, first.cuts) == pieces(batch)


@given(st.lists(st.one_of(ODD, st.text(max_size=40)), min_size=1, max_size=4))
def test_the_look_at_the_bytes_misses_nothing(texts: list[str]) -> None:
    """What the bulk look sees no sign in, every step together leaves alone; what it sees leads to the same text as trying all."""
    for text, signs in zip(texts, look(pa.array(texts, pa.large_string())).tolist(), strict=True):
        assert REPAIR.repair(text, signs)[0] == REPAIR.repair(text)[0]


@pytest.mark.parametrize(
    ("broken", "whole"),
    [("Pok√©mon and pi√±ata, it‚Äôs", "Pokémon and piñata, it’s"), ("It\u00e2\u0080\u0099s", "It’s"), ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет")],
)
def test_strong_evidence_repairs_other_character_sets(broken: str, whole: str) -> None:
    """Mac Roman within words, Latin-1 with its control characters, Cyrillic."""
    assert RepairText(mac_and_dos=True).repair(broken)[0] == whole
    assert repaired(broken) == (broken if "√" in broken else whole)


@pytest.mark.parametrize("text", ["x = √±1", "Ã \ufffd Т\ufffd", "CAFÉ\u00bb", "SOCIÉTÉ™", "Он сказал «НИИ»."])
def test_weak_evidence_repairs_nothing(text: str) -> None:
    """Signs of mathematics, lines whose bytes are lost already, and letters that happen to stand side by side."""
    assert repaired(text) == text
