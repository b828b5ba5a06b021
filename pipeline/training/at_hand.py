"""What an estimate finds on this machine: memory, weight files, a tokenizer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from pipeline.errors import GristmillError
from pipeline.models import TokenizerInfo, load_tokenizer
from pipeline.training.memory import resident_bytes
from pipeline.training.model import held_in
from pipeline.training.recipe import Precision, Recipe

_STORED_TYPES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}


def machine_bytes(on_gpu: bool) -> int:
    """Memory of this machine's first GPU, or its main memory."""
    if on_gpu:
        return int(torch.cuda.get_device_properties(0).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def process_bytes() -> int:
    """Main memory of a process that has loaded what a run loads, before it has a model: this one, once it has."""
    from pipeline.training import curves, loop, rows, samples  # noqa: F401

    return resident_bytes()


def weight_files(recipe: Recipe) -> list[Path]:
    """The files of the base model's weights that a run reads, where they are in a folder here."""
    return [] if recipe.init == "random" else sorted(Path(recipe.base_model).glob("*.safetensors"))


def is_ready(recipe: Recipe) -> bool:
    """Whether a run could start without asking the network."""
    return bool(weight_files(recipe)) or recipe.init == "random"


def converted_bytes(recipe: Recipe, wanted: Precision) -> int:
    """Bytes of weight files that are read into main memory to be converted; weights in the type they are needed in are mapped instead."""
    files = weight_files(recipe)
    needed = {_STORED_TYPES[held_in(recipe, wanted)]}
    as_stored = recipe.adapter != "qlora" and not recipe.load_in_8bit and all(_types(path) == needed for path in files)
    return 0 if as_stored else sum(path.stat().st_size for path in files)


def _types(path: Path) -> set[str]:
    """The types of the tensors in a safetensors file: its header is JSON, and its length stands before it in 8 bytes."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {tensor["dtype"] for name, tensor in header.items() if name != "__metadata__"}


def tokenizer(recipe: Recipe, tokens: Path) -> TokenizerInfo | None:
    """The recipe's tokenizer (its own, with ``tokenizer: train``, lies in the folder ``tokens``); None when it is not here."""
    name = recipe.tokenizer_beside(tokens)
    try:
        return load_tokenizer(name, recipe.tokenizer_revision) if Path(name).exists() else None
    except GristmillError:
        return None
