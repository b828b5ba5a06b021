"""The ids of conversations are those of ``apply_chat_template``, for many templates and kinds of tokenizers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pipeline.documents import Document, Message, to_batch
from pipeline.models import TokenizerInfo, load_tokenizer
from pipeline.packing.encode import Encoder
from pipeline.packing.settings import TokenizeSettings
from tests.packing.conftest import TEMPLATES, TOKENIZERS, MakeInfo

transformers = pytest.importorskip("transformers")

WORDS = ["The", "capital", "of", "France", "is", "Paris.", "Why?", "ümläut", "漢字", "x = 1;", "12", "(really)", "rain,", "don't", "A-B"]


def conversation(seed: int, system: bool) -> tuple[Message, ...]:
    """An ordinary conversation: words between single blanks, some on lines of their own."""
    chance = random.Random(seed)
    said = [chance.choice([" ", " ", " ", "\n"]).join(chance.choices(WORDS, k=chance.randint(1, 9))) for _ in range(5)]
    turns = tuple(Message("user" if number % 2 == 0 else "assistant", text) for number, text in enumerate(said[:4]))
    return (Message("system", said[4]), *turns) if system else turns


def check(info: TokenizerInfo, folder: Path, conversations: list[tuple[Message, ...]]) -> None:
    """Our ids are theirs."""
    theirs: Any = transformers.AutoTokenizer.from_pretrained(folder)
    batch = to_batch("s", [Document(str(number), messages=messages) for number, messages in enumerate(conversations)])
    encoded = Encoder(info, 4096, TokenizeSettings()).encode(batch)
    assert not encoded.rules
    for messages, row in zip(conversations, encoded.sequences.to_pylist(), strict=True):
        plain = [{"role": message.role, "content": message.content} for message in messages]
        assert row["input_ids"] == theirs.apply_chat_template(plain, tokenize=True, return_dict=False)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_ordinary_conversations_have_the_same_ids(make_info: MakeInfo, tokenizer: str, template: str) -> None:
    """Without control tokens in contents nothing differs, with and without a system message."""
    info = make_info(tokenizer, template)
    check(info, Path(info.where).parent, [conversation(seed, system=seed % 2 == 0) for seed in range(6)])


def test_the_embedded_model_s_conversations_have_the_same_ids(smollm2: Path) -> None:
    """SmolLM2's own template, default system prompt included."""
    check(load_tokenizer(str(smollm2)), smollm2, [conversation(seed, system=seed % 2 == 0) for seed in range(12)])
