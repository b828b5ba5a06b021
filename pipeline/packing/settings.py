"""The settings of ``stages/tokenize.yaml``. The tokenizer and the length come from the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.settings import at_least, between


@dataclass(frozen=True)
class TokenizeSettings:
    """How clean documents become rows of tokens."""

    format: Literal["arrow", "jsonl", "parquet"] = "arrow"
    """Arrow to train (memory-mapped), JSONL to exchange, Parquet to look at."""

    pack: Literal["best_fit", "sequential", "wrapped", "none"] = "best_fit"
    """``best_fit`` fills each row with the documents that fill it best; ``sequential`` with those that come next; ``wrapped`` writes all
    one after the other and cuts where a row is full; ``none`` gives each document a row of its own, padded to the length."""

    over_long: Literal["split", "truncate", "drop"] = "split"
    """A plain document longer than a row."""

    split_at: Literal["token", "paragraph"] = "token"
    """Where a document is split: where the row is full, or before that, at the last end of a paragraph (else a line) in its second half."""

    overlap_tokens: int = at_least(0, 0)
    """How many tokens of the piece before a piece of a split document begins with: context that is not learned again."""

    over_long_conversations: Literal["drop", "truncate"] = "drop"
    """A conversation longer than a row: cut off, it may end before its answer, so it is dropped unless you ask."""

    learn: Literal["assistant", "last_assistant", "all"] = "assistant"
    """Which turns of a conversation are learned where the data does not say (``train`` of a message): those of the assistant, the last of
    them, or every token."""

    validation_share: float = between(0.05, 0.0, 0.9)
    """Share of the groups (threads, pages, clusters) of each source that go to the validation split."""

    test_share: float = between(0.0, 0.0, 0.9)
    """Share of the groups of each source that go to the test split, which no training and no search looks at."""

    epochs: Mapping[str, float] = field(default_factory=dict, hash=False)
    """How often the training rows hold each document of a source: 2 twice, 0.5 a seeded half of them; 1 where a source is not named."""

    ratio: Mapping[str, float] = field(default_factory=dict, hash=False)
    """The share of the training tokens that each source gets, in any unit; no source stands there more often than ``epochs`` says."""

    seed: int = at_least(0, 0)
    """Decides which groups are for validation and in which order the rows stand."""

    rows_per_shard: int = at_least(4096, 1)

    padding_side: Literal["right", "left"] = "right"

    pad_token: str | None = None
    """Text of a token of the vocabulary; else the tokenizer's own where it is not also its end of text, else its unknown token."""
