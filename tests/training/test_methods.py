"""What can be trained and how: adapters, whole models and models from scratch, with every optimizer and schedule."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.errors import UsageError
from pipeline.models import load_tokenizer
from pipeline.stages import train
from pipeline.training import loop, metrics, steps
from pipeline.training.collate import collate
from pipeline.training.model import add_adapter, fit_embeddings, load_base
from pipeline.training.recipe import Optimizer, Recipe, Scheduler
from pipeline.training.rows import open_rows
from pipeline.training.run import Summary, run_training
from pipeline.training.trainer import shrink

from .conftest import Commit, packed_row, rows

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}


class KilledError(Exception):
    """Stands for a killed process."""


def run(recipe: Recipe, tokens: Path, out: Path, stop_at: str = "never") -> Summary:
    """A run that is cut off when it says ``stop_at``."""

    def log(line: str) -> None:
        if stop_at in line:
            raise KilledError

    return run_training(recipe, tokens, out, recipe.base_model, log)


def lines(out: Path) -> list[metrics.Line]:
    """The metrics of a run."""
    return metrics.read(out / "metrics.jsonl")


def learn(recipe: Recipe, tokens: Path, out: Path) -> list[metrics.Line]:
    """The metrics of the training alone, without curves, samples and the losses of documents."""
    data = open_rows(tokens, recipe, load_tokenizer(recipe.base_model).fingerprint, out / "cache")
    model = add_adapter(load_base(recipe.base_model, recipe, "fp32"), recipe)
    loop.train(model, recipe, data, out, "fp32", lambda line: None)
    return lines(out)


@pytest.fixture
def recipe(recipe: Recipe) -> Recipe:
    """Without the losses of documents, which have tests of their own."""
    return dataclasses.replace(recipe, document_losses_max_rows=0)


@pytest.fixture
def full(recipe: Recipe) -> Recipe:
    """The tiny model, trained whole."""
    return dataclasses.replace(recipe, adapter="none", learning_rate=0.003, max_steps=4)


def test_a_whole_model_is_trained(full: Recipe, tokens: Path, tmp_path: Path) -> None:
    """The model lies there with its tokenizer, loads with plain transformers, does better than its base, and every matrix of it moved."""
    summary = run(full, tokens, tmp_path)
    assert summary.base_loss is not None and summary.final_loss is not None and summary.final_loss < summary.base_loss
    assert not (tmp_path / "adapter").exists()
    before, after = (load_file(folder / "model.safetensors") for folder in (Path(full.base_model), tmp_path / "model"))
    assert before.keys() == after.keys() and not any(torch.equal(before[name], after[name]) for name in before)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert loaded.config.use_cache and loaded.dtype == torch.float32
    assert AutoTokenizer.from_pretrained(tmp_path / "model").encode("a b") == AutoTokenizer.from_pretrained(full.base_model).encode("a b")
    samples = (tmp_path / "samples.md").read_text()
    assert samples.count("**Before**") == samples.count("**After training**") >= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter": "none"},
        {"adapter": "none", "bfloat16": True},
        {"adapter": "lora", "lora_dropout": 0.1},
        {"init": "random", "adapter": "none", "overrides_of_model_config": SMALL},
        {"adapter": "lora", "lora_modules_to_save": ("embed_tokens", "lm_head")},
    ],
    ids=["whole", "whole in bf16", "lora", "from scratch", "lora and embeddings"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(recipe: Recipe, tokens: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Cut off after a checkpoint and run again: the same metrics and the same weights, bit by bit (QLoRA: test_run.py)."""
    recipe = dataclasses.replace(recipe, max_steps=3, save_steps=1, bf16="auto", **changes)
    run(recipe, tokens, tmp_path / "whole")
    with pytest.raises(KilledError):
        run(recipe, tokens, tmp_path / "cut", stop_at="step 3/3: loss")
    run(recipe, tokens, tmp_path / "cut")
    for path in (path for path in (tmp_path / "whole").rglob("*.safetensors") if "checkpoints" not in path.parts):
        assert path.read_bytes() == (tmp_path / "cut" / path.relative_to(tmp_path / "whole")).read_bytes()
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")


def test_a_model_from_scratch_has_the_shape_asked_for_and_the_seed_decides_it(recipe: Recipe, tiny_tokenizer: Path) -> None:
    """A model type with values put over it, as many embeddings as tokens; the same seed gives the same weights, another one does not."""
    recipe = dataclasses.replace(recipe, base_model="llama", init="random", adapter="none", overrides_of_model_config=SMALL)
    info = load_tokenizer(str(tiny_tokenizer))
    one, two = (load_base("llama", recipe, "fp32", info) for _ in range(2))
    other = load_base("llama", dataclasses.replace(recipe, seed=1), "fp32", info)
    assert one.config.hidden_size == 32 and one.config.head_dim == 16 and one.config.eos_token_id == info.eos_id
    assert one.get_input_embeddings().num_embeddings == info.tokenizer.get_vocab_size(with_added_tokens=True)
    weights = [model.get_input_embeddings().weight for model in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_model_from_scratch_can_take_the_shape_of_a_folder(recipe: Recipe) -> None:
    """Only the configuration of the folder counts; a setting that its kind of model lacks is named with the nearest."""
    shape = {"num_hidden_layers": 1, "intermediate_size": 96}
    recipe = dataclasses.replace(recipe, init="random", adapter="none", overrides_of_model_config=shape)
    drawn = load_base(recipe.base_model, recipe, "fp32")
    assert len(drawn.model.layers) == 1 and drawn.config.hidden_size == 64 and drawn.config.num_key_value_heads == 2
    assert drawn.model.layers[0].mlp.up_proj.weight.shape == (96, 64)
    wrong = dataclasses.replace(recipe, overrides_of_model_config={"num_hidden_layer": 1})
    with pytest.raises(UsageError, match="did you mean 'num_hidden_layers'"):
        load_base(recipe.base_model, wrong, "fp32")


def test_a_model_from_scratch_does_not_depend_on_weights(recipe: Recipe) -> None:
    """The run's key knows the configuration of the folder alone."""
    scratch = dataclasses.replace(recipe, init="random", adapter="none")
    assert set(train.resolve(scratch, ()).model) == {"config.json"}
    assert set(train.resolve(recipe, ()).model) == {"config.json", "model.safetensors"}


def test_new_tokens_are_learned_with_the_adapter(recipe: Recipe, tiny_model: Path, tiny_tokenizer: Path, commit: Commit, tmp_path: Path) -> None:
    """A tokenizer larger than the base: its new tokens begin as the mean of the old ones, are trained and saved, and without that are refused."""
    folder = tmp_path / "tokenizer"
    shutil.copytree(tiny_tokenizer, folder)
    definition = json.loads((folder / "tokenizer.json").read_text())
    known = AutoModelForCausalLM.from_pretrained(tiny_model).get_input_embeddings().num_embeddings
    start = 1 + max(definition["model"]["vocab"].values())
    for number in range(start, known + 3):
        definition["model"]["vocab"][f"new{number}"] = number
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    recipe = dataclasses.replace(recipe, tokenizer=str(folder), max_steps=2)
    tokens = commit(tmp_path / "tokens", {"train": rows(4)}, fingerprint=load_tokenizer(str(folder)).fingerprint)
    with pytest.raises(UsageError, match=r"set lora_modules_to_save: \[embed_tokens, lm_head\]"):
        run(recipe, tokens, tmp_path / "refused")
    recipe = dataclasses.replace(recipe, lora_modules_to_save=("embed_tokens", "lm_head"))
    run(recipe, tokens, tmp_path / "run")
    saved = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    embeddings = next(weight for name, weight in saved.items() if "embed_tokens" in name)
    assert len(embeddings) == known + 3
    base = load_base(recipe.base_model, recipe, "fp32")
    mean = base.get_input_embeddings().weight.mean(dim=0)
    fit_embeddings(base, load_tokenizer(str(folder)), recipe)
    assert torch.allclose(base.get_input_embeddings().weight[known:], mean.expand(3, -1))
    tuned = PeftModel.from_pretrained(base, tmp_path / "run" / "adapter")
    assert tuned(input_ids=torch.tensor([[known + 2]])).logits.shape[-1] == known + 3


def test_a_base_in_8_bits_is_trained_on(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """LoRA on LLM.int8 lowers the loss."""
    losses = [line["eval_loss"] for line in metrics.evaluations(learn(dataclasses.replace(recipe, load_in_8bit=True), tokens, tmp_path))]
    assert losses[-1] < losses[0]


def test_targets_by_name_come_besides_all_linear_ones(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """As axolotl has it: ``lora_target_linear`` and names together are both."""
    learn(dataclasses.replace(recipe, lora_target_linear=True, lora_target_modules=("embed_tokens",), max_steps=1, eval_max_rows=1), tokens, tmp_path)
    assert set(json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["target_modules"]) == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        "embed_tokens",
    }


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_every_optimizer_learns(recipe: Recipe, commit: Commit, tmp_path: Path, optimizer: Any) -> None:
    """Each lowers the loss on a few rows that it sees again and again."""
    tokens = commit(tmp_path / "tokens", {"train": rows(2)})
    rate = {"sgd": 0.5, "lion_8bit": 0.001, "lion_32bit": 0.001, "rmsprop": 0.003}.get(optimizer, 0.01)
    recipe = dataclasses.replace(recipe, optimizer=optimizer, learning_rate=rate, lr_scheduler="constant", max_steps=6, micro_batch_size=2)
    losses = [line["loss"] for line in metrics.training(learn(recipe, tokens, tmp_path / "run"))]
    assert losses[-1] < losses[0] - 0.01


@pytest.mark.parametrize("scheduler", get_args(Scheduler))
def test_every_schedule_begins_with_the_warm_up(recipe: Recipe, tokens: Path, tmp_path: Path, scheduler: Any) -> None:
    """The rate rises from 0 to what was asked for, and no further."""
    recipe = dataclasses.replace(recipe, lr_scheduler=scheduler, warmup_steps=2, max_steps=4, eval_max_rows=1)
    rates = [line["learning_rate"] for line in metrics.training(learn(recipe, tokens, tmp_path))]
    assert rates[:3] == pytest.approx([0.0, 0.005, 0.01]) and max(rates) == pytest.approx(0.01)


def test_cosine_can_end_above_0(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """``cosine_min_lr_ratio`` is the floor of the rate."""
    recipe = dataclasses.replace(recipe, cosine_min_lr_ratio=0.5, eval_max_rows=1)
    rates = [line["learning_rate"] for line in metrics.training(learn(recipe, tokens, tmp_path))]
    assert min(rates) > 0.005 and rates[0] == pytest.approx(0.01)


@given(weights=st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=8), rate=st.floats(0, 1), penalty=st.floats(0, 1))
def test_the_l1_penalty_moves_towards_0_and_not_beyond(weights: list[float], rate: float, penalty: float) -> None:
    """Each weight comes closer to 0 by rate times penalty, or ends there."""
    tensor = torch.tensor(weights)
    before = tensor.clone()
    shrink({"params": [tensor], "lr": rate}, penalty)
    assert torch.allclose(tensor, before.sign() * (before.abs() - rate * penalty).clamp(min=0), atol=1e-6)


def test_the_l1_penalty_empties_weights(full: Recipe, tokens: Path, tmp_path: Path) -> None:
    """A run with it leaves weights at exactly 0, and fewer without."""
    for name, penalty in (("with", 0.5), ("without", 0.0)):
        run(dataclasses.replace(full, l1_penalty=penalty, max_steps=2), tokens, tmp_path / name)
    zeros = {
        name: sum(int((w == 0).sum()) for w in load_file(tmp_path / name / "model" / "model.safetensors").values()) for name in ("with", "without")
    }
    assert zeros["with"] > zeros["without"] + 1000


def test_momentum_counts_for_sgd(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """Its default is 0.9, and another value is another run."""
    results = {}
    for momentum in (None, 0.9, 0.0):
        sgd = dataclasses.replace(recipe, optimizer="sgd", momentum=momentum, max_steps=3, eval_max_rows=1)
        results[momentum] = [line["loss"] for line in metrics.training(learn(sgd, tokens, tmp_path / str(momentum)))]
    assert results[None] == results[0.9] != results[0.0]


def test_gradients_of_accumulation_are_those_of_the_large_batch(full: Recipe, commit: Commit, tmp_path: Path) -> None:
    """Rows with very unequal numbers of supervised tokens: one SGD step gives the same weights however the step is cut up."""
    chance = random.Random(0)
    uneven = [packed_row([32], chance, prompt=prompt) for prompt in (1, 30, 20, 2)]
    tokens = commit(tmp_path / "tokens", {"train": uneven})
    results = []
    for batch in (4, 2, 1):
        out = tmp_path / str(batch)
        changes = {"micro_batch_size": batch, "gradient_accumulation_steps": 4 // batch, "max_steps": 1, "max_grad_norm": 0.0}
        run(dataclasses.replace(full, optimizer="sgd", learning_rate=1.0, lr_scheduler="constant", **changes), tokens, out)
        (line,) = metrics.training(lines(out))
        results.append((line["loss"], line["accuracy"], line["grad_norm"], load_file(out / "model" / "model.safetensors")))
    for loss, accuracy, norm, weights in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-6) and accuracy == results[0][1] and norm == pytest.approx(results[0][2], rel=1e-5)
        assert all(torch.allclose(weights[name], results[0][3][name], atol=1e-6) for name in weights)


def test_intervals_may_be_shares_and_counts_of_an_epoch(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """Evaluations twice a pass, and checkpoints after each quarter of the steps."""
    recipe = dataclasses.replace(recipe, max_steps=None, num_epochs=1.0, micro_batch_size=2, evals_per_epoch=2, save_steps=0.25, eval_max_rows=1)
    assert steps.per_epoch(recipe, 12) == 6
    assert [line["step"] for line in metrics.evaluations(learn(recipe, tokens, tmp_path))] == [0, 3, 6]
    assert {path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}


def test_a_flat_batch_is_one_row(recipe: Recipe) -> None:
    """For flash attention rows stand one after another, and each token still has its own prediction."""
    batch = [packed_row([5, 6], random.Random(0)), packed_row([9], random.Random(1))]
    square, flat = collate(batch), collate(batch, flat=True)
    model = load_base(recipe.base_model, dataclasses.replace(recipe, adapter="lora"), "fp32")
    losses = [model(**one).loss.item() for one in (square, flat)]
    assert flat["input_ids"].shape == (1, square["input_ids"].numel()) and losses[0] == pytest.approx(losses[1], abs=1e-5)
