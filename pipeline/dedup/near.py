"""Near-duplicates: MinHash sketches find candidate pairs, the exact Jaccard similarity of their word n-grams decides.

Candidates are found by the short n-grams for all documents, so that a document just below ``short_words`` meets one just above it;
the pair is then measured by n-grams of the length that its shorter document calls for. A pair whose long n-grams reach a similarity
reaches it by its short ones too, but for texts that repeat themselves in odd ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.compared import Compare
from pipeline.dedup.index import Index
from pipeline.settings import at_least, between
from pipeline.text import Hashes, Ragged, Rows, mix, ngram_hashes

NUM_BANDS = 32
MAX_MISS = 1e-3
"""A pair at the threshold is overlooked with at most this probability; one well above it practically never."""

SKETCH_VALUES = 1 << 16
"""About so many n-grams are sketched at a time: their 32-bit hashes stay in the processor's second-level cache."""

HOT_BUCKET = 50
"""In a bucket of up to so many documents every pair is a candidate."""
HOT_REACH = 8
"""In a larger one each is compared with so many that follow it, in the order of another band, so that the most alike stand together.

On 60,000 instructions from two templates, 100 and 16 found 0.4% more duplicates and took 2.2 times as long."""

VERIFY_WORDS = 1 << 21
"""Pairs are verified in blocks of about so many words."""
VERIFY_PAIRS = 1 << 15


@dataclass(frozen=True)
class Near:
    """Removes documents that share most of their word n-grams with a document that is kept."""

    version: ClassVar[int] = 1

    threshold: float = between(0.8, 0.5, 1.0)
    """Jaccard similarity of the two sets of n-grams from which on two documents are duplicates."""
    ngram: int = at_least(5, 1)
    short_ngram: int = at_least(3, 1)
    """Words in an n-gram where the shorter of two documents has fewer than ``short_words`` words: one changed word spoils five
    5-grams, and of 30 words' 5-grams that is a fifth."""
    short_words: int = at_least(80, 0)
    short_threshold: float = between(0.7, 0.5, 1.0)
    """How far the threshold sinks for short documents, and no further than two changed words cost, which spoil 2n of m n-grams. It does
    not sink for those so short that one changed word costs more. On our planted corpus at threshold 0.8: recall of short texts 0.94
    if one word is forgiven, 0.99 if two are, at a precision of 0.999."""
    compare: Compare = "whole"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.short_ngram > self.ngram:
            raise ValueError(f"short_ngram is {self.short_ngram}, longer than ngram ({self.ngram}); make it at most as long")


@dataclass(frozen=True)
class Edges:
    """Pairs of rows that are duplicates: int64[n] ``left`` < ``right`` and float64[n] ``score``, their Jaccard similarity."""

    left: Rows
    right: Rows
    score: NDArray[np.float64]


def rows_per_band(near: Near) -> int:
    """The most values a band can hold so that a pair at the lowest threshold shares one of the bands but for ``MAX_MISS``."""
    lowest = min(near.threshold, near.short_threshold)
    return max(rows for rows in range(1, 17) if rows == 1 or (1 - lowest**rows) ** NUM_BANDS <= MAX_MISS)


def sketch(words: Ragged, near: Near) -> Hashes:
    """uint64[n, NUM_BANDS]: a hash of each band of each document's MinHash; 0 for a document without words.

    MinHash after Broder (1997), banding as in Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3.
    """
    rows = rows_per_band(near)
    bands = np.zeros((len(words), NUM_BANDS), np.uint64)
    full = np.flatnonzero(words.lengths)
    starts = words.offsets[full]
    stops = np.unique(np.searchsorted(starts, np.append(np.arange(0, len(words.values), SKETCH_VALUES), len(words.values))))
    for first, last in pairwise(stops.tolist()):
        minima = _minima(words.take(full[first:last]), rows * NUM_BANDS, near)
        bands[full[first:last]] = _band_hashes(minima.reshape(last - first, NUM_BANDS, rows))
    return bands


def _minima(words: Ragged, num_hashes: int, near: Near) -> NDArray[np.uint32]:
    grams = ngram_hashes(words, near.short_ngram)
    values = (grams.values >> np.uint64(32)).astype(np.uint32)
    factors = (mix(np.arange(2 * num_hashes, dtype=np.uint64) + np.uint64(near.seed % 2**32 << 32)) >> np.uint64(32)).astype(np.uint32)
    minima = np.empty((len(words), num_hashes), np.uint32)
    hashed = np.empty_like(values)
    for k in range(num_hashes):
        np.multiply(values, factors[2 * k] | np.uint32(1), out=hashed)
        hashed += factors[2 * k + 1]
        minima[:, k] = np.minimum.reduceat(hashed, grams.offsets[:-1])
    return minima


def _band_hashes(minima: NDArray[np.uint32]) -> Hashes:
    """uint64[documents, bands] of uint32[documents, bands, rows]."""
    factors = mix(np.arange(minima.shape[2], dtype=np.uint64)) | np.uint64(1)
    return mix((mix(minima.astype(np.uint64)) * factors).sum(axis=2, dtype=np.uint64))


def candidates(index: Index, rows: Rows) -> tuple[Rows, Rows, int]:
    """Pairs of ``rows`` (left < right) that share a band, each once, ascending; and how many buckets were too hot to pair completely."""
    found = np.zeros(0, np.uint64)
    num_hot = 0
    band = index.band(NUM_BANDS - 1)[rows]
    for number in range(NUM_BANDS):
        following, band = band, index.band(number)[rows]
        pairs, hot = _bucket_pairs(band, following)
        found, num_hot = _distinct(np.concatenate([found, pairs])), num_hot + hot
    return rows[(found >> np.uint64(32)).astype(np.int64)], rows[(found & np.uint64(0xFFFFFFFF)).astype(np.int64)], num_hot


def _bucket_pairs(band: Hashes, following: Hashes) -> tuple[Hashes, int]:
    """Pairs of positions with equal ``band``, the smaller in the high 32 bits; and the number of hot buckets."""
    order = np.lexsort((following, band)).astype(np.uint64)
    ranked = band[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])) if len(ranked) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(ranked)))
    after = np.repeat(starts + sizes, sizes) - np.arange(len(ranked)) - 1
    reach = np.minimum(after, np.repeat(np.where(sizes > HOT_BUCKET, HOT_REACH, sizes), sizes))
    active = np.flatnonzero(reach)
    pairs = [np.zeros(0, np.uint64)]
    step = 0
    while len(active):
        step += 1
        one, other = order[active], order[active + step]
        pairs.append(np.minimum(one, other) << np.uint64(32) | np.maximum(one, other))
        active = active[reach[active] > step]
    return np.concatenate(pairs), int((sizes > HOT_BUCKET).sum())


def verify(index: Index, left: Rows, right: Rows, near: Near) -> Edges:
    """Those pairs whose similarity reaches the threshold, in the order given.

    Of two conversations the prompts and the answers must reach it too, each by themselves: other questions about one long passage stay apart,
    and so do other questions with one answer. The score is then the smallest of the similarities.
    """
    score = np.empty(len(left), np.float64)
    close = np.empty(len(left), np.bool_)
    lengths = index.num_words
    cost = np.cumsum(lengths[left] + lengths[right])
    start = 0
    while start < len(left):
        done = cost[start - 1] if start else 0
        stop = min(start + VERIFY_PAIRS, max(start + 1, int(np.searchsorted(cost, done + VERIFY_WORDS, side="right"))))
        score[start:stop], close[start:stop] = _measure(index, left[start:stop], right[start:stop], near)
        start = stop
    return Edges(left[close], right[close], score[close])


def _measure(index: Index, left: Rows, right: Rows, near: Near) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rows, local = np.unique(np.concatenate([left, right]), return_inverse=True)
    one, other = local[: len(left)], local[len(left) :]
    words, answers = index.words(rows), index.answer_words[rows]
    score, close = _compare(words, one, other, near)
    talks = np.flatnonzero((answers[one] >= 0) & (answers[other] >= 0))
    said = np.maximum(answers, 0)
    for part in (words.heads(words.lengths - said), words.tails(said)):
        spoken = talks[(part.lengths[one[talks]] > 0) | (part.lengths[other[talks]] > 0)]
        part_score, part_close = _compare(part, one[spoken], other[spoken], near)
        score[spoken] = np.minimum(score[spoken], part_score)
        close[spoken] &= part_close
    return score, close


def _compare(words: Ragged, one: Rows, other: Rows, near: Near) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The similarity of each pair of sequences, and whether it is enough for texts of their length."""
    short = np.minimum(words.lengths[one], words.lengths[other]) < near.short_words
    score, close = np.empty(len(one), np.float64), np.empty(len(one), np.bool_)
    short_floor = min(near.short_threshold, near.threshold)
    for chosen, n, floor in ((short, near.short_ngram, short_floor), (~short, near.ngram, near.threshold)):
        pairs = np.flatnonzero(chosen)
        score[pairs], num_grams = _jaccard(words, one[pairs], other[pairs], n)
        one_word_changed, two_words_changed = ((num_grams - lost) / (num_grams + lost) for lost in (n, 2 * n))
        needed = np.where(one_word_changed < floor, near.threshold, np.clip(two_words_changed, floor, near.threshold))
        close[pairs] = score[pairs] >= needed
    return score, close


def _jaccard(words: Ragged, one: Rows, other: Rows, n: int) -> tuple[NDArray[np.float64], Rows]:
    """Jaccard similarity of the n-gram sets of each pair of sequences, and the size of the smaller set.

    N-grams are told apart by 47 bits within a block of fewer than 2^17 sequences: one in 10^9 pairs of pages is off by one n-gram.
    """
    used, local = np.unique(np.concatenate([one, other]), return_inverse=True)
    one, other = local[: len(one)], local[len(one) :]
    grams = ngram_hashes(words.take(used), n)
    shift = np.uint64(47)
    keys = _distinct(np.repeat(np.arange(len(used), dtype=np.uint64), grams.lengths) << shift | grams.values >> np.uint64(17))
    offsets = np.searchsorted(keys, np.arange(len(used) + 1, dtype=np.uint64) << shift)
    sets = Ragged(keys & (np.uint64(1) << shift) - np.uint64(1), offsets.astype(np.int64))
    pair = np.arange(len(one), dtype=np.uint64)
    sides = [sets.take(one), sets.take(other)]
    tagged = np.sort(np.concatenate([np.repeat(pair, side.lengths) << shift | side.values for side in sides]))
    shared = tagged[1:][tagged[1:] == tagged[:-1]] >> shift
    common = np.bincount(shared.astype(np.int64), minlength=len(one))
    sizes = sets.lengths
    union = sizes[one] + sizes[other] - common
    return common / np.maximum(union, 1), np.minimum(sizes[one], sizes[other])


def _distinct(values: Hashes) -> Hashes:
    """Ascending, each once; ``np.unique`` of numpy 2.4 hashes and is eight times slower on millions of values."""
    ordered = np.sort(values)
    distinct: Hashes = ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]
    return distinct
