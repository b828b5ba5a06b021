"""Too short, too long, and nothing to learn from."""

from __future__ import annotations

import pytest

from pipeline.documents import Document, Message, to_batch
from pipeline.filters import EDITORS, FILTERS
from pipeline.filters.length import Length
from pipeline.filters.no_answer import NoAnswer
from tests.filters.conftest import chat, plain


def test_length_counts_the_whole_document() -> None:
    """A one-word answer to a question stays, a lone word goes; the score is the number of characters."""
    assert Length().judge(chat("Paris.", question="What is the capital of France?")).column("reason").to_pylist() == [None]
    verdict = Length().judge(plain("Paris.", "x" * 20, "가" * 19)).to_pylist()
    assert [v["reason"] for v in verdict] == ["too short", None, "too short"]
    assert [v["score"] for v in verdict] == [6.0, None, 19.0]


def test_length_has_an_upper_end() -> None:
    """``max_chars`` removes what is longer; without it nothing is too long."""
    assert Length(max_chars=30).judge(plain("x" * 31, "x" * 30)).column("reason").to_pylist() == ["too long", None]
    assert Length().judge(plain("x" * 100_000)).column("reason").to_pylist() == [None]


def test_empty_batches_pass() -> None:
    """A batch of no documents gets no verdicts."""
    assert Length().judge(plain()).num_rows == NoAnswer().judge(plain()).num_rows == 0


@pytest.mark.parametrize(
    ("turns", "kept"),
    [
        ((Message("user", "hi"), Message("assistant", "hello")), True),
        ((Message("user", "hi"),), False),
        ((Message("user", "hi"), Message("assistant", " \n\u00a0")), False),
        ((Message("user", "hi"), Message("assistant", "hello", train=False)), False),
        ((Message("user", "hi", train=True),), True),
        ((Message("user", "hi"), Message("assistant", "", extra='{"tool_calls": []}')), True),
        ((), False),
    ],
)
def test_a_conversation_needs_an_answer_to_learn(turns: tuple[Message, ...], kept: bool) -> None:
    """A conversation stays when some learned turn says something or calls a tool."""
    batch = to_batch("test", [Document(locator="x", text="before"), Document(locator="y", messages=turns), Document(locator="z", text="1")])
    assert NoAnswer().judge(batch).column("reason").to_pylist() == [None, None if kept else "no answer to learn from", None]


def test_a_document_needs_a_letter_or_digit() -> None:
    """White space and marks alone are no document, in any script."""
    reasons = NoAnswer().judge(plain("", " \n", "-- * --", "字", "7", "क")).column("reason").to_pylist()
    assert reasons == ["no letters or digits"] * 3 + [None] * 3


def test_the_registries_name_classes_with_help_and_version() -> None:
    """Every name of the registries leads to a class whose docstring begins with a sentence of help."""
    from importlib import import_module

    for target in (*FILTERS.values(), *EDITORS.values()):
        module, name = target.split(":")
        kind = getattr(import_module(module), name)
        assert kind.version >= 1
        assert kind.__doc__.splitlines()[0].endswith((".", ";"))
