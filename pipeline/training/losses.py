"""Losses of whole sequences: sums over their supervised tokens, from one pass of a model over rows that may be packed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.models import IGNORED
from pipeline.training.collate import collate
from pipeline.training.objective import predict

Row = Mapping[str, Sequence[int]]
"""``input_ids``, ``labels``, ``position_ids`` and ``sequence_lengths``, as the tokenize stage writes them."""

Sequence_ = tuple[np.ndarray, np.ndarray]
"""The ids of a sequence (int[n]) and which of its tokens are supervised (bool[n]); the first one never counts."""


@dataclass(frozen=True)
class Sums:
    """How well a model foretold each of n sequences, summed over its supervised tokens.

    loss    float64[n]  nats
    right   int64[n]    tokens that were the likeliest of all
    tokens  int64[n]    supervised tokens
    """

    loss: np.ndarray
    right: np.ndarray
    tokens: np.ndarray


def row_sums(model: Any, rows: Sequence[Row]) -> Sums:
    """The sums of all sequences of a batch of rows, row after row, in one pass; no sequence sees another."""
    batch = collate(rows, model.get_input_embeddings().weight.shape[0])
    with torch.no_grad():
        found = predict(model, {name: tensor.to(model.device) for name, tensor in batch.items()})
    row, column, right = (tensor.cpu().numpy() for tensor in (found.row, found.column, found.right))
    ends = [np.cumsum(one["sequence_lengths"]) for one in rows]
    first = np.cumsum([0, *map(len, ends)])
    at = np.zeros(len(row), np.int64)
    for number, end in enumerate(ends):
        mine = row == number
        at[mine] = first[number] + np.searchsorted(end, column[mine], side="right")
    num_sequences = int(first[-1])
    loss = np.bincount(at, found.losses.double().cpu().numpy(), num_sequences)
    return Sums(loss, np.bincount(at, right, num_sequences).astype(np.int64), np.bincount(at, minlength=num_sequences))


def sequence_sums(model: Any, sequences: Sequence[Sequence_], max_tokens: int) -> Sums:
    """The sums of sequences that do not stand in rows, in their order; at most ``max_tokens`` in one pass, filling included."""
    sums = Sums(np.zeros(len(sequences)), np.zeros(len(sequences), np.int64), np.zeros(len(sequences), np.int64))
    order = sorted(range(len(sequences)), key=lambda at: (len(sequences[at][0]), at))
    for group in _groups([len(sequences[at][0]) for at in order], max_tokens):
        chosen = [order[at] for at in group]
        found = row_sums(model, [_row(*sequences[at]) for at in chosen])
        for name, values in vars(found).items():
            getattr(sums, name)[chosen] = values
    return sums


def _row(ids: np.ndarray, learned: np.ndarray) -> Row:
    labels = np.where(learned, ids, IGNORED)
    return {"input_ids": ids, "labels": labels, "position_ids": np.arange(len(ids)), "sequence_lengths": [len(ids)]}  # type: ignore[dict-item]


def _groups(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Runs of neighbours (lengths ascend) that fill at most ``max_tokens`` when all are as long as the last."""
    group: list[int] = []
    for at, length in enumerate(lengths):
        if group and (len(group) + 1) * length > max_tokens:
            yield group
            group = []
        group.append(at)
    if group:
        yield group
