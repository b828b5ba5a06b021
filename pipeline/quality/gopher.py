"""Statistics of the quality rules of Gopher (Rae et al. 2021, arXiv 2112.11446, A1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.quality.scorers import UNSPACED_SHARE, Figures, Find, figures, floats, scored_texts
from pipeline.spans import Layout, Spans, share
from pipeline.text import Rows

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""The eight words of which a text needs two (English)."""

_FIELDS = ("words", "mean_word_chars", "hashes_per_word", "ellipses_per_word", "bullet_lines", "ellipsis_lines", "alphabetic_words", "stop_words")
_ELLIPSIS = b"\xe2\x80\xa6"
_BULLETS = (b"\xe2\x80\xa2", b"-")


@dataclass(frozen=True)
class Gopher:
    """Score what Gopher's quality rules look at: words, their length, symbols, bullets, ellipses, stop words.

    gopher_words              words (kept: 50 to 100,000)
    gopher_mean_word_chars    characters a word (3 to 10)
    gopher_hashes_per_word    ``#`` a word (at most .1)
    gopher_ellipses_per_word  ``...`` and ``…`` a word (at most .1)
    gopher_bullet_lines       share of lines that begin with ``-`` or ``•`` (at most .9)
    gopher_ellipsis_lines     share of lines that end with an ellipsis (at most .3)
    gopher_alphabetic_words   share of words with a letter (at least .8)
    gopher_stop_words         how many different ones of the, be, to, of, and, that, have, with (at least 2; English)

    A word is what stands between blanks, marks included. In texts without blanks (Chinese, Japanese, ...) only the shares of lines apply.
    """

    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def fields(self) -> dict[str, pa.DataType]:
        """Eight columns of float32."""
        return floats([f"gopher_{name}" for name in _FIELDS])

    def score(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """The statistics of each document; null for one without words."""
        return figures(scored_texts(batch), self.fields(), _measure)


def _measure(layout: Layout) -> Figures:
    words, lines = layout.words, layout.lines
    num_words = np.where(layout.unspaced_share < UNSPACED_SHARE, words.counts, 0)
    chars = layout.chars(words.starts, words.ends)
    ellipses = _ellipses(layout)
    return {
        "gopher_words": np.where(num_words > 0, num_words, np.nan),
        "gopher_mean_word_chars": share(words.sums(chars), num_words),
        "gopher_hashes_per_word": share(layout.count_at(np.flatnonzero(layout.data == ord("#"))), num_words),
        "gopher_ellipses_per_word": share(layout.count_at(ellipses), num_words),
        "gopher_bullet_lines": share(lines.sums(_begin_with_bullet(layout, lines)), lines.counts),
        "gopher_ellipsis_lines": share(lines.sums(_end_with_ellipsis(layout, lines)), lines.counts),
        "gopher_alphabetic_words": share(words.sums(_has_letter(layout, words)), num_words),
        "gopher_stop_words": np.where(num_words > 0, _stop_words(layout, words), np.nan),
    }


def _ellipses(layout: Layout) -> Rows:
    """Where each ellipsis begins: every third dot of a run of dots with two more behind it, and ``…``."""
    dots = np.flatnonzero(layout.data == ord("."))
    owner = np.searchsorted(layout.offsets, dots, side="right")
    begins = np.ones(len(dots), np.bool_)
    begins[1:] = (np.diff(dots) > 1) | (np.diff(owner) > 0)
    run = np.cumsum(begins) - 1
    place = np.arange(len(dots)) - np.flatnonzero(begins)[run] if len(dots) else dots
    third = dots[place % 3 == 2] - 2
    return np.sort(np.concatenate([third, layout.occurrences(_ELLIPSIS)]))


def _begin_with_bullet(layout: Layout, lines: Spans) -> NDArray[np.bool_]:
    dot, dash = (layout.starts_with(lines, mark) for mark in _BULLETS)
    return dot | dash


def _end_with_ellipsis(layout: Layout, lines: Spans) -> NDArray[np.bool_]:
    return layout.ends_with(lines, b"...") | layout.ends_with(lines, _ELLIPSIS)


def _has_letter(layout: Layout, words: Spans) -> NDArray[np.bool_]:
    """Whether a word holds a letter; outside ASCII told by the first byte of the character, which is right for all but rare marks."""
    running = np.concatenate([[0], np.cumsum(_letters()[layout.data], dtype=np.int32)])
    has: NDArray[np.bool_] = running[words.ends] > running[words.starts]
    return has


@cache
def _letters() -> NDArray[np.bool_]:
    """bool[256]: first bytes of letters: not U+0080 to U+00BF, U+2000 to U+2FFF (marks, arrows), U+E000 up (private, emoji)."""
    table = np.zeros(256, np.bool_)
    table[[*range(0x41, 0x5B), *range(0x61, 0x7B), *range(0xC3, 0xE2), *range(0xE3, 0xEE)]] = True
    return table


def _stop_words(layout: Layout, words: Spans) -> Rows:
    """int64[n]: how many different stop words each text holds, case folded."""
    length = words.ends - words.starts
    short = np.flatnonzero((length >= 2) & (length <= 4))
    keep = np.uint64(0xFFFFFFFF) >> (np.uint64(32) - np.uint64(8) * length[short].astype(np.uint64))
    found = (layout.eights[words.starts[short]] | np.uint64(0x20202020)) & keep
    owner = words.owner[short]
    present = np.zeros((len(STOP_WORDS), len(layout)), np.bool_)
    for row, word in enumerate(STOP_WORDS):
        present[row, owner[found == np.uint64(int.from_bytes(word.encode(), "little"))]] = True
    different: Rows = present.sum(axis=0)
    return different
