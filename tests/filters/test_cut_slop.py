"""Cutting slop: the answer stays, everything cut is recorded, nobody else's words are touched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filters.cut_slop import OPTIONAL_RULES, CutSlop
from tests.filters.conftest import chat, contents, find, pieces, plain, put_back

CUT = CutSlop().resolve(find)
ANSWER = "Boil the pasta for nine minutes. Keep a cup of the water."
SENTENCES = [
    "As an AI language model, I do not have personal opinions.",
    "As an AI, I have no taste, but salt helps.",
    "**As an AI, I don't eat.**",
    "However, I can share some information on this topic.",
    "My knowledge was last updated in September 2021.",
    "I hope this helps!",
    "Let me know if you have any other questions.",
    "Certainly!",
    "I cannot help with that.",
    "저는 AI 어시스턴트입니다.",
    "作为AI，我无法浏览互联网。",
    "Boil the pasta.",
    "- a list item",
    "```\ncode\n```",
    '"I am an AI," it said.',
    "е\u0301 ﬁ Ａ\u200bＩ",
]
TEXTS = st.lists(st.tuples(st.sampled_from(SENTENCES), st.sampled_from([" ", "\n", "\n\n", "", "  \n \n"])), max_size=8).map(
    lambda parts: "".join(part + gap for part, gap in parts)
)


def cut(text: str) -> str:
    """The text after editing, as an assistant's turn."""
    return contents(CUT.edit(chat(text)).batch)[0]


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (f"As an AI language model, I don't have personal opinions. {ANSWER}", ANSWER),
        ("As an AI language model, I don't have preferences, but Python is easier to learn.", "Python is easier to learn."),
        ("As an AI, I have no opinions. However, the law passed in 1967.", "The law passed in 1967."),
        ("As an AI, I can tell you that the river is long.", "The river is long."),
        ("As an AI language model, I must point out that two laws are mixed.", "I must point out that two laws are mixed."),
        (f"{ANSWER}\n\nPlease note that as an AI, I cannot guarantee the accuracy of this information.", ANSWER),
        (f"{ANSWER}\n\nI hope this helps! Let me know if you have any other questions.", ANSWER),
        ("Certainly! Here is a poem:\n\nRain falls.", "Here is a poem:\n\nRain falls."),
        (f"One.\n\nBeing an AI, I have no preferences.\n\n{ANSWER}", f"One.\n\n{ANSWER}"),
        (f"**As an AI, I do not eat.** {ANSWER}", ANSWER),
        ("As of my last update in September 2021, the tower is 300 m high.", "The tower is 300 m high."),
        ("I'm sorry, but I can't give medical advice. However, most headaches come from thirst, stress or a lack of sleep.",
         "Most headaches come from thirst, stress or a lack of sleep."),
        ("Como modelo de lenguaje, no tengo opiniones. El agua hierve a cien grados.", "El agua hierve a cien grados."),
        ("作为一个人工智能语言模型，我没有个人观点。水在一百度沸腾。", "水在一百度沸腾。"),
        ("AI 언어 모델로서 저는 개인적인 의견이 없습니다. 물은 백 도에서 끓습니다.", "물은 백 도에서 끓습니다."),
    ],
)  # fmt: skip
def test_slop_goes_and_the_answer_stays(text: str, rest: str) -> None:
    """The offending sentence or clause is cut, with the white space around it, and a new beginning gets its capital."""
    assert cut(text) == rest


@pytest.mark.parametrize(
    "lead",
    [
        "As an AI language model, I don’t have personal opinions.",
        "AS AN AI LANGUAGE MODEL, I DO NOT HAVE PERSONAL OPINIONS.",
        "As an A\u200bI lan\u00adguage model, I do not have personal opinions.",
        "Ａｓ ａｎ ＡＩ ｌａｎｇｕａｇｅ ｍｏｄｅｌ， Ｉ ｄｏ ｎｏｔ ｈａｖｅ ｐｅｒｓｏｎａｌ ｏｐｉｎｉｏｎｓ．",
        "𝐀𝐬 𝐚𝐧 𝐀𝐈 𝐥𝐚𝐧𝐠𝐮𝐚𝐠𝐞 𝐦𝐨𝐝𝐞𝐥, 𝐈 𝐝𝐨 𝐧𝐨𝐭 𝐡𝐚𝐯𝐞 𝐩𝐞𝐫𝐬𝐨𝐧𝐚𝐥 𝐨𝐩𝐢𝐧𝐢𝐨𝐧𝐬.",
        "Аs аn АI lаnguаge mоdel, I dо nоt hаve persоnаl оpiniоns.",
        "As\u00a0an AI\u2003language model, I do not have personal opinions.",
        "As\nan\nAI\nlanguage\nmodel,\nI\ndo\nnot\nhave\npersonal\nopinions.",
    ],
)
def test_every_disguise_is_cut(lead: str) -> None:
    """Quotes, case, invisible, full-width, bold mathematical and look-alike characters and line breaks hide nothing."""
    assert cut(f"{lead} {ANSWER}") == ANSWER


@pytest.mark.parametrize(
    "text",
    [
        'The reporter laughed: "As an AI language model, I do not have personal opinions," it had said.',
        "The list holds `As an AI language model, I do not` and more.",
        "```\nAs an AI language model, I do not have personal opinions.\n```\nThis is the log.",
        "> As an AI language model, I do not have personal opinions.\n\nThis was its reply.",
        "As an AI engineer, I do not have much time. Boil the pasta.",
        "As an AI company, we publish a card for every release.",
        "Sorry for the delay! The parcel left today.",
        "I can't recommend it for production. Use the other one, it is faster.",
        "We do not have opinions on colours, but blue sells.",
    ],
)
def test_other_voices_stay(text: str) -> None:
    """Quotations, code, people who work on such models, and plain apologies are left alone, in turns and documents."""
    assert cut(text) == text
    assert contents(CUT.edit(plain(text)).batch) == [text]


def test_documents_ask_for_stricter_evidence() -> None:
    """A document about models stays whole, one that speaks as a model is cut, and a lone closer is nobody's slop there."""
    about = "We removed rows from the dataset. As an AI language model, I do not have personal opinions. That was the largest group."
    speaks = f"As an AI language model, I do not have personal opinions. {ANSWER}"
    assert contents(CUT.edit(plain(about, speaks, f"{ANSWER} I hope this helps!")).batch) == [about, ANSWER, f"{ANSWER} I hope this helps!"]


def test_a_document_that_speaks_as_a_model_is_an_answer() -> None:
    """Once a rule for documents speaks, closers and the like go too; a long document is no answer."""
    answer = f"As an AI language model, I do not have personal opinions. {ANSWER}\n\nI hope this helps! Let me know if you have any other questions."
    assert contents(CUT.edit(plain(answer)).batch) == [ANSWER]
    long = f"{answer}\n\n" + "The river rises in the north and turns east at the mill. " * 100
    assert "I hope this helps!" in contents(CUT.edit(plain(long)).batch)[0]


def test_more_rules_are_added_to_the_others() -> None:
    """A file under more_rules acts beside the usual ones."""
    lecture = f"{ANSWER} It is important to remember that everyone deserves respect."
    more = CutSlop(more_rules=OPTIONAL_RULES).resolve(find)
    assert contents(more.edit(chat(lecture)).batch) == [ANSWER]
    assert contents(CUT.edit(chat(lecture)).batch) == [lecture]
    assert len(more.found) > len(CUT.found)


@pytest.mark.parametrize("role", ["user", "system", "tool"])
def test_other_turns_are_never_touched(role: str) -> None:
    """Only turns of the named roles are edited."""
    text = f"As an AI language model, I do not have personal opinions. {ANSWER}"
    edits = CUT.edit(chat(text, question=text, role=role))
    assert contents(edits.batch) == [text]
    assert edits.cuts.num_rows == 0


def test_refusals_and_pure_slop_are_left_whole() -> None:
    """What ``refusals`` removes is not cut to pieces first."""
    for text in ("As an AI language model, I cannot help with that.", "I am an AI language model. I do not have feelings."):
        assert cut(text) == text


def test_cuts_name_rule_place_and_text() -> None:
    """A cut carries document, turn, rule, offset and the text it took; a capital is a cut of its own."""
    batch = chat("As an AI, I have no taste, but salt helps.")
    rows = CUT.edit(batch).cuts.to_pylist()
    assert [(r["seq"], r["message"], r["rule"], r["start"], r["before"], r["after"]) for r in rows] == [
        (0, 1, "capital", 31, "s", "S"),
        (1, 1, "ai_but", 0, "As an AI, I have no taste, but ", ""),
    ]
    assert {r["id"] for r in rows} == set(batch.column("id").to_pylist())


def test_weak_rules_can_act_always_or_never() -> None:
    """The setting ``weak`` says when a mere offer of help is cut."""
    text = f"{ANSWER} Let me know if you have any other questions."
    beside = f"As an AI, I have no taste. {text}"
    results = {}
    for weak in ("never", "beside", "always"):
        editor = CutSlop(weak=weak).resolve(find)
        results[weak] = contents(editor.edit(chat(text, beside)).batch)
    assert results == {"never": [text, text], "beside": [text, ANSWER], "always": [ANSWER, ANSWER]}


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_cuts_put_back_give_the_original(texts: list[str]) -> None:
    """For any text, as documents and as conversations: edited text with the cuts put back is the original; users' turns never change."""
    for batch in (plain(*texts), chat(*texts, question=texts[0])):
        edits = CUT.edit(batch)
        assert put_back(edits.batch, edits.cuts) == pieces(batch)
        assert edits.batch.column("id") == batch.column("id")
        assert all(cut["message"] in (-1, 1) for cut in edits.cuts.to_pylist())


@given(st.text(max_size=200))
def test_any_text_passes(text: str) -> None:
    """Arbitrary Unicode is neither damaged nor a reason to fail."""
    batch = chat(text)
    edits = CUT.edit(batch)
    assert put_back(edits.batch, edits.cuts) == pieces(batch)
