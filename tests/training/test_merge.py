"""Merging an adapter into its base, and what is exported: equal to what was trained, or refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, GgufConfig, LlamaConfig, LlamaForCausalLM

from pipeline.datasets import open_dataset
from pipeline.errors import DatasetError, GristmillError, UsageError
from pipeline.exporting import gguf_vocabulary
from pipeline.exporting.command import main
from pipeline.exporting.gguf_model import write_gguf
from pipeline.models import load_tokenizer
from pipeline.training import merge
from pipeline.training.collate import collate
from pipeline.training.model import load_base
from pipeline.training.recipe import Recipe
from pipeline.training.trained import TrainedRun, open_run

from .conftest import LENGTH, Commit, rows, train_run

IDS = torch.arange(24)[None] + 5


def logits(one: Any) -> torch.Tensor:
    """What a model says of a short text."""
    with torch.no_grad():
        output: torch.Tensor = one(input_ids=IDS, use_cache=False).logits.float()
    return output


def tuned_model(run: TrainedRun, onto_original: bool = False) -> Any:
    """Base and adapter of a run in fp32."""
    return merge.open_tuned(run, load_tokenizer(run.recipe.base_model), "fp32", onto_original)


@pytest.mark.parametrize("adapter", ["lora", "qlora"])
def test_merged_is_what_base_and_adapter_were(trained: Path, adapter: str) -> None:
    """The merged model's logits are the adapter's within float error, and far from the base's."""
    run = open_run(trained / "runs" / adapter)
    tuned = tuned_model(run)
    apart = logits(tuned)
    with tuned.disable_adapter():
        assert (logits(tuned) - apart).abs().max() > 1e-2
    merged = merge.merge(tuned)
    assert (logits(merged) - apart).abs().max() < 1e-4
    assert not any("lora" in name for name in merged.state_dict())


def test_qlora_is_merged_onto_its_base_as_the_four_bits_read(trained: Path) -> None:
    """The 16-bit base of a QLoRA run computes what the 4-bit one does, and the stored one does not."""
    run = open_run(trained / "runs" / "qlora")
    four_bits = load_base(run.recipe.base_model, run.recipe, "fp32")
    tuned, original = tuned_model(run), tuned_model(run, onto_original=True)
    with tuned.disable_adapter(), original.disable_adapter():
        assert (logits(tuned) - logits(four_bits)).abs().max() < 1e-4
        assert (logits(original) - logits(four_bits)).abs().max() > 1e-3


def test_nothing_is_merged_into_four_bits(trained: Path) -> None:
    """A base in 4 bits is refused, and an adapter of numbers that are none."""
    from peft import PeftModel

    run = open_run(trained / "runs" / "qlora")
    tuned = PeftModel.from_pretrained(load_base(run.recipe.base_model, run.recipe, "fp32"), str(run.folder / "adapter"))
    with pytest.raises(GristmillError, match="4 bits"):
        merge.merge(tuned)
    tuned = tuned_model(run)
    next(weight for name, weight in tuned.named_parameters() if "lora_B" in name).data.fill_(float("nan"))
    with pytest.raises(GristmillError, match="cannot be merged"):
        merge.merge(tuned)


def test_divergence_is_that_of_the_distributions(trained: Path) -> None:
    """It is 0 for a model and itself, and for two models the mean of sum p log(p/q) over what is supervised."""
    run = open_run(trained / "runs" / "lora")
    tuned = tuned_model(run)
    some = rows(2, seed=3)
    assert merge.divergence(tuned, tuned, some).nats == 0.0
    base = load_base(run.recipe.base_model, run.recipe, "fp32")
    expected, count = 0.0, 0
    for row in some:
        batch = collate([row])
        labels = batch.pop("labels")
        with torch.no_grad():
            p, q = (torch.softmax(one(**batch, use_cache=False).logits[0].double(), -1) for one in (tuned, base))
        for place in range(len(row["input_ids"]) - 1):
            if labels[0, place + 1] != -100:
                expected += float((p[place] * (p[place] / q[place]).log()).sum())
                count += 1
    measured = merge.divergence(tuned, base, some)
    assert measured.num_tokens == count and measured.num_rows == 2
    assert measured.nats == pytest.approx(expected / count, rel=1e-4)


def test_a_merged_folder_loads_without_the_run(trained: Path, tmp_path: Path) -> None:
    """It holds weights, configuration, tokenizer and a record, computes what was trained, and is left alone the second time."""
    out = tmp_path / "out"
    assert main(["model", str(trained / "runs" / "qlora"), str(out), "--to", "merged", "--quiet"]) == 0
    loaded = AutoModelForCausalLM.from_pretrained(out, local_files_only=True)
    assert (logits(loaded) - logits(tuned_model(open_run(trained / "runs" / "qlora")))).abs().max() < 1e-4
    assert loaded.config.use_cache and load_tokenizer(str(out)).eos_id in merge.known_ends(loaded)
    manifest = open_dataset(out).manifest
    assert set(manifest["files"]) == {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert manifest["divergence"]["num_rows"] == 3 and 0 <= manifest["divergence"]["nats"] < 1e-4
    assert manifest["base"]["files"]["model.safetensors"] and manifest["precision"] == "fp32"
    assert str(trained) not in (out / "config.json").read_text()
    before = (out / "__run.json").read_bytes()
    assert main(["model", str(trained / "runs" / "qlora"), str(out), "--to", "merged", "--quiet"]) == 0
    assert (out / "__run.json").read_bytes() == before


def test_layers_that_were_trained_whole_are_merged_too(tiny_model: Path, commit: Commit, tmp_path: Path) -> None:
    """Embeddings saved with the adapter take the base's place, also where input and output share theirs."""
    config = LlamaConfig.from_pretrained(tiny_model, tie_word_embeddings=True)
    torch.manual_seed(0)
    shutil.copytree(tiny_model, tmp_path / "base")
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    tokens = commit(tmp_path / "tokens" / "set", {"train": rows(6), "validation": rows(3, seed=1)})
    recipe = Recipe(
        base_model=str(tmp_path / "base"),
        adapter="lora",
        lora_modules_to_save=("embed_tokens", "lm_head"),
        bf16=False,
        sequence_len=LENGTH,
        max_steps=4,
        learning_rate=0.02,
        lora_r=4,
    )
    run = train_run(recipe, tokens, tmp_path / "runs" / "whole")
    assert main(["model", str(run), str(tmp_path / "out"), "--to", "merged", "--quiet"]) == 0
    loaded, tuned = AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True), tuned_model(open_run(run))
    assert (logits(loaded) - logits(tuned)).abs().max() < 1e-4
    base = load_base(recipe.base_model, recipe, "fp32")
    assert (loaded.get_input_embeddings().weight - base.get_input_embeddings().weight).abs().max() > 1e-3


def test_a_merged_model_that_is_far_off_is_refused(trained: Path, tmp_path: Path) -> None:
    """Above the limit nothing is written, unless it is forced."""
    given = ["model", str(trained / "runs" / "qlora"), str(tmp_path / "out"), "--to", "merged", "--onto", "original", "--max-kl", "1e-9", "--quiet"]
    with pytest.raises(GristmillError, match=r"nats a token .* limit is 1e-09.*--force"):
        main(given)
    assert not list(tmp_path.iterdir())
    assert main([*given, "--force"]) == 0
    assert open_dataset(tmp_path / "out").manifest["divergence"]["nats"] > 1e-9


def test_other_rows_and_another_base_are_refused(trained: Path, tmp_path: Path, commit: Commit) -> None:
    """The comparison is on the rows the run was trained beside, and the merge on the model it was trained from."""
    other = commit(tmp_path / "other", {"train": rows(2), "validation": rows(2, seed=9)})
    given = ["model", str(trained / "runs" / "lora"), str(tmp_path / "out"), "--to", "merged", "--quiet"]
    with pytest.raises(UsageError, match="does not hold the rows"):
        main([*given, "--tokens", str(other)])
    with pytest.raises(UsageError, match=r"is not there.*--rows 0"):
        main([*given, "--tokens", str(tmp_path / "none")])
    run = open_run(trained / "runs" / "lora")
    changed = dataclasses.replace(run.dataset, manifest=run.dataset.manifest | {"model": {"model.safetensors": "0" * 64}})
    with pytest.raises(DatasetError, match="not the file that the run was trained from"):
        dataclasses.replace(run, dataset=changed).require_same_base()


def test_an_adapter_is_copied_as_it_is(trained: Path, tmp_path: Path) -> None:
    """Plain peft files, byte for byte."""
    source = trained / "runs" / "lora" / "adapter"
    assert main(["model", str(trained / "runs" / "lora"), str(tmp_path / "out"), "--to", "adapter", "--quiet"]) == 0
    for path in source.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_mistakes_are_one_line(trained: Path, tmp_path: Path) -> None:
    """An unknown form, a folder that is no run, an output within the run."""
    run = trained / "runs" / "lora"
    with pytest.raises(UsageError, match="did you mean 'merged'"):
        main(["model", str(run), str(tmp_path / "out"), "--to", "merge"])
    with pytest.raises(UsageError, match="is not a training run"):
        main(["model", str(trained / "tokens" / "set"), str(tmp_path / "out"), "--to", "merged"])
    with pytest.raises(UsageError, match="lies in the input"):
        main(["model", str(run), str(run / "out"), "--to", "merged"])


def whole_run(run: Path, tiny_model: Path, out: Path) -> TrainedRun:
    """The run as if it had trained every weight."""
    from pipeline.commits import Build, copy

    with Build(out, "1" * 64) as build:
        for path in tiny_model.iterdir():
            copy(path, build.folder / "model" / path.name)
        shutil.copy(run / "recipe.yaml", build.folder / "recipe.yaml")
        manifest = open_dataset(run).manifest
        names = [path.relative_to(build.folder).as_posix() for path in build.folder.rglob("*") if path.is_file()]
        build.commit([], {key: manifest[key] for key in ("stage", "inputs", "model")}, {}, files=names)
    return open_run(out)


def test_a_whole_model_is_exported_without_a_merge(trained: Path, tiny_model: Path, tmp_path: Path) -> None:
    """A run that trained every weight has no adapter; its model goes out with the tokenizer."""
    run = whole_run(trained / "runs" / "lora", tiny_model, tmp_path / "runs" / "full")
    assert run.is_whole
    assert main(["model", str(run.folder), str(tmp_path / "out"), "--to", "merged", "--quiet"]) == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    with pytest.raises(UsageError, match="there is no adapter"):
        main(["model", str(run.folder), str(tmp_path / "adapter"), "--to", "adapter", "--quiet"])


@pytest.mark.parametrize(("kind", "dtype"), [("bf16", torch.bfloat16), ("f16", torch.float16), ("q8_0", None)])
def test_a_gguf_reads_back_as_the_model(trained: Path, tmp_path: Path, kind: str, dtype: torch.dtype | None) -> None:
    """The GGUF holds, as transformers reads it, what was trained, within the error of its type, and the tokens it was trained with."""
    out = tmp_path / "tiny"
    assert main(["model", str(trained / "runs" / "lora"), str(out), "--to", "gguf", "--type", kind, "--quiet"]) == 0
    name = f"tiny-{kind}.gguf"
    loaded = AutoModelForCausalLM.from_pretrained(out, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32)
    merged = merge.merge(tuned_model(open_run(trained / "runs" / "lora")))
    assert (logits(loaded) - logits(merged)).std() < 0.1 * logits(merged).std()
    for title, weight in merged.state_dict().items():
        near = weight if weight.dim() < 2 else weight.to(dtype).float() if dtype else loaded.state_dict()[title]
        assert torch.equal(loaded.state_dict()[title], near)
        assert (weight - near).abs().max() <= weight.abs().max() / 127
    fields = GGUFReader(out / name).fields
    tokenizer = load_tokenizer(open_run(trained / "runs" / "lora").recipe.base_model)
    tokens = fields["tokenizer.ggml.tokens"].contents()
    size = tokenizer.tokenizer.get_vocab_size()
    assert len(tokens) == 512 and tokens[:size] == [tokenizer.tokenizer.id_to_token(number) for number in range(size)]
    assert fields["tokenizer.ggml.eos_token_id"].contents() == tokenizer.eos_id
    assert fields["tokenizer.chat_template"].contents() == tokenizer.chat_template
    assert fields["tokenizer.ggml.pre"].contents() == "gpt-2"


def test_llama_3_frequencies_are_those_of_transformers(tiny_tokenizer: Path, tmp_path: Path) -> None:
    """The factors in the GGUF divide the rotary frequencies as transformers' own scaling does."""
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=1,
        rope_parameters=rope | {"original_max_position_embeddings": 64},
    )
    scaled = LlamaForCausalLM(config)
    scaled.save_pretrained(tmp_path / "model")
    write_gguf(tmp_path / "model", load_tokenizer(str(tiny_tokenizer)), "bf16", "x", tmp_path / "x.gguf")
    factors = next(tensor.data for tensor in GGUFReader(tmp_path / "x.gguf").tensors if tensor.name == "rope_freqs.weight")
    plain = 500000.0 ** -(torch.arange(0, 128, 2) / 128)
    assert torch.allclose(plain / torch.tensor(factors), scaled.model.rotary_emb.inv_freq, rtol=1e-4)
    assert max(factors) == 8.0 and min(factors) == 1.0


def test_other_models_and_tokenizers_are_refused_for_gguf(tiny_model: Path, tiny_tokenizer: Path, tmp_path: Path) -> None:
    """A line says what to use instead."""
    info = load_tokenizer(str(tiny_tokenizer))
    config = json.loads((tiny_model / "config.json").read_text())
    for change, message in (({"model_type": "gpt2"}, "Llama family.*convert_hf_to_gguf"), ({"rope_parameters": {"rope_type": "yarn"}}, "yarn")):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(UsageError, match=message):
            write_gguf(tmp_path, info, "bf16", "x", tmp_path / "x.gguf")
    strange = dict(info.definition) | {"pre_tokenizer": {"type": "Whitespace"}}
    with pytest.raises(UsageError, match=r"no name in llama.cpp.*Whitespace"):
        gguf_vocabulary.vocabulary(dataclasses.replace(info, definition=strange), 512)
    with pytest.raises(UsageError, match="Unigram"):
        gguf_vocabulary.vocabulary(dataclasses.replace(info, definition={"model": {"type": "Unigram", "vocab": []}}), 512)


def test_sentencepiece_scores_follow_the_merges(tiny_tokenizer: Path) -> None:
    """A merge that stands before another scores higher; bytes, control tokens and unknown ones have their own kinds."""
    words = {"<unk>": 0, "<s>": 1, "</s>": 2, "<0x0A>": 3, "\u2581": 4, "a": 5, "b": 6, "ab": 7, "\u2581ab": 8}
    definition = {
        "model": {"type": "BPE", "byte_fallback": True, "unk_token": "<unk>", "vocab": words, "merges": [["a", "b"], ["\u2581", "ab"]]},
        "added_tokens": [{"id": number, "content": content, "special": True} for content, number in list(words.items())[:3]],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}]},
        "pre_tokenizer": None,
    }
    info = dataclasses.replace(load_tokenizer(str(tiny_tokenizer)), definition=definition)
    found = gguf_vocabulary.vocabulary(info, 10)
    assert found.model == "llama" and found.adds_space and not found.merges
    assert found.scores[7] > found.scores[8] and found.tokens[9] == "[PAD9]"
    kinds = gguf_vocabulary
    assert found.types[:5] == (kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, kinds.BYTE, kinds.NORMAL) and found.types[9] == kinds.UNUSED
