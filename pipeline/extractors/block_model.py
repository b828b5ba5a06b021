"""The trained judge of blocks: word lists and boosted trees, evaluated with NumPy over all blocks of a page at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.extractors.block_features import Lexicon

Floats = NDArray[np.float64]

MODEL = Path(__file__).with_name("block_model.npz")
LEAVES = 16
"""Leaves of a tree at most: its open leaves are the bits of 16."""
_ROWS = 512

_LOWEST_BIT = np.zeros(1 << LEAVES, np.uint8)
for _bit in reversed(range(LEAVES)):
    _LOWEST_BIT[1 << _bit :: 2 << _bit] = _bit


@dataclass(frozen=True)
class Trees:
    """Boosted trees for ``columns`` of the features.

    ``feature, threshold, mask`` (splits x trees): a block goes right when its feature is above the threshold; then the leaves on the left are
    closed, which ``mask`` has as 0. ``value`` (trees x leaves): log-odds. The first leaf left open counts (QuickScorer, Lucchese et al. 2015).
    """

    columns: tuple[str, ...]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    mask: NDArray[np.uint16]
    value: NDArray[np.float32]

    def odds(self, rows: NDArray[np.float32]) -> Floats:
        """Log-odds of each row of ``rows`` (blocks x ``columns``, float32)."""
        out = np.empty(len(rows))
        offsets = (np.arange(self.value.shape[0]) * self.value.shape[1])[:, None]
        closes, turned, values = np.invert(self.mask), np.ascontiguousarray(rows.T), self.value.ravel()
        for start in range(0, len(rows), _ROWS):
            piece = np.ascontiguousarray(turned[:, start : start + _ROWS])
            closed = np.zeros((self.value.shape[0], piece.shape[1]), np.uint16)
            for feature, threshold, leaves in zip(self.feature, self.threshold, closes, strict=True):
                right = piece.take(feature, 0) > threshold[:, None]
                closed |= np.multiply(right.view(np.uint8), leaves[:, None], dtype=np.uint16)
            first_open = _LOWEST_BIT.take(np.invert(closed, out=closed))
            out[start : start + _ROWS] = values.take(first_open + offsets).sum(axis=0, dtype=np.float64)
        return out


@dataclass(frozen=True)
class Model:
    """The words' log-odds and the trees."""

    lexicon: Lexicon
    trees: Trees


@cache
def load(path: Path = MODEL) -> Model:
    """The model that comes with the package."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    about = json.loads(bytes(arrays["about"]).decode())
    lexicon = Lexicon(**{name: _decoded(about[name], arrays[f"{name}_odds"]) for name in ("names", "words", "tags")})
    trees = Trees(tuple(about["columns"]), arrays["feature"].astype(np.int64), arrays["threshold"], arrays["mask"], arrays["value"])
    return Model(lexicon, trees)


def save(model: Model, path: Path, note: str) -> None:
    """Write the model; ``note`` says what it was made from."""
    about: dict[str, Any] = {"note": note, "columns": list(model.trees.columns)}
    arrays: dict[str, Any] = {}
    for name in ("names", "words", "tags"):
        odds = getattr(model.lexicon, name)
        about[name] = " ".join(sorted(odds))
        arrays[f"{name}_odds"] = np.array([round(odds[word] * 20) for word in sorted(odds)], np.int8)
    for part in ("feature", "threshold", "mask", "value"):
        arrays[part] = getattr(model.trees, part)
    arrays["about"] = np.frombuffer(json.dumps(about, ensure_ascii=False).encode(), np.uint8)
    np.savez_compressed(path, **arrays)


def _decoded(words: str, odds: NDArray[np.int8]) -> dict[str, float]:
    return dict(zip(words.split(), (odds / 20).tolist(), strict=True))

