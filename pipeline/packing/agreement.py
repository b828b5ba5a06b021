"""Whether the fast engine may work on a run: it is asked about texts of that very run, and must answer as the reference does.

Engines part company over one place in a text, so the first shard gives an excerpt around the first such place of each of its documents,
and a seeded sample of the corpus gives the ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from pipeline.datasets import read_batches
from pipeline.documents import turns
from pipeline.models import TokenizerInfo
from pipeline.packing.engine import FAST_PACKAGE, Engine
from pipeline.packing.literal import LiteralTokenizer
from pipeline.packing.plan import mixed

NUM_DOCUMENTS, DOCUMENT_CHARS = 1_000, 1_000
"""How many documents of the corpus are compared, and how many characters of each: a megabyte costs the reference about a second."""

NUM_SHARDS, FIRST_TEXTS = 16, 4_000
"""The documents come from so many shards at most, spread over all of them, and from the first texts of each."""

EXCERPT_CHARS, MAX_EXCERPTS = 60, 4_000
"""How much is compared on either side of a delicate place, and how many such places of the first shard."""

_DELICATE = (
    re.compile(r"\d"),
    re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"),
    re.compile(r"[^\x00-\u024f\u2000-\u206f]"),
    re.compile(r"\s{2}\S"),
)
"""Digits, control characters, what is neither Latin nor general punctuation, and runs of white space."""


def fast_agrees(info: TokenizerInfo, shards: Sequence[Path]) -> tuple[bool, str]:
    """Whether the fast engine gives the reference's ids for the sampled texts of ``shards``, and the finding in words."""
    literal = LiteralTokenizer(info)
    pairs = list(zip(literal.engines(fast=False), literal.engines(fast=True), strict=True))
    reference, fast = pairs[0]
    if reference.name == fast.name:
        return False, f"encoded by {reference.name}; {FAST_PACKAGE} is not installed or cannot read this tokenizer"
    texts = list(samples(shards))
    if all(agree(one, other, texts) for one, other in pairs):
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
    yield from islice((excerpt for text in _texts(shards[0]) for excerpt in excerpts(text)), MAX_EXCERPTS)


def excerpts(text: str) -> Iterator[str]:
    """The surroundings of the first place of each delicate kind in a text."""
    for kind in _DELICATE:
        found = kind.search(text)
        if found:
            yield text[max(0, found.start() - EXCERPT_CHARS) : found.end() + EXCERPT_CHARS]


def _pieces(shard: Path, seed: int, num_documents: int) -> Iterator[str]:
    """The beginnings of seeded texts among the first of a shard."""
    texts = list(islice(_texts(shard), FIRST_TEXTS))
    if texts:
        wanted = mixed(np.arange(num_documents, dtype=np.uint64), seed) % np.uint64(len(texts))
        yield from (texts[number][:DOCUMENT_CHARS] for number in np.unique(wanted).tolist())


def _texts(shard: Path) -> Iterator[str]:
    for batch in read_batches(shard, ["text", "messages"], max_rows=512):
        yield from turns(batch).content.to_pylist()
