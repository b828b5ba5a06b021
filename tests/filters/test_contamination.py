"""Evaluation items in training documents: what is found, where, and what the table of n-grams depends on."""

from __future__ import annotations

import json
import pickle
import string
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.documents import Document, Message, to_batch
from pipeline.errors import SettingsError
from pipeline.filters.contamination import Contamination, word_span
from pipeline.filters.evaluations import COMMON_ITEMS
from pipeline.settings import digest, to_plain
from pipeline.text import words
from tests.filters.conftest import plain

QUESTION = "A train leaves the station at nine in the morning and travels sixty miles an hour towards the coast; when does it arrive?"
SHORT = "Which planet of the solar system has two moons?"


def against(folder: Path, *items: object, name: str = "eval.jsonl", **options: object) -> Contamination:
    """The filter against a file of JSON lines."""
    path = folder / name
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    return Contamination(against=(name,), **options).resolve(folder.joinpath)  # type: ignore[arg-type]


def reasons(rule: Contamination, *texts: str) -> list[str | None]:
    """The reasons for plain documents."""
    return rule.judge(plain(*texts)).column("reason").to_pylist()


def test_an_item_is_found_with_its_place(tmp_path: Path) -> None:
    """The reason names file and item, the span is the overlap in the text, the score the share of the item's n-grams."""
    rule = against(tmp_path, {"question": "nothing that anybody would ever think of asking a model at all"}, {"question": QUESTION})
    text = f"Homework: {QUESTION.upper()} Show your work."
    verdict = rule.judge(plain("Clean text.", text)).to_pylist()
    assert verdict[0]["reason"] is None
    assert verdict[1]["reason"] == "holds words of item 2 of eval.jsonl"
    assert text[verdict[1]["start"] : verdict[1]["end"]] == QUESTION.upper()[:-1]
    assert (verdict[1]["message"], verdict[1]["score"]) == (-1, 1.0)


def test_a_part_counts_by_its_share(tmp_path: Path) -> None:
    """One run of 13 words suffices by default; ``min_hits`` and ``min_share`` ask for more."""
    part = " ".join(QUESTION.split()[3:17])
    verdict = against(tmp_path, {"q": QUESTION}).judge(plain(part)).to_pylist()[0]
    assert verdict["reason"] and verdict["score"] == pytest.approx(2 / (len(words(QUESTION)) - 12))
    assert part[verdict["start"] : verdict["end"]] == part
    assert reasons(against(tmp_path, {"q": QUESTION}, min_hits=3), part, QUESTION) == [None, "holds words of item 1 of eval.jsonl"]
    assert reasons(against(tmp_path, {"q": QUESTION}, min_share=0.5), part) == [None]
    assert reasons(against(tmp_path, {"q": QUESTION}), " ".join(QUESTION.split()[:12])) == [None]


def test_short_texts_match_as_a_whole(tmp_path: Path) -> None:
    """A question of 9 words is met as a whole, in a longer text too; a one-word answer is not compared."""
    rule = against(tmp_path, {"q": SHORT, "a": "Mars"}, min_hits=4)
    found = "holds words of item 1 of eval.jsonl"
    assert reasons(rule, SHORT, f"So: {SHORT} Mars.", SHORT.replace("two", "three"), "Mars", " ".join(SHORT.split()[:-1])) == [
        found,
        found,
        None,
        None,
        None,
    ]
    assert to_plain(against(tmp_path, {"a": "Mars"}, {"q": SHORT}))["found"][0]["eval.jsonl"]["too_short"] == 1


def test_every_turn_is_looked_at(tmp_path: Path) -> None:
    """An item in a system or user turn counts as much as one in an answer; the verdict says which turn."""
    rule = against(tmp_path, {"q": QUESTION})
    turns = [(Message("system", QUESTION), Message("user", "q")), (Message("user", "q"), Message("assistant", QUESTION))]
    batch = to_batch("test", [Document(locator=str(k), messages=messages) for k, messages in enumerate(turns)])
    assert rule.judge(batch).column("message").to_pylist() == [0, 1]


def test_no_run_goes_over_a_border(tmp_path: Path) -> None:
    """Half an item at the end of one turn or text and half in the next is no item."""
    half = QUESTION.split()
    head, tail = " ".join(half[:11]), " ".join(half[11:])
    rule = against(tmp_path, {"q": QUESTION})
    batch = to_batch("test", [Document(locator="x", messages=(Message("user", head), Message("assistant", tail)))])
    assert rule.judge(batch).column("reason").to_pylist() == [None] and reasons(rule, head, tail) == [None, None]


def test_the_wording_of_a_set_is_no_item(tmp_path: Path) -> None:
    """A run of words that more than ten items share tells none of them; an item of nothing else is found all the same."""
    task = "Read the following passage with care and then choose the one answer that fits best"
    items = [
        f"{task}: number {k} of the series asks about {w} and about nothing else that comes to mind" for k, w in enumerate(string.ascii_lowercase)
    ]
    rule = against(tmp_path, *({"q": item} for item in items), {"q": task})
    assert len(items) > COMMON_ITEMS
    assert reasons(rule, items[3], task) == ["holds words of item 4 of eval.jsonl", "holds words of item 27 of eval.jsonl"]
    assert reasons(against(tmp_path, *({"q": item} for item in items)), f"{task}!") == [None]


def test_files_of_all_kinds_are_read(tmp_path: Path) -> None:
    """JSON lines, JSON, Parquet and text give the same items; nested text is found, and fields narrow it."""
    item = {"id": "x", "chat": [{"role": "user", "content": QUESTION}], "choices": ["one", "two"]}
    (tmp_path / "a.json").write_text(json.dumps([{}, item]))
    (tmp_path / "b.txt").write_text(f"First.\r\n\r\n{QUESTION}\n")
    pq.write_table(pa.Table.from_pylist([{"q": SHORT, "a": QUESTION}, {"q": None, "a": "x"}]), tmp_path / "c.parquet")
    for name, number in (("a.json", 2), ("b.txt", 2), ("c.parquet", 1)):
        rule = Contamination(against=(name,)).resolve(tmp_path.joinpath)
        assert reasons(rule, QUESTION) == [f"holds words of item {number} of {name}"]
    assert reasons(Contamination(against=("c.parquet",), fields=("q",)).resolve(tmp_path.joinpath), QUESTION) == [None]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"q": "x"}\n{"q": \n', "a.jsonl:2: is not JSON"),
        ("a.json", b"[" * 100_000, "a.json: is not JSON"),
        ("a.txt", b"\xff\xfe\xff", "a.txt: cannot be read"),
        ("a.parquet", b"PAR1", "a.parquet: cannot be read as Parquet"),
        ("a.jsonl", b"\n\n", "a.jsonl: holds no text"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """A file that cannot be used stops the start, with its name and line, and nothing of what it holds."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match=said):
        Contamination(against=(name,)).resolve(tmp_path.joinpath)


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    """Another item is another key; the settings hold digests and counts, not the items; a pickled filter judges the same."""
    first, second = against(tmp_path, {"q": QUESTION}), against(tmp_path, {"q": SHORT})
    assert digest(first) != digest(second) and digest(first) == digest(against(tmp_path, {"q": QUESTION}))
    assert set(to_plain(first)["found"][0]["eval.jsonl"]) == {"sha256", "items", "too_short", "ngrams"}
    assert reasons(pickle.loads(pickle.dumps(first)), QUESTION, SHORT) == reasons(first, QUESTION, SHORT)
    assert reasons(Contamination(), QUESTION) == [None] and first.judge(plain()).num_rows == 0


WORDS = st.lists(st.text(st.sampled_from("abcdeéßж字İ"), min_size=1, max_size=3), min_size=8, max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(WORDS, st.lists(st.sampled_from([" ", ", ", "\n", " - ", ".\u00a0"]), min_size=1, max_size=7), st.text("xyz .,", max_size=30), st.booleans())
def test_a_verbatim_item_is_always_found(tmp_path: Path, item: list[str], marks: list[str], around: str, upper: bool) -> None:
    """Whatever the case, blanks and punctuation, and whatever stands around it: an item of 8 words or more is found, with its span."""
    rule = against(tmp_path, {"q": " ".join(item)})
    written = "".join(
        f"{word.upper() if upper and word.upper().lower() == word.lower() else word}{marks[k % len(marks)]}" for k, word in enumerate(item)
    )
    text = f"{around} {written}{around}"
    verdict = rule.judge(plain("xyz", text)).to_pylist()
    assert verdict[0]["reason"] is None and verdict[1]["reason"] == "holds words of item 1 of eval.jsonl"
    assert verdict[1]["score"] == 1.0
    inside = words(text[verdict[1]["start"] : verdict[1]["end"]])
    expected = words(" ".join(item))
    assert any(inside[k : k + len(expected)] == expected for k in range(len(inside))) or len(set(item)) < len(item)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.lists(st.sampled_from("abc"), min_size=8, max_size=30), st.sampled_from([3, 8, 13])
)
def test_found_means_a_shared_run(tmp_path: Path, document: list[str], item: list[str], ngram: int) -> None:
    """A document is contaminated exactly when a run of ``ngram`` words, or all of a shorter item, stands in it."""
    size = min(ngram, len(item))
    grams = {tuple(item[k : k + size]) for k in range(len(item) - size + 1)}
    shared = any(tuple(document[k : k + size]) in grams for k in range(len(document) - size + 1))
    rule = against(tmp_path, {"q": " ".join(item)}, ngram=ngram)
    assert (reasons(rule, " ".join(document))[0] is not None) == shared


@given(st.lists(st.sampled_from(["plain", "two-parts", "ﬁne", "½", "é", "(x)", "…", "字"]), min_size=1, max_size=12), st.data())
def test_spans_hold_the_words(parts: list[str], data: st.DataObject) -> None:
    """The span of words ``first`` to ``last`` holds them, and in ASCII nothing else."""
    text = "  ".join(parts)
    every = words(text)
    if not every:
        return
    first = data.draw(st.integers(0, len(every) - 1))
    last = data.draw(st.integers(first, len(every) - 1))
    start, end = word_span(text, first, last)
    inside = words(text[start:end])
    assert any(inside[k : k + last - first + 1] == every[first : last + 1] for k in range(len(inside)))
    assert not text.isascii() or inside == every[first : last + 1]
