"""The exact Jaccard similarity of pairs of documents, by their sets of word n-grams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.native import loop
from pipeline.dedup.near import Near
from pipeline.dedup.pairs import HIGH_BITS, LOW
from pipeline.text import Hashes, Ragged, Rows, distinct, ngram_hashes

MEASURED_WORDS = 1 << 19
"""Pairs are measured in blocks of about so many words, which stay in the processor's cache and bound the memory."""
MEASURED_PAIRS = 1 << 15

SAMPLED = 8
"""One n-gram in so many makes the sample, that one by its hash."""
MIN_SAMPLE = 64
FAR_BELOW = 5.0
"""A pair is ruled out when so many n-grams were sampled and the estimate is so many standard deviations below the threshold: one true pair
in 10^6 is lost to that."""


@dataclass(frozen=True)
class Compared:
    """The compared words of n documents: their hashes, and int64[n] how many, at the end, are a conversation's answers (-1: a plain document)."""

    words: Ragged
    answers: Rows
    compiled: bool = False


def measure(compared: Compared, one: Rows, other: Rows, near: Near) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """float64[n]: the similarity of each pair (positions in ``compared``), and bool[n] whether it is enough.

    Of two conversations the prompts and the answers must reach the threshold too, each by themselves: other questions about one long
    passage stay apart, and so do other questions with one answer. The score is then the smallest of the similarities.
    """
    score, close = np.empty(len(one)), np.empty(len(one), np.bool_)
    lengths = compared.words.lengths
    cost = np.cumsum(lengths[one] + lengths[other])
    start = 0
    while start < len(one):
        done = cost[start - 1] if start else 0
        stop = min(start + MEASURED_PAIRS, max(start + 1, int(np.searchsorted(cost, done + MEASURED_WORDS, side="right"))))
        score[start:stop], close[start:stop] = _measure(compared, one[start:stop], other[start:stop], near)
        start = stop
    return score, close


def _measure(compared: Compared, one: Rows, other: Rows, near: Near) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    words, answers = compared.words, compared.answers
    score, close = _compare(words, one, other, near, compared.compiled)
    talks = np.flatnonzero((answers[one] >= 0) & (answers[other] >= 0))
    if not len(talks):
        return score, close
    rows, local = np.unique(np.concatenate([one[talks], other[talks]]), return_inverse=True)
    left, right = local[: len(talks)], local[len(talks) :]
    spoken, said = words.take(rows), answers[rows]
    for part in (spoken.heads(spoken.lengths - said), spoken.tails(said)):
        some = np.flatnonzero((part.lengths[left] > 0) | (part.lengths[right] > 0))
        part_score, part_close = _compare(part, left[some], right[some], near, compared.compiled)
        score[talks[some]] = np.minimum(score[talks[some]], part_score)
        close[talks[some]] &= part_close
    return score, close


def _compare(words: Ragged, one: Rows, other: Rows, near: Near, compiled: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The similarity of each pair of sequences, and whether it is enough for texts of their length."""
    lengths = words.lengths
    short = np.minimum(lengths[one], lengths[other]) < near.short_words
    score, close = np.empty(len(one), np.float64), np.empty(len(one), np.bool_)
    short_floor = min(near.short_threshold, near.threshold)
    for chosen, n, floor in ((short, near.short_ngram, short_floor), (~short, near.ngram, near.threshold)):
        pairs = np.flatnonzero(chosen)
        score[pairs], num_grams = _jaccard(words, one[pairs], other[pairs], n, floor, compiled)
        one_word_changed, two_words_changed = ((num_grams - lost) / (num_grams + lost) for lost in (n, 2 * n))
        needed = np.where(one_word_changed < floor, near.threshold, np.clip(two_words_changed, floor, near.threshold))
        close[pairs] = score[pairs] >= needed
    return score, close


def _jaccard(words: Ragged, one: Rows, other: Rows, n: int, floor: float, compiled: bool) -> tuple[NDArray[np.float64], Rows]:
    """Jaccard similarity of the n-gram sets of each pair of sequences, and the size of the smaller set.

    A sample of the n-grams rules out the pairs that are far below ``floor``, of which only the estimate is given. N-grams are told
    apart by 32 bits: two sets of 10,000 are expected to be off by a fortieth of an n-gram.
    """
    score, sizes = np.zeros(len(one)), np.zeros(len(one), np.int64)
    if not len(one):
        return score, sizes
    used, local = np.unique(np.concatenate([one, other]), return_inverse=True)
    left, right = local[: len(one)], local[len(one) :]
    grams = ngram_hashes(words.take(used), n)
    keys = np.repeat(np.arange(len(used), dtype=np.uint64) << HIGH_BITS, grams.lengths) | grams.values >> HIGH_BITS
    common, union, _ = _overlap(keys[(keys & LOW) < LOW // np.uint64(SAMPLED)], left, right, compiled)
    score[:] = common / np.maximum(union, 1)
    hopeless = (union >= MIN_SAMPLE) & (score < floor - FAR_BELOW * np.sqrt(floor * (1 - floor) / np.maximum(union, 1)))
    rest = np.flatnonzero(~hopeless)
    wanted = np.zeros(len(used), np.bool_)
    wanted[left[rest]] = wanted[right[rest]] = True
    common, union, smaller = _overlap(keys[np.repeat(wanted, grams.lengths)], left[rest], right[rest], compiled)
    score[rest], sizes[rest] = common / np.maximum(union, 1), smaller
    return score, sizes


def _overlap(keys: Hashes, one: Rows, other: Rows, compiled: bool) -> tuple[Rows, Rows, Rows]:
    """How many values each pair of sets has in common, how many together, and the size of the smaller; ``keys``: set << 32 | value, any order."""
    keys = distinct(keys)
    bounds = np.searchsorted(keys, np.arange(int(max(one.max(initial=0), other.max(initial=0))) + 2, dtype=np.uint64) << HIGH_BITS)
    sizes = np.diff(bounds)
    common = (_common_compiled if compiled else _common)(Ragged(keys & LOW, bounds.astype(np.int64)), one, other)
    return common, sizes[one] + sizes[other] - common, np.minimum(sizes[one], sizes[other])


def _common(sets: Ragged, one: Rows, other: Rows) -> Rows:
    pair = np.arange(len(one), dtype=np.uint64) << HIGH_BITS
    sides = [sets.take(one), sets.take(other)]
    tagged = np.sort(np.concatenate([np.repeat(pair, side.lengths) | side.values for side in sides]))
    shared = tagged[1:][tagged[1:] == tagged[:-1]] >> HIGH_BITS
    return np.bincount(shared.astype(np.int64), minlength=len(one))


def _common_compiled(sets: Ragged, one: Rows, other: Rows) -> Rows:
    common = np.empty(len(one), np.int64)
    loop("overlaps")(sets.values.astype(np.uint32), sets.offsets, one, other, len(one), common)
    return common
