"""A recipe's model as shapes and types: what is in 4 bits, what is trained, without a weight being read."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline.errors import GristmillError
from pipeline.models import TokenizerInfo
from pipeline.training.model import DTYPES, add_adapter, held_in, shape_from_scratch
from pipeline.training.recipe import Precision, Quantization, Recipe

_BLOCK, _NESTED_BLOCK = 64, 256
"""Weights that share a scale, and scales that share one (QLoRA, Dettmers et al. 2023, section 3; bitsandbytes' own sizes)."""


def read_config(name: Path | str, recipe: Recipe, info: TokenizerInfo | None = None) -> Any:
    """The configuration (a ``PreTrainedConfig``) in a folder, or of a Hub id; no weights need to be there.

    With ``init: random`` it is that of the new model, for the tokenizer ``info``. Raises UsageError or GristmillError.
    """
    is_local = Path(name).is_dir()
    where = {"revision": None if is_local else recipe.revision_of_model, "local_files_only": is_local, "trust_remote_code": False}
    try:
        if recipe.init == "random":
            return shape_from_scratch(str(name), recipe, where, info)
        return AutoConfig.from_pretrained(str(name), **where)
    except (OSError, ValueError, KeyError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise GristmillError(str(name), f"has no configuration that can be read ({why})", "name a folder with the model's config.json") from error


def build(config: Any, recipe: Recipe, wanted: Precision) -> Any:
    """The model of ``config`` as a run trains it, of fake tensors, which have shapes and types but take no memory.

    Gives them under the ``FakeTensorMode`` that it is called in.
    """
    with torch.utils._python_dispatch._disable_current_modes(), torch.device("meta"):
        model = _on_meta(config, recipe, wanted)
    _as_on_cpu(model)
    return model


def _on_meta(config: Any, recipe: Recipe, wanted: Precision) -> Any:
    config = copy.deepcopy(config)
    config.use_cache = False
    model = AutoModelForCausalLM.from_config(config, dtype=held_in(recipe, wanted), attn_implementation="sdpa")
    if recipe.adapter == "qlora" or recipe.load_in_8bit:
        _quantize(model, recipe, DTYPES[wanted])
    return add_adapter(model, recipe)


def _quantize(model: Any, recipe: Recipe, dtype: torch.dtype) -> None:
    """Put stand-ins in place of the linear layers that are held in 4 or 8 bits: all but the output, as transformers does it."""
    output = model.get_output_embeddings()
    for name, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and layer is not output:
            parent, _, last = name.rpartition(".")
            stand_in = _FourBit(layer, dtype, recipe.bnb_config_kwargs) if recipe.adapter == "qlora" else _EightBit(layer, dtype)
            setattr(model.get_submodule(parent), last, stand_in)
    model.is_loaded_in_4bit = recipe.adapter == "qlora"


def _as_on_cpu(model: Any) -> None:
    """Put a tensor that counts as one on a CPU in place of each without a device: mixed precision looks at the device."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    fresh = torch.empty(tensor.shape, dtype=tensor.dtype)
                    made[id(tensor)] = torch.nn.Parameter(fresh, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else fresh
                    vars(made[id(tensor)]).update(vars(tensor))
                tensors[name] = made[id(tensor)]


def four_bit_bytes(size: int, double: bool) -> int:
    """Bytes of ``size`` weights in 4 bits with their scales: a scale of fp32, or one of 8 bits and one of fp32 for each 256 of these."""
    scales = -(-size // _BLOCK)
    return -(-size // 2) + (scales + -(-scales // _NESTED_BLOCK) * 4 if double else scales * 4)


class _Unpacked(torch.autograd.Function):
    """A product with a matrix that is unpacked for the time of it, forward and backward; nothing is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        ctx.shape = shape
        return torch.nn.functional.linear(x, x.new_empty(shape))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        return gradient @ gradient.new_empty(ctx.shape), None


class _EightBit(torch.nn.Linear):
    """Stands in for a layer of bitsandbytes in 8 bits (LLM.int8: a scale for each output)."""

    def __init__(self, layer: torch.nn.Linear, dtype: torch.dtype) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        self._dtype = dtype
        self.weight = _packed(layer.weight.numel() + 4 * layer.out_features, layer.weight.numel())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the real one, without contents."""
        return _unpacked(self, x, self._dtype)


class _FourBit(Linear4bit):
    """Stands in for a layer of bitsandbytes in 4 bits; peft takes only layers of its class for such."""

    def __init__(self, layer: torch.nn.Linear, dtype: torch.dtype, quantization: Quantization) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        self.compute_dtype = dtype
        size = layer.weight.numel()
        weight = _packed(four_bit_bytes(size, quantization.bnb_4bit_use_double_quant), -(-size // 2))
        weight.compress_statistics = quantization.bnb_4bit_use_double_quant
        weight.quant_type = quantization.bnb_4bit_quant_type
        self.weight = weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the real one, without contents."""
        return _unpacked(self, x, self.compute_dtype)


def _packed(held_bytes: int, size: int) -> Any:
    """Weights in a packed form that take ``held_bytes`` with all that belongs to them."""
    weight: Any = torch.nn.Parameter(torch.empty(size, 1, dtype=torch.uint8), requires_grad=False)
    weight.held_bytes = held_bytes
    return weight


def _unpacked(layer: Any, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    result: torch.Tensor = _Unpacked.apply(x.to(dtype), (layer.out_features, layer.in_features))  # type: ignore[no-untyped-call]
    return (result if layer.bias is None else result + layer.bias.to(dtype)).to(x.dtype)
