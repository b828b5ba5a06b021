"""Which lines and words end with a mark that ends a sentence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.spans import Layout, Spans

SENTENCE_ENDS = (".", "!", "?", "。", "！", "？", "．", "…", "।", "؟", "۔", "።")
"""Marks that end a sentence in the scripts of the languages that most text is in."""

QUOTES = ('"', "'", "”", "’", "»", "」", "』")
"""Marks that close a quotation."""


def ends_with_any(layout: Layout, spans: Spans, marks: tuple[str, ...]) -> NDArray[np.bool_]:
    """bool[]: whether each span ends with one of the marks."""
    patterns = [mark.encode() for mark in marks]
    last_byte = np.zeros(256, np.bool_)
    last_byte[[pattern[-1] for pattern in patterns]] = True
    likely = np.flatnonzero(last_byte[layout.data[spans.ends - 1]])
    some = Spans(spans.starts[likely], spans.ends[likely], spans.bounds)
    found = np.zeros(len(spans), np.bool_)
    for pattern in patterns:
        if pattern.isascii() or not layout.is_ascii:
            found[likely] |= layout.ends_with(some, pattern)
    return found
