"""Statistics of the cleaning rules of C4 (Raffel et al. 2020, JMLR 21:140, section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.quality.marks import QUOTES, SENTENCE_ENDS, ends_with_any
from pipeline.quality.scorers import Figures, Find, figures, floats, scored_texts
from pipeline.settings import at_least
from pipeline.spans import Layout, Spans, share

POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
"""Phrases for which C4's code drops a line."""

_FIELDS = ("terminal_lines", "bad_lines", "javascript_lines", "policy_lines", "sentences", "lorem_ipsum", "curly_brackets")


@dataclass(frozen=True)
class C4:
    """Score what C4's rules look at: how lines end, boilerplate in them, placeholder text, curly brackets.

    c4_terminal_lines    share of lines that end with a mark that ends a sentence or a quotation
    c4_bad_lines         share of lines that C4 drops: no such mark, an ellipsis, fewer than ``min_words`` words, javascript, a policy phrase
    c4_javascript_lines  share of lines that hold ``javascript``, in any case
    c4_policy_lines      share of lines that hold ``privacy policy``, ``use cookies`` and the like
    c4_sentences         words that end with a mark that ends a sentence (kept: at least 5)
    c4_lorem_ipsum       how often ``lorem ipsum`` stands there (kept: 0)
    c4_curly_brackets    how often ``{`` stands there (kept: 0)
    """

    min_words: int = at_least(3, 1)
    """A line of fewer words is a bad one. Texts without blanks (Chinese, Japanese, ...) count characters."""

    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def fields(self) -> dict[str, pa.DataType]:
        """Seven columns of float32."""
        return floats([f"c4_{name}" for name in _FIELDS])

    def score(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """The statistics of each document; shares are null for one without lines."""
        return figures(scored_texts(batch), self.fields(), self._measure)

    def _measure(self, layout: Layout) -> Figures:
        words, lines = layout.words, layout.lines
        terminal = ends_with_any(layout, lines, (*SENTENCE_ENDS, *QUOTES)) & ~ends_with_any(layout, lines, ("...", "…"))
        short = np.diff(layout.line_words) < self.min_words
        javascript, policy = _lines_with(layout.lower, lines, ["javascript"]), _lines_with(layout.lower, lines, POLICY)
        sentences = ends_with_any(layout, words, SENTENCE_ENDS) | _sentence_end_in_quotes(layout, words)
        return {
            "c4_terminal_lines": share(lines.sums(terminal), lines.counts),
            "c4_bad_lines": share(lines.sums(~terminal | short | javascript | policy), lines.counts),
            "c4_javascript_lines": share(lines.sums(javascript), lines.counts),
            "c4_policy_lines": share(lines.sums(policy), lines.counts),
            "c4_sentences": words.sums(sentences),
            "c4_lorem_ipsum": layout.count_at(layout.lower.occurrences(b"lorem ipsum")),
            "c4_curly_brackets": layout.count_at(np.flatnonzero(layout.data == ord("{"))),
        }


def _lines_with(layout: Layout, lines: Spans, phrases: Sequence[str]) -> NDArray[np.bool_]:
    """bool[lines]: whether each line holds one of the phrases (ASCII)."""
    found = np.zeros(len(lines), np.bool_)
    for phrase in phrases:
        found[np.searchsorted(lines.starts, layout.occurrences(phrase.encode()), side="right") - 1] = True
    return found


def _sentence_end_in_quotes(layout: Layout, words: Spans) -> NDArray[np.bool_]:
    """bool[words]: whether a word ends with a sentence and then a quotation: ``said."``"""
    return ends_with_any(layout, words, tuple(end + quote for end in ".!?" for quote in QUOTES[:4]))
