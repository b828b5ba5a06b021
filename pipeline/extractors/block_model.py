"""The trained judge of blocks: word lists and boosted trees."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import compiled
from pipeline.extractors.block_features import Lexicon
from pipeline.extractors.block_measures import COLUMNS

Floats = NDArray[np.float64]

MODEL = Path(__file__).with_name("block_model.npz")
LEAVES = 16
"""Leaves of a tree at most: its open leaves are the bits of 16."""

_LOWEST_BIT = np.zeros(1 << LEAVES, np.uint8)
for _bit in reversed(range(LEAVES)):
    _LOWEST_BIT[1 << _bit :: 2 << _bit] = _bit


@dataclass(frozen=True)
class Trees:
    """Boosted trees over the features.

    ``feature, threshold, mask`` (splits x trees): a block goes right when its feature is above the threshold; then the leaves on the left are
    closed, which ``mask`` has as 0. ``value`` (trees x leaves): log-odds. The first leaf left open counts (QuickScorer, Lucchese et al. 2015).
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    mask: NDArray[np.uint16]
    value: NDArray[np.float32]

    def odds(self, columns: NDArray[np.float32]) -> Floats:
        """Log-odds of each block of ``columns`` (features x blocks, float32)."""
        out = np.zeros(columns.shape[1])
        _add_odds(columns, self.feature, self.threshold, self.mask, self.value, _LOWEST_BIT, out)
        return out


@compiled
def _add_odds(
    columns: np.ndarray, feature: np.ndarray, threshold: np.ndarray, mask: np.ndarray, value: np.ndarray, lowest_bit: np.ndarray, out: np.ndarray
) -> None:
    is_open = np.empty(len(out), np.uint16)
    for tree in range(len(value)):
        is_open[:] = 0xFFFF
        for split in range(len(feature)):
            column, bound, left = columns[feature[split, tree]], threshold[split, tree], mask[split, tree]
            for block in range(len(out)):  # several blocks in one step of the machine
                is_open[block] &= left if column[block] > bound else np.uint16(0xFFFF)
        for block in range(len(out)):
            out[block] += value[tree, lowest_bit[is_open[block]]]


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
    columns = np.array([COLUMNS.index(name) for name in about["columns"]])
    return Model(lexicon, Trees(columns[arrays["feature"]], arrays["threshold"], arrays["mask"], arrays["value"]))


def save(model: Model, path: Path, note: str) -> None:
    """Write the model; ``note`` says what it was made from."""
    about: dict[str, Any] = {"note": note, "columns": COLUMNS}
    arrays: dict[str, Any] = {}
    for name in ("names", "words", "tags"):
        odds = getattr(model.lexicon, name)
        about[name] = " ".join(sorted(odds))
        arrays[f"{name}_odds"] = np.array([round(odds[word] * 20) for word in sorted(odds)], np.int8)
    arrays["feature"] = model.trees.feature.astype(np.uint8)
    for part in ("threshold", "mask", "value"):
        arrays[part] = getattr(model.trees, part)
    arrays["about"] = np.frombuffer(json.dumps(about, ensure_ascii=False).encode(), np.uint8)
    np.savez_compressed(path, **arrays)


def _decoded(words: str, odds: NDArray[np.int8]) -> dict[str, float]:
    return dict(zip(words.split(), (odds / 20).tolist(), strict=True))
