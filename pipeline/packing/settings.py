"""The settings of ``stages/tokenize.yaml``. The tokenizer and the length come from the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.settings import at_least, between


@dataclass(frozen=True)
class TokenizeSettings:
    """How clean documents become rows of tokens."""

    format: Literal["arrow", "jsonl", "parquet"] = "arrow"
    """Arrow to train (memory-mapped), JSONL to exchange, Parquet to look at."""

    pack: Literal["best_fit", "none"] = "best_fit"
    """``best_fit`` fills each row with several documents; ``none`` gives each a row of its own, padded to the length."""

    over_long: Literal["split", "truncate", "drop"] = "split"
    """A plain document longer than a row."""

    over_long_conversations: Literal["drop", "truncate"] = "drop"
    """A conversation longer than a row: cut off, it may end before its answer, so it is dropped unless you ask."""

    validation_share: float = between(0.05, 0.0, 0.9)
    """Share of the groups (threads, pages, clusters) that go to the validation split."""

    seed: int = at_least(0, 0)
    """Decides which groups are for validation and in which order the rows stand."""

    rows_per_shard: int = at_least(4096, 1)

    padding_side: Literal["right", "left"] = "right"

    pad_token: str | None = None
    """Text of a token of the vocabulary; else the tokenizer's own where it is not also its end of text, else its unknown token."""
