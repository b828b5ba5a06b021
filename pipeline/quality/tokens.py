"""How long a text is, in characters, words and tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from pipeline.models import TokenizerInfo, load_tokenizer
from pipeline.quality.scorers import UNSPACED_SHARE, Figures, Find, figures, scored_texts
from pipeline.settings import internal
from pipeline.spans import Layout


@dataclass(frozen=True)
class Tokens:
    """Score the length of a text.

    tokens_chars  characters
    tokens_words  words: what stands between blanks; null in texts without blanks (Chinese, Japanese, ...)
    tokens_count  tokens of the named tokenizer, without what a chat template adds; only with ``tokenizer``
    """

    tokenizer: str | None = None
    """A folder, a ``tokenizer.json`` or a Hub id; without one no tokens are counted."""

    revision: str | None = None
    """Of a Hub id."""

    fingerprint: str = internal("")
    """What the tokenizer does, as a digest: filled in by ``resolve``."""

    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """With the tokenizer's fingerprint; raises UsageError when there is no such tokenizer."""
        return self if self.tokenizer is None else replace(self, fingerprint=_loaded(self.tokenizer, self.revision).fingerprint)

    def fields(self) -> dict[str, pa.DataType]:
        """Two or three columns of int64."""
        names = ("tokens_chars", "tokens_words", *(("tokens_count",) if self.tokenizer else ()))
        return dict.fromkeys(names, pa.int64())

    def score(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """The lengths of each document."""
        texts = scored_texts(batch)
        fields = self.fields()
        counted = fields.pop("tokens_count", None)
        lengths = figures(texts, fields, _measure)
        return lengths | ({"tokens_count": self._tokens(texts)} if counted else {})

    def _tokens(self, texts: pa.LargeStringArray) -> pa.Array:
        assert self.tokenizer is not None
        encoder = _loaded(self.tokenizer, self.revision).tokenizer
        written = [text for text in texts.to_pylist() if text is not None]
        counts = np.array([len(one.ids) for one in encoder.encode_batch_fast(written, add_special_tokens=False)], np.int64)
        valid = texts.is_valid().to_numpy(zero_copy_only=False)
        values = np.zeros(len(texts), np.int64)
        values[valid] = counts
        return pa.array(values, mask=~valid)


def _measure(layout: Layout) -> Figures:
    words = np.where(layout.unspaced_share < UNSPACED_SHARE, layout.words.counts.astype(float), np.nan)
    return {"tokens_chars": layout.num_chars, "tokens_words": words}


@lru_cache(maxsize=2)
def _loaded(name: str, revision: str | None) -> TokenizerInfo:
    return load_tokenizer(name, revision)
