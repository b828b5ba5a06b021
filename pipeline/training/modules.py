"""The layers of a model by name: how many there are, of which shapes, and which of them to adapt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM


@dataclass(frozen=True)
class Layers:
    """The linear layers that go by one name. ``shapes``: (inputs, outputs), each once; ``weights``: numbers in all of them."""

    name: str
    count: int
    shapes: tuple[tuple[int, int], ...]
    weights: int


@dataclass(frozen=True)
class Modules:
    """A model's layers. ``targets`` are those to adapt: all linear ones but the output (QLoRA, Dettmers et al. 2023, figure 2).

    ``embeddings`` and ``output`` are the names of the layers on both sides of the vocabulary; ``tied``: they share their weights.
    """

    linear: tuple[Layers, ...]
    targets: tuple[str, ...]
    hidden_size: int
    num_layers: int
    weights: int
    vocabulary: int
    embeddings: str
    output: str
    tied: bool


def modules(config: Any) -> Modules:
    """The layers of a model of ``config`` (a ``PreTrainedConfig``); no weights are read or made."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config()
    output, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    groups: dict[str, list[Any]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear):
            groups.setdefault(name.rpartition(".")[2], []).append(layer)
    names = {id(layer): name.rpartition(".")[2] for name, layer in model.named_modules()}
    return Modules(
        linear=tuple(_layers(name, found) for name, found in groups.items()),
        targets=tuple(name for name, found in groups.items() if output not in found),
        hidden_size=text.hidden_size,
        num_layers=text.num_hidden_layers,
        weights=sum(weight.numel() for weight in model.parameters()),
        vocabulary=embeddings.num_embeddings,
        embeddings=names[id(embeddings)],
        output=names.get(id(output), ""),
        tied=bool(text.tie_word_embeddings),
    )


def _layers(name: str, found: list[Any]) -> Layers:
    shapes = dict.fromkeys((layer.in_features, layer.out_features) for layer in found)
    return Layers(name, len(found), tuple(shapes), sum(layer.weight.numel() for layer in found))


def save_line(found: Modules, tokens: int | None) -> str:
    """Whether layers beside the adapter must be trained and saved, for a tokenizer of so many ``tokens``; None: it is not known."""
    layers = ", ".join(dict.fromkeys([found.embeddings, found.output]))
    tied = " (they share their weights)" if found.tied else ""
    if tokens is None:
        return f"with new tokens set lora_modules_to_save: [{layers}]{tied}"
    if tokens > found.vocabulary:
        new = f"the tokenizer has {tokens:,} tokens, the model embeds {found.vocabulary:,}: {tokens - found.vocabulary:,} are new"
        return f"{new}; set lora_modules_to_save: [{layers}]{tied}"
    return f"the tokenizer's {tokens:,} tokens are all embedded ({found.vocabulary:,}): lora_modules_to_save can stay empty"
