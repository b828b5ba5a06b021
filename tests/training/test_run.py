"""Whole runs of the tiny model: what they write, how they resume, when they stop."""

from __future__ import annotations

import dataclasses
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pipeline.errors import DatasetError, GristmillError, UsageError
from pipeline.models import IGNORED
from pipeline.training import curves, metrics
from pipeline.training.recipe import Recipe, read_recipe
from pipeline.training.run import Summary, run_training

from .conftest import Commit, packed_row, rows

NO_PIECE = {"id": None, "start": 0, "end": 0}
"""What a row says of padding."""


class KilledError(Exception):
    """Stands for a killed process."""


def run(recipe: Recipe, tokens: Path, out: Path, stop_at: str = "never") -> Summary:
    """A run that is cut off when it says ``stop_at``."""

    def log(line: str) -> None:
        if stop_at in line:
            raise KilledError

    return run_training(recipe, tokens, out, Path(recipe.base_model), log)


def adapter(out: Path) -> dict[str, torch.Tensor]:
    """The weights of a run's adapter."""
    weights: dict[str, torch.Tensor] = load_file(out / "adapter" / "adapter_model.safetensors")
    return weights


def test_a_run_leaves_everything(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """A QLoRA run lowers the validation loss and writes the adapter, the recipe as it was run, metrics, both curves and samples."""
    recipe = dataclasses.replace(recipe, adapter="qlora", max_steps=8, num_epochs=1.0, eval_steps=3, gradient_checkpointing=True)
    said: list[str] = []
    summary = run_training(recipe, tokens, tmp_path / "out", Path(recipe.base_model), said.append)
    assert summary.steps == 8 and summary.precision == "fp32" and summary.tokens > 8 * 11
    assert summary.base_loss is not None and summary.final_loss is not None and summary.final_loss < summary.base_loss
    assert any("max_steps 8 wins over num_epochs 1" in line for line in said)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"adapter", "checkpoints", "recipe.yaml", "metrics.jsonl", "samples.md", "diagnosis.json", "documents.parquet", *curves.NAMES}
    assert read_recipe(tmp_path / "out" / "recipe.yaml") == recipe
    lines = metrics.read(tmp_path / "out" / "metrics.jsonl")
    assert [line["step"] for line in metrics.evaluations(lines)] == [0, 3, 6, 8]
    assert [line["step"] for line in metrics.training(lines)] == list(range(1, 9))
    assert set(metrics.training(lines)[0]) == {"step", "epoch", "loss", "accuracy", "learning_rate", "grad_norm", "tokens"}
    samples = (tmp_path / "out" / "samples.md").read_text()
    assert samples.count("**Before**") == samples.count("**After training**") >= 1


def test_the_adapter_loads_with_plain_peft_and_generates(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """Nothing of ours is needed to use an adapter; it changes what the base model says, and names its base."""
    run(dataclasses.replace(recipe, bf16=True), tokens, tmp_path)
    base = AutoModelForCausalLM.from_pretrained(recipe.base_model)
    ids = torch.tensor([[10, 11, 12, 13]])
    plain = base(input_ids=ids).logits
    tuned = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert (tuned(input_ids=ids).logits - plain).abs().max() > 1e-3
    assert tuned.generate(input_ids=ids, max_new_tokens=4, do_sample=False).shape == (1, 8)
    assert tuned.peft_config["default"].base_model_name_or_path == recipe.base_model


def test_a_resumed_run_equals_an_uninterrupted_one(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """Cut off, with a half-written checkpoint on top, and run again: the same metrics and the same adapter, bit by bit, dropout and all."""
    recipe = dataclasses.replace(recipe, adapter="qlora", bf16=True, lora_dropout=0.2, save_steps=2, eval_steps=3)
    run(recipe, tokens, tmp_path / "whole")
    with pytest.raises(KilledError):
        run(recipe, tokens, tmp_path / "cut", stop_at="step 5/6: loss")
    assert not (tmp_path / "cut" / "adapter").exists()
    checkpoints = tmp_path / "cut" / "checkpoints"
    shutil.copytree(checkpoints / "checkpoint-4", checkpoints / "checkpoint-5")
    (checkpoints / "checkpoint-5" / "complete.json").unlink()
    with (checkpoints / "checkpoint-4" / "optimizer.pt").open("r+b") as file:
        file.truncate(100)
    said: list[str] = []
    run_training(recipe, tokens, tmp_path / "cut", Path(recipe.base_model), said.append)
    assert "going on from checkpoint-2" in said
    for name in ("metrics.jsonl", "learning_curve.svg", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_accumulation_equals_the_large_batch(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """Four rows one at a time give the loss and the adapter of four rows at once, though they have unequal numbers of supervised tokens."""
    large = dataclasses.replace(recipe, micro_batch_size=4, max_steps=3, optimizer="adamw_torch", adam_epsilon=1e-4)
    small = dataclasses.replace(large, micro_batch_size=1, gradient_accumulation_steps=4)
    for name, one in (("large", large), ("small", small)):
        run(one, tokens, tmp_path / name)
    losses = [[line["loss"] for line in metrics.training(metrics.read(tmp_path / name / "metrics.jsonl"))] for name in ("large", "small")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    one, two = adapter(tmp_path / "large"), adapter(tmp_path / "small")
    assert all(torch.allclose(one[key], two[key], atol=1e-4) for key in one)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_rows_of_any_format_train_alike(recipe: Recipe, tokens: Path, commit: Commit, tmp_path: Path, form: str) -> None:
    """Rows in JSON lines and in Parquet give the losses of rows in Arrow."""
    recipe = dataclasses.replace(recipe, max_steps=2)
    other = commit(tmp_path / "tokens", {"train": rows(12), "validation": rows(3, seed=1)}, form)
    assert run(recipe, other, tmp_path / form).final_loss == run(recipe, tokens, tmp_path / "arrow").final_loss


def test_early_stopping_keeps_the_best_adapter(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """A run that only gets worse stops after the patience, and its adapter is that of its best evaluation."""
    recipe = dataclasses.replace(recipe, learning_rate=1.0, lr_scheduler="constant", max_steps=20, eval_steps=1, early_stopping_patience=2)
    summary = run(recipe, tokens, tmp_path)
    losses = [line["eval_loss"] for line in metrics.evaluations(metrics.read(tmp_path / "metrics.jsonl"))][1:]
    assert summary.steps < 20 and summary.final_loss == min(losses)
    assert losses.index(min(losses)) == len(losses) - 3
    best = load_file(tmp_path / "checkpoints" / f"checkpoint-{losses.index(min(losses)) + 1}" / "adapter_model.safetensors")
    assert all(torch.equal(best[key], weight) for key, weight in adapter(tmp_path).items())


def test_foreign_rows_are_refused(recipe: Recipe, commit: Commit, tmp_path: Path) -> None:
    """Rows of another tokenizer or length, and a split without rows to train on, stop the run before a model is loaded."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({"fingerprint": "f" * 64}, "another tokenizer"),
        ({"length": 64}, "rows of 64 tokens"),
    ]
    for number, (settings, said) in enumerate(cases):
        tokens = commit(tmp_path / str(number), {"train": rows(2)}, **settings)
        with pytest.raises(UsageError, match=said):
            run(recipe, tokens, tmp_path / "out")
    with pytest.raises(UsageError, match="no rows to train on"):
        run(recipe, commit(tmp_path / "none", {"validation": rows(2)}), tmp_path / "out")


def test_a_flipped_bit_in_the_rows_is_noticed(recipe: Recipe, commit: Commit, tmp_path: Path) -> None:
    """Arrow has no checksums: the digest of the manifest keeps changed tokens out of a model."""
    tokens = commit(tmp_path / "tokens", {"train": rows(2)})
    (path,) = (tokens / "train").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="not those that were written"):
        run(recipe, tokens, tmp_path / "out")


def test_a_folder_begun_with_another_recipe_is_refused(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """Checkpoints of one recipe never become the adapter of another."""
    with pytest.raises(KilledError):
        run(recipe, tokens, tmp_path, stop_at="step 1/6")
    with pytest.raises(UsageError, match="begun with another recipe"):
        run(dataclasses.replace(recipe, learning_rate=0.02), tokens, tmp_path)


def test_a_loss_that_is_not_a_number_stops_the_run(recipe: Recipe, commit: Commit, tmp_path: Path) -> None:
    """A model with one bad embedding is stopped by the first batch, or the first evaluation, that meets it; no adapter is written."""
    broken = tmp_path / "model"
    shutil.copytree(recipe.base_model, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.embed_tokens.weight"][400] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    recipe = dataclasses.replace(recipe, base_model=str(broken))
    bad = [{**row, "input_ids": [400, *row["input_ids"][1:]]} for row in rows(2)]
    with pytest.raises(GristmillError, match="step 1: the loss is nan; lower learning_rate"):
        run(recipe, commit(tmp_path / "train", {"train": bad}), tmp_path / "one")
    with pytest.raises(GristmillError, match="step 0: the validation loss is nan"):
        run(recipe, commit(tmp_path / "validate", {"train": rows(2), "validation": bad}), tmp_path / "two")
    assert not list(tmp_path.glob("*/adapter"))


def test_rows_without_supervised_tokens_stop_the_run(recipe: Recipe, commit: Commit, tmp_path: Path) -> None:
    """Training on nothing is an error, not a loss of 0."""
    masked = [packed_row([8, 8], random.Random(0), prompt=8)]
    with pytest.raises(GristmillError, match=r"step 1: no token of the batch is supervised"):
        run(recipe, commit(tmp_path / "tokens", {"train": masked}), tmp_path / "out")


def test_curves_are_the_same_bytes_for_the_same_metrics(tmp_path: Path) -> None:
    """Drawn twice, SVG and PNG do not differ; without evaluations there is a curve too."""
    lines = [{"step": 0, "eval_loss": 3.0}, {"step": 1, "loss": 2.9}, {"step": 2, "loss": 2.5}, {"step": 2, "eval_loss": 2.6}]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        curves.draw(lines, "a run", tmp_path / name)
    for name in curves.NAMES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    curves.draw(lines[1:3], "a run", tmp_path)
    assert (tmp_path / curves.NAMES[0]).read_text().lstrip().startswith("<?xml")


def test_validation_can_be_capped(recipe: Recipe, commit: Commit, tmp_path: Path) -> None:
    """With eval_max_rows only the first rows are validated on, the same ones before and after."""
    tokens = commit(tmp_path / "many", {"train": rows(4), "validation": rows(6, seed=1)})
    few = commit(tmp_path / "few", {"train": rows(4), "validation": rows(6, seed=1)[:2]})
    counted = []
    for folder, cap in ((tokens, 2), (few, None), (tokens, None)):
        out = tmp_path / f"out-{folder.name}-{cap}"
        run(dataclasses.replace(recipe, max_steps=2, eval_max_rows=cap), folder, out)
        counted.append([line["eval_tokens"] for line in metrics.evaluations(metrics.read(out / "metrics.jsonl"))])
    assert counted[0] == counted[1] and counted[2][0] > counted[0][0]


def test_padding_of_a_token_that_the_model_lacks_changes_nothing(recipe: Recipe, commit: Commit, tmp_path: Path) -> None:
    """Rows padded with an id beyond the model's embeddings, on either side, train to the same adapter as the rows without padding."""
    beyond = AutoModelForCausalLM.from_pretrained(recipe.base_model).get_input_embeddings().num_embeddings
    plain = [packed_row([20], random.Random(seed)) for seed in range(8)]

    def padded(row: dict[str, Any], size: int = 12) -> dict[str, Any]:
        filling = {"input_ids": [beyond] * size, "labels": [IGNORED] * size, "position_ids": list(range(size))}
        return {**row, **{name: row[name] + filling[name] for name in filling}, "sequence_lengths": [20, size], "pieces": [*row["pieces"], NO_PIECE]}

    def trained(name: str, train: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        tokens = commit(tmp_path / f"{name}-tokens", {"train": train, "validation": train[:2]})
        run(dataclasses.replace(recipe, adapter="lora", max_steps=4, micro_batch_size=2), tokens, tmp_path / name)
        return adapter(tmp_path / name)

    bare, filled = trained("bare", plain), trained("filled", [padded(row) for row in plain])
    assert all(torch.allclose(bare[name], filled[name], atol=1e-5) for name in bare)
