"""Engines: the fast one gives the reference's ids or is not used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.documents import SCHEMA
from pipeline.models import TokenizerInfo, load_tokenizer
from pipeline.packing import agreement
from pipeline.packing.agreement import agree, excerpts, fast_agrees, samples
from pipeline.packing.engine import Engine, Reference, after_digits, count_bytes, fast_engine
from pipeline.packing.literal import LiteralTokenizer
from tests.packing.conftest import TOKENIZERS, MakeInfo

GOLD = Path(__file__).resolve().parents[3] / "shared" / "gold"
pytest.importorskip("fastokens")
odd = st.text(st.sampled_from("ab Zé漢字 \n\t\r  123\v٣Ⅷ½²'sltre.,-()\u200b\u2028\u00a0\u3000\u0301\x16\x00😀’ſ\ufffd!`"), max_size=40)


def gold_texts() -> list[str]:
    """The gold texts: pages' main texts, labelled answers, documents with duplicates."""
    lines = [json.loads(line) for name in ("html/gold.jsonl", "slop/labelled.jsonl") for line in (GOLD / name).open(encoding="utf-8")]
    texts = [value for row in lines for value in row.values() if isinstance(value, str)]
    return texts + pq.read_table(GOLD / "dedup" / "docs.parquet")["text"].to_pylist()


def test_many_texts_are_one_long_array(make_info: MakeInfo) -> None:
    """The ids of several texts follow each other, with their sizes; no text at all is fine."""
    literal = LiteralTokenizer(make_info())
    texts = ["The capital", "", "of France" * 50]
    for fast in (False, True):
        ids, sizes = literal.engines(fast)[0].encode(texts)
        alone = [literal.text.encode(text).ids for text in texts]
        assert sizes.tolist() == [len(one) for one in alone]
        assert ids.tolist() == [token for one in alone for token in one]
        assert [array.tolist() for array in literal.engines(fast)[0].encode([])] == [[], []]
        assert ids.dtype == np.int32


@given(texts=st.lists(odd | st.text(max_size=40), max_size=6))
@settings(max_examples=300)
def test_the_fast_engine_gives_the_reference_ids(smollm2: Path, texts: list[str]) -> None:
    """The same ids for any text, bytes that have no token included."""
    reference, fast = smollm2_engines(smollm2)
    assert reference.name != fast.name
    assert agree(reference, fast, texts)


@given(words=st.lists(odd, min_size=1, max_size=6), place=st.integers(0, 40))
@settings(max_examples=200)
def test_the_reference_is_asked_about_odd_words_only(smollm2: Path, words: list[str], place: int) -> None:
    """A byte without a token in a long text gives the reference's ids, though the reference sees little of the text."""
    reference, fast = smollm2_engines(smollm2)
    text = "plain words, then (more) of them. " * 3 + "".join(words)
    assert agree(reference, fast, [f"{text[:place]}\x16{text[place:]}", text, "\x16", ""])


def test_flagged_bytes_are_counted() -> None:
    """Texts of a slice and empty ones are counted apart."""
    texts = pa.array(["xx", "axa", "", "x"], pa.large_string())
    flags = np.arange(256) == ord("x")
    assert count_bytes(texts, flags).tolist() == [2, 1, 0, 1]
    assert count_bytes(texts[1:3], flags).tolist() == [1, 0]
    assert count_bytes(texts[:0], flags).tolist() == []
    assert count_bytes(texts, ~flags).tolist() == [0, 2, 0, 0]


def test_samples_that_look_alike_are_compared_once(tmp_path: Path) -> None:
    """A thousand dates are one place; another script beside a digit is another."""
    texts = [f"{'word ' * 100}on day {n % 10} of it {'word ' * 100}" for n in range(1000)] + [f"{'word ' * 100}漢字 {'word ' * 100}"]
    found = [text for text in samples([shard_of(tmp_path, texts)]) if len(text) <= 2 * agreement.EXCERPT_BYTES]
    assert len(found) == 2


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@given(texts=st.lists(odd, max_size=4))
@settings(max_examples=30)
def test_a_kind_of_tokenizer_is_encoded_alike_or_by_the_reference(make_info: MakeInfo, name: str, texts: list[str]) -> None:
    """Whatever kind of tokenizer it is, the sampled check tells whether the engines agree."""
    literal = LiteralTokenizer(make_info(name))
    for reference, fast in zip(literal.engines(False), literal.engines(True), strict=True):
        used = fast if agree(reference, fast, texts) else reference
        assert agree(reference, used, texts)


@pytest.mark.skipif(not GOLD.is_dir(), reason="no gold data beside the checkout")
def test_gold_texts_have_the_reference_ids(smollm2: Path) -> None:
    """Every gold text becomes the ids that the tokenizers library gives, and byte-level text comes back."""
    literal = LiteralTokenizer(load_tokenizer(str(smollm2)))
    reference, fast = literal.engines(False)[0], literal.engines(True)[0]
    texts = [text[:20_000] for text in gold_texts()]
    assert len(texts) > 5_000
    assert agree(reference, fast, texts)


def test_digits_are_marked_for_one_kind_of_tokenizer_only() -> None:
    """Only the pair of pre-tokenizers that the marks stand in for is replaced."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    assert after_digits({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]}}) == byte_level
    for parts in ([digits | {"individual_digits": False}, byte_level], [byte_level], [digits, byte_level | {"add_prefix_space": True}]):
        assert after_digits({"pre_tokenizer": {"type": "Sequence", "pretokenizers": parts}}) is None
    assert after_digits({"pre_tokenizer": None}) is None


def test_what_it_cannot_read_is_left_to_the_reference(make_info: MakeInfo) -> None:
    """A definition that the fast engine refuses gives none."""
    assert fast_engine({"model": {"type": "none"}}, Reference(make_info().tokenizer), np.ones(256, bool)) is None


class Wrong:
    """An engine that is wrong about digits."""

    name = "wrong 1.0"

    def __init__(self, right: Engine) -> None:
        self.right = right

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Every 7 becomes an 8."""
        return self.right.encode([text.replace("7", "8") for text in texts])


def test_an_engine_that_differs_is_not_used(make_info: MakeInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One digit in one document of the first shard is enough to find a wrong engine out."""
    info = make_info("byte_level")
    right = LiteralTokenizer.engines
    shard = shard_of(tmp_path, ["plain words"] * 5000 + ["only here a 7"])
    assert fast_agrees(info, [shard])[0]
    monkeypatch.setattr(LiteralTokenizer, "engines", lambda self, fast: tuple(Wrong(one) for one in right(self, False)) if fast else right(self, False))
    used, finding = fast_agrees(info, [shard])
    assert not used
    assert "wrong 1.0 gave other ids" in finding


def test_samples_are_the_same_every_time(tmp_path: Path) -> None:
    """The sample depends on the documents alone, covers several shards, and is bounded."""
    shards = [shard_of(tmp_path, [f"text {n} of shard {s}, number {n * s}" for n in range(300)], f"{s}.parquet") for s in range(3)]
    first = list(samples(shards))
    assert first == list(samples(shards))
    assert all(any(f"shard {s}" in text for text in first) for s in range(3))
    assert len(first) <= agreement.NUM_DOCUMENTS + 3 + agreement.MAX_EXCERPTS


def test_excerpts_hold_the_delicate_places() -> None:
    """Digits, controls, rare scripts and white space are found however long the text is."""
    text = "a" * 5000 + "7" + "b" * 5000 + "\x01" + "c" * 5000 + "漢" + "d" * 500 + "  e"
    found = list(excerpts(pa.array(["plain", text], pa.large_string())))
    assert [any(place in part for part in found) for place in ("7", "\x01", "漢", "  e")] == [True] * 4
    assert len(found) == 4 and max(map(len, found)) < 200


def shard_of(folder: Path, texts: list[str], name: str = "part-0.parquet") -> Path:
    """A shard of plain documents."""
    rows = [{"id": str(n), "source": "s", "locator": "", "text": text, "messages": None, "group": None, "meta": "{}"} for n, text in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / name)
    return folder / name


_ENGINES: dict[Path, tuple[Engine, Engine]] = {}


def smollm2_engines(folder: Path) -> tuple[Engine, Engine]:
    """The reference and the fast engine of the default model, made once."""
    if folder not in _ENGINES:
        info: TokenizerInfo = load_tokenizer(str(folder))
        literal = LiteralTokenizer(info)
        _ENGINES[folder] = literal.engines(False)[0], literal.engines(True)[0]
    return _ENGINES[folder]
