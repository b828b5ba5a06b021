"""A tokenizer trained here: every byte comes back, control tokens stay literal, the same texts give the same bytes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from pipeline.documents import SCHEMA, Document, Message, to_batch
from pipeline.errors import SettingsError
from pipeline.models import TokenizerInfo, load_tokenizer
from pipeline.packing.encode import Encoder
from pipeline.packing.literal import LiteralTokenizer
from pipeline.packing.settings import OwnTokenizer, SpecialTokens, TokenizeSettings
from pipeline.packing.split import assign, split_hashes
from pipeline.packing.training_bpe import PIECE_CHARS, _pieces, chat_template, shortfall, smaller, train_tokenizer, training_part, write_trained
from pipeline.settings import build, parse_yaml

TEXTS = [
    "Mix flour with water, salt and a little yeast, and let the dough rest overnight. Bake it for 45 minutes.",
    "Tomatoes want sun, water at the roots and a stick to lean on.",
    "A primary key is a column whose value names a row of a table. <|im_end|>",
] * 4
CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
SMALL = OwnTokenizer(vocab_size=320)


def arrays(texts: list[str], size: int = 5) -> Iterator[pa.LargeStringArray]:
    """The texts in batches."""
    return (pa.array(texts[start : start + size], pa.large_string()) for start in range(0, len(texts), size))


def trained(folder: Path, settings: OwnTokenizer = SMALL, texts: list[str] = TEXTS) -> TokenizerInfo:
    """Train, write, load."""
    write_trained(folder, train_tokenizer(arrays(texts), settings), settings, chat_template(settings))
    return load_tokenizer(str(folder))


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> TokenizerInfo:
    """A small one with the default control tokens."""
    return trained(tmp_path_factory.mktemp("own") / "own")


def test_the_folder_is_a_tokenizer_like_any_other(info: TokenizerInfo) -> None:
    """Control tokens come first, their parts are named, padding is not the end, and all 256 bytes have a token."""
    assert [info.tokenizer.id_to_token(number) for number in range(4)] == list(CONTROLS)
    assert (info.bos_id, info.eos_id, info.pad_id, info.unk_id) == (0, 2, 3, None)
    assert not info.adds_bos
    vocabulary = info.tokenizer.get_vocab()
    assert len(vocabulary) == 320 == max(vocabulary.values()) + 1
    assert set(pre_tokenizers.ByteLevel.alphabet()) <= set(vocabulary)
    assert LiteralTokenizer(info).count_lost_bytes(pa.array(["".join(map(chr, range(256)))], pa.large_string())).tolist() == [0]


def test_transformers_reads_the_folder(info: TokenizerInfo) -> None:
    """AutoTokenizer gives the same ids, for texts and for conversations."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(str(Path(info.where).parent))
    assert theirs("Mix 12 tomatoes").input_ids == info.tokenizer.encode("Mix 12 tomatoes").ids
    assert (theirs.eos_token, theirs.pad_token, theirs.bos_token) == ("<|im_end|>", "<|pad|>", "<|endoftext|>")
    talk = (Message("system", "Be kind."), Message("user", "Water?"), Message("assistant", "At the roots."))
    row = Encoder(info, 512, TokenizeSettings()).encode(to_batch("s", [Document("c", messages=talk)])).sequences.to_pylist()[0]
    plain = [{"role": message.role, "content": message.content} for message in talk]
    assert row["input_ids"] == theirs.apply_chat_template(plain, tokenize=True, return_dict=False)
    learned = [token for token, flag in zip(row["input_ids"], row["learned"], strict=True) if flag]
    assert info.tokenizer.decode(learned, skip_special_tokens=False) == "At the roots.<|im_end|>"


@given(text=st.text(max_size=60), control=st.sampled_from(CONTROLS))
def test_any_text_comes_back(info: TokenizerInfo, text: str, control: str) -> None:
    """decode(encode(x)) is x, and what spells a control token does not become one."""
    literal = LiteralTokenizer(info)
    for said in (text, text + control + text):
        ids = literal.text.encode(said).ids
        assert info.tokenizer.decode(ids, skip_special_tokens=False) == said
        assert not literal.is_control[ids].any()


def test_digits_stand_alone_if_so_set(tmp_path: Path) -> None:
    """With ``split_digits`` no token holds two digits; without it, one may."""
    texts = ["2024 2024 2024"] * 9
    split = trained(tmp_path / "split", SMALL, texts)
    joined = trained(tmp_path / "joined", OwnTokenizer(vocab_size=320, split_digits=False), texts)
    assert len(split.tokenizer.encode("2024").ids) == 4
    assert len(joined.tokenizer.encode("2024").ids) == 1


def test_order_and_threads_do_not_matter(tmp_path: Path) -> None:
    """Texts in another order, in other batches and counted by another number of threads give the same bytes."""
    dice = random.Random(1)
    words = ["".join(dice.choices("abcdeé漢 ", k=dice.randint(1, 7))) for _ in range(3000)]
    texts = [" ".join(dice.choices(words, k=60)) for _ in range(300)]
    settings = OwnTokenizer(vocab_size=1500)
    reference = train_tokenizer(arrays(texts), settings).to_str()
    dice.shuffle(texts)
    assert train_tokenizer(arrays(texts, 77), settings).to_str() == reference
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    code = (
        "import json, sys, pyarrow as pa\n"
        "from pipeline.packing.training_bpe import OwnTokenizer, train_tokenizer\n"
        "texts = pa.array(json.load(open(sys.argv[1])), pa.large_string())\n"
        "sys.stdout.write(train_tokenizer(iter([texts]), OwnTokenizer(vocab_size=1500)).to_str())\n"
    )
    for threads in ("1", "3"):
        environment = {"RAYON_NUM_THREADS": threads, "PYTHONPATH": ":".join(path or "." for path in sys.path)}
        done = subprocess.run([sys.executable, "-c", code, tmp_path / "texts.json"], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == reference


def test_a_vocabulary_that_the_texts_do_not_support_is_said() -> None:
    """Of little text comes a smaller vocabulary, and a line says so; a full one is no news."""
    tokenizer = train_tokenizer(arrays(TEXTS), OwnTokenizer(vocab_size=5000))
    size = tokenizer.get_vocab_size()
    assert 260 < size < 5000
    assert f"the sample supports {size:,}" in shortfall(size, 5000, 2)[0]
    assert shortfall(5000, 5000, 2) == []


@pytest.mark.parametrize(
    "text", ["a1b2" * 50_000, " \t\u3000\x85" * 50_000, "漢字仮名" * 50_000, "x" * 200_000, "\x00\x1f" * 90_000, "\x1c\u200b" * 90_000]
)
def test_endless_words_are_learned_in_pieces(text: str) -> None:
    """What is given to the trainer has no word or white space much longer than 64 characters, and is itself cut."""
    pieces = list(_pieces(arrays([text]), 10**9))
    assert max(map(len, pieces)) <= PIECE_CHARS
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    longest = max(len(word) for piece in pieces for word, _ in splitter.pre_tokenize_str(piece[:5000]))
    assert longest <= 4 * 65


def test_no_more_is_read_than_twice_the_sample() -> None:
    """The reading of texts stops, so that one huge group cannot fill the memory."""
    endless = (pa.array(["word " * 1000], pa.large_string()) for _ in iter(int, 1))
    assert sum(map(len, _pieces(endless, 50_000))) < 60_000


def shard_of(folder: Path, texts: list[str]) -> Path:
    """A shard of plain documents, two a group."""
    rows = [
        {"id": f"d{n}", "source": "s", "locator": "", "text": text, "messages": None, "group": f"g{n // 2}", "meta": "{}"}
        for n, text in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "part.parquet")
    return folder / "part.parquet"


def test_the_sample_is_of_the_training_documents(tmp_path: Path) -> None:
    """Nothing of the validation and test splits is learned from; a smaller sample is about as large as was asked."""
    texts = [f"number {n} " + "x" * 90 for n in range(4000)]
    shard = shard_of(tmp_path, texts)
    hashes = split_hashes(pa.array([f"g{n // 2}" for n in range(4000)]), 5)
    split = assign(hashes, hashes * 0, {"validation": 0.1, "test": 0.05}).tolist()
    whole = training_part(5, 0.15)
    taken = [text for texts_ in whole.texts([shard]) for text in texts_.to_pylist()]
    assert taken == [text for text, number in zip(texts, split, strict=True) if number == 0]
    size = whole.num_bytes(shard)
    assert size == sum(len(text) for text in taken)
    part = smaller(whole, size, size // 4)
    assert part.num_bytes(shard) == pytest.approx(size // 4, rel=0.15)
    assert part.lowest > whole.lowest
    assert smaller(whole, size, 10 * size).lowest == whole.lowest
    assert smaller(whole, 0, 10).num_bytes(shard) == sum(map(len, texts))


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    """A Jinja file is taken with the control tokens it needs; a missing or broken one is a mistake in the settings."""
    path = tmp_path / "mine.jinja"
    path.write_text("{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + eos_token }}{% endfor %}")
    settings = OwnTokenizer(320, SpecialTokens("<s>", "</s>", "<pad>"), ("<|user|>", "<|assistant|>"), str(path))
    info = trained(tmp_path / "own", settings)
    assert [info.tokenizer.id_to_token(number) for number in range(5)] == ["<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>"]
    assert info.chat_template == path.read_text()
    assert trained(tmp_path / "plain", OwnTokenizer(320, chat_template=None)).chat_template is None
    path.write_text("{% for m in %}")
    for wrong, what in ((str(path), "is not a chat template"), ("none.jinja", "cannot be read")):
        with pytest.raises(SettingsError, match=what):
            chat_template(OwnTokenizer(320, chat_template=wrong))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("vocab_size: 40", "allowed: 259 or more"),
        ("vocab_size: 259", "alone are 260"),
        ("special_tokens: {pad_token: <|im_end|>}", "pad_token is another special token"),
        ("tokens: ['']", "control token is empty"),
        ("special_token: {}", "did you mean 'special_tokens'"),
    ],
)
def test_mistakes_are_named(text: str, what: str) -> None:
    """A setting that cannot be kept is told before anything runs."""
    with pytest.raises(SettingsError, match=what):
        build(TokenizeSettings, parse_yaml(f"own_tokenizer: {{{text}}}", "tokenize.yaml"))
