"""Which documents a trained model finds unlike the others of their source, and in what way: signs of wrong labels, gibberish, leaked copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.lib.stride_tricks import sliding_window_view

NEIGHBOURS = 101
"""A document is compared with so many of its source that are nearest to it in length: short texts scatter more, and cost more a token."""

WINDOWS_AT_ONCE = 10_000
"""So many of their medians are worked out together, in 8 MB."""

STEADY_TOKENS = 8
"""A document of so few tokens counts half: its mean is a matter of a few words."""

MIN_DOCUMENTS = 8
"""A source with fewer is compared with the documents of all sources."""

NORMAL = 1.4826
"""The standard deviation of normal values is this times their median absolute deviation."""

KNOWN_BY_HEART = 0.5
"""Nats a token below which a loss has fallen to nothing: the model gives each token 0.6 or more in the mean."""


LEAST_LOSS = 0.001
"""Below this one loss is like another."""


@dataclass(frozen=True)
class Outlier:
    """A document, the ``kind`` of its strongest sign, how strong all of them are together, and the figures they rest on.

    ``score`` is in robust standard deviations from documents of its source and length; 0 is like the others, 3 is rare.
    """

    id: str
    source: str | None
    split: str
    kind: str
    score: float
    signs: dict[str, float]
    tokens: int
    base_loss: float | None
    tuned_loss: float
    alone_loss: float | None
    accuracy: float


@dataclass(frozen=True)
class _Losses:
    tokens: np.ndarray
    base: np.ndarray
    tuned: np.ndarray
    alone: np.ndarray


def _stays_high(losses: _Losses) -> np.ndarray:
    """Before training and after it: what a model that knows the language, and one that knows the source, cannot foretell."""
    tuned = _strange(losses.tuned, losses.tokens)
    return np.where(np.isfinite(losses.base), np.minimum(_strange(losses.base, losses.tokens), tuned), tuned)


def _unasked(losses: _Losses) -> np.ndarray:
    """The question helps to say the answer less than elsewhere (a high IFD)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return _strange(losses.tuned / losses.alone, losses.tokens)


def _rose(losses: _Losses) -> np.ndarray:
    """Training made it worse, where it made the others better."""
    return np.where(losses.tuned > losses.base, _strange(losses.tuned - losses.base, losses.tokens), np.nan)


def _by_heart(losses: _Losses) -> np.ndarray:
    """The loss fell to nothing, and below that of the others; of an answer, without the question, which may give it away."""
    known = np.where(np.isfinite(losses.alone), losses.alone, losses.tuned)
    low = -_strange(np.log(np.maximum(known, LEAST_LOSS)), losses.tokens)
    return np.where(known < KNOWN_BY_HEART, low, np.nan)


SIGNS: dict[str, Callable[[_Losses], np.ndarray]] = {"gibberish": _stays_high, "wrong answer": _unasked, "rose": _rose, "by heart": _by_heart}

MEANING = {
    "gibberish": "its loss stays at the top: gibberish, another language, a broken extraction",
    "wrong answer": "the question does not help to say the answer: wrong label, mixed-up rows",
    "rose": "training made it worse: it contradicts the others",
    "by heart": "its loss fell to nothing: a leaked duplicate, boilerplate",
}


def rank(table: pa.Table) -> list[Outlier]:
    """All documents of a table of losses (``pipeline.training.document_losses.SCHEMA``), the strangest first."""
    found: list[Outlier] = []
    for part in _by_source(table):
        losses = _Losses(*(part[name].to_numpy().astype(np.float64) for name in ("tokens", "base_loss", "tuned_loss", "alone_loss")))
        signs = {name: sign(losses) for name, sign in SIGNS.items()}
        found += [_outlier(row, {name: float(values[at]) for name, values in signs.items()}) for at, row in enumerate(part.to_pylist())]
    return sorted(found, key=lambda one: (-one.score, one.id))


def _by_source(table: pa.Table) -> Iterator[pa.Table]:
    """The documents of each source; small sources all together."""
    names = pc.fill_null(table["source"], "")
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(names).to_pylist()}
    large = sorted(name for name, number in counts.items() if number >= MIN_DOCUMENTS)
    for name in large:
        yield table.filter(pc.equal(names, name))
    yield table.filter(pc.invert(pc.is_in(names, pa.array(large, pa.string()))))


def _outlier(row: dict[str, object], signs: dict[str, float]) -> Outlier:
    known = {name: round(value, 2) for name, value in signs.items() if np.isfinite(value)}
    kind = max(known, key=lambda name: known[name], default="none")
    score = round(float(np.sqrt(sum(max(0.0, value) ** 2 for value in known.values()))), 3)
    columns = ("id", "source", "split", "tokens", "base_loss", "tuned_loss", "alone_loss", "accuracy")
    return Outlier(**{name: row[name] for name in columns}, kind=kind, score=score, signs=known)  # type: ignore[arg-type]


def _strange(values: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """How far each value lies above the median of its neighbours in length, in their robust standard deviations (float64[n]); NaN stays.

    The deviation is that of the whole source from these medians, since few neighbours tell a median better than a spread. Short documents
    count less (``STEADY_TOKENS``).
    """
    strange = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < 2:
        return strange
    order = known[np.lexsort((known, tokens[known]))]
    apart = values[order] - _medians_around(values[order])
    spread = NORMAL * float(np.median(np.abs(apart)))
    strange[order] = apart / spread * tokens[order] / (tokens[order] + STEADY_TOKENS) if spread > 0 else 0.0
    return strange


def _medians_around(values: np.ndarray) -> np.ndarray:
    """float64[n]: at each place the median of the ``NEIGHBOURS`` values around it, fewer at no end: there the window stops."""
    windows = sliding_window_view(values, min(NEIGHBOURS, len(values)))
    medians = np.concatenate([np.median(windows[start : start + WINDOWS_AT_ONCE], axis=1) for start in range(0, len(windows), WINDOWS_AT_ONCE)])
    return medians[np.clip(np.arange(len(values)) - NEIGHBOURS // 2, 0, len(windows) - 1)]
