"""Figures of documents that no manifest holds: characters, languages and lengths of each source, characters of each rule's removals."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets import Dataset, read_batches
from pipeline.documents import SCORES, turns
from pipeline.packing.figures import histogram

UNKNOWN = "not said"
"""In place of a document's language where nothing says it."""


@dataclass
class Measured:
    """What the documents of one source add up to."""

    documents: int = 0
    conversations: int = 0
    chars: int = 0
    lengths: Counter[str] = field(default_factory=Counter)
    """Documents by length in characters, in bins from each power of two to the next."""
    languages: Counter[str] = field(default_factory=Counter)
    scores: dict[str, list[float]] = field(default_factory=dict)
    """Sum and number of each numeric score."""

    def mean_scores(self) -> dict[str, float]:
        """The mean of each numeric score."""
        return {name: total / number for name, (total, number) in sorted(self.scores.items()) if number}


def measure(datasets: Iterable[Dataset]) -> dict[str, Measured]:
    """The figures of the kept documents, by source."""
    found: dict[str, Measured] = {}
    for dataset in datasets:
        for path in dataset.files():
            for batch in read_batches(path):
                _add(found, batch)
    return dict(sorted(found.items()))


def removed_chars(datasets: Iterable[Dataset]) -> dict[str, int]:
    """Characters of the removed documents, by rule."""
    found: Counter[str] = Counter()
    for dataset in datasets:
        for path in dataset.files("__removed"):
            for batch in read_batches(path, ["text", "messages", "rule"]):
                chars = chars_of(batch)
                for mine, name in _groups(batch.column("rule")):
                    found[name] += int(chars[mine].sum())
    return dict(sorted(found.items()))


def chars_of(batch: pa.RecordBatch) -> np.ndarray:
    """Characters of each document, int64[documents]."""
    view = turns(batch)
    counted = np.bincount(view.document, pc.utf8_length(view.content).to_numpy(zero_copy_only=False), len(batch))
    return counted.astype(np.int64)


def _groups(column: pa.Array) -> Iterable[tuple[np.ndarray, str]]:
    """For each value of a column of strings: where it stands, bool[rows], and what it is."""
    encoded = column.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    for code, name in enumerate(encoded.dictionary.to_pylist()):
        yield codes == code, name


def _add(found: dict[str, Measured], batch: pa.RecordBatch) -> None:
    chars = chars_of(batch)
    talk = pc.is_valid(batch.column("messages")).to_numpy(zero_copy_only=False)
    languages = np.array([_language(meta) for meta in batch.column("meta").to_pylist()], dtype=object)
    for mine, name in _groups(batch.column("source")):
        one = found.setdefault(name, Measured())
        one.documents += int(mine.sum())
        one.conversations += int((mine & talk).sum())
        one.chars += int(chars[mine].sum())
        one.lengths.update(histogram(chars[mine]))
        one.languages.update(languages[mine])
        if SCORES in batch.schema.names:
            _add_scores(one.scores, batch.column(SCORES).filter(pa.array(mine)))


def _add_scores(scores: dict[str, list[float]], column: pa.StructArray) -> None:
    for score in column.type:
        if not (pa.types.is_floating(score.type) or pa.types.is_integer(score.type)):
            continue
        values = pc.struct_field(column, score.name).drop_null()
        if len(values):
            one = scores.setdefault(score.name, [0.0, 0])
            one[0] += float(pc.sum(values).as_py())
            one[1] += len(values)


def _language(meta: str | None) -> str:
    """The language that a document says it is in, without its region."""
    if not meta or '"language"' not in meta:
        return UNKNOWN
    try:
        said = json.loads(meta).get("language")
    except (ValueError, AttributeError):
        return UNKNOWN
    return said.replace("_", "-").partition("-")[0].lower()[:12] if isinstance(said, str) and said.strip() else UNKNOWN
