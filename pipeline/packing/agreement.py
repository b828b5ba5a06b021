"""Whether the fast engine may work on a run: it is asked about texts of that very run, and must answer as the reference does.

Engines part company over one place in a text, so the first shard gives an excerpt around the first such place of each of its documents,
one for each surrounding that looks alike, and a seeded sample of the corpus gives the ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets import read_batches
from pipeline.documents import turns
from pipeline.models import TokenizerInfo
from pipeline.packing.engine import FAST_PACKAGE, Engine
from pipeline.packing.literal import literal_tokenizer
from pipeline.packing.plan import mixed

NUM_DOCUMENTS, DOCUMENT_CHARS = 1_000, 1_000
"""How many documents of the corpus are compared, and how many characters of each, from a seeded place on: a megabyte costs the reference
about a second."""

NUM_SHARDS, FIRST_TEXTS = 16, 2_000
"""The documents come from so many shards at most, spread over all of them, and from the first texts of each."""

EXCERPT_BYTES, MAX_EXCERPTS, SCANNED_BYTES = 40, 10_000, 32_000_000
"""How much is compared on either side of a delicate place, how many such places of the first shard, and how much of it is looked through."""

_DELICATE = (
    r"[0-9]",
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]",
    r"[^\x00-\x{24f}\x{2000}-\x{206f}]",
    r"\s{2}\S",
)
"""RE2: digits, control characters, what is neither Latin nor general punctuation, and runs of white space."""

_LATIN, _DIGIT = re.compile(r"[^\W\d_\u0250-\U0010ffff]+"), re.compile(r"\d")
_SHAPE_CHARS = 10
"""Excerpts look alike when so many characters on either side are the same but for Latin letters and digits; one of them is compared."""


def fast_agrees(info: TokenizerInfo, shards: Sequence[Path]) -> tuple[bool, str]:
    """Whether the fast engine gives the reference's ids for the sampled texts of ``shards``, and the finding in words."""
    literal = literal_tokenizer(info)
    pairs = list(zip(literal.engines(fast=False), literal.engines(fast=True), strict=True))
    reference, fast = pairs[0]
    if reference.name == fast.name:
        return False, f"encoded by {reference.name}; {FAST_PACKAGE} is not installed or cannot read this tokenizer"
    texts = list(samples(shards))
    if all(agree(one, other, texts) for one, other in dict.fromkeys(pairs)):
        return True, f"encoded by {fast.name}, which gave the ids of {reference.name} for {len(texts):,} sampled texts"
    return False, f"encoded by {reference.name}; {fast.name} gave other ids for one of {len(texts):,} sampled texts"


def agree(one: Engine, other: Engine, texts: Sequence[str]) -> bool:
    """Whether two engines give the same ids for every text."""
    return all(np.array_equal(a, b) for a, b in zip(one.encode(texts), other.encode(texts), strict=True))


def samples(shards: Sequence[Path]) -> Iterator[str]:
    """The texts to compare: pieces of documents of the whole corpus, then excerpts of the first shard's."""
    chosen = [shards[number * len(shards) // NUM_SHARDS] for number in range(NUM_SHARDS)] if len(shards) > NUM_SHARDS else shards
    for number, shard in enumerate(chosen):
        yield from _pieces(shard, seed=number, num_documents=-(-NUM_DOCUMENTS // len(chosen)))
    yield from islice(_unlike(excerpt for texts in _scanned(shards[0]) for excerpt in excerpts(texts)), MAX_EXCERPTS)


def excerpts(texts: pa.LargeStringArray) -> Iterator[str]:
    """The surroundings of the first place of each delicate kind in each text."""
    for kind in _DELICATE:
        places = pc.fill_null(pc.find_substring_regex(texts, kind), -1).to_numpy(zero_copy_only=False)
        for number in np.flatnonzero(places >= 0).tolist():
            yield _around(texts[number], int(places[number]))


def _around(text: pa.LargeStringScalar, place: int) -> str:
    """The characters that lie whole within EXCERPT_BYTES of byte ``place``."""
    content = memoryview(text.as_buffer())
    return bytes(content[max(0, place - EXCERPT_BYTES) : place + EXCERPT_BYTES]).decode("utf-8", "ignore")


def _unlike(found: Iterator[str]) -> Iterator[str]:
    """One excerpt of those that look alike in the middle."""
    seen = set()
    for excerpt in found:
        middle = len(excerpt) // 2
        shape = _DIGIT.sub("0", _LATIN.sub("a", excerpt[max(0, middle - _SHAPE_CHARS) : middle + _SHAPE_CHARS]))
        if shape not in seen:
            seen.add(shape)
            yield excerpt


def _pieces(shard: Path, seed: int, num_documents: int) -> Iterator[str]:
    """A piece from a seeded place of each of seeded texts among the first of a shard."""
    texts = pa.chunked_array(_texts(shard, FIRST_TEXTS), pa.large_string())
    if not len(texts):
        return
    drawn = mixed(np.arange(2 * num_documents, dtype=np.uint64), seed)
    chosen, first = np.unique(drawn[:num_documents] % np.uint64(len(texts)), return_index=True)
    for text, place in zip(texts.take(pa.array(chosen)).to_pylist(), drawn[num_documents:][first].tolist(), strict=True):
        start = place % max(1, len(text) - DOCUMENT_CHARS + 1)
        yield text[start : start + DOCUMENT_CHARS]


def _scanned(shard: Path) -> Iterator[pa.LargeStringArray]:
    """The texts of a shard until there are SCANNED_BYTES of them."""
    num_bytes = 0
    for texts in _texts(shard):
        yield texts
        num_bytes += texts.nbytes
        if num_bytes >= SCANNED_BYTES:
            return


def _texts(shard: Path, max_texts: int | None = None) -> Iterator[pa.LargeStringArray]:
    """The texts of a shard, the first ``max_texts`` of them, in arrays."""
    for batch in read_batches(shard, ["text", "messages"], max_rows=512):
        texts = turns(batch).content
        yield texts[:max_texts]
        if max_texts is not None:
            max_texts -= len(texts)
            if max_texts <= 0:
                return
