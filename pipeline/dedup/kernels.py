"""Loops over plain memory that numba compiles: the same values as ``text.word_hashes``, ``near.sketch`` and ``similarity`` give, many times as fast.

``pipeline.dedup.native`` has them compiled once and keeps the machine code, so that later processes need no compiler. So that the code needs
nothing of numba either, a loop takes pointers and 64-bit numbers only, allocates nothing and raises nothing: who calls it gives it enough room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from pipeline.text import HARD, KEEP, REWRITE

C1, C2, C3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S27, S30, S31 = np.uint64(27), np.uint64(30), np.uint64(31)
"""Constants of SplitMix64, as in ``text.mix``."""
S32, S56, S63 = np.uint64(32), np.uint64(56), np.uint64(63)
GATHER = np.uint64(0x0102040810204080)
"""Times eight bytes of 0 or 1 it has them as bits in its highest byte, the first as the lowest."""
MAX_BAND = np.uint64(0xFFFFFFFE)
"""As in ``near``."""
ALL, ONE = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(1)
HIGHS = np.uint64(0x8080808080808080)
FROM_A, ABOVE_Z = np.uint64((0x80 - 0x41) * 0x0101010101010101), np.uint64((0x7F - 0x5A) * 0x0101010101010101)
"""Added to eight ASCII characters at once, they set the high bit of those from A on, and of those after Z."""

_inline: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.njit(error_model="numpy", forceinline=True)
_intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = intrinsic


def _pointer(builder: Any, data: Any, at: Any) -> Any:
    return builder.bitcast(builder.gep(data, [at]), ir.IntType(64).as_pointer())


@_intrinsic
def _eight(typing: Any, data: Any, at: Any) -> Any:
    """The eight bytes of ``data`` from ``at`` on, as one number."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        loaded = builder.load(_pointer(builder, *given))
        loaded.align = 1
        return loaded

    return types.uint64(data, types.int64), generate


@_intrinsic
def _put_eight(typing: Any, data: Any, at: Any, value: Any) -> Any:
    """Write eight bytes at once."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        builder.store(given[2], _pointer(builder, *given[:2])).align = 1
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), generate


@_inline
def _mix(value: Any) -> Any:
    value = value + C1
    value = (value ^ (value >> S30)) * C2
    value = (value ^ (value >> S27)) * C3
    return value ^ (value >> S31)


@_inline
def _point(data: Any, at: int, width: int) -> Any:
    """The code point of the character of so many bytes that begins there."""
    point = data[at] & (0x7F >> width)
    for k in range(1, width):
        point = point << 6 | data[at + k] & 0x3F
    return point


@_inline
def _width(data: Any, at: int) -> int:
    """How many bytes the character has that begins there; 1 for what begins none."""
    byte = data[at]
    return 1 if byte < 0xC0 else 2 + (byte >= 0xE0) + (byte >= 0xF0)


@_intrinsic
def _lowest(typing: Any, bits: Any) -> Any:
    """The number of the lowest bit that is set; there must be one."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.cttz(given[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@_inline
def _mark_words(data: Any, size: int, is_word: Any, inside: Any) -> None:
    """1 where a byte is part of a word: ASCII letters, digits and ``_`` all at once, then the other characters one by one."""
    for at in range(size):
        byte = data[at]
        small = np.uint8(byte | np.uint8(0x20)) - np.uint8(0x61)
        inside[at] = (np.uint8(small) < 26) | (np.uint8(byte - np.uint8(0x30)) < 10) | (byte == 0x5F)
    for at in range(size, size + 64):
        inside[at] = 0
    at = 0
    while at < size:
        if _eight(data, at) & HIGHS == 0:
            at += 8
        elif data[at] < 0x80:
            at += 1
        else:
            width = _width(data, at)
            word = width > 1 and is_word[_point(data, at, width)] != 0
            for k in range(at, min(at + width, size)):
                inside[k] = word
            at += width


@_inline
def _find_words(inside: Any, start: int, end: int, edges: Any, found: int) -> int:
    """Where words start and end, by turns, into ``edges`` from ``found`` on; gives where the last stands."""
    before = np.uint64(0)
    for at in range(start, end, 64):
        bits = np.uint64(0)
        for k in range(8):
            bits |= ((_eight(inside, at + 8 * k) * GATHER) >> S56) << np.uint64(8 * k)
        if end - at < 64:
            bits &= (ONE << np.uint64(end - at)) - ONE
        changes = bits ^ (bits << ONE | before)
        before = bits >> S63
        while changes != 0:
            edges[found] = at + _lowest(changes)
            changes &= changes - ONE
            found += 1
    if before != 0:
        edges[found] = end
        found += 1
    return found


def hash_words(
    data: Any, size: int, offsets: Any, num_texts: int, is_word: Any, seeds: Any, max_bytes: int, inside: Any, edges: Any, hashes: Any, counts: Any
) -> int:
    """Words of folded UTF-8: where each starts and ends, its hash (none where it is longer than ``max_bytes``), and how many a text has.

    Gives how many are longer. data uint8[size + 8], the last 8 are 0; offsets int64[num_texts + 1], is_word uint8[0x110000], seeds
    uint64[max_bytes + 1], ``text.mix`` of each length; inside uint8[size + 64], edges int64[size + num_texts], hashes uint64 of half as many,
    counts int64[num_texts]
    """
    _mark_words(data, size, is_word, inside)
    found = num_long = 0
    for text in range(num_texts):
        first = found // 2
        found = _find_words(inside, offsets[text], offsets[text + 1], edges, found)
        counts[text] = found // 2 - first
        for word in range(first, found // 2):
            start = edges[2 * word]
            length = edges[2 * word + 1] - start
            if length > max_bytes:
                num_long += 1
                continue
            value = seeds[length]
            while length > 8:
                value = _mix(value ^ _eight(data, start))
                start += 8
                length -= 8
            hashes[word] = _mix(value ^ (_eight(data, start) & (ALL >> np.uint64(64 - 8 * length))))
    return num_long


def fold_bytes(data: Any, size: int, kinds: Any, others: Any, lower: Any, hard: Any, unknown: Any, counts: Any) -> int:
    """Each character of UTF-8 as ``text`` folds it by itself, into ``lower``; where the hard ones stand, and the code points without a kind.

    ``counts`` says how many of either; an unknown one is listed once.
    data, lower uint8[size + 8], kinds uint8[0x110000], others uint8[0x110000 * 4], hard, unknown int64[size], counts int64[2]
    """
    num_hard = num_unknown = at = 0
    while at < size:
        eight = _eight(data, at)
        if eight & HIGHS == 0:  # eight ASCII characters: a capital has its high bit set by one of the sums only
            capital = ((eight + FROM_A) ^ (eight + ABOVE_Z)) & HIGHS
            _put_eight(lower, at, eight | (capital >> np.uint64(2)))
            at += 8
            continue
        byte = data[at]
        width = _width(data, at)
        if byte < 0x80:
            lower[at] = byte + np.uint8(0x20) if np.uint8(byte - np.uint8(0x41)) < 26 else byte
            at += 1
            continue
        for k in range(width):
            lower[at + k] = data[at + k]
        if width > 1:
            point = _point(data, at, width)
            kind = kinds[point]
            if kind == REWRITE:
                for k in range(width):
                    lower[at + k] = others[4 * point + k]
            elif kind == HARD:
                hard[num_hard] = at
                num_hard += 1
            elif kind == 0:
                kinds[point] = KEEP
                unknown[num_unknown] = point
                num_unknown += 1
        at += width
    counts[0], counts[1] = num_hard, num_unknown
    return 0


def count_visible(data: Any, offsets: Any, num_texts: int, counts: Any) -> int:
    """Characters of each text that are neither ASCII white space nor ASCII control characters: ``text.visible_chars``.

    data uint8[bytes], offsets int64[num_texts + 1], counts int64[num_texts]
    """
    for text in range(num_texts):
        seen = 0
        for at in range(offsets[text], offsets[text + 1]):
            byte = data[at]
            seen += (byte > 0x20) & (byte & 0xC0 != 0x80)
        counts[text] = seen
    return 0


def sketch(
    words: Any, offsets: Any, num_texts: int, n: int, places: Any, factors: Any, terms: Any, num_bands: int, num_rows: int, grams: Any, bands: Any
) -> int:
    """A hash of each band of the MinHash of each text's n-grams; nothing is written for a text without words. See ``near.sketch``.

    words uint64[total], offsets int64[num_texts + 1], places uint64[max(n + 1, num_rows)] (odd factors), factors and terms
    uint32[num_bands * num_rows], grams uint32[the most words a text has], bands uint32[num_texts, num_bands]
    """
    for text in range(num_texts):
        first, num_words = offsets[text], offsets[text + 1] - offsets[text]
        if num_words == 0:
            continue
        num_grams = max(num_words - n + 1, 1)
        for gram in range(num_grams):
            total = np.uint64(0)
            for k in range(min(n, num_words)):
                total += words[first + gram + k] * places[k + 1]
            grams[gram] = total >> S32
        for band in range(num_bands):
            total = np.uint64(0)
            for row in range(num_rows):
                factor, term = factors[band * num_rows + row], terms[band * num_rows + row]
                least = np.uint32(0xFFFFFFFF)
                for gram in range(num_grams):
                    least = min(least, np.uint32(grams[gram] * factor + term))
                total += _mix(np.uint64(least)) * places[row]
            bands[text * num_bands + band] = min(_mix(total) >> S32, MAX_BAND)
    return 0


def overlaps(values: Any, bounds: Any, one: Any, other: Any, num_pairs: int, common: Any) -> int:
    """How many values each pair of ascending sets has in common.

    values uint32[total], bounds int64[sets + 1], one and other int64[num_pairs], common int64[num_pairs]
    """
    for pair in range(num_pairs):
        left, left_end = bounds[one[pair]], bounds[one[pair] + 1]
        right, right_end = bounds[other[pair]], bounds[other[pair] + 1]
        shared = 0
        while left < left_end and right < right_end:
            a, b = values[left], values[right]
            shared += a == b
            left += a <= b
            right += b <= a
        common[pair] = shared
    return 0
