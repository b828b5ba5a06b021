"""The settings of ``stages/tokenize.yaml``. The tokenizer and the length come from the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.settings import at_least, between

CHATML = "chatml"
_CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
_NUM_BYTES = 256


@dataclass(frozen=True)
class SpecialTokens:
    """The control tokens that have a part to play; no text ever becomes one of them."""

    bos_token: str = "<|endoftext|>"
    """Begins a text where a program insists on it; the rows hold none."""

    eos_token: str = "<|im_end|>"
    """Ends a plain document, and generation."""

    pad_token: str = "<|pad|>"
    """Fills a row up; never learned."""


@dataclass(frozen=True)
class OwnTokenizer:
    """The tokenizer that ``tokenizer: train`` trains on the documents: a byte-level BPE."""

    vocab_size: int = at_least(16384, _NUM_BYTES + 3)
    """Control tokens, all 256 bytes and what was merged, together."""

    special_tokens: SpecialTokens = field(default_factory=SpecialTokens)

    tokens: tuple[str, ...] = ()
    """Further control tokens: those that a chat template of your own writes."""

    chat_template: str | None = CHATML
    """``chatml``, or a Jinja file; empty for plain text alone."""

    min_frequency: int = at_least(2, 1)
    """A pair that stands in the sample less often is not merged."""

    split_digits: bool = True
    """Each digit is a token of its own."""

    sample_mb: float = at_least(64.0, 0.001)
    """About how many megabytes of training text are learned from, a seeded sample, which bounds the memory: at 64 half a gigabyte for
    ordinary text, 4 GB for text that is all random letters."""

    def __post_init__(self) -> None:
        if "" in self.controls:
            raise ValueError("a control token is empty; give it a text, or leave it out")
        if self.special_tokens.pad_token in (self.special_tokens.eos_token, self.special_tokens.bos_token):
            raise ValueError("special_tokens.pad_token is another special token too; what ends a text must be learned, padding must not")
        least = _NUM_BYTES + len(self.controls)
        if self.vocab_size < least:
            raise ValueError(f"vocab_size is {self.vocab_size}; the bytes and control tokens alone are {least}")

    @property
    def named_tokens(self) -> dict[str, str]:
        """The special tokens by their part, as ``tokenizer_config.json`` names them."""
        return dict(vars(self.special_tokens))

    @property
    def controls(self) -> tuple[str, ...]:
        """All control tokens in the order of their ids, which begin at 0."""
        chat = _CHATML_TOKENS if self.chat_template == CHATML else ()
        return tuple(dict.fromkeys([self.special_tokens.bos_token, *chat, *vars(self.special_tokens).values(), *self.tokens]))


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
    """How many rows one file holds."""

    padding_side: Literal["right", "left"] = "right"
    """Where padding stands, with ``pack: none``."""

    pad_token: str | None = None
    """Text of a token of the vocabulary; else the tokenizer's own where it is not also its end of text, else its unknown token, else a new one, the
    first id after the vocabulary."""

    own_tokenizer: OwnTokenizer = field(default_factory=OwnTokenizer)
    """Counts only where the tokenizer is ``train``."""
