"""Rows become a batch in which no sequence sees another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

IGNORED = -100
"""The label of a token that is not learned, as PyTorch's cross entropy has it."""

FILL = 0
"""The token that fills a batch where a row ends early. Any would do."""


def collate(rows: Sequence[Mapping[str, Sequence[int]]], num_embeddings: int | None = None) -> dict[str, torch.Tensor]:
    """A batch of ``input_ids``, ``labels`` and ``position_ids``, each int64[rows, longest], from rows of unequal length.

    An id beyond the model's ``num_embeddings`` can only be padding of a token of its own (``packing.rows.Padding``): token 0 stands in for
    it, since nothing attends to padding and nothing of it is learned.

    There is no attention mask: transformers reads the borders of sequences off positions that do not go on by one. Filling therefore has
    position 0 throughout, so that each of its tokens is a sequence of its own, and it is not learned. Nor is the first token of a
    sequence, which could only be predicted from the sequence before it.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": FILL, "labels": IGNORED, "position_ids": 0}
    batch = {name: torch.full((len(rows), longest), value, dtype=torch.int64) for name, value in fill.items()}
    for name, tensor in batch.items():
        for filled, row in zip(tensor, rows, strict=True):
            filled[: len(row[name])] = torch.as_tensor(row[name])
    batch["labels"][batch["position_ids"] == 0] = IGNORED
    if num_embeddings is not None:
        batch["input_ids"][(batch["input_ids"] >= num_embeddings) & (batch["labels"] == IGNORED)] = FILL
    return batch
