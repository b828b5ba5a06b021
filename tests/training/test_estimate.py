"""The estimate: steps as the Trainer takes them, memory as it is, the rule for the learning rate, what fits."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pipeline.errors import GristmillError, UsageError
from pipeline.inspection import estimate as command
from pipeline.training import at_hand, memory, model, modules, shape, timing
from pipeline.training.estimate import BASE_RATES, find_gpu, first_that_fits, plan, rate_lines, suggested_rate, warnings
from pipeline.training.memory import Place
from pipeline.training.optimizer_memory import optimizer_bytes
from pipeline.training.recipe import Recipe

from .conftest import LENGTH, Commit, rows, train_run

SPLITS = {"train": {"rows": 10, "tokens": 1000, "learned": 700}, "validation": {"rows": 5, "tokens": 400, "learned": 400}}
SEVEN_B = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 2,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
}


@pytest.fixture
def seven_b(tmp_path: Path) -> Path:
    """A folder with the configuration of a model as wide as those of 7B weights, of two layers, and nothing else."""
    folder = tmp_path / "mistral-7b"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SEVEN_B))
    return folder


@settings(max_examples=30)
@given(number=st.integers(1, 9), micro=st.integers(1, 4), passes=st.integers(1, 3), epochs=st.sampled_from([0.5, 1.0, 2.5]))
def test_steps_are_counted_as_the_trainer_does(number: int, micro: int, passes: int, epochs: float) -> None:
    """As in transformers: batches a pass, rounded up, steps a pass, rounded up, times the epochs, rounded up."""
    recipe = Recipe(base_model="m", micro_batch_size=micro, gradient_accumulation_steps=passes, num_epochs=epochs)
    batches = -(-number // micro)
    steps_per_epoch = max(batches // passes + int(batches % passes > 0), 1)
    found = plan(recipe, {"train": {"rows": number, "tokens": 10 * number, "learned": 5 * number}})
    assert found.steps == math.ceil(epochs * steps_per_epoch) and found.supervised_share == 0.5 and found.evaluations == 0


def test_a_plan_is_what_a_run_does(recipe: Recipe, commit: Commit, tmp_path: Path) -> None:
    """Steps, evaluations and tokens of a real run."""
    from pipeline.training import metrics

    recipe = dataclasses.replace(recipe, max_steps=None, num_epochs=1.5, micro_batch_size=2, gradient_accumulation_steps=2, eval_steps=2)
    tokens = commit(tmp_path / "tokens", {"train": rows(12), "validation": rows(3, seed=1)})
    found = plan(recipe, {"train": {"rows": 12, "tokens": 12, "learned": 12}, "validation": {"rows": 3}})
    lines = metrics.read(train_run(recipe, tokens, tmp_path / "run") / "metrics.jsonl")
    assert found.steps == metrics.training(lines)[-1]["step"] and found.epochs == pytest.approx(metrics.training(lines)[-1]["epoch"], abs=0.4)
    assert found.evaluations == len(metrics.evaluations(lines))


def test_means_and_evaluations_of_a_plan() -> None:
    """Tokens a step from the manifest, and evaluations at the start, at each interval and at the end."""
    found = plan(Recipe(base_model="m", micro_batch_size=2, gradient_accumulation_steps=2, max_steps=7, eval_steps=3, eval_max_rows=4), SPLITS)
    assert (found.tokens_per_step, found.supervised_per_step, found.supervised_share) == (400, 280, 0.7)
    assert found.epochs == pytest.approx(7 / 3) and (found.evaluations, found.evaluated_rows) == (4, 16)


def test_the_rule_gives_what_its_users_computed() -> None:
    """5e-5 * sqrt((2e6 / 350) / 4e6) = 1.89e-6, with Mistral's base; the recipe's rate stands beside it."""
    mistral = next(base for base in BASE_RATES if base.name == "mistral")
    assert suggested_rate(mistral, 2e6 / 350) == pytest.approx(1.89e-6, rel=1e-3)
    known, own, remark = rate_lines(Recipe(base_model="m", adapter="qlora"), "mistralai/Mistral-7B-v0.1", 2e6 / 350)
    assert "1.9e-06" in known and "0.0002, 1.1e+02 times" in own and "2e-4" in remark.replace("0.0002", "2e-4")
    assert len(rate_lines(Recipe(base_model="m", adapter="none"), "another", 100)) == len(BASE_RATES) + 1


def test_little_text_and_one_source_are_warned_of() -> None:
    """Below 10 MiB, and above four fifths of what is learned; a single source dominates nothing."""
    assert len(warnings({"a": 81, "b": 19}, 2**20)) == 2
    assert warnings({"a": 80, "b": 20}, 11 * 2**20) == [] and warnings({"a": 100}, None) == []


def test_gpus_are_found_by_any_spelling() -> None:
    """And an unknown one is an error that names the nearest."""
    for name, known in {
        "t4": "T4",
        "rtx4090": "RTX 4090",
        "4090": "RTX 4090",
        "a100-80": "A100 80GB",
        "NVIDIA H200": "H200",
        "rtx 3060": "RTX 3060",
    }.items():
        assert find_gpu(name)[0] == known
    with pytest.raises(UsageError, match="RTX 4090"):
        find_gpu("RTX 4091")


def optimizers() -> dict[str, Any]:
    """PyTorch's and transformers' optimizers by our names."""
    from transformers.optimization import Adafactor

    return {
        "adamw_torch": torch.optim.AdamW,
        "adam": torch.optim.Adam,
        "sgd": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
        "rmsprop": torch.optim.RMSprop,
        "adagrad": torch.optim.Adagrad,
        "adafactor": Adafactor,
    }


@pytest.mark.parametrize("name", ["adamw_torch", "adam", "sgd", "rmsprop", "adagrad", "adafactor"])
def test_states_of_optimizers_are_as_large_as_they_are(name: str) -> None:
    """What a step leaves in the real optimizer, single numbers aside."""
    weights = [torch.nn.Parameter(torch.ones(24, 40)), torch.nn.Parameter(torch.ones(40))]
    optimizer = optimizers()[name](weights)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    real = sum(
        value.nbytes for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor) and value.numel() > 1
    )
    assert optimizer_bytes(name, [tuple(weight.shape) for weight in weights]) == real


def test_states_in_8_bits() -> None:
    """A byte a number and a scale for each 256, but 32 bits where a tensor is small."""
    assert optimizer_bytes("paged_adamw_8bit", [(64, 64), (64,)]) == 2 * (4096 + 16 * 4) + 2 * 64 * 4


@pytest.mark.parametrize("adapter", ["none", "lora", "qlora"])
def test_weights_are_as_large_as_they_are(recipe: Recipe, adapter: Any) -> None:
    """Bytes of the real model, in memory as it is trained; bitsandbytes' own tensors counted one by one."""
    recipe = dataclasses.replace(recipe, adapter=adapter)
    step = memory.simulate(shape.read_config(recipe.base_model, recipe), recipe, "fp32", 31)
    real = model.add_adapter(model.load_base(recipe.base_model, recipe, "fp32"), recipe)
    quantized = sum(
        weight.nbytes + sum(part.nbytes for part in (weight.quant_state.absmax, weight.quant_state.state2.absmax))
        for weight in real.parameters()
        if hasattr(weight, "quant_state")
    )
    assert step.quantized == quantized
    others = {w.untyped_storage().data_ptr(): w for w in [*real.parameters(), *real.buffers()] if not hasattr(w, "quant_state")}
    assert step.weights + step.adapters == sum(w.untyped_storage().nbytes() for w in others.values())
    assert step.gradients == sum(w.nbytes for w in real.parameters() if w.requires_grad)


def test_activations_are_as_large_as_they_are(recipe: Recipe) -> None:
    """What autograd keeps of a real forward pass, counted by its own hooks, is what the simulation holds at the end of one."""
    recipe = dataclasses.replace(recipe, adapter="none", micro_batch_size=2)
    step = memory.simulate(shape.read_config(recipe.base_model, recipe), recipe, "fp32", 31)
    real = model.load_base(recipe.base_model, recipe, "fp32").requires_grad_(True).train()
    weights = {w.untyped_storage().data_ptr() for w in [*real.parameters(), *real.buffers()]}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = memory._batch(recipe, 31)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        losses = memory._loss(real, batch, "fp32")
    assert losses.shape == (62,)
    assert 0.9 * sum(kept.values()) <= step.step["activations"] + step.step["logits"] <= 1.5 * sum(kept.values())


@settings(max_examples=2)
@given(rows_=st.integers(1, 3), length=st.sampled_from([16, 32, 64]), passes=st.integers(1, 2))
def test_more_takes_more(tiny_model: Path, rows_: int, length: int, passes: int) -> None:
    """More rows, longer rows and kept activations take more; accumulated gradients too."""
    recipe = Recipe(base_model=str(tiny_model), adapter="lora", micro_batch_size=rows_, sequence_len=length, gradient_accumulation_steps=passes)
    config = shape.read_config(tiny_model, recipe)

    def total(**changes: Any) -> int:
        return memory.estimate(config, dataclasses.replace(recipe, **changes), "fp32", Place(True, 0)).peak.total

    assert total(micro_batch_size=rows_ + 1) > total() < total(sequence_len=length * 2)
    assert total(gradient_checkpointing=True) <= total() <= total(gradient_accumulation_steps=2)


def test_a_7b_model_needs_no_weights(seven_b: Path) -> None:
    """4 bits take 4.127 a weight; where QLoRA fits and training every weight does not, QLoRA is what is suggested."""
    recipe = Recipe(base_model=str(seven_b), adapter="qlora", sequence_len=256, gradient_checkpointing=True)
    config = shape.read_config(seven_b, recipe)
    small = memory.estimate(config, recipe, "bf16", Place(True, 0)).peak
    linear = sum(layers.weights for layers in modules.modules(config).linear if layers.name != "lm_head")
    assert small.quantized * 8 / linear == pytest.approx(4.127, abs=0.001)
    limit = small.total
    whole = dataclasses.replace(recipe, adapter="none")

    def total(changed: Recipe) -> int:
        return memory.estimate(config, changed, "bf16", Place(True, 0)).peak.total

    assert limit < total(whole)
    change = first_that_fits(whole, total, limit)
    assert change is not None and change.settings["adapter"] == "qlora" and change.total <= limit


def test_the_first_change_that_fits_is_the_cheapest(recipe: Recipe) -> None:
    """Smaller batches before checkpointing, each alone before both; None when nothing is enough."""
    recipe = dataclasses.replace(recipe, micro_batch_size=4)

    def total(changed: Recipe) -> int:
        return 5 * changed.micro_batch_size + (0 if changed.gradient_checkpointing else 25)

    found = [first_that_fits(recipe, total, limit) for limit in (40, 25, 12, 4)]
    names = [None if change is None else {k: v for k, v in change.settings.items() if k != "gradient_accumulation_steps"} for change in found]
    assert names == [{"micro_batch_size": 2}, {"gradient_checkpointing": True}, {"micro_batch_size": 1, "gradient_checkpointing": True}, None]


def test_modules_are_listed_and_new_tokens_noticed(recipe: Recipe) -> None:
    """Every linear layer with its shape; the output is no target; a larger tokenizer asks for both layers to be saved."""
    found = modules.modules(shape.read_config(recipe.base_model, recipe))
    assert {layers.name: (layers.count, layers.shapes) for layers in found.linear}["down_proj"] == (2, ((128, 64),))
    assert "lm_head" not in found.targets and len(found.targets) == 7 and found.hidden_size == 64
    assert "[embed_tokens, lm_head]" in modules.save_line(found, 513) and "13 are new" in modules.save_line(found, 525)
    assert "can stay empty" in modules.save_line(found, 400)


def test_files_that_are_converted_count_while_loading(recipe: Recipe, tmp_path: Path) -> None:
    """bf16 weights used as bf16 are mapped; used as fp32, or put in 4 bits, they lie beside the copy."""
    save_file({"a": torch.ones(64, dtype=torch.bfloat16)}, tmp_path / "model.safetensors")
    recipe = dataclasses.replace(recipe, base_model=str(tmp_path), bf16=True)
    size = (tmp_path / "model.safetensors").stat().st_size
    assert at_hand.converted_bytes(recipe, "bf16") == 0 and at_hand.converted_bytes(recipe, "fp32") == size
    assert at_hand.converted_bytes(dataclasses.replace(recipe, adapter="qlora"), "bf16") == size


def test_steps_are_timed_on_the_run_itself(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """A step, a validation row and the memory of a process that ran them."""
    found = timing.run(dataclasses.replace(recipe, eval_steps=100), tokens, tmp_path)
    assert found.step > 0 and found.validation_row is not None and found.validation_row > 0 and found.peak_bytes > 2**27
    assert not (tmp_path / "run" / "adapter").exists()


def write_recipe(folder: Path, recipe: Recipe) -> str:
    """A recipe's file."""
    path = folder / "recipe.yaml"
    path.write_text(f"base_model: {recipe.base_model}\nadapter: lora\nbf16: false\nsequence_len: {LENGTH}\nmax_steps: 6\nlora_r: 4\n")
    return str(path)


def test_the_command_prints_every_part(recipe: Recipe, commit: Commit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On this machine with rows, on a GPU, with too little memory, as JSON, and the modules."""
    tokens = str(commit(tmp_path / "tokens", {"train": rows(6)}))
    given_ = [write_recipe(tmp_path, recipe), "--quick", "--tokens", tokens]
    assert command.main([*given_, "--memory", "0.01"]) == 0
    assert "does not fit" in capsys.readouterr().out
    assert command.main([*given_, "--gpu", "t4", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["target"]["name"] == "T4" and answer["memory"]["fits"] and answer["target"]["precision"] == "fp32"
    assert sum(answer["memory"]["parts"].values()) == answer["memory"]["total"]
    assert command.main([*given_, "--modules"]) == 0
    assert "lora_target_modules: [q_proj, k_proj" in capsys.readouterr().out


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """No configuration, no estimate."""
    with pytest.raises(GristmillError, match=r"config\.json"):
        shape.read_config(tmp_path, Recipe(base_model=str(tmp_path)))
