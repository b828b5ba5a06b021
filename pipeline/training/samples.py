"""What the model writes before and after training, side by side, on prompts it was not trained on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets as hf
import torch
from transformers import GenerationConfig

from pipeline.commits import writing
from pipeline.models import IGNORED, TokenizerInfo

NUM_PROMPTS = 3
MAX_NEW_TOKENS = 48
PLAIN_PROMPT_TOKENS = 32
"""How much of a plain document is given; of a conversation, all before the first answer."""

MAX_PROMPT_TOKENS = 256
_MAX_ROWS = 64
"""Rows looked through for prompts."""


@dataclass(frozen=True)
class Prompt:
    """The beginning of a document and how it went on, as token ids."""

    document: str
    given: list[int]
    reference: list[int]
    is_conversation: bool


def write_samples(model: Any, info: TokenizerInfo, rows: hf.Dataset, path: Path, before: list[list[int]] | None = None) -> None:
    """Let the model before and after training go on from up to NUM_PROMPTS beginnings, greedily, and write Markdown to ``path``.

    ``before``: what ``write_before`` gave; without it ``model`` is a ``PeftModel``, whose base is asked.
    """
    prompts = choose(rows)
    if before is None:
        with model.disable_adapter():
            before = generate(model, info, prompts)
    after = generate(model, info, prompts)
    about = f"Up to {MAX_NEW_TOKENS} tokens, greedy, on beginnings of documents that were held back from training."
    sections = ["# Before and after", about if prompts else "No document held back from training is long enough to begin and go on."]
    for number, (prompt, base, tuned) in enumerate(zip(prompts, before, after, strict=True), 1):
        texts = {"Given": prompt.given, "Before": base, "After training": tuned, "As it stands": prompt.reference[:MAX_NEW_TOKENS]}
        blocks = [f"**{name}**\n\n{fenced(info.tokenizer.decode(ids, skip_special_tokens=False))}" for name, ids in texts.items()]
        sections.append("\n\n".join([f"## {number}. `{prompt.document}`", *blocks]))
    with writing(path) as file:
        file.write(("\n\n".join(sections) + "\n").encode("utf-8", "replace"))


def write_before(model: Any, info: TokenizerInfo, rows: hf.Dataset) -> list[list[int]]:
    """What a model writes that is about to be trained whole."""
    return generate(model, info, choose(rows))


def choose(rows: hf.Dataset) -> list[Prompt]:
    """The first prompts of the rows, conversations before plain documents, but one plain document where there is one."""
    different: dict[tuple[int, ...], Prompt] = {}
    for row in rows.select(range(min(len(rows), _MAX_ROWS))):
        for prompt in _prompts(row):
            different.setdefault(tuple(prompt.given), prompt)
    plain = [prompt for prompt in different.values() if not prompt.is_conversation]
    conversations = [prompt for prompt in different.values() if prompt.is_conversation][: NUM_PROMPTS - bool(plain)]
    return [*conversations, *plain[: NUM_PROMPTS - len(conversations)]]


def _prompts(row: dict[str, Any]) -> Iterator[Prompt]:
    """The sequences of a row that are the beginning of a document."""
    start = 0
    for length, piece in zip(row["sequence_lengths"], row["pieces"], strict=True):
        ids, labels = row["input_ids"][start : start + length], row["labels"][start : start + length]
        start += length
        if piece["id"] is None or piece["start"] > 0:
            continue
        # the first token is never learned, so a plain document begins to be at its second
        learned = next((i for i, label in enumerate(labels) if label != IGNORED), length)
        is_conversation = learned > 1
        given = learned if is_conversation else PLAIN_PROMPT_TOKENS
        if given < length and given <= MAX_PROMPT_TOKENS:
            yield Prompt(piece["id"], ids[:given], ids[given:], is_conversation)


def generate(model: Any, info: TokenizerInfo, prompts: list[Prompt]) -> list[list[int]]:
    """What the model writes after each prompt, greedily, up to the end of text or MAX_NEW_TOKENS."""
    if not prompts:
        return []
    longest = max(len(prompt.given) for prompt in prompts)
    fill = info.pad_id if info.pad_id is not None else info.eos_id
    ids = torch.tensor([[fill] * (longest - len(prompt.given)) + prompt.given for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(prompt.given)) + [1] * len(prompt.given) for prompt in prompts], device=model.device)
    config = GenerationConfig(max_new_tokens=MAX_NEW_TOKENS, do_sample=False, eos_token_id=info.eos_id, pad_token_id=fill, use_cache=True)
    model.eval()
    with torch.no_grad():
        written = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, longest:].tolist()
    return [answer[: answer.index(info.eos_id) + 1] if info.eos_id in answer else answer for answer in written]


def fenced(text: str) -> str:
    """A Markdown code block that no text can break out of."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"
