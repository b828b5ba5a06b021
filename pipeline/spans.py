r"""Words and lines of a whole Arrow column as spans of its bytes, and hashes of such spans, without a Python object for each.

A word is a run of bytes above 0x20, so what stands between ASCII blanks, marks included. In scripts that are written without blanks
(Chinese, Japanese, Thai, Lao, Burmese, Khmer) each character is a word. A line ends at ``\n``; blanks around it and empty lines do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.text import Hashes, Rows, mix

CHUNK_BYTES = 1 << 19
"""Texts are looked at in pieces of about this size; memory is bounded by it and by the longest text (about 20 times its bytes)."""

PADDING = 8
"""Zero bytes after the last text, so that reading 8 bytes from any byte on stays inside."""

_BLOCK = 1 << 15
"""Bytes hashed in one step: what a step needs fits the processor's cache."""


@dataclass(frozen=True)
class Spans:
    """Spans of bytes of n texts, in order: the i-th text's are ``bounds[i]`` up to ``bounds[i + 1]``.

    starts, ends  int64[total]
    bounds        int64[n + 1]
    """

    starts: Rows
    ends: Rows
    bounds: Rows

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def counts(self) -> Rows:
        """int64[n]: how many spans each text has."""
        return np.diff(self.bounds)

    @cached_property
    def owner(self) -> Rows:
        """int64[total]: the text of each span."""
        return np.repeat(np.arange(len(self.bounds) - 1), self.counts)

    def sums(self, values: NDArray[np.generic]) -> Rows:
        """int64[n]: the sum of ``values`` (one for each span, whole numbers or truth values) over each text."""
        return _between(values, self.bounds[:-1], self.bounds[1:])


@dataclass(frozen=True)
class Layout:
    """n texts laid end to end.

    data     uint8[total + PADDING]
    offsets  int64[n + 1]
    """

    data: NDArray[np.uint8]
    offsets: Rows

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def is_ascii(self) -> bool:
        """Whether no byte is above 0x7f."""
        return not len(self.data) or int(self.data.max()) < 0x80

    @cached_property
    def eights(self) -> NDArray[np.uint64]:
        """uint64[total + 1]: the 8 bytes from each byte on, the first byte lowest."""
        return np.ndarray((len(self.data) - PADDING + 1,), "<u8", self.data.data, strides=(1,))

    @cached_property
    def words(self) -> Spans:
        """The words of each text."""
        inside = self.data > 0x20
        first = inside.copy()
        first[1:] &= ~inside[:-1]
        borders = self.offsets[:-1][np.diff(self.offsets) > 0]
        first[borders] = inside[borders]
        alone = self._unspaced
        first[alone] = True
        after = alone + 3
        first[after] = inside[after]
        last = inside
        last[:-1] &= ~inside[1:] | first[1:]
        starts = np.flatnonzero(first)
        return Spans(starts, np.flatnonzero(last) + 1, np.searchsorted(starts, self.offsets))

    @cached_property
    def lines(self) -> Spans:
        """The lines of each text that hold a word, without the blanks around them."""
        return self._runs_of_words(1)

    @cached_property
    def paragraphs(self) -> Spans:
        """The runs of lines of each text that stand between empty lines."""
        return self._runs_of_words(2)

    def _runs_of_words(self, num_newlines: int) -> Spans:
        """Spans from word to word without ``num_newlines`` line ends between two words."""
        words = self.words
        if not len(words):
            return words
        after = np.searchsorted(words.starts, np.flatnonzero(self.data == 0x0A))
        enough = after[num_newlines - 1 :]
        first = np.zeros(len(words) + 1, np.bool_)
        first[enough[enough == after[: len(enough)]]] = True
        first = first[:-1]
        first[words.bounds[:-1][words.counts > 0]] = True
        starts = words.starts[first]
        return Spans(starts, words.ends[np.append(first[1:], True)], np.searchsorted(starts, self.offsets))

    @cached_property
    def line_words(self) -> Rows:
        """int64[lines + 1]: the first word of each line, and the number of words."""
        return np.append(np.searchsorted(self.words.starts, self.lines.starts), len(self.words))

    @cached_property
    def num_chars(self) -> Rows:
        """int64[n]: characters of each text."""
        return self.chars(self.offsets[:-1], self.offsets[1:])

    def chars(self, starts: Rows, ends: Rows) -> Rows:
        """int64[]: characters of spans of bytes that begin and end between characters."""
        return ends - starts if self.is_ascii else self._char_index[ends] - self._char_index[starts]

    @cached_property
    def unspaced_share(self) -> NDArray[np.float64]:
        """float64[n]: the share of characters of each text in scripts that are written without blanks; 0 for an empty text."""
        found = np.searchsorted(self._unspaced, self.offsets)
        return np.diff(found) / np.maximum(self.num_chars, 1)

    def count_at(self, positions: Rows) -> Rows:
        """int64[n]: how many of the ascending ``positions`` lie in each text."""
        return np.diff(np.searchsorted(positions, self.offsets))

    @cached_property
    def lower(self) -> Layout:
        """The same texts with ASCII letters in lower case."""
        upper = (self.data >= ord("A")) & (self.data <= ord("Z"))
        return Layout(self.data | (upper.astype(np.uint8) << np.uint8(5)), self.offsets)

    def occurrences(self, pattern: bytes) -> Rows:
        """int64[]: where ``pattern`` stands, in ascending order; no occurrence reaches over a text's border."""
        last = int(self.offsets[-1]) - len(pattern)
        rarest = min(range(len(pattern)), key=lambda k: (pattern[k] in b" etaoinsrhl", k))
        at = np.flatnonzero(self.data[: max(0, last + 1) + rarest] == pattern[rarest]) - rarest
        at = at[at >= 0]
        for k, byte in enumerate(pattern):
            at = at[self.data[at + k] == byte]
        inside: Rows = at[np.searchsorted(self.offsets, at, side="right") == np.searchsorted(self.offsets, at + len(pattern))]
        return inside

    def starts_with(self, spans: Spans, pattern: bytes) -> NDArray[np.bool_]:
        """bool[]: whether each span begins with ``pattern`` (at most 8 bytes)."""
        return self._equals_at(spans.starts, spans, pattern)

    def ends_with(self, spans: Spans, pattern: bytes) -> NDArray[np.bool_]:
        """bool[]: whether each span ends with ``pattern`` (at most 8 bytes)."""
        return self._equals_at(np.maximum(spans.ends - len(pattern), 0), spans, pattern)

    def _equals_at(self, positions: Rows, spans: Spans, pattern: bytes) -> NDArray[np.bool_]:
        keep = np.uint64((1 << 8 * len(pattern)) - 1)
        same = self.eights[positions] & keep == np.uint64(int.from_bytes(pattern, "little"))
        found: NDArray[np.bool_] = same & (spans.ends - spans.starts >= len(pattern))
        return found

    def hashes(self, spans: Spans) -> Hashes:
        """A 64-bit hash of the bytes of each span; equal bytes have equal hashes wherever they stand. Not meant to withstand an adversary."""
        before_start, before_end = self._prefix_hashes(spans.starts), self._prefix_hashes(spans.ends)
        return mix((before_end - before_start) * _inverse_powers(spans.starts) + (spans.ends - spans.starts).astype(np.uint64))

    def sketches(self, spans: Spans) -> Hashes:
        """A 64-bit hash of length, first and last 8 bytes of each span: equal for equal spans, now and then for others too. Fast."""
        length = spans.ends - spans.starts
        keep = np.uint64(0xFFFFFFFFFFFFFFFF) >> (np.uint64(64) - np.uint64(8) * np.minimum(length, 8).astype(np.uint64))
        sketch = (self.eights[spans.starts] & keep) * np.uint64(0x9E3779B97F4A7C15)
        long = np.flatnonzero(length > 8)
        sketch[long] += self.eights[spans.ends[long] - 8] * np.uint64(0xBF58476D1CE4E5B9) + length[long].astype(np.uint64)
        mixed: Hashes = sketch ^ (sketch >> np.uint64(29))
        return mixed

    @cached_property
    def _char_index(self) -> Rows:
        """int64[total + 1]: characters that begin before each byte."""
        return np.concatenate([[0], np.cumsum(self.data[: int(self.offsets[-1])] & 0xC0 != 0x80, dtype=np.int64)])

    @cached_property
    def _unspaced(self) -> Rows:
        """int64[]: the first byte of each character (of 3 bytes) in a script that is written without blanks."""
        if self.is_ascii:
            return np.zeros(0, np.int64)
        lead = np.flatnonzero((self.data >= 0xE0) & (self.data <= 0xE9))
        one, two = self.data[lead], self.data[lead + 1]
        thai_lao = (one == 0xE0) & (two >= 0xB8) & (two <= 0xBB)
        burmese_khmer = (one == 0xE1) & ((two <= 0x82) | (two == 0x9E) | (two == 0x9F))
        found: Rows = lead[(one >= 0xE3) | thai_lao | burmese_khmer]
        return found

    def _prefix_hashes(self, positions: Rows) -> Hashes:
        """For each of the ascending ``positions``: the sum over all bytes before it of the byte's number times a power of its place."""
        table, powers = _byte_numbers(), _block_powers()
        result = np.zeros(len(positions), np.uint64)
        carry, factor, step = np.uint64(0), np.uint64(1), np.uint64(pow(_BASE, _BLOCK, 1 << 64))
        with np.errstate(over="ignore"):
            for start in range(0, int(self.offsets[-1]), _BLOCK):
                piece = self.data[start : min(start + _BLOCK, int(self.offsets[-1]))]
                sums = np.cumsum(table[piece] * powers[: len(piece)]) * factor + carry
                low, high = np.searchsorted(positions, (start + 1, start + len(piece) + 1))
                result[low:high] = sums[positions[low:high] - start - 1]
                carry, factor = sums[-1], factor * step
        return result


def layouts(texts: pa.LargeStringArray) -> Iterator[Layout]:
    """The texts in pieces of about ``CHUNK_BYTES``, each at least one text; a null counts as an empty text."""
    texts = pc.fill_null(texts.cast(pa.large_string()), "")
    ends = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False))
    start = 0
    while start < len(texts):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + CHUNK_BYTES, side="right")))
        yield _layout(texts.slice(start, stop - start))
        start = stop


def repeats(values: Hashes, owner: Rows) -> NDArray[np.bool_]:
    """bool[]: whether each value equals an earlier one of the same owner; ``owner`` ascends."""
    codes = codes_of(values, owner)
    seen = np.maximum.accumulate(codes) if len(codes) else codes
    again = np.zeros(len(codes), np.bool_)
    again[1:] = codes[1:] <= seen[:-1]
    return again


def codes_of(values: Hashes, owner: Rows) -> Rows:
    """int64[]: a number for each different pair of value and owner, counted from 0 in the order of their first appearance."""
    codes: Rows = pa.array(values ^ mix(owner.astype(np.uint64))).dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def share(part: NDArray[np.generic], whole: NDArray[np.generic]) -> NDArray[np.float64]:
    """``part / whole``, nan where ``whole`` is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(whole) > 0, np.asarray(part, np.float64) / np.asarray(whole, np.float64), np.nan)


def _layout(texts: pa.LargeStringArray) -> Layout:
    _, offset_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.zeros(int(offsets[-1] - offsets[0]) + PADDING, np.uint8)
    if data_buffer is not None:
        data[:-PADDING] = np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]]
    return Layout(data, offsets - offsets[0])


def _between(values: NDArray[np.generic], starts: Rows, ends: Rows) -> Rows:
    running = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    sums: Rows = running[ends] - running[starts]
    return sums


_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)


@cache
def _byte_numbers() -> Hashes:
    """uint64[256]: a random-looking number for each byte."""
    return mix(np.arange(1, 257, dtype=np.uint64))


@cache
def _block_powers() -> Hashes:
    return _first_powers(_BASE, _BLOCK)


def _first_powers(base: int, count: int) -> Hashes:
    """uint64[count]: the powers of ``base`` from the 0th on."""
    factors = np.full(count, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


def _inverse_powers(exponents: Rows) -> Hashes:
    """uint64[]: the base to minus each of the exponents, by two tables."""
    num_blocks = int(exponents.max(initial=0)) // _BLOCK + 1
    low, high = _first_powers(_INVERSE, _BLOCK), _first_powers(pow(_INVERSE, _BLOCK, 1 << 64), num_blocks)
    return low[exponents % _BLOCK] * high[exponents // _BLOCK]
