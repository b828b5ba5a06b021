"""An adapter and its base become one model of 16-bit weights, and the result is compared with what the two were apart.

An adapter is never merged into 4-bit weights: rounding them again loses most of what was learned. For QLoRA the base is the 16-bit one
with its linear layers as the 4-bit ones read, since that is the base the adapter was trained on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn.modules import Linear4bit
from peft import PeftModel
from transformers import AutoConfig

from pipeline.errors import GristmillError
from pipeline.models import IGNORED, TokenizerInfo
from pipeline.training.collate import collate
from pipeline.training.model import DTYPES, fit_embeddings, load_base
from pipeline.training.recipe import Precision, Recipe
from pipeline.training.trained import ADAPTER, MODEL, TrainedRun


@dataclass(frozen=True)
class Divergence:
    """How far a model is from a reference: mean KL divergence in nats over ``num_tokens`` supervised tokens of ``num_rows`` rows."""

    nats: float
    num_tokens: int
    num_rows: int


def stored_precision(run: TrainedRun) -> Precision:
    """The precision that the base's configuration names; bf16 where it names none."""
    name, is_local = run.recipe.base_model, Path(run.recipe.base_model).is_dir()
    revision = None if is_local else run.recipe.revision_of_model
    config = AutoConfig.from_pretrained(name, revision=revision, local_files_only=is_local, trust_remote_code=False)
    names = {dtype: name for name, dtype in DTYPES.items()}
    return names.get(config.dtype, "bf16")


def open_tuned(run: TrainedRun, info: TokenizerInfo, wanted: Precision, onto_original: bool = False) -> Any:
    """Base and adapter (a ``PeftModel``) in ``wanted``, or the run's whole model; nothing is held in 4 bits. ``info``: the run's tokenizer.

    The base of a QLoRA run gets the values that its 4-bit weights stand for, unless ``onto_original``.
    """
    plain = dataclasses.replace(run.recipe.of_trained(), adapter="lora", load_in_4bit=None, load_in_8bit=False)
    if run.is_whole:
        return load_base(run.folder / MODEL, plain, wanted)
    base = load_base(run.recipe.base_model, plain, wanted)
    if run.recipe.adapter == "qlora" and not onto_original:
        _round_as_in_4_bits(base, run.recipe, wanted)
    fit_embeddings(base, info, run.recipe)
    return PeftModel.from_pretrained(base, str(run.folder / ADAPTER)).eval()


def _round_as_in_4_bits(base: Any, recipe: Recipe, wanted: Precision) -> None:
    """Give the linear layers of ``base`` the values that they have in 4 bits."""
    quantized = load_base(recipe.base_model, recipe, wanted)
    with torch.no_grad():
        for name, module in quantized.named_modules():
            if isinstance(module, Linear4bit):
                weight: Any = module.weight
                base.get_submodule(name).weight.copy_(dequantize_4bit(weight.data, weight.quant_state))


def merge(tuned: Any) -> Any:
    """The adapter of a ``PeftModel`` merged into its base, which is given back as a plain model; ``tuned`` is used up.

    Raises GristmillError for a base in 4 bits, and for weights that are not numbers.
    """
    if any(isinstance(module, Linear4bit) for module in tuned.modules()):
        raise GristmillError("the base model", "is held in 4 bits, and nothing is merged into that", "load it in 16 bits")
    try:
        merged = tuned.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise GristmillError("the adapter", f"cannot be merged ({error})", "look at the run's curves: did it diverge?") from None
    return merged.eval()


def divergence(reference: Any, model: Any, rows: Iterable[Mapping[str, Sequence[int]]]) -> Divergence:
    """KL(reference || model) over the supervised tokens of packed rows (columns ``input_ids``, ``labels``, ``position_ids``).

    Raises GristmillError when the rows have no supervised token or the models give no numbers.
    """
    total, num_tokens, num_rows = 0.0, 0, 0
    for row in rows:
        batch = collate([row], model.get_input_embeddings().weight.shape[0])
        learned = batch.pop("labels")[:, 1:] != IGNORED
        expected, given = (_log_probabilities(one, batch, learned) for one in (reference, model))
        total += float((expected.exp() * (expected - given)).sum())
        num_tokens += int(learned.sum())
        num_rows += 1
    if not num_tokens or total != total:
        what = "no token of the rows is supervised" if not num_tokens else "the models' outputs are not numbers"
        raise GristmillError("the comparison", what, "look at the rows and at the run's curves")
    return Divergence(max(0.0, total / num_tokens), num_tokens, num_rows)


def _log_probabilities(model: Any, batch: Mapping[str, torch.Tensor], learned: torch.Tensor) -> torch.Tensor:
    """float32[tokens, vocabulary]: of what follows each place that is learned."""
    with torch.no_grad():
        logits = model(**{name: tensor.to(model.device) for name, tensor in batch.items()}, use_cache=False).logits
    return torch.log_softmax(logits[:, :-1][learned.to(logits.device)].float(), dim=-1)


def known_ends(model: Any) -> set[int]:
    """The ids at which the model's own generation stops."""
    ends = model.generation_config.eos_token_id
    return set(ends if isinstance(ends, list) else [ends]) - {None}


def write_model(model: Any, ends: Sequence[int], folder: Path) -> None:
    """Write a plain model as safetensors with its configuration; ``ends``: the ids at which its generation stops."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.use_cache = True  # off for training alone
    model.config.name_or_path = folder.name
    model.generation_config.eos_token_id = ends[0] if len(ends) == 1 else list(ends)
    model.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors keeps others out
