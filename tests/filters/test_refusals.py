"""Refusals go, whatever they wear; answers stay."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.documents import Document, Message, to_batch
from pipeline.filters.cut_slop import CutSlop
from pipeline.filters.refusals import Refusals
from pipeline.filters.verdicts import VERDICTS
from tests.filters.conftest import chat, find, plain

FILTER, CUT = Refusals().resolve(find), CutSlop().resolve(find)


def reasons(batch: pa.RecordBatch) -> list[str | None]:
    """The reasons given after ``cut_slop`` had its turn, as in the stage."""
    verdicts = FILTER.judge(CUT.edit(batch).batch)
    assert verdicts.schema == VERDICTS
    return list(verdicts.column("reason").to_pylist())


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "As an AI language model, I cannot help with that.",
        "**I must respectfully decline. This would be against my guidelines.**",
        "I’m sorry, but I can’t help with that.",
        "Sоrry, I саn't hеlp with thаt.",
        "Ｓｏｒｒｙ， Ｉ ｃａｎ＇ｔ ｈｅｌｐ ｗｉｔｈ ｔｈａｔ．",
        "No,\nI\ncan't\ndo\nthat.",
        "죄송하지만 그 요청은 도와드릴 수 없습니다.",
        "很抱歉，我无法提供这方面的帮助。",
        "Lo siento, pero no puedo ayudarte con esa solicitud.",
    ],
)
def test_refusals_go_as_turns_and_as_documents(text: str) -> None:
    """A refusal is removed in both shapes, through every disguise and language."""
    assert reasons(chat(text)) == ["refuses the request"]
    assert reasons(plain(text)) == ["refuses the request"]


def test_nothing_but_disclaimers_goes() -> None:
    """An answer of which cutting would leave nothing is removed, and the reason says why."""
    text = "As an AI language model, I do not have personal opinions. My knowledge was last updated in 2021."
    assert reasons(chat(text)) == ["holds nothing but disclaimers"]
    assert reasons(plain(text)) == ["holds nothing but disclaimers"]


@pytest.mark.parametrize(
    "text",
    [
        "Two paths lead up. I can't say which is longer, but the left one is prettier.",
        "I cannot provide an exact number, but about three million people live there.",
        "I'm not able to show you Robin Hood's tax records. Robin Hood is a fictional character.",
        "I'm sorry, but I can't give medical advice. However, most headaches come from thirst, stress or a lack of sleep.",
        "Sorry for the late reply! The library opens at nine.",
        "As an AI language model, I have no favourite, but Python is easier to learn than C.",
        "I won't lie: the exam is hard. Start with chapter one.",
    ],
)
def test_answers_stay(text: str) -> None:
    """A lone "I can't", an apology, and an answer after a refused part are no refusals."""
    assert reasons(chat(text)) == [None]


@pytest.mark.parametrize(
    "text",
    [
        'In the film the computer says: "I\'m sorry, I can\'t help with that."',
        "We removed answers like this from the dataset. I'm sorry, but I can't assist with that request.",
        "Hi Dana,\n\nI'm sorry, but I can't make the meeting on Thursday. Could we move it?",
        "Thank you for writing. We're sorry, but we are unable to refund orders after 90 days.",
        "I could not help with that harvest, for the roads were closed by snow.",
        "```\nI'm sorry, but I can't assist with that request.\n```",
        "It is not appropriate to wear sandals in the laboratory.",
    ],
)
def test_documents_of_people_stay(text: str) -> None:
    """In plain documents quotations, letters, code and texts about models are no refusals."""
    assert reasons(plain(text)) == [None]


def test_a_verdict_names_rule_turn_and_span() -> None:
    """The verdict points at the sentence that decided, in the turn that holds it."""
    verdict = FILTER.judge(chat("Hello! I can't assist with that request. Bye.")).to_pylist()[0]
    assert verdict == {"rule_id": "fulfil_request", "reason": "refuses the request", "message": 1, "start": 7, "end": 40, "score": 1.0}


def test_max_share_keeps_long_conversations() -> None:
    """With ``max_share`` a conversation survives a smaller share of refused turns, and the share is the score."""
    turns = (Message("user", "a"), Message("assistant", "Water boils at 100 degrees."), Message("user", "b"), Message("assistant", "I cannot help with that."))
    batch = to_batch("test", [Document(locator="x", messages=turns)])
    assert FILTER.judge(batch).to_pylist()[0]["score"] == 0.5
    assert Refusals(max_share=0.5).resolve(find).judge(batch).column("reason").to_pylist() == [None]


def test_only_the_assistant_is_judged() -> None:
    """A user who writes a refusal down is no reason to remove the conversation."""
    text = "I'm sorry, but I can't assist with that request."
    assert reasons(chat("That sounds like a canned reply of a shop.", question=text)) == [None]


def test_hostile_lengths_take_no_time() -> None:
    """Thousands of refusals, a sentence without an end and runs of marks are judged in linear time."""
    texts = ("I cannot help with that. " * 4000, "as an ai language model i " * 4000, "*" * 100_000 + " I cannot say.", "I cannot say.\n" + "\n" * 100_000)
    assert reasons(chat(*texts))[0] == "refuses the request"
