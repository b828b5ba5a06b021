"""A model of the Llama family as one GGUF file, which llama.cpp, Ollama and LM Studio run.

The layout is llama.cpp's: names by the ``gguf`` package's map, vectors in float32, the rotary halves of queries and keys interleaved.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import GristmillError, UsageError
from pipeline.exporting.gguf_vocabulary import TODO, Vocabulary, vocabulary
from pipeline.models import TokenizerInfo

ARCHITECTURE = "llama"
FAMILY = ("llama", "mistral")
"""Values of ``model_type`` whose layers are Llama's. Mistral's sliding window is not kept: llama.cpp looks at the whole context."""

TYPES = ("bf16", "f16", "q8_0")
_FILE_TYPES = {"f16": 1, "q8_0": 7, "bf16": 32}
"""``gguf.LlamaFileType``."""


@dataclass(frozen=True)
class _Tensor:
    """A tensor to write: its name there, its shape, how it is encoded (``gguf.GGMLQuantizationType``), and where its values come from.

    ``interleaved``: the number of heads whose rotary halves are interleaved; 0 leaves the rows as they are.
    """

    title: str
    shape: tuple[int, ...]
    encoding: Any
    file: Path | None
    name: str
    interleaved: int = 0


def write_gguf(folder: Path, info: TokenizerInfo, kind: str, title: str, path: Path) -> None:
    """Write the model in ``folder`` (config.json and safetensors) with its tokenizer to ``path``, one tensor in memory at a time.

    ``kind``: one of TYPES, for matrices. Raises UsageError for a model or a tokenizer that is of another kind than this can write.
    """
    from gguf import GGUFWriter
    from gguf.quants import quantize

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _require_family(config)
    words = vocabulary(info, config["vocab_size"])
    frequencies = _rope_factors(config)
    tensors = _tensors(folder, config, kind, frequencies)
    writer = GGUFWriter(path, ARCHITECTURE)
    _add_settings(writer, config, kind, title)
    _add_vocabulary(writer, words, info)
    for tensor in tensors:
        writer.add_tensor_info(tensor.title, tensor.shape, np.dtype(np.float32), _num_bytes(tensor), raw_dtype=tensor.encoding)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    with ExitStack() as stack:
        opened: dict[Path, Any] = {}
        for tensor in tensors:
            writer.write_tensor_data(quantize(_values(tensor, frequencies, opened, stack), tensor.encoding))
    writer.close()


def _require_family(config: Mapping[str, Any]) -> None:
    if config.get("model_type") not in FAMILY or config.get("hidden_act", "silu") != "silu":
        what = f"is of the kind {config.get('model_type')}, and only models of the Llama family ({', '.join(FAMILY)}) can be written as GGUF here"
        raise UsageError("the model", what, TODO)


def _head_dim(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary embedding's settings, as transformers 5 writes them or as those before did."""
    older = {"rope_theta": config.get("rope_theta") or 10_000.0, **(config.get("rope_scaling") or {})}
    return dict(config.get("rope_parameters") or older)


def _rope_factors(config: Mapping[str, Any]) -> np.ndarray | None:
    """float32[head_dim / 2]: by what each rotary frequency is divided; None where none is. As Llama 3.1's reference code has it."""
    rope = _rope(config)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind in ("default", "linear"):
        return None
    if kind != "llama3":
        raise UsageError("the model", f"scales its rotary embedding by {kind}, which cannot be written as GGUF here", TODO)
    pairs = np.arange(0, _head_dim(config), 2, dtype=np.float64) / _head_dim(config)
    wavelengths = 2 * math.pi * np.float64(rope["rope_theta"]) ** pairs
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] / wavelengths
    smooth = (turns - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.where(turns > high, 1.0, np.where(turns < low, factor, between)).astype(np.float32)


def _add_settings(writer: Any, config: Mapping[str, Any], kind: str, title: str) -> None:
    rope = _rope(config)
    writer.add_name(title)
    writer.add_file_type(_FILE_TYPES[kind])
    writer.add_quantization_version(2)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_rope_dimension_count(_head_dim(config))
    if _head_dim(config) * config["num_attention_heads"] != config["hidden_size"]:
        writer.add_key_length(_head_dim(config))
        writer.add_value_length(_head_dim(config))
    if "linear" in (rope.get("rope_type"), rope.get("type")):
        from gguf import RopeScalingType

        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))


def _add_vocabulary(writer: Any, words: Vocabulary, info: TokenizerInfo) -> None:
    writer.add_tokenizer_model(words.model)
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    if words.merges:
        writer.add_token_merges(words.merges)
    if words.scores:
        writer.add_token_scores(words.scores)
    for name, number in (("bos", info.bos_id), ("eos", info.eos_id), ("unk", info.unk_id), ("pad", info.pad_id)):
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(info.adds_bos)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(words.adds_space)
    if info.chat_template is not None:
        writer.add_chat_template(info.chat_template)


def _tensors(folder: Path, config: Mapping[str, Any], kind: str, frequencies: np.ndarray | None) -> list[_Tensor]:
    """What is to be written, in the order of the model's layers."""
    from gguf import MODEL_ARCH, GGMLQuantizationType, get_tensor_name_map
    from safetensors import safe_open

    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config.get("num_key_value_heads") or config["num_attention_heads"]}
    found = []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (not a mapping)
                title = names.get_name(name, try_suffixes=(".weight", ".bias"))
                if title is None:
                    raise GristmillError(name, "is a weight that llama.cpp's Llama has no place for", TODO)
                if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                    continue
                shape = tuple(weights.get_slice(name).get_shape())
                encoding = _encoding(shape, kind, GGMLQuantizationType)
                layer = name.split(".")[-2]
                found.append(_Tensor(title, shape, encoding, file, name, heads.get(layer, 0)))
    if not found:
        raise UsageError(str(folder), "holds no *.safetensors", "export the run again")
    if frequencies is not None:
        found.append(_Tensor("rope_freqs.weight", frequencies.shape, GGMLQuantizationType.F32, None, ""))
    return sorted(found, key=lambda tensor: [int(part) if part.isdigit() else -1 for part in tensor.title.split(".")[:2]])


def _encoding(shape: tuple[int, ...], kind: str, types: Any) -> Any:
    """Vectors stay in float32, as llama.cpp wants them; a row that does not divide into Q8_0's blocks of 32 becomes float16."""
    if len(shape) < 2:
        return types.F32
    if kind == "q8_0":
        return types.F16 if shape[-1] % 32 else types.Q8_0
    return types.BF16 if kind == "bf16" else types.F16


def _num_bytes(tensor: _Tensor) -> int:
    from gguf.constants import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[tensor.encoding]
    return math.prod(tensor.shape) // block * size


def _values(tensor: _Tensor, frequencies: np.ndarray | None, opened: dict[Path, Any], stack: ExitStack) -> np.ndarray:
    """float32 of the tensor's shape."""
    from safetensors import safe_open

    if tensor.file is None:
        assert frequencies is not None
        return frequencies
    if tensor.file not in opened:
        opened[tensor.file] = stack.enter_context(safe_open(tensor.file, framework="pt"))
    values: np.ndarray = opened[tensor.file].get_tensor(tensor.name).float().numpy()
    if not tensor.interleaved:
        return values
    halves = values.reshape(tensor.interleaved, 2, -1, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
