"""Axolotl's files: their training part is read as it stands, the rest is told, and what would be missed is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.training.axolotl import ELSEWHERE, IGNORED, REFUSED, RENAMED
from pipeline.training.recipe import Recipe, read_recipe, settings_of_run

AXOLOTL = """base_model: owner/name
model_type: MistralForCausalLM
tokenizer_type: LlamaTokenizer
load_in_8bit: false
load_in_4bit: true
strict: false
datasets:
  - path: some/rows
    type: alpaca
dataset_prepared_path:
val_set_size: 0.1
output_dir: ./out
adapter: qlora
lora_model_dir:
sequence_len: 4096
sample_packing: true
pad_to_sequence_len: true
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_linear: true
lora_fan_in_fan_out:
lora_target_modules:
  - gate_proj
  - q_proj
wandb_project:
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 1
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: 2e-4
train_on_inputs: false
group_by_length: false
bf16: auto
fp16: false
tf32: false
gradient_checkpointing: true
early_stopping_patience:
local_rank:
logging_steps: 1
xformers_attention:
flash_attention: true
warmup_steps: 10
evals_per_epoch: 4
saves_per_epoch: 1
debug:
deepspeed:
weight_decay: 0.0
fsdp:
special_tokens:
  bos_token: "<s>"
"""
"""The keys of a file as axolotl's examples have them."""


def read(tmp_path: Path, text: str) -> tuple[Recipe, list[str]]:
    """A recipe file, and what was said of it."""
    path, said = tmp_path / "recipe.yaml", list[str]()
    path.write_text(text)
    return read_recipe(path, say=said.append), said


def test_the_training_part_of_an_axolotl_file_is_read_unchanged(tmp_path: Path) -> None:
    """Every value of training arrives; what has no meaning in a recipe is told in one line, with the place where it is set; empty is unset."""
    recipe, said = read(tmp_path, AXOLOTL)
    assert recipe == Recipe(
        base_model="owner/name",
        adapter="qlora",
        load_in_4bit=True,
        sequence_len=4096,
        lora_r=32,
        lora_alpha=16,
        lora_dropout=0.05,
        lora_target_linear=True,
        lora_target_modules=("gate_proj", "q_proj"),
        gradient_accumulation_steps=4,
        micro_batch_size=2,
        num_epochs=1.0,
        optimizer="adamw_bnb_8bit",
        learning_rate=2e-4,
        tf32=False,
        gradient_checkpointing=True,
        flash_attention=True,
        warmup_steps=10,
        evals_per_epoch=4,
        saves_per_epoch=1,
    )
    (line,) = said
    assert "datasets (here: data/sources and stages/extract.yaml)" in line and "val_set_size (here: validation_share" in line
    assert "model_type, tokenizer_type, strict" in line
    assert "wandb_project" not in line and "lora_model_dir" not in line


def test_a_file_of_our_own_is_read_in_silence(tmp_path: Path) -> None:
    """Nothing is said where nothing was left out."""
    assert read(tmp_path, "base_model: owner/name\nadapter: lora\n")[1] == []


@pytest.mark.parametrize("text", ["", "adapter:", "adapter: none"])
def test_without_an_adapter_every_weight_is_trained(tmp_path: Path, text: str) -> None:
    """As axolotl reads a file that names none."""
    assert read(tmp_path, f"base_model: owner/name\n{text}\n")[0].adapter == "none"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rl: dpo", "only causal language models"),
        ("neftune_noise_alpha: 5", "would change what is learned"),
        ("batch_size: 8", "gradient_accumulation_steps"),
        ("learning_rat: 0.1", "did you mean 'learning_rate'?"),
        ("dataset: x", "unknown key"),
        ("report_to: tensorbord", "did you mean 'tensorboard'?"),
    ],
)
def test_what_would_be_missed_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """A method that is not there is an error that names the key and its line, as a misspelled key is."""
    with pytest.raises(SettingsError, match=r"recipe\.yaml:2") as caught:
        read(tmp_path, f"base_model: owner/name\n{text}\n")
    assert said in str(caught.value)


def test_a_refused_key_that_is_switched_off_is_no_mistake(tmp_path: Path) -> None:
    """False, 0 and empty ask for nothing."""
    read(tmp_path, "base_model: owner/name\nrl:\npeft_use_dora: false\nrelora_steps: 0\n")


@pytest.mark.parametrize(
    ("text", "trackers"),
    [
        ("use_tensorboard: true", ("tensorboard",)),
        ("wandb_project: mine", ("wandb",)),
        ("wandb_project: mine\nuse_wandb: false", ()),
        ("report_to: [mlflow]\nuse_mlflow: true\nuse_trackio: true", ("mlflow", "trackio")),
        ("report_to: none", ()),
        ("report_to: tensorboard", ("tensorboard",)),
    ],
)
def test_trackers_are_asked_for_in_several_ways(tmp_path: Path, text: str, trackers: tuple[str, ...]) -> None:
    """The list of transformers and axolotl's switches mean the same; none of it is part of what a run depends on."""
    recipe, _ = read(tmp_path, f"base_model: owner/name\n{text}\n")
    assert recipe.report_to == trackers
    assert settings_of_run(recipe) == settings_of_run(Recipe(base_model="owner/name"))


def test_older_ways_of_saying_things(tmp_path: Path) -> None:
    """Strategies, a tokenizer's older name, an optimizer that transformers dropped, and checkpointing that moves activations elsewhere."""
    text = "eval_strategy: epoch\nsave_strategy: no\ntokenizer_config: other/name\noptimizer: adamw_hf\ngradient_checkpointing: unsloth\n"
    recipe, said = read(tmp_path, f"base_model: owner/name\n{text}")
    assert (recipe.evals_per_epoch, recipe.saves_per_epoch, recipe.tokenizer, recipe.optimizer) == (1, None, "other/name", "adamw_torch")
    assert recipe.gradient_checkpointing == "unsloth" and "taken as true" in said[0]


def test_a_key_has_one_meaning() -> None:
    """No key of a recipe is ignored or refused, and none of axolotl's is both."""
    keys = {field.name for field in dataclasses.fields(Recipe)}
    kinds = [keys, set(ELSEWHERE), set(IGNORED), set(REFUSED), set(RENAMED)]
    assert sum(map(len, kinds)) == len(set().union(*kinds))
