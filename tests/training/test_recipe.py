"""Recipes: axolotl's key names, every mistake named."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.training import recipe_table
from pipeline.training.recipe import Recipe, read_recipe

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "train").glob("*.yaml"))


def write(tmp_path: Path, text: str) -> Path:
    """A recipe file."""
    path = tmp_path / "recipe.yaml"
    path.write_text(f"base_model: owner/name\n{text}")
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_read(path: Path) -> None:
    """Every recipe that is shipped is a right one, and there is at least the default one."""
    assert read_recipe(path).base_model
    assert path.parent / "smollm2-qlora.yaml" in SHIPPED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lora_rank: 8", "did you mean 'lora_r'?"),
        ("learning_rate: fast", "expected a number"),
        ("optimizer: adan", "did you mean 'adam'?"),
        ("micro_batch_size: 0", "allowed: 1 or more"),
        ("bnb_config_kwargs: {bnb_4bit_quant_type: nf5}", "nf4"),
        ("adapter: lora\nload_in_4bit: true", "contradicts adapter: lora"),
        ("bf16: true\nfp16: true", "keep one"),
        ("warmup_ratio: 0.1\nwarmup_steps: 3", "keep one"),
        ("adapter: lora\nlora_target_linear: false", "name lora_target_modules"),
        ("early_stopping_patience: 2", "set eval_steps too"),
        ("load_in_8bit: true", "needs adapter: lora"),
        ("init: random\nadapter: lora", "leave it out"),
        ("overrides_of_model_config: {hidden_size: 8}", "needs init: random"),
        ("bfloat16: true\nfp16: true", "keep one"),
        ("bfloat16: true\nbf16: false", "keep one"),
        ("lr_scheduler: linear\ncosine_min_lr_ratio: 0.1", "needs lr_scheduler: cosine"),
        ("eval_steps: 5\nevals_per_epoch: 2", "keep one"),
        ("save_steps: 5\nsaves_per_epoch: 2", "keep one"),
        ("save_steps: 2.5", "whole numbers of steps"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(tmp_path: Path, text: str, said: str) -> None:
    """A wrong recipe is refused with what is wrong and what to write instead."""
    with pytest.raises(SettingsError, match=r"recipe\.yaml") as caught:
        read_recipe(write(tmp_path, text))
    assert said in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Two mistakes give two lines."""
    with pytest.raises(SettingsError) as caught:
        read_recipe(write(tmp_path, "lora_rank: 8\nseed: x"))
    assert len(caught.value.problems) == 2


def test_a_value_of_the_command_line_wins(tmp_path: Path) -> None:
    """``key=value`` is put over the file, and 1e-4 is a number."""
    assert read_recipe(write(tmp_path, "learning_rate: 1e-3"), ["learning_rate=1e-4"]).learning_rate == 1e-4


@pytest.mark.parametrize(
    ("base", "tokenizer", "name"),
    [
        ("data/models/smollm2-135m-instruct", None, "smollm2-135m-instruct-512"),
        ("mistralai/Mistral-7B-v0.1", None, "mistral-7b-v0.1-512"),
        ("owner/name", "my/tokenizer.json", "my-512"),
    ],
)
def test_rows_are_named_after_tokenizer_and_length(base: str, tokenizer: str | None, name: str) -> None:
    """Recipes that share a tokenizer and a length share their rows."""
    assert Recipe(base_model=base, tokenizer=tokenizer).tokens_name == name


def test_reading_a_recipe_does_not_load_torch() -> None:
    """Planning and tokenizing read recipes without the extra ``train``."""
    code = (
        "import sys, pipeline.training.recipe, pipeline.training.run; print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SHIPPED[0].parents[1])
    assert done.stdout.strip() == "[]"


def test_the_table_of_keys_is_current() -> None:
    """docs/recipes.md says what the code says (else: python -m pipeline.training.recipe_table docs/recipes.md), and no key is without words."""
    page = (SHIPPED[0].parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert recipe_table.put(page) == page
    rows = [line.split(" | ") for line in recipe_table.table().splitlines()[2:]]
    assert len(rows) == len(dataclasses.fields(Recipe)) and all(len(row) == 5 and row[3].strip() for row in rows)
    assert all(path.stem in page for path in SHIPPED)
