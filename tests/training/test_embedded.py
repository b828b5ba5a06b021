"""The embedded model's weights, from a GGUF made here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from pipeline.errors import UsageError
from pipeline.training.embedded import write_weights

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def tiny_llama() -> LlamaForCausalLM:
    """A random Llama of one layer with tied embeddings."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True
    )
    return LlamaForCausalLM(config).eval()


def write_gguf(model: LlamaForCausalLM, path: Path) -> None:
    """The model as llama.cpp stores one: rotary halves of queries and keys interleaved."""
    config, writer = model.config, GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(1)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    state = model.state_dict()
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", state["model.norm.weight"].numpy())
    for name, short in NAMES.items():
        weight = state[f"model.layers.0.{name}.weight"]
        for part, num_heads in heads.items():
            if name.endswith(part):
                weight = weight.reshape(num_heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        writer.add_tensor(f"blk.0.{short}.weight", weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_weights_of_a_gguf_become_plain_safetensors(tmp_path: Path) -> None:
    """The folder loads without the GGUF, in bf16, and computes what the model computed; a config.json that was there stays."""
    model = tiny_llama()
    write_gguf(model, tmp_path / "model.gguf")
    out = tmp_path / "out"
    write_weights(tmp_path / "model.gguf", out)
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "generation_config.json", "model.safetensors"]
    loaded = AutoModelForCausalLM.from_pretrained(out, local_files_only=True)
    assert loaded.dtype == torch.bfloat16
    ids = torch.arange(16)[None]
    with torch.no_grad():
        assert (loaded(input_ids=ids).logits.float() - model(input_ids=ids).logits).abs().max() < 0.02
    config = json.dumps(json.loads((out / "config.json").read_text()) | {"mine": 1})
    (out / "config.json").write_text(config)
    write_weights(tmp_path / "model.gguf", out)
    assert (out / "config.json").read_text() == config


def test_a_missing_gguf_is_named(tmp_path: Path) -> None:
    """A wrong path is one line."""
    with pytest.raises(UsageError, match=r"none\.gguf: is not there"):
        write_weights(tmp_path / "none.gguf", tmp_path)
