"""The model under training: loaded safely, held in 4 bits where asked, with LoRA adapters on its linear layers."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from pipeline.errors import GristmillError, UsageError
from pipeline.training.recipe import Precision, Recipe

DTYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

MAX_LEAK = 0.1
"""Packed logits may differ from separate ones by this many standard deviations on average; bf16 rounds by 0.01, a leak makes 0.5."""


def device() -> str:
    """``cuda`` where there is a GPU, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision(recipe: Recipe) -> Precision:
    """What to multiply matrices in: the recipe's wish, else the best the hardware is fast in. Raises UsageError for fp16 on a CPU."""
    wanted = recipe.precision_wanted
    if device() == "cpu":
        if wanted == "fp16":
            raise UsageError("fp16: true", "needs a GPU", "leave it out, or set bf16: auto")
        return wanted or ("bf16" if _cpu_multiplies_bf16() else "fp32")
    # 8.0 is Ampere; older GPUs emulate bf16
    return wanted or ("bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16")


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU has bf16 matrix instructions; with AVX512-BF16 a step takes 4.3 CPU seconds, not 8.0 (SmolLM2-135M, 512 tokens)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() or torch.ops.mkldnn._is_mkldnn_bf16_supported())


def load_base(name: Path | str, recipe: Recipe, wanted: Precision) -> Any:
    """The frozen base model (a ``PreTrainedModel``) in evaluation mode, from a folder or the Hub; never runs code that comes with it.

    ``use_cache`` is off: with a cache, packed sequences would see each other. Raises UsageError or GristmillError in one line.
    """
    quantization = None
    if recipe.adapter == "qlora":
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=recipe.bnb_config_kwargs.bnb_4bit_quant_type,
            bnb_4bit_use_double_quant=recipe.bnb_config_kwargs.bnb_4bit_use_double_quant,
            bnb_4bit_compute_dtype=DTYPES[wanted],
        )
    is_local = _require_model(name)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(name),
            revision=None if is_local else recipe.revision_of_model,
            local_files_only=is_local,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=DTYPES[wanted],
            attn_implementation="sdpa",
            quantization_config=quantization,
            device_map={"": device()},
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise GristmillError(str(name), f"cannot be loaded ({_first_line(error)})", "check base_model and revision_of_model") from error
    model.config.use_cache = False
    _keep_weights_as_quantized(model)
    return model.eval()


def _require_model(name: Path | str) -> bool:
    """Whether ``name`` is a folder with a model; False for a Hub id, UsageError for neither."""
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
            raise UsageError(str(name), "holds no model (config.json and *.safetensors)", "name another folder or a Hub id")
        return True
    if isinstance(name, Path) or not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        raise UsageError(str(name), "is neither a folder nor a Hub id (owner/name)", "mend base_model in the recipe")
    return False


def _keep_weights_as_quantized(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights for AVX512 at the first evaluation.

    Its repacked layout has no gradient: after one evaluation, training on a CPU would silently go on without the gradient through the base,
    and merging would read garbage.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def add_adapter(model: Any, recipe: Recipe) -> Any:
    """The model (a ``PeftModel``) with fresh LoRA adapters, the only weights that train; they are fp32 and start at no effect.

    For QLoRA whatever is not in 4 bits (norms, embeddings) becomes fp32 first. Raises UsageError when a target names no layer.
    """
    if recipe.adapter == "qlora":
        # checkpointing is left to the Trainer, which does it without re-entering autograd
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    config = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=list(recipe.lora_target_modules) or "all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        layers = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)})
        raise UsageError("lora_target_modules", _first_line(error), f"its linear layers: {', '.join(layers)}") from None


def require_separation(model: Any) -> None:
    """Try with two short sequences whether the model keeps packed ones apart; raises GristmillError when one sees the other.

    Most models of transformers read the borders off restarting positions; one that does not would be trained on a mixture, silently.
    """
    length = 8
    ids = torch.arange(2 * length, device=model.device).remainder(model.config.vocab_size)[None]
    positions = torch.arange(length, device=model.device).repeat(2)[None]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        packed = model(input_ids=ids, position_ids=positions, use_cache=False).logits[:, length:].float()
        alone = model(input_ids=ids[:, length:], position_ids=positions[:, :length], use_cache=False).logits.float()
    model.train(was_training)
    leak = ((packed - alone).abs().mean() / alone.std()).item()
    if not math.isfinite(leak):
        raise GristmillError(str(model.config.model_type), "its output is not a number", "look whether base_model is damaged")
    if leak > MAX_LEAK:
        what = f"lets packed sequences see each other (logits differ by {leak:.2f} standard deviations)"
        raise GristmillError(str(model.config.model_type), what, "set pack: none in stages/tokenize.yaml")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
