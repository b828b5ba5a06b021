"""The model under training: loaded safely or drawn from a seed, held in 4 or 8 bits where asked, with LoRA adapters or trained whole."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, set_seed
from transformers.utils.import_utils import is_flash_attn_2_available

from pipeline.errors import GristmillError, UsageError, nearest
from pipeline.models import TokenizerInfo
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


def load_base(name: Path | str, recipe: Recipe, wanted: Precision, info: TokenizerInfo | None = None) -> Any:
    """The base model (a ``PreTrainedModel``) in evaluation mode, from a folder or the Hub; never runs code that comes with it.

    With ``init: random`` only its shape is read, and it embeds as many tokens as ``info`` has. A base that is trained whole is fp32, unless
    ``bfloat16`` is asked for; one under an adapter is ``wanted``. ``use_cache`` is off: with a cache, packed sequences would see each
    other. Raises UsageError or GristmillError in one line.
    """
    is_local = _require_model(name, recipe)
    where = {"revision": None if is_local else recipe.revision_of_model, "local_files_only": is_local, "trust_remote_code": False}
    how = {"dtype": held_in(recipe, wanted), "attn_implementation": attention(recipe)}
    try:
        if recipe.init == "random":
            model = _drawn(shape_from_scratch(str(name), recipe, where, info), recipe, how)
        else:
            how |= {"use_safetensors": True, "quantization_config": _quantization(recipe, wanted), "device_map": {"": _placement()}}
            loaded: Any = AutoModelForCausalLM.from_pretrained(str(name), output_loading_info=True, **where, **how)
            model, told = loaded
            _require_all_weights(name, told["missing_keys"])
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise GristmillError(str(name), f"cannot be loaded ({_first_line(error)})", "check base_model and revision_of_model") from error
    model.config.use_cache = False
    _keep_weights_as_quantized(model)
    return model.eval()


def _require_all_weights(name: Path | str, missing: Iterable[str]) -> None:
    """Raise GristmillError when the files lack weights: transformers would draw them at random and go on."""
    lacking = sorted(missing)
    if lacking:
        what = f"lacks {len(lacking):,} of the model's weights, {lacking[0]} the first"
        raise GristmillError(str(name), what, "get the whole model again; init: random is for a model without weights")


def attention(recipe: Recipe) -> str:
    """How to attend, in the words of transformers: flash-attn where the recipe asks for it and it can be used, else PyTorch's own."""
    return "flash_attention_2" if recipe.flash_attention and device() == "cuda" and is_flash_attn_2_available() else "sdpa"


def _placement() -> str:
    """The device of this process: a GPU each under ``accelerate launch``."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device() == "cuda" else "cpu"


def held_in(recipe: Recipe, wanted: Precision) -> torch.dtype:
    """Weights that train need fp32 to take small steps; frozen ones do not."""
    return torch.float32 if recipe.adapter == "none" and not recipe.bfloat16 else DTYPES[wanted]


def _quantization(recipe: Recipe, wanted: Precision) -> BitsAndBytesConfig | None:
    if recipe.adapter == "qlora":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=recipe.bnb_config_kwargs.bnb_4bit_quant_type,
            bnb_4bit_use_double_quant=recipe.bnb_config_kwargs.bnb_4bit_use_double_quant,
            bnb_4bit_compute_dtype=DTYPES[wanted],
        )
    return BitsAndBytesConfig(load_in_8bit=True) if recipe.load_in_8bit else None


def shape_from_scratch(name: str, recipe: Recipe, where: dict[str, Any], info: TokenizerInfo | None) -> Any:
    """The configuration of a model from scratch: that of a folder, a Hub id or a model type, with the recipe's values and the tokenizer's."""
    is_type = "/" not in name and not Path(name).is_dir()
    base = AutoConfig.for_model(name) if is_type else AutoConfig.from_pretrained(name, **where)
    changes = dict(recipe.overrides_of_model_config)
    unknown = next((key for key in changes if not hasattr(base, key)), None)
    if unknown is not None:
        raise UsageError(f"overrides_of_model_config.{unknown}", f"is no setting of {base.model_type}", nearest(unknown, base.to_dict()))
    if info is not None:
        special = {"bos_token_id": info.bos_id, "eos_token_id": info.eos_id, "pad_token_id": info.pad_id}
        changes = {"vocab_size": info.tokenizer.get_vocab_size(with_added_tokens=True), **special, **changes}
    # from the file as it lies there, since what follows from other values (head_dim) must follow from the new ones
    written = {} if is_type else type(base).get_config_dict(name, **where)[0]
    return type(base).from_dict({**written, **changes})


def _drawn(config: Any, recipe: Recipe, how: dict[str, Any]) -> Any:
    """A model of this shape with weights that the seed alone decides."""
    set_seed(recipe.seed)
    return AutoModelForCausalLM.from_config(config, trust_remote_code=False, **how).to(_placement())


def _require_model(name: Path | str, recipe: Recipe) -> bool:
    """Whether ``name`` is a folder with a model (its configuration alone, with ``init: random``); False for a Hub id, else UsageError."""
    folder, from_scratch = Path(name), recipe.init == "random"
    if folder.is_dir():
        if not (folder / "config.json").is_file() or not (from_scratch or any(folder.glob("*.safetensors"))):
            raise UsageError(str(name), "holds no model (config.json and *.safetensors)", "name another folder or a Hub id")
        return True
    if isinstance(name, str) and (re.fullmatch(r"\w[\w.-]*/[\w.-]+", name) or (from_scratch and re.fullmatch(r"\w+", name))):
        return False
    raise UsageError(str(name), "is neither a folder nor a Hub id (owner/name)", "mend base_model in the recipe")


def _keep_weights_as_quantized(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights for AVX512 at the first evaluation.

    Its repacked layout has no gradient: after one evaluation, training on a CPU would silently go on without the gradient through the base,
    and merging would read garbage.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def fit_embeddings(model: Any, info: TokenizerInfo, recipe: Recipe) -> None:
    """Give a base model an embedding for each token that its tokenizer has beyond it: the mean of those there are.

    Raises UsageError when the recipe would leave the new ones untrained.
    """
    size, known = info.tokenizer.get_vocab_size(with_added_tokens=True), model.get_input_embeddings().num_embeddings
    if size <= known:
        return
    names = {"inputs": model.get_input_embeddings(), "outputs": model.get_output_embeddings()}
    layers = [next(name.rpartition(".")[2] for name, module in model.named_modules() if module is layer) for layer in names.values()]
    if recipe.adapter != "none" and not set(layers) <= set(recipe.lora_modules_to_save):
        what = f"has {size:,} tokens, but the base model embeds {known:,}"
        raise UsageError(info.where, what, f"take a tokenizer made for the base model, or set lora_modules_to_save: [{', '.join(layers)}]")
    model.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            layer.weight[known:] = layer.weight[:known].float().mean(dim=0).to(layer.weight.dtype)


def add_adapter(model: Any, recipe: Recipe) -> Any:
    """The model with its weights that train: fresh LoRA adapters (a ``PeftModel``; fp32, at no effect yet), or all with ``adapter: none``.

    For a base in 4 or 8 bits whatever is not in these (norms, embeddings) becomes fp32 first. Raises UsageError when a target names no layer.
    """
    if recipe.adapter == "none":
        return model.requires_grad_(True)
    if recipe.adapter == "qlora" or recipe.load_in_8bit:
        # checkpointing is left to the Trainer, which does it without re-entering autograd
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    config = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=_targets(model, recipe),
        modules_to_save=list(recipe.lora_modules_to_save) or None,
        ensure_weight_tying=bool(recipe.lora_modules_to_save and model.config.get_text_config().tie_word_embeddings),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise UsageError("lora_target_modules", _first_line(error), f"its linear layers: {', '.join(linear_layers(model))}") from None


def linear_layers(model: Any) -> list[str]:
    """The names that the linear layers of a model go by, its output layer left out."""
    output = model.get_output_embeddings()
    return sorted({name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not output})


def _targets(model: Any, recipe: Recipe) -> list[str] | str:
    if not recipe.lora_target_modules:
        return "all-linear"
    more = linear_layers(model) if recipe.lora_target_linear else []
    return sorted({*recipe.lora_target_modules, *more})


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
