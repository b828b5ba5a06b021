"""Removes texts that say the same again and again: a model caught in a loop, a page filled with one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.documents import PLAIN, turns
from pipeline.filters.verdicts import Find, verdicts
from pipeline.settings import at_least, between
from pipeline.spans import Layout, Spans, codes_of, layouts, repeats
from pipeline.text import Hashes, Rows

MIN_REPEATS = 4
"""A line or a run of words that repeats fewer times than this is no loop, however short the text."""

CONFIRMING_RUN = 10
CONFIRMING_SHARE = 0.10
"""Runs of ten words that stood before must cover more than this share too (Gopher's limit): a name that a list repeats is no loop."""

PROSE_SHARE = 0.8
PROSE_LINE_WORDS = 3
"""Code, tables and lists of names are left alone: in prose at least this share of the words are letters, and a line has some words."""

_BUCKET_BITS = 9
_ODD = np.array([0x01000193, 0x5BD1E995, 0x2545F491, 0x9E3779B1, 0x85EBCA77], np.uint32)
_FACTOR = np.uint64(0x94D049BB133111EB)
_MARKS = b'"()[]*_.,;:!?'


@dataclass(frozen=True)
class Repetition:
    """Remove texts that say the same again and again.

    Judged are plain documents and answers that are prose. The limits are those of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1);
    shares of runs of words are of the bytes of all words. In scripts without blanks (Chinese, Japanese, ...) a character is a word.
    """

    roles: tuple[str, ...] = ("assistant", PLAIN)
    """``text`` stands for plain documents; lines are compared in those only."""

    max_lines: float = between(0.3, 0.0, 1.0)
    """Largest share of a plain document's lines that are prose and stood before."""

    max_2gram: float = between(0.20, 0.0, 1.0)
    """Largest share of a text in its most frequent run of 2 words."""
    max_3gram: float = between(0.18, 0.0, 1.0)
    """The same for 3 words."""
    max_4gram: float = between(0.16, 0.0, 1.0)
    """The same for 4 words."""

    min_words: int = at_least(50, 4)
    """Runs of words are looked at in texts of at least so many words."""

    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def judge(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Verdicts with the share as score and, as span, a place where what repeats stands for the second time."""
        view = turns(batch).of_roles(self.roles)
        found: list[tuple[int, dict[str, object]]] = []
        suspects = view.take(self._rows(view.content, self._may_repeat))
        suspects = suspects.take(self._rows(suspects.content, self._may_be_prose))
        first = 0
        for layout in layouts(suspects.content):
            piece = slice(first, first + len(layout))
            for row, verdict in self._verdicts(layout, suspects.message[piece] < 0):
                found.append((int(suspects.document[first + row]), {**verdict, "message": int(suspects.message[first + row])}))
            first = piece.stop
        return verdicts(len(batch), sorted(found, key=lambda one: one[0]))

    def _rows(self, content: pa.LargeStringArray, test: Callable[[Layout], NDArray[np.bool_]]) -> Rows:
        """int64[]: the texts that pass a test."""
        rows: Rows = np.flatnonzero(np.concatenate([np.zeros(0, np.bool_), *map(test, layouts(content))]))
        return rows

    def _may_repeat(self, layout: Layout) -> NDArray[np.bool_]:
        """bool[texts]: whether a text may repeat too much, told fast; none that does is missing."""
        pairs = _top_pair_bound(layout, self.min_words) > min(self.max_2gram, self.max_3gram / 2, self.max_4gram / 2)
        return pairs | (_line_bound(layout) > self.max_lines)

    def _may_be_prose(self, layout: Layout) -> NDArray[np.bool_]:
        """bool[texts]: whether a text is prose or has lines to look at: what follows costs more."""
        prose = layout.words.sums(_prose_words(layout)) >= PROSE_SHARE * layout.words.counts
        return prose | (_line_bound(layout) > self.max_lines)

    def _verdicts(self, layout: Layout, plain: NDArray[np.bool_]) -> Iterator[tuple[int, dict[str, object]]]:
        """Row and verdict of each text that repeats too much; a text may come twice."""
        prose = _prose_words(layout)
        lines = layout.lines
        again = _prose_lines(layout, prose) & repeats(layout.hashes(lines), lines.owner)
        counts = lines.sums(again)
        for row in np.flatnonzero(plain & (counts >= MIN_REPEATS) & (counts > self.max_lines * lines.counts)).tolist():
            at = int(lines.bounds[row] + np.argmax(again[lines.bounds[row] :]))
            share = float(counts[row] / lines.counts[row])
            yield row, _verdict(layout, row, "the same lines again and again", int(lines.starts[at]), int(lines.ends[at]), share)
        yield from self._runs(layout, prose)

    def _runs(self, layout: Layout, prose: NDArray[np.bool_]) -> Iterator[tuple[int, dict[str, object]]]:
        words, hashes = layout.words, layout.hashes(layout.words)
        size = words.ends - words.starts
        total = words.sums(size)
        judged = (words.counts >= self.min_words) & (words.sums(prose) >= PROSE_SHARE * words.counts)
        judged &= words.sums(size * _stood_before(layout, hashes)) > CONFIRMING_SHARE * total
        for row in np.flatnonzero(judged).tolist():
            low, high = int(words.bounds[row]), int(words.bounds[row + 1])
            for n, limit in ((2, self.max_2gram), (3, self.max_3gram), (4, self.max_4gram)):
                places, filled = _top_run(hashes[low:high], size[low:high], n)
                share = min(1.0, filled / int(total[row]))
                if share > limit and len(places) >= MIN_REPEATS and prose[low + places[0] : low + places[0] + n].all():
                    start, end = int(words.starts[low + places[1]]), int(words.ends[low + places[1] + n - 1])
                    yield row, _verdict(layout, row, f"the same {n} words again and again", start, end, share)


def _top_pair_bound(layout: Layout, min_words: int) -> NDArray[np.float64]:
    """float64[texts]: at least the share of bytes in the most frequent pair of words; 0 for texts of fewer than ``min_words``.

    Pairs are counted in some buckets, by length, first and last byte of their words. A run of three or four words fills at most twice what
    its better pair does, so that one bound serves all three limits.
    """
    words = layout.words
    if len(words) < 2:
        return np.zeros(len(layout))
    size = (words.ends - words.starts).astype(np.uint32)
    rough = size * _ODD[0]
    rough += layout.data[words.starts] * _ODD[1]
    rough += layout.data[words.ends - 1] * _ODD[2]
    pair = (rough[:-1] * _ODD[3] + rough[1:]) * _ODD[4]
    bucket = (pair >> np.uint32(32 - _BUCKET_BITS)).astype(np.int64) + (words.owner[:-1] << _BUCKET_BITS)
    filled = np.bincount(bucket, size[:-1] + size[1:], len(layout) << _BUCKET_BITS)
    top = filled.reshape(len(layout), -1).max(axis=1)
    return np.where(words.counts >= min_words, top / np.maximum(words.sums(size), 1), 0)


def _line_bound(layout: Layout) -> NDArray[np.float64]:
    """float64[texts]: at least the share of lines that are prose and stood before."""
    lines = layout.lines
    long = np.flatnonzero(np.diff(layout.line_words) >= PROSE_LINE_WORDS)
    some = Spans(lines.starts[long], lines.ends[long], np.searchsorted(long, lines.bounds))
    keys = np.sort(layout.sketches(some) >> np.uint64(32) | some.owner.astype(np.uint64) << np.uint64(32))
    different = keys[np.append(keys[1:] != keys[:-1], True)] if len(keys) else keys
    again = some.counts - np.bincount((different >> np.uint64(32)).astype(np.int64), minlength=len(layout))
    return np.where(again >= MIN_REPEATS, again / np.maximum(lines.counts, 1), 0)


def _prose_words(layout: Layout) -> NDArray[np.bool_]:
    """bool[words]: whether a word is one run of letters, with hyphens and apostrophes in it and marks around it.

    Outside ASCII every character counts as a letter: languages differ, and code is ASCII.
    """
    data, words = layout.data, layout.words
    kind = _kinds()[data]
    letter = kind == _LETTER
    begins = letter.copy()
    begins[1:] &= ~letter[:-1]
    upto = np.concatenate([[0], np.cumsum(begins, dtype=np.int64)])
    runs = upto[words.ends] - upto[words.starts] + (letter & ~begins)[words.starts]
    other = np.concatenate([[0], np.cumsum(kind == _OTHER, dtype=np.int64)])
    prose: NDArray[np.bool_] = (runs == 1) & (other[words.ends] == other[words.starts])
    return prose


def _prose_lines(layout: Layout, prose: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool[lines]: whether a line has some words, and most of them are letters."""
    upto = np.concatenate([[0], np.cumsum(prose, dtype=np.int64)])[layout.line_words]
    num_words = np.diff(layout.line_words)
    return (num_words >= PROSE_LINE_WORDS) & (np.diff(upto) >= PROSE_SHARE * num_words)


_BLANK, _LETTER, _MARK, _OTHER = range(4)


@cache
def _kinds() -> NDArray[np.uint8]:
    """uint8[256]: what each byte is: a blank, (part of) a letter, a mark of prose, or anything else."""
    kinds = np.full(256, _OTHER, np.uint8)
    kinds[:0x21] = _BLANK
    kinds[list(_MARKS)] = _MARK
    kinds[[*range(0x41, 0x5B), *range(0x61, 0x7B), *range(0x80, 0x100), ord("-"), ord("'")]] = _LETTER
    return kinds


def _stood_before(layout: Layout, hashes: Hashes) -> NDArray[np.bool_]:
    """bool[words]: whether a word lies in a run of ``CONFIRMING_RUN`` words that stood before in its text."""
    words = layout.words
    n, last = CONFIRMING_RUN, max(0, len(words) - CONFIRMING_RUN + 1)
    within = words.owner[:last] == words.owner[len(words) - last :]
    at = np.flatnonzero(within)
    at = at[repeats(_grams(hashes, n)[at], words.owner[at])]
    edges = np.bincount(at, minlength=len(words) + 1) - np.bincount(at + n, minlength=len(words) + 1)
    before: NDArray[np.bool_] = np.cumsum(edges)[: len(words)] > 0
    return before


def _top_run(hashes: Hashes, size: Rows, n: int) -> tuple[Rows, int]:
    """Where the run of ``n`` words that fills most of a text stands, and how many bytes it fills."""
    grams = _grams(hashes, n)
    upto = np.concatenate([[0], np.cumsum(size)])
    codes = codes_of(grams, np.zeros(len(grams), np.int64))
    filled = np.bincount(codes, upto[n:] - upto[:-n])
    return np.flatnonzero(codes == filled.argmax()), int(filled.max())


def _grams(hashes: Hashes, n: int) -> Hashes:
    """uint64[words - n + 1]: a hash of each ``n`` neighbouring words, whatever text they are of; empty for fewer words."""
    num = max(0, len(hashes) - n + 1)
    grams = hashes[:num].copy()
    for k in range(1, n):
        grams = (grams ^ (grams >> np.uint64(31))) * _FACTOR + hashes[k : k + num]
    return grams


def _verdict(layout: Layout, row: int, reason: str, start: int, end: int, share: float) -> dict[str, object]:
    first, second = layout.chars(np.array([layout.offsets[row]] * 2), np.array([start, end])).tolist()
    return {"reason": reason, "start": first, "end": second, "score": share}
