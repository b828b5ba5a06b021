"""How many phrases a text has that chat models overuse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self

import ahocorasick_rs as aho
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.quality.scorers import UNSPACED_SHARE, Figures, Find, figures, scored_texts
from pipeline.settings import internal, read_list
from pipeline.spans import Layout, share


@dataclass(frozen=True)
class GptIsms:
    """Score how many words and phrases a text has that chat models overuse.

    gpt_isms_per_1000_words  phrases of the list for every 1,000 words; null in texts without blanks

    A hint, not a verdict: people write these words too, and the list is English. Case does not count; a phrase begins and ends where a
    word does; of phrases that overlap the longest from the left counts.
    """

    words: str = "filters/gpt_isms.txt"
    """A list, a word or phrase a line; ``*`` at the end of one stands for any further letters."""

    phrases: tuple[str, ...] = internal(())

    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """With the phrases read in; raises SettingsError when the list is not there."""
        return replace(self, phrases=tuple(dict.fromkeys(_folded(line) for line in read_list(find(self.words)))))

    def fields(self) -> dict[str, pa.DataType]:
        """One column of float32."""
        return {"gpt_isms_per_1000_words": pa.float32()}

    def score(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """The figure of each document; null for one without words."""
        texts = scored_texts(batch)
        found = np.array([count(text, self.phrases) for text in pc.fill_null(texts, "").to_pylist()], np.int64)
        num_words = figures(texts, {"words": pa.int64()}, _num_words)["words"].fill_null(0).to_numpy()
        rate = 1000 * share(found, num_words)
        return {"gpt_isms_per_1000_words": pa.array(rate, pa.float32(), mask=np.isnan(rate))}


def count(text: str, phrases: tuple[str, ...]) -> int:
    """How many of the phrases stand in a text, as whole words."""
    folded = _folded(text)
    matcher, open_ended = _matcher(phrases)
    whole = [
        (start, -end)
        for index, start, end in matcher.find_matches_as_indexes(folded, overlapping=True)
        if not (start and _is_word(folded[start - 1])) and (open_ended[index] or end == len(folded) or not _is_word(folded[end]))
    ]
    last, total = 0, 0
    for start, minus_end in sorted(whole):
        if start >= last:
            last, total = -minus_end, total + 1
    return total


def _num_words(layout: Layout) -> Figures:
    return {"words": np.where(layout.unspaced_share < UNSPACED_SHARE, layout.words.counts, 0)}


def _folded(text: str) -> str:
    return text.replace("’", "'").lower()


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


@lru_cache(maxsize=2)
def _matcher(phrases: tuple[str, ...]) -> tuple[aho.AhoCorasick, tuple[bool, ...]]:
    return aho.AhoCorasick([phrase.removesuffix("*") for phrase in phrases]), tuple(phrase.endswith("*") for phrase in phrases)
