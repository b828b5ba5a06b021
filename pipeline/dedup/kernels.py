"""Compiled loops for large datasets: the same values as ``text.word_hashes``, ``near.sketch`` and ``similarity`` give, many times as fast.

Loading the compiler takes about half a CPU second in each process, and compiling for the first time another one, so that this module is
imported only where there is enough text to win it back. Its results never differ from those of the plain ways.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from pipeline.text import HARD, KEEP, REWRITE

C1, C2, C3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S27, S30, S31, S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
"""Constants of SplitMix64, as in ``text.mix``."""
ALL, ONE = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(1)
ONES, HIGHS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
FROM_A, ABOVE_Z = np.uint64((0x80 - 0x41) * 0x0101010101010101), np.uint64((0x7F - 0x5A) * 0x0101010101010101)
"""Added to eight ASCII characters at once, they set the high bit of those from A on, and of those after Z."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    try:
        made: Callable[..., Any] = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        made = numba.njit(nogil=True)(function)
    return made


@_compiled
def _mix(value: Any) -> Any:
    value = value + C1
    value = (value ^ (value >> S30)) * C2
    value = (value ^ (value >> S27)) * C3
    return value ^ (value >> S31)


@_compiled
def _point(data: Any, at: int, width: int) -> Any:
    """The code point of the character of so many bytes that begins there."""
    point = data[at] & (0x7F >> width)
    for k in range(1, width):
        point = point << 6 | data[at + k] & 0x3F
    return point


@_compiled
def _width(data: Any, at: int) -> int:
    """How many bytes the character has that begins there; 1 for what begins none."""
    byte = data[at]
    return 1 if byte < 0xC0 else 2 + (byte >= 0xE0) + (byte >= 0xF0)


@_compiled
def _first(marks: Any) -> Any:
    """The number of the first byte that is 1 of eight that are 0 or 1."""
    below = (marks & (~marks + ONE)) - ONE
    return np.int64(((below & ONES) * ONES) >> np.uint64(56))


@_compiled
def _mark_words(data: Any, eights: Any, is_word: Any, inside: Any) -> None:
    """1 where a byte is part of a word: ASCII letters, digits and ``_`` all at once, then the other characters one by one."""
    for at in range(len(inside)):
        byte = data[at]
        small = np.uint8(byte | np.uint8(0x20)) - np.uint8(0x61)
        inside[at] = (np.uint8(small) < 26) | (np.uint8(byte - np.uint8(0x30)) < 10) | (byte == 0x5F)
    at = 0
    while at < len(eights):
        if eights[at] & HIGHS == 0:
            at += 8
        elif data[at] < 0x80:
            at += 1
        else:
            width = _width(data, at)
            word = width > 1 and is_word[_point(data, at, width)]
            for k in range(at, min(at + width, len(inside))):
                inside[k] = word
            at += width


@_compiled
def hash_words(
    data: Any, eights: Any, offsets: Any, is_word: Any, max_bytes: int, inside: Any, insides: Any, hashes: Any, starts: Any, counts: Any
) -> int:
    """Words of folded UTF-8: their hashes, or where they start if they are longer than ``max_bytes``; how many a text has. Gives their number.

    data, inside uint8[bytes + 8] (the last 8 are 0), eights, insides uint64[bytes + 1] (the 8 bytes of them from each one on),
    offsets int64[n + 1], is_word bool[0x110000], hashes uint64[words], starts int64[words] (-1: hashed), counts int64[n]
    """
    begun = np.empty(max_bytes + 1, np.uint64)
    for length in range(max_bytes + 1):
        begun[length] = _mix(np.uint64(length))
    _mark_words(data, eights, is_word, inside)
    found = 0
    for text in range(len(offsets) - 1):
        before = found
        at, end = offsets[text], offsets[text + 1]
        while at < end:
            marks = insides[at]
            if marks == 0:
                at += 8
                continue
            start = at + _first(marks)
            if start >= end:
                break
            at = start
            others = ~insides[at] & ONES
            while others == 0 and at < end:
                at += 8
                if at < end:
                    others = ~insides[at] & ONES
            at = min(at + _first(others), end) if others != 0 else end
            length = at - start
            if length > max_bytes:
                starts[found] = start
            else:
                starts[found] = -1
                value = begun[length]
                for first in range(start, at - 8, 8):
                    value = _mix(value ^ eights[first])
                last = (length - 1) & ~7
                value = _mix(value ^ (eights[start + last] & (ALL >> np.uint64(64 - 8 * (length - last)))))
                hashes[found] = value
            found += 1
        counts[text] = found - before
    return found


@_compiled
def fold_bytes(
    data: Any, eights: Any, size: int, kinds: Any, others: Any, lower: Any, lowers: Any, hard: Any, unknown: Any
) -> tuple[int, int]:
    """Each character of UTF-8 as ``text`` folds it by itself, into ``lower``; where the hard ones stand, and the code points without a kind.

    Gives how many of either; an unknown one is listed once.
    data, lower uint8[size + 8], eights, lowers uint64[size + 1] (the 8 bytes of them from each one on), kinds uint8[0x110000],
    others uint8[0x110000, 4], hard, unknown int64[size]
    """
    num_hard = num_unknown = at = 0
    while at < size:
        eight = eights[at]
        if eight & HIGHS == 0:  # eight ASCII characters: a capital has its high bit set by one of the sums only
            capital = ((eight + FROM_A) ^ (eight + ABOVE_Z)) & HIGHS
            lowers[at] = eight | (capital >> np.uint64(2))
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
                    lower[at + k] = others[point, k]
            elif kind == HARD:
                hard[num_hard] = at
                num_hard += 1
            elif kind == 0:
                kinds[point] = KEEP
                unknown[num_unknown] = point
                num_unknown += 1
        at += width
    return num_hard, num_unknown


@_compiled
def count_visible(data: Any, offsets: Any, counts: Any) -> None:
    """Characters of each text that are neither ASCII white space nor ASCII control characters: ``text.visible_chars``.

    data uint8[bytes], offsets int64[n + 1], counts int64[n]
    """
    for text in range(len(counts)):
        seen = 0
        for at in range(offsets[text], offsets[text + 1]):
            byte = data[at]
            seen += (byte > 0x20) & (byte & 0xC0 != 0x80)
        counts[text] = seen


@_compiled
def minima(grams: Any, offsets: Any, factors: Any, terms: Any, result: Any) -> None:
    """The least of ``gram * factor + term`` over the n-grams of each text, for each factor, all modulo 2^32.

    grams uint32[total], offsets int64[n + 1], factors and terms uint32[k], result uint32[n, k]
    """
    for text in range(len(offsets) - 1):
        least = result[text]
        least[:] = np.uint32(0xFFFFFFFF)
        for place in range(offsets[text], offsets[text + 1]):
            gram = grams[place]
            for k in range(len(factors)):
                value = np.uint32(gram * factors[k] + terms[k])
                if value < least[k]:
                    least[k] = value


@_compiled
def overlaps(values: Any, bounds: Any, one: Any, other: Any, common: Any) -> None:
    """How many values each pair of ascending sets has in common.

    values uint32[total], bounds int64[sets + 1], one and other int64[pairs], common int64[pairs]
    """
    for pair in range(len(one)):
        left, left_end = bounds[one[pair]], bounds[one[pair] + 1]
        right, right_end = bounds[other[pair]], bounds[other[pair] + 1]
        shared = 0
        while left < left_end and right < right_end:
            a, b = values[left], values[right]
            shared += a == b
            left += a <= b
            right += b <= a
        common[pair] = shared
