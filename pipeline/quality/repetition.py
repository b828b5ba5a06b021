"""How much of a text repeats: lines, paragraphs and runs of words (Rae et al. 2021, arXiv 2112.11446, table A1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.quality.scorers import Figures, Find, figures, floats, scored_texts
from pipeline.spans import Layout, Spans, codes_of, repeats, share
from pipeline.text import Hashes, Rows

TOP = (2, 3, 4)
DUPLICATE = (5, 6, 7, 8, 9, 10)
"""Lengths of the runs of words: of the short ones the most frequent counts, of the long ones all that repeat."""

_FIELDS = (
    *("duplicate_lines", "duplicate_line_chars", "duplicate_paragraphs", "duplicate_paragraph_chars"),
    *(f"top_{n}gram" for n in TOP),
    *(f"duplicate_{n}grams" for n in DUPLICATE),
)
_FACTOR = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Repetition:
    """Score how much of a text repeats.

    repetition_duplicate_lines, _paragraphs            share of lines and paragraphs that stood before (kept: at most .3)
    repetition_duplicate_line_chars, _paragraph_chars  share of characters in them (kept: at most .2)
    repetition_top_2gram, _3gram, _4gram               share of characters in the most frequent n words; 0 where none repeats (.20, .18, .16)
    repetition_duplicate_5grams to _10grams            share of characters in runs of n words that stood before (.15, .14, .13, .12, .11, .10)

    A word is what stands between blanks, as it is spelled; in texts without blanks (Chinese, Japanese, ...) each character is one, so that
    the published thresholds do not apply there. Shares of runs of words are of the characters of all words, blanks left out.
    """

    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def fields(self) -> dict[str, pa.DataType]:
        """Thirteen columns of float32."""
        return floats([f"repetition_{name}" for name in _FIELDS])

    def score(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """The shares of each document; null for one without words."""
        return figures(scored_texts(batch), self.fields(), _measure)


def _measure(layout: Layout) -> Figures:
    shares: dict[str, NDArray[np.float64]] = {}
    for name, spans in (("line", layout.lines), ("paragraph", layout.paragraphs)):
        again = repeats(layout.hashes(spans), spans.owner)
        chars = layout.chars(spans.starts, spans.ends)
        shares[f"duplicate_{name}s"] = share(spans.sums(again), spans.counts)
        shares[f"duplicate_{name}_chars"] = share(spans.sums(chars * again), np.where(spans.counts > 0, layout.num_chars, 0))
    return {f"repetition_{name}": values for name, values in (shares | _runs(layout)).items()}


def _runs(layout: Layout) -> dict[str, NDArray[np.float64]]:
    """The shares of runs of words. A run of n + 1 words can repeat only where the run of n and the one a word later do: few are left to look at."""
    words = layout.words
    chars = layout.chars(words.starts, words.ends)
    upto = np.concatenate([[0], np.cumsum(chars)])
    total = words.sums(chars)
    hashes = layout.hashes(words)
    at, grams = np.arange(len(words)), hashes
    shares = {}
    for n in range(2, DUPLICATE[-1] + 1):
        at, grams = _longer(at, grams, n, hashes, words)
        codes = codes_of(grams, words.owner[at])
        counts = np.bincount(codes)
        if n in TOP:
            shares[f"top_{n}gram"] = share(_top(codes, counts, upto[at + n] - upto[at], words.owner[at], len(layout)), total)
        else:
            shares[f"duplicate_{n}grams"] = share(words.sums(chars * _covered(at[_later(codes)], n, len(words))), total)
        several = counts[codes] > 1 if len(codes) else np.zeros(0, np.bool_)
        at, grams = at[several], grams[several]
    return shares


def _longer(at: Rows, grams: Hashes, n: int, hashes: Hashes, words: Spans) -> tuple[Rows, Hashes]:
    """The runs of ``n`` words that begin where a run of n - 1 words that is left begins, with another a word later, in the same text."""
    follows = np.zeros(len(words) + 1, np.bool_)
    follows[at] = True
    inside = follows[at + 1] if n > 2 else at + 1 < len(words)
    inside[inside] = words.bounds[words.owner[at[inside]] + 1] >= at[inside] + n
    at, grams = at[inside], grams[inside]
    return at, (grams ^ (grams >> np.uint64(31))) * _FACTOR + hashes[at + n - 1]


def _top(codes: Rows, counts: Rows, chars: Rows, owner: Rows, num_texts: int) -> Rows:
    """int64[texts]: characters in all occurrences of the run that fills most, 0 where none occurs twice."""
    first = ~_later(codes)
    filled = np.where(counts > 1, counts * chars[first], 0)
    top = np.zeros(num_texts, np.int64)
    np.maximum.at(top, owner[first], filled)
    return top


def _later(codes: Rows) -> NDArray[np.bool_]:
    """bool[]: whether a code stood before; codes count from 0 in the order of their first appearance."""
    later = np.ones(len(codes), np.bool_)
    if len(codes):
        later[0] = False
        later[1:] = codes[1:] <= np.maximum.accumulate(codes)[:-1]
    return later


def _covered(at: Rows, n: int, num_words: int) -> NDArray[np.bool_]:
    """bool[words]: whether a word lies in a run of ``n`` words that begins at one of ``at``."""
    edges = np.bincount(at, minlength=num_words + 1) - np.bincount(at + n, minlength=num_words + 1)
    covered: NDArray[np.bool_] = np.cumsum(edges)[:num_words] > 0
    return covered
