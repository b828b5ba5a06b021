"""The loss: cross-entropy of the supervised tokens, with the output layer computed only where one follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.models import IGNORED


@dataclass(frozen=True)
class Predictions:
    """How well a model foretold the supervised tokens of a batch.

    losses       float32[n]      nats of each
    right        bool[n]         whether it was the likeliest of all
    row, column  int64[n]        where each stands in the batch
    """

    losses: torch.Tensor
    right: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor


def predict(model: Any, batch: Mapping[str, torch.Tensor]) -> Predictions:
    """Run a causal model on a collated batch (its ``labels`` included) and compare it with the tokens that are supervised.

    For a vocabulary of 49,152 and a conversation of which a third is learned, the output layer is a good part of a small model's work.
    """
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    labels = batch["labels"]
    followed = torch.zeros_like(labels, dtype=torch.bool)
    followed[:, :-1] = labels[:, 1:] != IGNORED
    logits = model(**inputs, use_cache=False, logits_to_keep=followed).logits
    if logits.dim() == 3:  # the few models that compute every position all the same
        logits = logits[followed]
    row, before = followed.nonzero(as_tuple=True)
    targets = labels[row, before + 1]
    logits = logits.float()
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return Predictions(losses, logits.detach().argmax(dim=-1) == targets, row, before + 1)
