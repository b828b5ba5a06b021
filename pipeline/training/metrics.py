"""What a run measured, one JSON object a line in ``metrics.jsonl``.

A training line has ``step``, ``epoch``, ``loss`` (mean since the line before), ``accuracy`` (share of supervised tokens that were the likeliest,
since then), ``learning_rate``, ``grad_norm`` and ``tokens`` (trained on so far, filling included); an evaluation line has ``step``,
``eval_loss``, ``eval_accuracy``, ``eval_tokens`` (supervised ones) and, where the rows name them, ``eval_loss_by_source``. Losses are nats a token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]

_TRAINING = {name: name for name in ("step", "epoch", "loss", "accuracy", "learning_rate", "grad_norm")} | {"num_input_tokens_seen": "tokens"}
_EVALUATION = {name: name for name in ("step", "eval_loss", "eval_accuracy", "eval_tokens")}
"""The Trainer's names and ours."""

OF_SOURCE = "eval_loss/"
"""What the name of a source stands after in the Trainer's history."""


def line_of(entry: Mapping[str, Any]) -> Line | None:
    """The line for an entry of the Trainer's history; None for an entry about anything else, such as speed."""
    names = _TRAINING if "loss" in entry else _EVALUATION if "eval_loss" in entry else {}
    line = {ours: entry[theirs] for theirs, ours in names.items() if theirs in entry}
    by_source = {name.removeprefix(OF_SOURCE): value for name, value in entry.items() if name.startswith(OF_SOURCE)}
    return line | ({"eval_loss_by_source": by_source} if by_source else {}) or None


def write(path: Path, lines: Iterable[Line], append: bool = False) -> None:
    """Write lines to ``path``, over what was there or after it."""
    with path.open("a" if append else "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def read(path: Path) -> list[Line]:
    """The lines of ``path``."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def training(lines: Sequence[Line]) -> list[Line]:
    """The training lines."""
    return [line for line in lines if "loss" in line]


def evaluations(lines: Sequence[Line]) -> list[Line]:
    """The evaluation lines; that of step 0 is the base model's."""
    return [line for line in lines if "eval_loss" in line]
