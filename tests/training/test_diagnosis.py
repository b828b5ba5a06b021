"""Runs made on purpose to go wrong, and one that goes well, are each named rightly; so are curves drawn by hand, with noise and without."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training import diagnosis, metrics
from pipeline.training.diagnosis import MIN_LINES, NOT_VALIDATED, OVERFIT, TOO_HIGH, TOO_LOW, TOO_SHORT, UNDERFIT, WELL_FIT, diagnose, record
from pipeline.training.metrics import Line
from pipeline.training.recipe import Recipe
from pipeline.training.run import run_training

from .conftest import LENGTH, Commit, Row


def chain(chance: random.Random, num_words: int, num_ways: int) -> Row:
    """A row in which each of ``num_words`` words is followed by one of ``num_ways`` others."""
    words = [chance.randrange(num_words)]
    while len(words) < LENGTH:
        words.append((3 * words[-1] + chance.randrange(num_ways)) % num_words)
    ids = [5 + 7 * word for word in words]
    piece = {"id": f"{chance.randrange(10**9):032x}", "start": 0, "end": LENGTH}
    return {"input_ids": ids, "labels": ids, "position_ids": list(range(LENGTH)), "sequence_lengths": [LENGTH], "pieces": [piece]}


def rows(number: int, seed: int, num_ways: int = 2) -> list[Row]:
    """Rows of 16 words; with 16 ways there is nothing to learn but by heart."""
    chance = random.Random(seed)
    return [chain(chance, 16, num_ways) for _ in range(number)]


EASY = {"train": rows(400, 0), "validation": rows(8, 1)}
BY_HEART = {"train": rows(8, 0, num_ways=16), "validation": rows(8, 1, num_ways=16)}
RUNS: dict[str, tuple[str, dict[str, list[Row]], dict[str, Any]]] = {
    "fit well": (WELL_FIT, EASY, {"max_steps": 96, "learning_rate": 0.003, "eval_steps": 12, "warmup_steps": 5}),
    "stopped early": (UNDERFIT, EASY, {"max_steps": 24, "learning_rate": 0.0005, "eval_steps": 4, "lr_scheduler": "constant"}),
    "learned by heart": (OVERFIT, BY_HEART, {"max_steps": 80, "learning_rate": 0.004, "eval_steps": 8}),
    "diverged": (TOO_HIGH, EASY, {"max_steps": 24, "learning_rate": 1.0, "eval_steps": 4, "lr_scheduler": "constant", "max_grad_norm": 0.0}),
    "hardly moved": (TOO_LOW, EASY, {"max_steps": 24, "learning_rate": 1e-7, "eval_steps": 4}),
}


@pytest.mark.parametrize("name", RUNS)
def test_real_runs_are_named(recipe: Recipe, commit: Commit, tmp_path: Path, name: str) -> None:
    """A tiny model that is trained from its random weights, on purpose well and badly."""
    verdict, splits, settings = RUNS[name]
    recipe = dataclasses.replace(recipe, adapter="none", micro_batch_size=4, **settings)
    run_training(recipe, commit(tmp_path / "tokens", splits), tmp_path / "out", Path(recipe.base_model), lambda line: None)
    lines = metrics.read(tmp_path / "out" / "metrics.jsonl")
    found = diagnose(lines)
    assert found.verdict == verdict, (found, [(line["step"], round(line["eval_loss"], 3)) for line in metrics.evaluations(lines)])
    losses = {line["step"]: line["eval_loss"] for line in metrics.evaluations(lines)}
    assert found.best_loss == min(losses.values()) == losses[found.best_step or 0]
    if verdict == OVERFIT:
        assert found.turned_at == found.best_step and 0 < found.turned_at < recipe.max_steps  # type: ignore[operator]
        assert found.gap is not None and found.gap > 0.1
    else:
        assert found.turned_at is None


def lines(losses: list[float], checks: dict[int, float], rate: float = 1e-3) -> list[Line]:
    """Metrics lines of a run with these training losses, a step each, and validation losses by step."""
    made: list[Line] = [{"step": step, "loss": loss, "learning_rate": rate} for step, loss in enumerate(losses, 1)]
    return sorted([*made, *({"step": step, "eval_loss": loss} for step, loss in checks.items())], key=lambda line: line["step"])


def falling(end: float, constants: float, steps: int, noise: float, seed: int, start: float = 4.0, lift: float = 0.0) -> list[Line]:
    """A run whose losses fall from ``start`` to ``end`` as exp(-t), so many time constants long."""
    chance = random.Random(seed)

    def at(step: int) -> float:
        return end + (start - end) * math.exp(-constants * step / steps)

    return lines(
        [at(step) + chance.gauss(0, noise) for step in range(1, steps + 1)], {step: at(step) + lift for step in range(0, steps + 1, steps // 8)}
    )


shapes = {"end": st.floats(0.5, 3.0), "steps": st.integers(5, 30).map(lambda n: 8 * n), "noise": st.floats(0.0, 0.2), "seed": st.integers(0, 99)}


@given(**shapes, constants=st.floats(4.0, 12.0), lift=st.floats(0.0, 0.3))
def test_a_loss_that_has_flattened_is_well_fit(end: float, steps: int, noise: float, seed: int, constants: float, lift: float) -> None:
    """Whatever the noise of single steps; the gap to training is told."""
    found = diagnose(falling(end, constants, steps, noise, seed, lift=lift))
    assert found.verdict == WELL_FIT and found.gap == pytest.approx(lift, abs=0.2 + noise)


@given(**shapes, constants=st.floats(0.3, 1.5))
def test_a_loss_that_still_falls_is_underfit(end: float, steps: int, noise: float, seed: int, constants: float) -> None:
    """A run that ends before the curve bends."""
    assert diagnose(falling(end, constants, steps, noise, seed)).verdict == UNDERFIT


@given(**shapes, turn=st.integers(1, 6), rise=st.floats(0.05, 0.3))
def test_validation_that_turns_is_overfit(end: float, steps: int, noise: float, seed: int, turn: int, rise: float) -> None:
    """Validation rises from a step on while training goes on falling: that step is named."""
    made = falling(end, 5.0, steps, noise, seed)
    turned_at = turn * (steps // 8)
    lowest = next(line["eval_loss"] for line in made if line["step"] == turned_at and "eval_loss" in line)
    late = [line for line in made if "eval_loss" in line and line["step"] > turned_at]
    for number, line in enumerate(late, 1):
        line["eval_loss"] = lowest * (1 + rise * number / len(late)) + 1e-6
    found = diagnose(made)
    assert found.verdict == OVERFIT and found.turned_at == found.best_step == turned_at


@given(**shapes)
def test_training_loss_that_rises_is_a_rate_too_high(end: float, steps: int, noise: float, seed: int) -> None:
    """Mirrored in time: the loss goes up; so does one that ends in no number."""
    made = falling(end, 5.0, steps, noise, seed)
    values = [line["loss"] for line in metrics.training(made)][::-1]
    assert diagnose(lines(values, {})).verdict == TOO_HIGH
    assert diagnose(lines([*values[::-1], math.nan], {})).verdict == TOO_HIGH


def test_swings_of_validation_are_a_rate_too_high() -> None:
    """Up and down again, twice."""
    losses = [4.0 - 0.01 * step for step in range(48)]
    found = diagnose(lines(losses, {0: 4.0, 8: 3.0, 16: 3.6, 24: 2.9, 32: 3.7, 40: 2.9, 48: 3.0}))
    assert found.verdict == TOO_HIGH and "16, 32" in found.evidence[0]


@given(st.lists(st.floats(0.1, 9.0), max_size=MIN_LINES - 1), st.booleans())
def test_few_points_are_too_short(losses: list[float], checked: bool) -> None:
    """Below MIN_LINES nothing is claimed, whatever they are."""
    assert diagnose(lines(losses, {0: 5.0} if checked else {})).verdict == TOO_SHORT


@given(st.lists(st.floats(0.0, 1e6) | st.just(math.nan), max_size=40), st.lists(st.floats(0.0, 1e6) | st.just(math.nan), max_size=10))
def test_any_curve_has_one_verdict(losses: list[float], checks: list[float]) -> None:
    """No curve breaks it, and the same lines have the same diagnosis."""
    made = lines(losses, {4 * number: loss for number, loss in enumerate(checks)})
    assert diagnose(made).verdict in diagnosis.ADVICE
    assert diagnose(made) == diagnose(made) or any(map(math.isnan, [*losses, *checks]))


def test_without_validation_nobody_knows() -> None:
    """A flat end without validation rows is not called well fit."""
    made = [line for line in falling(1.0, 8.0, 80, 0.01, 0) if "loss" in line]
    assert diagnose(made).verdict == NOT_VALIDATED


def test_a_diagnosis_is_recorded(tmp_path: Path) -> None:
    """In a file beside the metrics, with the same words that are said."""
    said = record(falling(1.0, 8.0, 80, 0.01, 0), tmp_path)
    written = json.loads((tmp_path / diagnosis.NAME).read_text())
    assert written["verdict"] == WELL_FIT and written["evidence"][0] in said[0] and written["best_step"] == 80
