"""Ranges of a recipe: what they allow, what they refuse before anything runs, and that every choice makes a valid recipe."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.settings import build, parse_yaml
from pipeline.training.ranges import ADAPTER_RANGES, FULL_RANGES, Range, candidate, combinations, read_ranges, settings_of
from pipeline.training.recipe import Recipe, read_recipe, settings_of_run

HEAD = "base_model: somewhere\nadapter: lora\n"


def read(text: str) -> tuple[Range, ...]:
    """The ranges of a recipe with this text under ``search``."""
    raw = parse_yaml(f"{HEAD}search:\n{text}", "recipe.yaml")
    return read_ranges(raw, build(Recipe, raw))


def test_ranges_are_read_as_written() -> None:
    """Each kind becomes a range of its type; a log range of a setting in whole numbers gives whole numbers."""
    one, two, three, four, five = read(
        "  lora_r: {choice: [8, 16]}\n  lora_alpha: {int: [16, 64]}\n  weight_decay: {float: [0, .1]}\n"
        "  learning_rate: {log: [1e-5, 1e-2]}\n  warmup_steps: {log: [1, 100]}\n"
    )
    assert one == Range("lora_r", "choice", (8, 16))
    assert two == Range("lora_alpha", "int", (16, 64), is_whole=True)
    assert three == Range("weight_decay", "float", (0.0, 0.1))
    assert four == Range("learning_rate", "log", (1e-5, 1e-2))
    assert five == Range("warmup_steps", "log", (1, 100), is_whole=True)
    assert one.grid == (8, 16) and two.grid == (16, 40, 64) and three.grid == (0.0, 0.05, 0.1) and five.grid == (1, 10, 100)
    assert four.grid == (1e-5, pytest.approx(10**-3.5), 1e-2)
    assert len(list(combinations((one, two, three)))) == 18


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lora_rr: {choice: [8]}", "recipe.yaml:4 search.lora_rr: unknown key; did you mean 'lora_r'?"),
        ("max_steps: {int: [5, 10]}", "search.max_steps: cannot be searched: trials would train on unequal"),
        ("seed: {int: [1, 9]}", "best of several seeds is luck"),
        ("search_sampler: {choice: [tpe]}", "cannot be searched"),
        ("lora_r: 8", "write for example"),
        ("lora_r: {choice: [8], int: [1, 2]}", "write for example"),
        ("lora_r: {chose: [8]}", "unknown kind of range 'chose'; did you mean 'choice'?"),
        ("lora_r: {choice: []}", "choice is not a list"),
        ("lora_r: {choice: [8, 8]}", "stands twice"),
        ("learning_rate: {log: [0, 1e-2]}", "log cannot begin at 0"),
        ("learning_rate: {log: [1e-2, 1e-3]}", "is not a lowest and a higher highest number"),
        ("learning_rate: {log: [1e-3, .inf]}", "is not a lowest and a higher highest number"),
        ("lora_alpha: {int: [1.5, 3]}", "no whole numbers"),
        ("lora_alpha: {float: [16, 32.5]}", "lora_alpha: is 16.0; expected a whole number"),
        ("lora_dropout: {float: [0, .95]}", "lora_dropout: is 0.95; allowed: 0.0 to 0.9"),
        ("lr_scheduler: {choice: [cosine, cosin]}", "did you mean 'cosine'?"),
        ("load_in_4bit: {choice: [true]}", "load_in_4bit: true contradicts adapter: lora"),
    ],
)
def test_wrong_ranges_are_refused(text: str, said: str) -> None:
    """A range that could make a recipe that is none is one line with its place, before anything runs."""
    with pytest.raises(SettingsError) as caught:
        read(f"  {text}\n")
    assert said in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    """Two wrong ranges are two lines."""
    with pytest.raises(SettingsError) as caught:
        read("  lora_rr: {choice: [8]}\n  lora_dropout: {float: [0, 3]}\n")
    assert len(caught.value.problems) == 2


def test_ends_that_exclude_each_other_are_refused() -> None:
    """Each range alone is fine, and together they say two things about the warm-up."""
    with pytest.raises(SettingsError, match="warmup_ratio and warmup_steps are both set"):
        read("  warmup_ratio: {choice: [0, .1]}\n  warmup_steps: {choice: [0, 5]}\n")


def test_usual_ranges_fit_the_method() -> None:
    """Without ``search`` the shipped recipes get ranges of their own method's settings."""
    raw = parse_yaml(HEAD, "recipe.yaml")
    assert [one.key for one in read_ranges(raw, build(Recipe, raw))] == list(ADAPTER_RANGES)
    assert not {key for key in FULL_RANGES if key.startswith("lora")}
    for path in sorted((Path(__file__).parents[2] / "train").glob("*.yaml")):
        recipe = read_recipe(path)
        usual = ADAPTER_RANGES if recipe.adapter in ("lora", "qlora") else FULL_RANGES
        assert recipe.search or [one.key for one in read_ranges(parse_yaml("", str(path)), recipe)] == list(usual)


@st.composite
def written(draw: st.DrawFn) -> dict[str, Any]:
    """A mapping of ranges as a recipe may hold it."""
    low = draw(st.integers(1, 99))
    share = draw(st.floats(0.0, 0.4))
    rate = draw(st.floats(1e-7, 0.1))
    lists = st.lists(st.sampled_from(["q_proj", "v_proj", "o_proj"]), min_size=1, max_size=3, unique=True)
    return {
        "lora_r": {"choice": draw(st.lists(st.integers(1, 256), min_size=1, max_size=4, unique=True))},
        "lora_alpha": {draw(st.sampled_from(["int", "log"])): [low, low + draw(st.integers(1, 99))]},
        "lora_dropout": {"float": [share, share + draw(st.floats(0.01, 0.5))]},
        "learning_rate": {"log": [rate, rate * draw(st.floats(1.01, 10))]},
        "lora_target_modules": {"choice": draw(st.lists(lists, min_size=1, max_size=3, unique_by=str))},
    }


@given(written(), st.data())
def test_every_choice_makes_a_valid_recipe(search: dict[str, Any], data: st.DataObject) -> None:
    """Whatever is drawn from a range, or stands on its grid, is one of Optuna's plain values within it and makes a recipe of its own."""
    recipe = Recipe(base_model="somewhere", adapter="lora", search=search)
    ranges = read_ranges(parse_yaml("", "recipe.yaml"), recipe)
    drawn = {}
    for one in ranges:
        inside: Any = st.sampled_from(one.grid)
        if one.kind != "choice":
            inside = st.integers(*one.values) if one.is_whole else st.floats(*one.values)
        drawn[one.key] = data.draw(inside | st.sampled_from(one.grid))
        distribution = one.distribution
        internal = distribution.to_internal_repr(drawn[one.key])
        assert distribution._contains(internal) and distribution.to_external_repr(internal) == drawn[one.key]
    made = candidate(recipe, settings_of(ranges, drawn), "recipe.yaml")
    assert not made.search and made.learning_rate == drawn["learning_rate"]
    assert list(made.lora_target_modules) in search["lora_target_modules"]["choice"]
    changed = {field.name for field in dataclasses.fields(Recipe) if getattr(made, field.name) != getattr(recipe, field.name)}
    assert changed <= {*search, "search"}


def test_a_search_is_no_part_of_a_run() -> None:
    """Ranges and sampler do not count among the settings that decide what a run does."""
    plain = Recipe(base_model="somewhere")
    assert settings_of_run(dataclasses.replace(plain, search={"lora_r": {"choice": [8]}}, search_sampler="grid")) == settings_of_run(plain)
