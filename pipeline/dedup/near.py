"""Near-duplicates: the settings, and the MinHash sketches that find candidate pairs.

Candidates are found by the short n-grams for all documents, so that a document just below ``short_words`` meets one just above it;
the pair is then measured by n-grams of the length that its shorter document calls for (``similarity``). A pair whose long n-grams reach
a similarity reaches it by its short ones too, but for texts that repeat themselves in odd ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import comb
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.compared import Compare
from pipeline.dedup.native import loop
from pipeline.settings import at_least, between
from pipeline.text import Hashes, Ragged, mix, ngram_hashes

NUM_BANDS = 32
MAX_MISS = 1e-3
"""A pair at the threshold is overlooked with at most this probability; one well above it practically never."""

MAX_BAND = 0xFFFFFFFE
"""The largest hash of a band; one more marks a document without words."""
WORDLESS = MAX_BAND + 1
HALF = np.uint64(32)

SKETCH_VALUES = 1 << 16
"""About so many n-grams are sketched at a time: their 32-bit hashes stay in the processor's second-level cache."""


@dataclass(frozen=True)
class Near:
    """Removes documents that share most of their word n-grams with a document that is kept."""

    version: ClassVar[int] = 1

    threshold: float = between(0.8, 0.5, 1.0)
    """Jaccard similarity of the two sets of n-grams from which on two documents are duplicates."""
    ngram: int = at_least(5, 1)
    """Words in an n-gram."""
    short_ngram: int = at_least(3, 1)
    """Words in an n-gram where the shorter of two documents has fewer than ``short_words`` words: one changed word spoils five
    5-grams, and of 30 words' 5-grams that is a fifth."""
    short_words: int = at_least(80, 0)
    """Documents of fewer words are short."""
    short_threshold: float = between(0.7, 0.5, 1.0)
    """How far the threshold sinks for short documents, and no further than two changed words cost, which spoil 2n of m n-grams. It does
    not sink for those so short that one changed word costs more. On our planted corpus at threshold 0.8: recall of short texts 0.94
    if one word is forgiven, 0.99 if two are, at a precision of 0.999."""
    compare: Compare = "whole"
    """What of a conversation is compared: all turns but the system's, the user's (``prompts``) or the assistant's (``answers``)."""
    seed: int = 0
    """Decides which hash functions the sketches are made by."""

    def __post_init__(self) -> None:
        if self.short_ngram > self.ngram:
            raise ValueError(f"short_ngram is {self.short_ngram}, longer than ngram ({self.ngram}); make it at most as long")


def rows_per_band(near: Near) -> int:
    """The most values a band can hold so that a pair at the lowest threshold shares one of the bands but for ``MAX_MISS``."""
    lowest = min(near.threshold, near.short_threshold)
    return max(rows for rows in range(1, 17) if rows == 1 or (1 - lowest**rows) ** NUM_BANDS <= MAX_MISS)


def min_shared(near: Near) -> int:
    """The most bands that two long documents at the threshold share but for ``MAX_MISS``; their short n-grams are at least as alike as the long."""
    share = near.threshold ** rows_per_band(near)
    missed, shared = 0.0, 0
    while shared < NUM_BANDS and missed <= MAX_MISS:
        missed += comb(NUM_BANDS, shared) * share**shared * (1 - share) ** (NUM_BANDS - shared)
        shared += 1
    return max(1, shared - 1)


def sketch(words: Ragged, near: Near, compiled: bool = False) -> NDArray[np.uint32]:
    """uint32[n, NUM_BANDS]: a hash of each band of each document's MinHash, ``WORDLESS`` for a document without words.

    MinHash after Broder (1997), banding as in Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3.
    """
    bands = np.full((len(words), NUM_BANDS), WORDLESS, np.uint32)
    rows = rows_per_band(near)
    numbers = (mix(np.arange(2 * rows * NUM_BANDS, dtype=np.uint64) + np.uint64(near.seed % 2**32 << 32)) >> HALF).astype(np.uint32)
    factors, terms = numbers[::2] | np.uint32(1), numbers[1::2].copy()
    if compiled:
        n = near.short_ngram
        places, grams = _places(max(n + 1, rows)), np.empty(words.lengths.max(initial=0), np.uint32)
        loop("sketch")(words.values, words.offsets, len(words), n, places, factors, terms, NUM_BANDS, rows, grams, bands.reshape(-1))
        return bands
    full = np.flatnonzero(words.lengths)
    starts = words.offsets[full]
    stops = np.unique(np.searchsorted(starts, np.append(np.arange(0, len(words.values), SKETCH_VALUES), len(words.values))))
    for first, last in pairwise(stops.tolist()):
        minima = _minima(words.take(full[first:last]), factors, terms, near)
        bands[full[first:last]] = _band_hashes(minima.reshape(last - first, NUM_BANDS, rows))
    return bands


def _places(count: int) -> Hashes:
    """An odd factor for each place in an n-gram or a band."""
    return mix(np.arange(count, dtype=np.uint64)) | np.uint64(1)


def _minima(words: Ragged, factors: NDArray[np.uint32], terms: NDArray[np.uint32], near: Near) -> NDArray[np.uint32]:
    """uint32[documents, hashes]: the least of ``gram * factor + term`` over each document's n-grams, modulo 2^32."""
    grams = ngram_hashes(words, near.short_ngram)
    values = (grams.values >> HALF).astype(np.uint32)
    minima, hashed = np.empty((len(words), len(factors)), np.uint32), np.empty_like(values)
    for k, (factor, term) in enumerate(zip(factors, terms, strict=True)):
        np.multiply(values, factor, out=hashed)
        hashed += term
        minima[:, k] = np.minimum.reduceat(hashed, grams.offsets[:-1])
    return minima


def _band_hashes(minima: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """uint32[documents, bands] of uint32[documents, bands, rows]."""
    hashes = mix((mix(minima.astype(np.uint64)) * _places(minima.shape[2])).sum(axis=2, dtype=np.uint64)) >> HALF
    bands: NDArray[np.uint32] = np.minimum(hashes, np.uint64(MAX_BAND)).astype(np.uint32)
    return bands
