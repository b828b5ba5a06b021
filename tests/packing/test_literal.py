"""Text is taken literally: no tokenizer of any kind gives a control token for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models import load_tokenizer
from pipeline.packing.engine import Reference
from pipeline.packing.literal import LiteralTokenizer
from tests.packing.conftest import CONTROLS, TOKENIZERS, WORDS, MakeInfo

GOLD = Path(__file__).resolve().parents[3] / "shared" / "gold"

pieces = st.lists(st.sampled_from([*CONTROLS, *WORDS, "hello", " ", "\n", "<", "|>", "im_end", "ä", "1", "\u2581"]), max_size=12).map("".join)


@pytest.fixture(scope="module", params=sorted(TOKENIZERS))
def literal(request: pytest.FixtureRequest, make_info: MakeInfo) -> LiteralTokenizer:
    """Each kind of tokenizer."""
    return LiteralTokenizer(make_info(request.param))


@given(text=pieces)
def test_no_text_becomes_a_control_token(literal: LiteralTokenizer, text: str) -> None:
    """Whatever control tokens a text spells, none comes out, at its start or inside."""
    for tokenizer in (literal.text, literal.inner):
        ids, _ = Reference(tokenizer).encode([text])
        assert not literal.is_control[ids].any()


def test_unigram_vocabularies_would_give_control_tokens(make_info: MakeInfo) -> None:
    """Without special tokens a Unigram model still spells them from its own vocabulary; the literal one does not."""
    literal = LiteralTokenizer(make_info("unigram"))
    plain = json.loads(json.dumps(literal.info.definition))
    plain["added_tokens"] = []
    from tokenizers import Tokenizer

    assert literal.is_control[Tokenizer.from_str(json.dumps(plain)).encode("a</s>").ids].any()
    assert not literal.is_control[literal.text.encode("a</s>").ids].any()


@given(text=st.text(max_size=60))
def test_byte_level_text_comes_back(make_info: MakeInfo, text: str) -> None:
    """decode(encode(x)) is x for a byte-level tokenizer, control tokens and all."""
    literal = LiteralTokenizer(make_info("byte_level"))
    for said in (text, text + "<|im_end|>" + text, "<think>" + text):
        assert literal.info.tokenizer.decode(literal.text.encode(said).ids, skip_special_tokens=False) == said


def test_ordinary_text_has_the_reference_ids(literal: LiteralTokenizer) -> None:
    """Without control tokens the ids are those of the tokenizer itself."""
    for text in ("Hello, world! 123", "  two  blanks\n\n", "ünïcödé 漢字", ""):
        assert literal.text.encode(text, add_special_tokens=False).ids == literal.info.tokenizer.encode(text, add_special_tokens=False).ids


def test_a_blank_is_written_only_at_the_start(make_info: MakeInfo) -> None:
    """SentencePiece's blank before a text is not written in the middle of one."""
    for name in ("prepend", "metaspace", "unigram"):
        literal = LiteralTokenizer(make_info(name))
        assert literal.text.encode("the").tokens[0].startswith("\u2581")
        assert not literal.inner.encode("the").tokens[0].startswith("\u2581")
        assert literal.prefix_after_control == (name != "metaspace")
    literal = LiteralTokenizer(make_info("byte_level"))
    assert literal.inner is literal.text
    assert not literal.prefix_after_control


def test_white_space_tokens_stay(tmp_path: Path) -> None:
    """Added tokens of white space are spelling and stay; they keep their ids when the control tokens around them go."""
    from tests.packing.conftest import byte_level

    tokenizer = byte_level()
    tokenizer.add_tokens(["    "])
    tokenizer.add_special_tokens(["<last>"])
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    literal = LiteralTokenizer(load_tokenizer(str(tmp_path)))
    text = "x    y<last>"
    assert literal.text.encode(text).ids[:3] == tokenizer.encode(text, add_special_tokens=False).ids[:3]
    assert tokenizer.token_to_id("    ") in literal.text.encode(text).ids
    assert not literal.is_control[literal.text.encode(text).ids].any()


def test_spelled_control_tokens_are_counted(make_info: MakeInfo) -> None:
    """Each occurrence counts once, special or not; the longest wins."""
    literal = LiteralTokenizer(make_info())
    texts = pa.array(["<|im_end|><|im_end|> <s>", "<think> x </think>", "nothing <|im_end", ""], pa.large_string())
    assert literal.count_controls(texts).tolist() == [3, 2, 0, 0]
    assert literal.count_controls(texts.slice(1, 2)).tolist() == [2, 0]


def test_lost_bytes_are_counted(smollm2: Path) -> None:
    """SmolLM2's vocabulary lacks some control bytes: what it leaves out is counted, text by text."""
    literal = LiteralTokenizer(load_tokenizer(str(smollm2)))
    texts = pa.array(["plain é", "a\x16b\x04", "", "\U00040000", "\x16"], pa.large_string())
    lost = [len(text) - len(literal.info.tokenizer.decode(literal.text.encode(text).ids)) for text in ("a\x16b\x04", "\x16")]
    assert lost == [2, 1]
    assert literal.count_lost_bytes(texts).tolist() == [0, 2, 0, 1, 1]
    assert literal.count_lost_bytes(texts.slice(3)).tolist() == [1, 1]


def test_tokenizers_with_every_byte_lose_none(make_info: MakeInfo) -> None:
    """A full byte-level alphabet, or an unknown token, loses nothing silently."""
    for name in ("byte_level", "unigram"):
        assert LiteralTokenizer(make_info(name)).count_lost_bytes(pa.array(["\x16\x04"], pa.large_string())).tolist() == [0]


@pytest.mark.skipif(not GOLD.is_dir(), reason="no gold data beside the checkout")
def test_gold_documents_hold_no_control_token(smollm2: Path) -> None:
    """The hostile documents come back whole, without a control token."""
    literal = LiteralTokenizer(load_tokenizer(str(smollm2)))
    lines = (GOLD / "hostile" / "tokens" / "docs.jsonl").read_text(encoding="utf-8").split("\n")
    texts = [json.loads(line)["text"] for line in lines if line]
    ids, sizes = literal.engines(True)[0].encode(texts)
    assert not literal.is_control[ids].any()
    parts = np.split(ids, np.cumsum(sizes)[:-1])
    assert [literal.info.tokenizer.decode(part.tolist(), skip_special_tokens=False) for part in parts] == texts
