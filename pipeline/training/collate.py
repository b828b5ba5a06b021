"""Rows become a batch in which no sequence sees another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipeline.models import IGNORED

FILL = 0
"""The token that fills a batch where a row ends early. Any would do."""


def collate(
    rows: Sequence[Mapping[str, Any]], num_embeddings: int | None = None, flat: bool = False, sources: Mapping[str, int] | None = None
) -> dict[str, torch.Tensor]:
    """A batch of ``input_ids``, ``labels`` and ``position_ids``, each int64[rows, longest], from rows of unequal length.

    An id beyond the model's ``num_embeddings`` can only be padding of a token of its own (``packing.rows.Padding``): token 0 stands in for
    it, since nothing attends to padding and nothing of it is learned.

    There is no attention mask: transformers reads the borders of sequences off positions that do not go on by one. Filling therefore has
    position 0 throughout, so that each of its tokens is a sequence of its own, and it is not learned. Nor is the first token of a
    sequence, which could only be predicted from the sequence before it.

    ``flat``: one row after the other in a single one, which flash attention needs, because it looks for borders only there. ``sources``: for
    rows with ``pieces``, the code of each source; the batch then has ``sources`` too, int64 and unknown ones ``len(sources)``.
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
    if sources and "pieces" in rows[0]:
        batch["sources"] = _sources(rows, sources, longest)
    return {name: tensor.reshape(1, -1) for name, tensor in batch.items()} if flat else batch


def _sources(rows: Sequence[Mapping[str, Any]], codes: Mapping[str, int], longest: int) -> torch.Tensor:
    """int64[rows, longest]: the code of each token's source."""
    tensor = torch.full((len(rows), longest), len(codes), dtype=torch.int64)
    for filled, row in zip(tensor, rows, strict=True):
        start = 0
        for length, piece in zip(row["sequence_lengths"], row["pieces"], strict=True):
            filled[start : start + length] = codes.get(piece.get("source"), len(codes))
            start += length
    return tensor
