"""A person's own list of patterns: what it matches goes, a wrong line is named, and nothing can hang it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Document, Message, to_batch
from pipeline.errors import SettingsError
from pipeline.filters.patterns import GROUP, CutPatterns, Patterns

from .conftest import chat, contents, pieces, plain, put_back

LIST = """# what our mailing list adds
offer: buy \\w+ now
subscribe to (our|my) newsletter   # of any kind
(?-i)ACME
issue \\#1
"""


def listed(kind: type, folder: Path, text: str = LIST, **settings: object) -> Patterns | CutPatterns:
    """A filter or editor with a list of that text."""
    (folder / "mine.txt").write_text(text, encoding="utf-8")
    return kind(("mine.txt",), **settings).resolve(lambda name: folder / name)


def said(batch: pa.RecordBatch, rule: Patterns) -> list[tuple[object, ...]]:
    """Rule, message and span of every verdict."""
    return [(v["rule_id"], v["message"], v["start"], v["end"]) for v in rule.judge(batch).to_pylist()]


def test_names_lines_and_spans(tmp_path: Path) -> None:
    """A verdict names the pattern, or the file and line where it has no name, and the span in characters; case counts only where asked for."""
    rule = listed(Patterns, tmp_path)
    batch = plain("é Buy shoes NOW", "Subscribe to OUR newsletter", "acme", "ACME", "see issue #1", "nothing")
    none = (None, None, None, None)
    assert said(batch, rule) == [("offer", -1, 2, 15), ("mine:3", -1, 0, 27), none, ("mine:4", -1, 0, 4), ("mine:5", -1, 4, 12), none]
    assert said(plain("Buy shoes now"), listed(Patterns, tmp_path, ignore_case=False)) == [none]


def test_roles(tmp_path: Path) -> None:
    """Only turns of the named roles are looked at."""
    assert said(chat("Fine.", question="buy shoes now"), listed(Patterns, tmp_path)) == [(None, None, None, None)]
    assert said(chat("Fine.", question="buy shoes now"), listed(Patterns, tmp_path, roles=("user",))) == [("offer", 0, 0, 13)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("fine\n(", "mine.txt:2: '(' is not an RE2 pattern"),
        ("(?=x)y", "mine.txt:1: '(?=x)y' is not an RE2 pattern"),
        ("\n\nx*", "mine.txt:3: 'x*' matches an empty text"),
        ("a: x\na: y", "mine.txt:2: the name a stands twice"),
    ],
)
def test_a_wrong_line_is_named(text: str, line: str, tmp_path: Path) -> None:
    """A pattern that RE2 does not know, or that matches nothing at all, is an error with file and line."""
    with pytest.raises(SettingsError) as told:
        listed(Patterns, tmp_path, text)
    assert line in str(told.value)


def test_a_missing_list_and_one_name_in_two_lists(tmp_path: Path) -> None:
    """A file that cannot be read, and a name that two files use, are errors."""
    for name in ("one", "two"):
        (tmp_path / name).write_text("same: x\n")
    with pytest.raises(SettingsError, match="stands in two files"):
        Patterns(("one", "two")).resolve(lambda name: tmp_path / name)
    with pytest.raises(SettingsError, match="cannot be read"):
        Patterns(("three",)).resolve(lambda name: tmp_path / name)


def test_many_patterns_and_large_ones(tmp_path: Path) -> None:
    """More patterns than go together, some too large to be joined, find what each finds alone."""
    text = "\n".join([*(f"word{n}end" for n in range(3 * GROUP)), *(f"z{n}(?:[a-z]{{500}}){{2}}" for n in range(4))])
    rule = listed(Patterns, tmp_path, text)
    batch = plain("a word70end b", "none", "z2" + "q" * 1000)
    assert [v[0] for v in said(batch, rule)] == ["mine:71", None, f"mine:{3 * GROUP + 3}"]


def test_cuts(tmp_path: Path) -> None:
    """What matches is cut with the blanks that would be left over; overlaps are cut once; the user's turn stays."""
    editor = listed(CutPatterns, tmp_path, LIST + "shoes now and then\n")
    edits = editor.edit(plain("Hello. Buy shoes now and then, or ACME .", "Subscribe to our newsletter", "nothing"))
    assert contents(edits.batch) == ["Hello. and then, or.", "", "nothing"]
    assert {cut["rule"] for cut in edits.cuts.to_pylist()} == {"offer", "mine:3", "mine:4"}
    batch = chat("Buy shoes now! Yes.", question="ACME?")
    assert pieces(editor.edit(batch).batch)[(batch["id"][0].as_py(), 0)] == "ACME?"


@given(st.lists(st.text(alphabet="abAB \n.,é#", max_size=30), min_size=1, max_size=4))
def test_cuts_put_back_give_the_original(texts: list[str]) -> None:
    """Whatever the text, the cuts undone from the last to the first give it back."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        editor = listed(CutPatterns, Path(folder), "ab+\nb a\nsharp: \\#\n")
    batch = plain(*texts)
    edits = editor.edit(batch)
    assert put_back(edits.batch, edits.cuts) == pieces(batch)


def test_no_text_hangs_it(tmp_path: Path) -> None:
    """A pattern that would take a backtracking engine years is linear here."""
    rule = listed(Patterns, tmp_path, "(a+)+$z?b\n(x|xx)*y$\n")
    assert said(plain("a" * 100_000 + "c", "x" * 100_000), rule) == [(None, None, None, None)] * 2


def test_one_conversation_counts_once(tmp_path: Path) -> None:
    """The first matching turn of a conversation is the one named."""
    messages = (Message("user", "q"), Message("assistant", "fine"), Message("assistant", "ACME"), Message("assistant", "buy it now"))
    batch = to_batch("test", [Document("a", messages=messages)])
    assert said(batch, listed(Patterns, tmp_path)) == [("mine:4", 2, 0, 4)]
