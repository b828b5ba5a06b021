"""Documents become sequences: right ids, right mask, everything counted, nothing forged."""

from __future__ import annotations

import json
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Document, Message, to_batch
from pipeline.errors import UsageError
from pipeline.models import TokenizerInfo, load_tokenizer
from pipeline.packing.encode import COUNTS, Encoded, Encoder, encoder_for
from pipeline.packing.sequences import ENCODED
from pipeline.packing.settings import TokenizeSettings
from tests.packing.conftest import CONTROLS, TEMPLATES, TOKENIZERS, WORDS, MakeInfo

GOLD = Path(__file__).resolve().parents[3] / "shared" / "gold"
TURNS = (Message("user", "What is it?"), Message("assistant", "A poem."))

forging = st.lists(st.sampled_from([*CONTROLS, *WORDS, "user\n", "[/INST]", "a", " ", "ö"]), min_size=1, max_size=6).map("".join)
plain = st.text(max_size=80).map(lambda text: Document("p", text=text))
talk = st.lists(st.text(max_size=30), min_size=2, max_size=4).map(
    lambda said: Document("c", messages=tuple(Message("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(said)))
)


def encode(info: TokenizerInfo, *documents: Document, length: int = 512, **settings: object) -> Encoded:
    """Encode some documents of one source."""
    named = [Document(f"{number}", doc.text, doc.messages, doc.group) for number, doc in enumerate(documents)]
    return Encoder(info, length, TokenizeSettings(**settings)).encode(to_batch("s", named))  # type: ignore[arg-type]


def learned_text(info: TokenizerInfo, encoded: Encoded, row: int = 0) -> str:
    """What of a sequence is learned, as text."""
    sequence = encoded.sequences.slice(row, 1).to_pylist()[0]
    ids = [token for token, flag in zip(sequence["input_ids"], sequence["learned"], strict=True) if flag]
    return info.tokenizer.decode(ids, skip_special_tokens=False)


def test_plain_text_ends_with_its_end(make_info: MakeInfo) -> None:
    """A plain document is its tokens and the end of text, all of it learned; no beginning where the tokenizer writes none."""
    info = make_info()
    encoded = encode(info, Document("p", text="The capital </s>"))
    row = encoded.sequences.to_pylist()[0]
    assert row["input_ids"][-1] == info.eos_id
    assert row["input_ids"].count(info.eos_id) == 1
    assert info.tokenizer.decode(row["input_ids"], skip_special_tokens=False) == "The capital </s></s>"
    assert set(row["learned"]) == {1}
    assert encoded.sequences.schema.equals(ENCODED)


def test_a_beginning_is_written_where_the_tokenizer_says_so(make_info: MakeInfo) -> None:
    """add_bos_token in the configuration puts the beginning before a plain document, and only at its start."""
    info = make_info(add_bos_token=True)
    assert info.adds_bos
    rows = encode(info, Document("p", text="word " * 60), length=16).sequences.to_pylist()
    assert len(rows) > 1
    assert [row["input_ids"].count(info.bos_id) for row in rows] == [1] + [0] * (len(rows) - 1)
    assert [row["input_ids"].count(info.eos_id) for row in rows] == [0] * (len(rows) - 1) + [1]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_only_answers_are_learned(make_info: MakeInfo, tokenizer: str, template: str) -> None:
    """With every tokenizer and template the learned tokens are the answer and the end of its turn."""
    info = make_info(tokenizer, template)
    answer = learned_text(info, encode(info, Document("c", messages=TURNS), length=2048))
    assert answer.replace(" ", "").startswith("Apoem.<")
    assert answer.replace(" ", "").endswith(">")
    assert answer.count("<") == 1


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(said=forging)
def test_no_message_forges_a_token(make_info: MakeInfo, tokenizer: str, said: str) -> None:
    """A conversation holds as many control tokens as one of the same shape that says nothing special, and the mask covers the answer only."""
    info = _info(make_info, tokenizer)
    encoder = encoder_for(str(Path(info.where).parent), None, 4096, TokenizeSettings())
    talks = [(Message("user", text), Message("assistant", text)) for text in ("xyz", f"xyz{said}xyz")]
    honest, forged = (encoder.encode(to_batch("s", [Document("c", messages=turns)])) for turns in talks)
    control = set(encoder.literal.is_control.nonzero()[0].tolist())
    counts = [[token for token in one.sequences.to_pylist()[0]["input_ids"] if token in control] for one in (honest, forged)]
    assert counts[0] == counts[1]
    if tokenizer == "byte_level":
        assert learned_text(info, forged) == f"xyz{said}xyz<|im_end|>"


_infos: dict[str, TokenizerInfo] = {}


def _info(make_info: MakeInfo, tokenizer: str) -> TokenizerInfo:
    if tokenizer not in _infos:
        _infos[tokenizer] = make_info(tokenizer)
    return _infos[tokenizer]


@given(documents=st.lists(plain | talk, max_size=6), length=st.integers(8, 40), data=st.data())
def test_every_token_is_accounted_for(make_info: MakeInfo, documents: list[Document], length: int, data: st.DataObject) -> None:
    """Tokens in are tokens in sequences, truncated or dropped; each document is in sequences or removed; all sequences fit and teach."""
    long, chat = data.draw(st.sampled_from(["split", "truncate", "drop"])), data.draw(st.sampled_from(["drop", "truncate"]))
    info = _info(make_info, "byte_level")
    encoded = encode(info, *documents, length=length, over_long=long, over_long_conversations=chat)
    rows = encoded.sequences.to_pylist()
    ids = to_batch("s", [Document(str(n), text="") for n in range(len(documents))]).column("id").to_pylist()
    assert sorted({row["id"] for row in rows} | {ids[row] for row in encoded.removed.tolist()}) == sorted(ids)
    assert not {row["id"] for row in rows} & {ids[row] for row in encoded.removed.tolist()}
    assert len(encoded.removed) == len(encoded.rules) == len(encoded.reasons)
    for row in rows:
        assert 2 <= len(row["input_ids"]) == len(row["learned"]) <= length
        assert any(row["learned"][1:])
    counts = encoded.counts.get("s", dict.fromkeys(COUNTS, 0))
    for name in ("tokens", "learned"):
        assert counts[name] == counts[f"{name}_kept"] + counts[f"{name}_truncated"] + counts[f"{name}_dropped"]
    assert counts["tokens_kept"] == sum(len(row["input_ids"]) for row in rows)
    assert counts["learned_kept"] == sum(sum(row["learned"]) for row in rows)
    assert counts["sequences"] == len(rows)
    assert (counts["documents"], counts["conversations"]) == (len(documents), sum(doc.messages is not None for doc in documents))


@given(text=st.text(min_size=1, max_size=300), length=st.integers(8, 30))
def test_a_split_document_is_whole_again(make_info: MakeInfo, text: str, length: int) -> None:
    """The pieces of a split text, one after the other, decode to the text and its end."""
    info = _info(make_info, "byte_level")
    rows = encode(info, Document("p", text=text), length=length).sequences.to_pylist()
    assert [row["start"] for row in rows] == np.cumsum([0] + [len(row["input_ids"]) for row in rows])[:-1].tolist()
    ids = [token for row in rows for token in row["input_ids"]]
    assert info.tokenizer.decode(ids, skip_special_tokens=False) == text + "</s>"


def test_removed_documents_have_a_rule_and_a_reason(make_info: MakeInfo) -> None:
    """Empty, unanswered, refused by the template, too long: each is told, and costs its neighbours nothing."""
    documents = [
        Document("", text=""),
        Document("", messages=(Message("user", "no answer"),)),
        Document("", messages=(Message("<|im_end|>", "x"), Message("assistant", "y"))),
        Document("", messages=(Message("user", "long " * 200), Message("assistant", "y"))),
        Document("", text="fine"),
        Document("", messages=()),
    ]
    encoded = encode(make_info(), *documents, length=32)
    assert encoded.removed.tolist() == [0, 1, 2, 3, 5]
    assert encoded.rules == ["nothing_to_learn", "nothing_to_learn", "template", "too_long", "nothing_to_learn"]
    assert "32" in encoded.reasons[3]
    assert len(encoded.sequences) == 1


def test_a_cut_conversation_is_counted(make_info: MakeInfo) -> None:
    """Truncation on request is counted in tokens and learned tokens; a conversation that loses its answer is removed."""
    turns = (Message("user", "q"), Message("assistant", "word " * 50))
    unanswered = (Message("user", "word " * 50), Message("assistant", "a"))
    encoded = encode(make_info(), Document("", messages=turns), Document("", messages=unanswered), length=32, over_long_conversations="truncate")
    counts = encoded.counts["s"]
    assert (encoded.removed.tolist(), encoded.rules) == ([1], ["nothing_to_learn"])
    assert counts["documents_truncated"] == 1
    assert counts["tokens_truncated"] >= counts["learned_truncated"] > 0
    assert counts["tokens_dropped"] > counts["learned_dropped"] > 0


def test_sources_are_counted_apart(make_info: MakeInfo) -> None:
    """Each source has its own counts, and control tokens that texts spell are among them."""
    import pyarrow as pa

    batches = [to_batch("b", [Document("1", text="x <s>")]), to_batch("a", [Document("1", messages=(*TURNS, Message("user", "<s><think>")))])]
    batch = pa.concat_batches(batches)
    counts = Encoder(make_info(), 512, TokenizeSettings()).encode(batch).counts
    assert list(counts) == ["a", "b"]
    assert (counts["a"]["control_literals"], counts["b"]["control_literals"]) == (2, 1)
    assert (counts["a"]["conversations"], counts["b"]["conversations"]) == (1, 0)


def test_the_group_decides_the_split(make_info: MakeInfo) -> None:
    """Documents of a group have one split hash; without a group each has its own; another seed gives another."""
    documents = [Document("", text="one", group="g"), Document("", text="two", group="g"), Document("", text="three")]
    first, second, third = encode(make_info(), *documents).sequences.column("split_hash").to_pylist()
    assert first == second != third
    assert encode(make_info(), *documents, seed=1).sequences.column("split_hash").to_pylist()[0] != first


def test_a_sliced_batch_is_encoded_like_a_whole_one(make_info: MakeInfo) -> None:
    """A slice of a batch (as readers give them) gives what the documents alone give."""
    encoder = Encoder(make_info(), 64, TokenizeSettings())
    batch = to_batch("s", [Document(str(n), text=f"text {n} <s>") if n % 2 else Document(str(n), messages=TURNS) for n in range(8)])
    whole = encoder.encode(batch).sequences
    parts = [encoder.encode(batch.slice(start, 3)).sequences for start in (0, 3, 6)]
    assert [row for part in parts for row in part.to_pylist()] == whole.to_pylist()
    assert len(encoder.encode(batch.slice(0, 0)).sequences) == 0


def test_conversations_need_a_template(make_info: MakeInfo) -> None:
    """A tokenizer without a chat template encodes plain text; a conversation is one clear error, not a thousand removed ones."""
    info = make_info(template=None)
    assert len(encode(info, Document("p", text="plain")).sequences) == 1
    with pytest.raises(UsageError, match="no chat template"):
        encode(info, Document("c", messages=TURNS))


def test_broken_setups_are_refused(make_info: MakeInfo) -> None:
    """A template that does not compile, or rows too short for anything, stop the run with one line."""
    with pytest.raises(UsageError, match="chat template is not one"):
        Encoder(make_info(template="{% for"), 64, TokenizeSettings())
    with pytest.raises(UsageError, match="sequence length"):
        Encoder(make_info(), 4, TokenizeSettings())


def test_workers_build_the_encoder_once(make_info: MakeInfo) -> None:
    """What a worker gets by name is the same object each time, and its answers can be sent back."""
    info = make_info()
    folder = str(Path(info.where).parent)
    one = encoder_for(folder, None, 64, TokenizeSettings())
    assert one is encoder_for(folder, None, 64, TokenizeSettings())
    encoded = one.encode(to_batch("s", [Document("1", text="x y")]))
    assert pickle.loads(pickle.dumps(encoded)).sequences.equals(encoded.sequences)
    assert pickle.loads(pickle.dumps(info)) == info


@pytest.mark.skipif(not GOLD.is_dir(), reason="no gold data beside the checkout")
def test_gold_conversations_forge_no_turn(smollm2: Path) -> None:
    """Of the hostile conversations each has as many turn tokens as turns, and learns its last message."""
    info = load_tokenizer(str(smollm2))
    lines = [line for line in (GOLD / "hostile" / "tokens" / "chat.jsonl").read_text(encoding="utf-8").split("\n") if line]
    conversations = [[Message(**message) for message in json.loads(line)["messages"]] for line in lines]
    encoded = encode(info, *(Document("c", messages=tuple(messages)) for messages in conversations))
    assert not encoded.rules
    for number, (messages, row) in enumerate(zip(conversations, encoded.sequences.to_pylist(), strict=True)):
        turns = len(messages) + (messages[0].role != "system")
        assert (row["input_ids"].count(info.bos_id), row["input_ids"].count(info.eos_id)) == (turns, turns)
        assert learned_text(info, encoded, number) == messages[-1].content + "<|im_end|>"


def test_a_control_token_that_slips_through_is_caught(tmp_path: Path) -> None:
    """A tokenizer whose normalizer rewrites text into what stands for a control token: the document is removed, its neighbour kept."""
    from tokenizers import Tokenizer, models, normalizers

    tokenizer = Tokenizer(models.WordLevel({"</s>": 0, "<unk>": 1, "fine": 2}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace("evil", " \n0 \n")
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoded = encode(load_tokenizer(str(tmp_path)), Document("", text="evil"), Document("", text="fine"), Document("", text="</s>"))
    assert (encoded.removed.tolist(), encoded.rules) == ([0], ["control_token"])
    assert [row["input_ids"] for row in encoded.sequences.to_pylist()] == [[2, 0], [1, 0]]


LONG = (Message("user", "One?"), Message("assistant", "First."), Message("user", "Two?", train=None), Message("assistant", "Second."))


@pytest.mark.parametrize(
    ("learn", "said", "unsaid"),
    [
        ("assistant", ["First.", "Second."], ["One?", "Two?"]),
        ("last_assistant", ["Second."], ["One?", "Two?", "First."]),
        ("all", ["One?", "First.", "Two?", "Second.", "<|im_start|>"], []),
    ],
)
def test_what_is_learned_is_a_setting(make_info: MakeInfo, learn: str, said: list[str], unsaid: list[str]) -> None:
    """Answers only, the last answer only, or everything."""
    info = make_info(template="chatml")
    text = learned_text(info, encode(info, Document("c", messages=LONG), learn=learn))
    assert [part for part in said if part not in text] == []
    assert [part for part in unsaid if part in text] == []


def test_a_message_says_itself_whether_it_is_learned(make_info: MakeInfo) -> None:
    """``train`` of a message wins over the setting."""
    info = make_info(template="chatml")
    messages = (Message("user", "One?", train=True), Message("assistant", "First.", train=False), Message("assistant", "Second."))
    for learn in ("assistant", "last_assistant", "all"):
        text = learned_text(info, encode(info, Document("c", messages=messages), learn=learn))
        assert "One?" in text
        assert "Second." in text
        assert "First." not in text


def test_documents_are_split_between_paragraphs(make_info: MakeInfo) -> None:
    """With split_at paragraph the pieces of a text are whole paragraphs where a row holds one, and overlap is context only."""
    info = make_info()
    text = "\n\n".join("word " * (1 + number % 2) + "end." for number in range(60))
    rows = encode(info, Document("p", text=text), length=40, split_at="paragraph").sequences.to_pylist()
    pieces = [info.tokenizer.decode(row["input_ids"], skip_special_tokens=False) for row in rows]
    assert "".join(pieces) == text + "</s>"
    assert all(piece.endswith("\n\n") for piece in pieces[:-1])
    encoded = encode(info, Document("p", text=text), length=40, overlap_tokens=5)
    rows = encoded.sequences.to_pylist()
    assert all(row["learned"][:5] == [0] * 5 for row in rows[1:])
    assert all(a["input_ids"][-5:] == b["input_ids"][:5] for a, b in pairwise(rows))
    assert sum(sum(row["learned"]) for row in rows) == encoded.counts["s"]["learned_kept"]
    assert encoded.counts["s"]["tokens_overlap"] == 5 * (len(rows) - 1)
