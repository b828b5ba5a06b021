"""What an estimate takes from rows of tokens: the fullest row, and how much text they hold."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.datasets import Dataset
from pipeline.models import IGNORED, TokenizerInfo
from pipeline.packing.reading import read_rows

SAMPLED_ROWS = 64
"""Rows that are decoded to see how many bytes a token has."""


def most_learned(dataset: Dataset) -> int:
    """Supervised tokens of the row that has most, of the splits that a run reads."""
    paths = [path for split in ("train", "validation") for path in dataset.checked_files(split)]
    return max((_most(batch.column("labels")) for path in paths for batch in read_rows(path, ["labels"])), default=0)


def _most(labels: pa.ListArray) -> int:
    offsets = labels.offsets.to_numpy()
    learned = np.concatenate([[0], np.cumsum(labels.values.to_numpy() != IGNORED)])
    return int(np.diff(learned[offsets]).max(initial=0))


def text_bytes(dataset: Dataset, info: TokenizerInfo) -> float:
    """About how many bytes of text (UTF-8) are trained on: the tokens, times the bytes that a token has in the first rows."""
    tokens = decoded = size = 0
    for path in dataset.checked_files("train"):
        for batch in read_rows(path, ["input_ids"]):
            rows = batch.column("input_ids")
            if not decoded:
                sampled = rows[:SAMPLED_ROWS].to_pylist()
                decoded = sum(map(len, sampled))
                size = sum(len(text.encode("utf-8", "replace")) for text in info.tokenizer.decode_batch(sampled))
            tokens += int(rows.offsets[-1].as_py() - rows.offsets[0].as_py())
    return size * tokens / decoded if decoded else 0.0
