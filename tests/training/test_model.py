"""The model: packed sequences are kept apart, 4-bit weights keep their gradient, mistakes are named."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import GristmillError, UsageError
from pipeline.models import IGNORED
from pipeline.training.collate import collate
from pipeline.training.model import add_adapter, load_base, precision, require_separation
from pipeline.training.recipe import Recipe

from .conftest import packed_row


def load(recipe: Recipe, adapter: str) -> Any:
    """The tiny model with adapters that have an effect."""
    torch.manual_seed(0)
    recipe = dataclasses.replace(recipe, adapter=adapter)  # type: ignore[arg-type]
    model = add_adapter(load_base(recipe.base_model, recipe, "fp32"), recipe)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model


def logits(model: Any, rows: list[dict[str, Any]]) -> torch.Tensor:
    """The model's output for rows that went through the collator."""
    batch = collate(rows)
    del batch["labels"]
    with torch.no_grad():
        output: torch.Tensor = model(**batch).logits
    return output


@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("adapter", ["lora", "qlora"])
def test_packed_sequences_do_not_see_each_other(recipe: Recipe, adapter: str, train: bool) -> None:
    """Each sequence has the logits that it has alone, in a row with others, in a batch with a shorter row, and after padding on the left."""
    model = load(recipe, adapter).train(train)
    packed = [packed_row(lengths, random.Random(3)) for lengths in ([9, 14, 8], [5, 6], [12], [3, 20])]
    together = logits(model, packed)
    for row, output in zip(packed, together, strict=True):
        start = 0
        for length in row["sequence_lengths"]:
            alone = packed_row([length], random.Random(0)) | {"input_ids": row["input_ids"][start : start + length]}
            separate = logits(model, [alone])[0]
            assert (output[start : start + length] - separate).abs().max() < 1e-3
            start += length


def test_contamination_would_be_seen(recipe: Recipe) -> None:
    """The comparison above can fail: without restarting positions the second sequence has other logits."""
    model = load(recipe, "lora").eval()
    row = packed_row([9, 14], random.Random(3))
    blurred = row | {"position_ids": list(range(23))}
    assert (logits(model, [row])[0, 9:] - logits(model, [blurred])[0, 9:]).abs().max() > 1e-2


def test_a_model_that_mixes_packed_sequences_is_refused(recipe: Recipe) -> None:
    """A model that ignores positions is found out before it trains; one that heeds them passes."""

    class Deaf(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.inner, self.config, self.device = model, model.config, model.device

        def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor, use_cache: bool) -> Any:
            return self.inner(input_ids=input_ids, use_cache=use_cache)

    model = load(recipe, "lora")
    require_separation(model)
    with pytest.raises(GristmillError, match="packed sequences see each other"):
        require_separation(Deaf(model))


def test_filling_and_first_tokens_are_not_learned() -> None:
    """Rows of unequal length are filled with what is not learned, and nothing is predicted over a border."""
    short, long = packed_row([4], random.Random(0)), packed_row([3, 4], random.Random(1))
    short["labels"] = list(short["input_ids"])
    batch = collate([short, long])
    assert batch["input_ids"].shape == (2, 7)
    assert batch["labels"][0].tolist() == [IGNORED, *short["input_ids"][1:], IGNORED, IGNORED, IGNORED]
    assert batch["labels"][1].tolist()[3] == IGNORED


def test_four_bit_weights_keep_their_gradient_after_an_evaluation(recipe: Recipe) -> None:
    """An evaluation between two backward passes changes no gradient (bitsandbytes would repack the weights on some CPUs)."""
    model = load(recipe, "qlora")
    batch = collate([packed_row([16], random.Random(5))])

    def gradients() -> list[torch.Tensor]:
        model.train().zero_grad()
        model(**batch).loss.backward()
        return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]

    before = gradients()
    model.eval()
    with torch.no_grad():
        model(**batch)
    after = gradients()
    assert len(before) == len(after) > 0
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


def test_base_is_in_four_bits_and_frozen(recipe: Recipe) -> None:
    """QLoRA holds every linear layer but the output in NF4 with double quantization, and trains adapters in fp32 alone."""
    model = load(recipe, "qlora")
    layer = model.get_base_model().model.layers[0].mlp.up_proj.base_layer
    assert layer.weight.quant_state.quant_type == "nf4" and layer.weight.quant_state.nested
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert all("lora_" in name and weight.dtype == torch.float32 for name, weight in trained.items())
    assert len(trained) == 2 * 2 * 7  # A and B of seven layers in each of two blocks


def test_named_targets_alone_are_adapted(recipe: Recipe) -> None:
    """``lora_target_modules`` limits the adapter; a name that no layer has is refused with the names there are."""
    model = add_adapter(load_base(recipe.base_model, recipe, "fp32"), dataclasses.replace(recipe, lora_target_modules=("q_proj",)))
    assert all("q_proj" in name for name, weight in model.named_parameters() if weight.requires_grad)
    with pytest.raises(UsageError, match=r"down_proj.*v_proj"):
        add_adapter(load_base(recipe.base_model, recipe, "fp32"), dataclasses.replace(recipe, lora_target_modules=("query",)))


def test_a_missing_model_is_one_line(recipe: Recipe, tmp_path: Path) -> None:
    """A wrong path, and a folder without weights, are named."""
    with pytest.raises(UsageError, match="neither a folder nor a Hub id"):
        load_base("no/such/folder", recipe, "fp32")
    with pytest.raises(UsageError, match="holds no model"):
        load_base(tmp_path, recipe, "fp32")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(GristmillError, match="cannot be loaded") as caught:
        load_base(tmp_path, recipe, "fp32")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="about CPUs")
def test_precision_is_what_the_recipe_asks_for(recipe: Recipe) -> None:
    """The recipe's word counts; ``auto`` never picks fp16 on a CPU, and asking for it is refused."""
    assert precision(dataclasses.replace(recipe, bf16=True)) == "bf16"
    assert precision(recipe) == "fp32"
    assert precision(dataclasses.replace(recipe, bf16="auto")) in ("bf16", "fp32")
    with pytest.raises(UsageError, match="needs a GPU"):
        precision(dataclasses.replace(recipe, bf16="auto", fp16=True))
