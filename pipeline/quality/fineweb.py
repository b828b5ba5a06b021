"""Statistics of the quality rules of FineWeb (Penedo et al. 2024, arXiv 2406.17557, section 3.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from pipeline.quality.marks import QUOTES, SENTENCE_ENDS, ends_with_any
from pipeline.quality.scorers import UNSPACED_SHARE, Figures, Find, figures, floats, scored_texts
from pipeline.settings import at_least
from pipeline.spans import Layout, repeats, share

_FIELDS = ("punctuated_lines", "short_lines", "duplicate_line_chars", "newlines_per_word")


@dataclass(frozen=True)
class FineWeb:
    """Score what FineWeb's rules look at: how lines end, how long they are, whether they repeat.

    fineweb_punctuated_lines      share of lines that end with a mark that ends a sentence or a quotation (kept: more than .12)
    fineweb_short_lines           share of lines of at most ``short_chars`` characters (kept: less than .67)
    fineweb_duplicate_line_chars  share of characters in lines that stood before (kept: at most .1 in the paper, .01 in its code)
    fineweb_newlines_per_word     line ends a word (kept: at most .3; in its code, not in the paper); null in texts without blanks
    """

    short_chars: int = at_least(30, 1)
    """A line of at most this many characters is a short one."""

    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def fields(self) -> dict[str, pa.DataType]:
        """Four columns of float32."""
        return floats([f"fineweb_{name}" for name in _FIELDS])

    def score(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """The statistics of each document; null for one without lines."""
        return figures(scored_texts(batch), self.fields(), self._measure)

    def _measure(self, layout: Layout) -> Figures:
        words, lines = layout.words, layout.lines
        newlines = layout.count_at(np.flatnonzero(layout.data == 0x0A))
        chars = layout.chars(lines.starts, lines.ends)
        again = repeats(layout.hashes(lines), lines.owner)
        num_words = np.where(layout.unspaced_share < UNSPACED_SHARE, words.counts, 0)
        return {
            "fineweb_punctuated_lines": share(lines.sums(ends_with_any(layout, lines, (*SENTENCE_ENDS, *QUOTES))), lines.counts),
            "fineweb_short_lines": share(lines.sums(chars <= self.short_chars), lines.counts),
            "fineweb_duplicate_line_chars": share(lines.sums(chars * again), np.where(lines.counts > 0, layout.num_chars - newlines, 0)),
            "fineweb_newlines_per_word": share(newlines, num_words),
        }
