"""Losses of single documents: the model's own, one row a document, the same whatever shares a row, and resumable."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from pipeline.datasets import open_dataset
from pipeline.progress import Progress
from pipeline.stages import train
from pipeline.training import document_losses, losses
from pipeline.training.document_losses import SCHEMA, frame, measured, table
from pipeline.training.model import add_adapter, load_base
from pipeline.training.recipe import Recipe
from pipeline.training.run import run_training
from pipeline.training.trained import open_run
from pipeline.training.with_base import with_base

from .conftest import Row, packed_row

OPENING, CLOSING = [7, 8], [9]
"""What every prompt begins and ends with."""


def conversation(question: Sequence[int], answer: Sequence[int], name: str) -> Row:
    """A row with one conversation."""
    prompt = [*OPENING, *question, *CLOSING]
    ids = [*prompt, *answer]
    return {
        "input_ids": ids,
        "labels": [-100] * len(prompt) + list(answer),
        "position_ids": list(range(len(ids))),
        "sequence_lengths": [len(ids)],
        "pieces": [{"id": name, "start": 0, "end": len(ids)}],
    }


def joined(rows: Sequence[Row]) -> Row:
    """Rows packed into one."""
    return {name: [value for row in rows for value in row[name]] for name in rows[0]}


def talks(number: int = 4) -> list[Row]:
    """Conversations with different questions."""
    chance = random.Random(3)
    return [
        conversation([50 + n, *(chance.randrange(10, 300) for _ in range(3))], [chance.randrange(10, 300) for _ in range(3 + n)], f"{n:032x}")
        for n in range(number)
    ]


@pytest.fixture(scope="module")
def tuned(tiny_model: Path) -> Any:
    """The tiny model with an adapter that does something."""
    recipe = Recipe(base_model=str(tiny_model), adapter="lora", bf16=False, lora_r=4)
    model = add_adapter(load_base(tiny_model, recipe, "fp32"), recipe)
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.5)
    return model


def own_loss(model: Any, ids: Sequence[int], labels: Sequence[int]) -> float:
    """The mean loss that transformers gives for one sequence alone."""
    with torch.no_grad():
        return float(model(input_ids=torch.tensor([list(ids)]), labels=torch.tensor([list(labels)])).loss)


def measure_all(tuned: Any, rows: Sequence[Row], parts: Path, batch: int = 1) -> list[dict[str, Any]]:
    """The rows of the table for one split."""
    recipe = Recipe(base_model="tiny", adapter="lora", sequence_len=64, micro_batch_size=batch)
    both = with_base(tuned, lambda: None)
    return table(measured(both, {"train": rows}, recipe, parts, lambda line: None)).to_pylist()  # type: ignore[no-any-return]


def test_losses_are_the_models_own(tuned: Any, tiny_model: Path, tmp_path: Path) -> None:
    """Base and tuned loss of a document are what transformers computes for it alone, though it shares a row; the base is the plain model."""
    rows = talks(3)
    found = measure_all(tuned, [joined(rows)], tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model)
    for row, one in zip(rows, found, strict=True):
        assert one["tuned_loss"] == pytest.approx(own_loss(tuned, row["input_ids"], row["labels"]), abs=1e-4)
        assert one["base_loss"] == pytest.approx(own_loss(plain, row["input_ids"], row["labels"]), abs=1e-4)
        assert one["tokens"] == sum(label != -100 for label in row["labels"]) and one["pieces"] == 1
        assert abs(one["tuned_loss"] - one["base_loss"]) > 1e-3


def test_alone_is_without_the_question(tuned: Any, tmp_path: Path) -> None:
    """Without the question an answer stands after what all prompts share; a plain document has no such loss."""
    rows = [*talks(3), packed_row([9], random.Random(0))]
    rows[-1]["pieces"][0]["id"] = "f" * 32
    found = measure_all(tuned, rows, tmp_path)
    shared = OPENING + CLOSING
    for row, one in zip(rows[:-1], found[:-1], strict=True):
        answer = [label for label in row["labels"] if label != -100]
        assert one["alone_loss"] == pytest.approx(own_loss(tuned, shared + answer, [-100] * len(shared) + answer), abs=1e-4)
    assert found[-1]["alone_loss"] is None


@pytest.mark.parametrize("batch", [1, 3])
def test_packing_and_batches_do_not_decide(tuned: Any, tmp_path: Path, batch: int) -> None:
    """Packed or apart, one row at a time or several: the same table but for rounding."""
    rows = talks(5)
    apart = measure_all(tuned, rows, tmp_path / "apart")
    packed = measure_all(tuned, [joined(rows[:2]), joined(rows[2:])], tmp_path / "packed", batch)
    for one, other in zip(apart, packed, strict=True):
        assert one.keys() == other.keys()
        assert all(one[name] == (pytest.approx(other[name], abs=1e-4) if isinstance(one[name], float) else other[name]) for name in one)


def test_pieces_of_a_document_add_up_and_copies_count_once(tuned: Any, tmp_path: Path) -> None:
    """A document in two pieces is one row whose loss is weighted by tokens; a piece that stands in the rows twice counts once."""
    first, second = packed_row([12], random.Random(1)), packed_row([7], random.Random(2))
    first["pieces"], second["pieces"] = ([{"id": "a" * 32, "start": start, "end": start + size}] for start, size in ((0, 12), (12, 7)))
    (found,) = measure_all(tuned, [first, second, first], tmp_path)
    both = [(own_loss(tuned, row["input_ids"], row["labels"]), sum(label != -100 for label in row["labels"])) for row in (first, second)]
    assert (found["pieces"], found["tokens"]) == (2, 17)
    assert found["tuned_loss"] == pytest.approx(sum(loss * tokens for loss, tokens in both) / 17, abs=1e-4)


def test_padding_is_no_document(tuned: Any, tmp_path: Path) -> None:
    """Padding before a document, of a token the model lacks, changes nothing and is not in the table."""
    (row,) = talks(1)
    padded = {
        "input_ids": [100_000] * 4 + row["input_ids"],
        "labels": [-100] * 4 + row["labels"],
        "position_ids": list(range(4)) + row["position_ids"],
        "sequence_lengths": [4, *row["sequence_lengths"]],
        "pieces": [{"id": None, "start": 0, "end": 0}, *row["pieces"]],
    }
    (plain,), (found,) = measure_all(tuned, [row], tmp_path / "plain"), measure_all(tuned, [padded], tmp_path / "padded")
    assert found["tuned_loss"] == pytest.approx(plain["tuned_loss"], abs=1e-4) and found["tokens"] == plain["tokens"]


def test_it_goes_on_where_it_was_killed(tuned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that were measured are not measured again, and the table is that of one run."""
    monkeypatch.setattr(document_losses, "CHUNK_ROWS", 2)
    asked: list[int] = []
    die_at = 0
    real = losses.row_sums

    def counted(model: Any, some: Sequence[Row]) -> losses.Sums:
        asked.append(len(some))
        if len(asked) == die_at:
            raise KeyboardInterrupt
        return real(model, some)

    monkeypatch.setattr(losses, "row_sums", counted)
    rows = talks(5)
    whole = measure_all(tuned, rows, tmp_path / "whole")
    num_passes, die_at = len(asked), len(asked) - 1
    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        measure_all(tuned, rows, tmp_path / "cut")
    asked.clear()
    die_at = 0
    assert measure_all(tuned, rows, tmp_path / "cut") == whole
    assert 0 < len(asked) < num_passes / 2


@given(st.lists(st.lists(st.integers(10, 40), min_size=1, max_size=4), min_size=2, max_size=8, unique_by=tuple), st.integers(0, 3), st.integers(0, 3))
def test_the_frame_is_what_all_prompts_share(questions: list[list[int]], before: int, after: int) -> None:
    """Whatever is asked, the frame begins and ends every prompt, and holds at least what the template puts there."""
    opening, closing = list(range(100, 101 + before)), list(range(200, 201 + after))
    prompts = [[*opening, *question, *closing] for question in questions]
    rows = [
        {
            "input_ids": [*prompt, 5, 6],
            "labels": [-100] * len(prompt) + [5, 6],
            "sequence_lengths": [len(prompt) + 2],
            "pieces": [{"id": f"{n}", "start": 0}],
        }
        for n, prompt in enumerate(prompts)
    ]
    shared = frame(rows)
    assert shared[: len(opening)] == opening and shared[-len(closing) :] == closing
    assert len(shared) <= max(map(len, prompts))


def test_one_question_has_no_frame(tuned: Any, tmp_path: Path) -> None:
    """With a single prompt nobody can tell the template from the question."""
    assert [one["alone_loss"] for one in measure_all(tuned, talks(1), tmp_path)] == [None]


def test_a_run_writes_them_to_the_byte(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """A run measures as many rows as the recipe says, and the same run writes the same bytes; 0 rows write nothing."""
    recipe = dataclasses.replace(recipe, max_steps=2)
    for name, limit in (("one", None), ("two", None), ("few", 2), ("none", 0)):
        run_training(dataclasses.replace(recipe, document_losses_max_rows=limit), tokens, tmp_path / name, Path(recipe.base_model), lambda line: None)
    assert (tmp_path / "one" / document_losses.FILE).read_bytes() == (tmp_path / "two" / document_losses.FILE).read_bytes()
    one, few = (pq.read_table(tmp_path / name / document_losses.FILE) for name in ("one", "few"))
    assert one.schema.equals(SCHEMA) and set(one["split"].to_pylist()) == {"train", "validation"}
    assert 0 < len(few) < len(one) and not (tmp_path / "none" / document_losses.FILE).exists()
    assert np.isfinite(one["base_loss"].to_numpy()).all() and not np.allclose(one["base_loss"].to_numpy(), one["tuned_loss"].to_numpy())


@pytest.mark.parametrize("init", ["pretrained", "random"])
def test_whole_models_have_a_base_when_all_is_measured(recipe: Recipe, tokens: Path, tmp_path: Path, init: str) -> None:
    """A run that trains every weight keeps one model in memory; complete loads the one before it too, unless that was drawn from a seed."""
    recipe = dataclasses.replace(recipe, adapter="none", init=init, max_steps=2, learning_rate=1e-3)
    job = train.resolve(recipe, [{"name": tokens.name, "digest": open_dataset(tokens).digest}])
    with Progress("train", True) as progress:
        run = open_run(train.train(job, tokens, tmp_path / "run", progress).folder)
    assert set(document_losses.read(run)[0]["base_loss"].to_pylist()) == {None}
    document_losses.complete(run, tokens, lambda line: None)
    found, is_complete = document_losses.read(run)
    assert is_complete and (None in found["base_loss"].to_pylist()) == (init == "random")
    if init == "pretrained":
        assert not np.allclose(found["base_loss"].to_numpy(), found["tuned_loss"].to_numpy())
