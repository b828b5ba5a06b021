"""Texts that say the same again and again, and texts that only look so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Document, Message, to_batch
from pipeline.filters.repetition import Repetition
from tests.filters.conftest import chat, contents, plain

PROSE = "The river rises in spring and the meadow behind the old mill stands under water until the first warm week of May . "
COLLEGES = ("St", "Jai", "Narsee", "Sydenham", "Mithibai", "Wilson", "Podar", "Somaiya", "Hinduja")
LOOP = "we are very sorry about that and will look into it "


def reasons(*texts: str) -> list[str | None]:
    """The verdicts on plain documents."""
    found: list[str | None] = Repetition().judge(plain(*texts)).column("reason").to_pylist()
    return found


def varied(count: int) -> str:
    """Prose of which no two sentences are alike."""
    words = (
        "river",
        "mill",
        "meadow",
        "cedar",
        "bread",
        "lamp",
        "winter",
        "road",
        "engine",
        "letter",
        "harbour",
        "garden",
        "stone",
        "market",
        "kettle",
    )
    picked = [words[(n * n * 7 + n * 3 + k * k * 11 + k * n) % len(words)] + "aeiou"[(n + k) % 5] for n in range(count) for k in range(12)]
    return " ".join(" ".join(picked[12 * n : 12 * n + 12]).capitalize() + "." for n in range(count))


def test_a_loop_goes() -> None:
    """The verdict names how many words repeat, spans the second time they stand there and gives the share."""
    text = "Dear reader, " + LOOP * 12
    (verdict,) = Repetition().judge(plain(text)).to_pylist()
    assert verdict["reason"] == "the same 2 words again and again" or verdict["reason"] == "the same 4 words again and again"
    run = text[verdict["start"] : verdict["end"]]
    assert LOOP.count(run) == 1 and text[: verdict["start"]].count(run) == 1 and 0.16 < verdict["score"] <= 1
    assert verdict["message"] == -1


def test_an_answer_loops_too_but_not_a_question() -> None:
    """Assistant turns are judged, user turns are not; the turn is named."""
    assert Repetition().judge(chat(LOOP * 12)).column("message").to_pylist() == [1]
    assert Repetition().judge(chat("Thank you.", question=LOOP * 12)).column("reason").to_pylist() == [None]
    assert Repetition(roles=("text",)).judge(chat(LOOP * 12)).column("reason").to_pylist() == [None]


def test_lines_repeat() -> None:
    """A page filled with one line goes, in Chinese too; the score is the share of lines that stood before."""
    text = "A heading of it\n" + "Press the green button to go on\n" * 9
    (verdict,) = Repetition().judge(plain(text)).to_pylist()
    assert verdict["reason"] == "the same lines again and again" and verdict["score"] == 0.8
    assert text[verdict["start"] : verdict["end"]] == "Press the green button to go on" and verdict["start"] == 48
    assert reasons("今天天气很好，我们去公园。\n" * 6) == ["the same lines again and again"]
    assert Repetition().judge(chat("Press the green button to go on\n" * 5)).column("reason").to_pylist() == [None]


@pytest.mark.parametrize(
    "text",
    [
        varied(30),
        "\n".join(f"x = {n}\n}}\n{{\nreturn x\n=" for n in range(30)),
        "| a | 1 | 0 | 0 |\n" * 30,
        "0 0 0 1\n" * 40,
        "Yes\nNo\n" * 20,
        "\n".join(f"a input rank-2 array('d') with bounds (n,n) {n}" for n in range(30)),
        "\n".join(f"{n}. {name} College of Commerce and Economics" for n, name in enumerate(COLLEGES)) + PROSE,
        "row row row your boat\n" * 3,
        LOOP * 3,
        "",
        " \n\n ",
    ],
    ids=["prose", "code", "table", "numbers", "yes no", "parameters", "colleges", "a song", "short", "empty", "blanks"],
)
def test_what_only_looks_repetitive_stays(text: str) -> None:
    """Code, tables, lists and short refrains are left alone."""
    assert reasons(text) == [None]


def test_limits_are_settings() -> None:
    """Looser limits keep, tighter ones do not remove what is no loop."""
    text = LOOP * 12
    loose = Repetition(max_2gram=1.0, max_3gram=1.0, max_4gram=1.0)
    assert loose.judge(plain(text)).column("reason").to_pylist() == [None]
    assert Repetition(max_lines=1.0).judge(plain("Press the green button to go on\n" * 4)).column("reason").to_pylist() == [None]
    assert Repetition(min_words=1000).judge(plain(text)).column("reason").to_pylist() == [None]


def test_documents_do_not_repeat_each_other() -> None:
    """A batch of one text many times is the duplicates' business."""
    assert reasons(*[varied(12)] * 20) == [None] * 20


@given(st.lists(st.sampled_from([LOOP * 9, varied(9), "", "é\n", "x " * 60, "Press the green button to go on\n" * 9, "好" * 70]), max_size=6))
def test_each_document_is_judged_alone(texts: list[str]) -> None:
    """A verdict does not depend on the neighbours, and a span lies in its text."""
    together = Repetition().judge(plain(*texts)).to_pylist()
    assert together == [Repetition().judge(plain(text)).to_pylist()[0] for text in texts]
    for text, verdict in zip(texts, together, strict=True):
        assert verdict["reason"] is None or 0 <= verdict["start"] < verdict["end"] <= len(text)


def test_mixed_batches_keep_their_rows() -> None:
    """Verdicts stand at the rows of their documents, conversations among plain ones."""
    documents = [
        Document(locator="a", text=varied(9)),
        Document(locator="b", messages=(Message("user", "q"), Message("assistant", "Fine."), Message("assistant", LOOP * 12))),
        Document(locator="c", text=LOOP * 12),
    ]
    verdicts = Repetition().judge(to_batch("t", documents))
    assert verdicts.column("message").to_pylist() == [None, 2, -1]


def test_clean_answers_stay(gold: Path) -> None:
    """Of the labelled answers that are clean fewer than one in 500 goes (those that loop), and no document does by its lines."""
    rows = [json.loads(line) for line in gold.read_text(encoding="utf-8").splitlines()]
    batch = to_batch("gold", [Document(locator=row["id"], text=row["text"]) for row in rows if row["label"] == "clean"])
    removed = Repetition().judge(batch).column("reason").drop_null()
    assert len(removed) <= len(contents(batch)) / 500
