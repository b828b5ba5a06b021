"""The ranges of settings that a search tries: how a recipe writes them, what they allow, and the recipe that one choice makes."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import SettingsError, nearest
from pipeline.settings import Raw, build, to_plain
from pipeline.training.recipe import SEARCH_KEYS, TRACKING, Recipe

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Kind = Literal["choice", "int", "float", "log"]
KINDS: tuple[Kind, ...] = typing.get_args(Kind)

ADAPTER_RANGES: dict[str, dict[str, list[float]]] = {
    "lora_r": {"choice": [8, 16, 32, 64]},
    "lora_alpha": {"int": [16, 256]},
    "lora_dropout": {"float": [0.0, 0.1]},
    "max_grad_norm": {"float": [0.1, 0.5]},
    "learning_rate": {"log": [1e-5, 1e-2]},
}
"""What is searched when the recipe names no ranges and trains an adapter."""

FULL_RANGES: dict[str, dict[str, list[float]]] = {
    "weight_decay": {"float": [0.0, 0.1]},
    "max_grad_norm": {"float": [0.1, 1.0]},
    "learning_rate": {"log": [1e-6, 1e-3]},
}
"""The same where all weights train: rates are lower than an adapter's, and weights that are not pulled back have no other brake."""

_TOKENS = "trials would train on unequal numbers of tokens"
_MEASURE = "trials would not be measured alike"
_NO_EFFECT = "it changes nothing that a trial is measured by"
NOT_SEARCHED = {
    **dict.fromkeys(("sequence_len", "micro_batch_size", "gradient_accumulation_steps", "num_epochs", "max_steps"), _TOKENS),
    **dict.fromkeys(("eval_steps", "evals_per_epoch", "eval_max_rows", "early_stopping_patience"), _MEASURE),
    **dict.fromkeys(("save_steps", "saves_per_epoch", "logging_steps", "document_losses_max_rows", *SEARCH_KEYS, *TRACKING), _NO_EFFECT),
    **dict.fromkeys(("base_model", "revision_of_model", "tokenizer"), "the rows of tokens belong to it; search once for each"),
    "seed": "the best of several seeds is luck",
}
"""Settings that no range may be given for, and why."""

GRID_POINTS = 3
"""Values of a range without choices that a grid tries: its ends and what lies between."""

MAX_CORNERS = 1024
"""So many combinations of the ends of all ranges are checked before a search begins; each trial's own recipe is checked in any case."""


@dataclass(frozen=True)
class Range:
    """The values that one setting may take. ``values``: the choices, else the lowest and the highest; ``is_whole``: whole numbers only."""

    key: str
    kind: Kind
    values: tuple[Any, ...]
    is_whole: bool = False

    @property
    def distribution(self) -> BaseDistribution:
        """The range in Optuna's words; a choice that is no plain value is its JSON."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution([_plain(value) for value in self.values])
        low, high = self.values
        made = IntDistribution if self.is_whole else FloatDistribution
        return made(low, high, log=self.kind == "log")

    @property
    def grid(self) -> tuple[Any, ...]:
        """The values that a grid tries, as Optuna holds them: all choices, or ``GRID_POINTS`` at equal distances (of a log range: ratios)."""
        if self.kind == "choice":
            return tuple(_plain(value) for value in self.values)
        return tuple(dict.fromkeys(self.at(i / (GRID_POINTS - 1)) for i in range(GRID_POINTS)))

    def at(self, share: float) -> Any:
        """The value, as Optuna holds it, that a share of the range (0 to 1; of a log range: of its ratio) lies below."""
        if self.kind == "choice":
            return _plain(self.values[min(int(share * len(self.values)), len(self.values) - 1)])
        low, high = self.values
        if share in (0, 1):
            return self.values[int(share)]
        value = low * (high / low) ** share if self.kind == "log" else low + (high - low) * share
        return round(value) if self.is_whole else min(max(value, low), high)

    def setting(self, param: Any) -> Any:
        """What the recipe says for a value as Optuna holds it."""
        return next(value for value in self.values if _plain(value) == param) if self.kind == "choice" else param


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def read_ranges(raw: Raw, recipe: Recipe) -> tuple[Range, ...]:
    """The ranges under ``search`` of a recipe's file, else those usual for its method; raises SettingsError with every problem.

    Both ends of each range, and their combinations as far as they are few, have made valid recipes when this returns.
    """
    written = recipe.search or (ADAPTER_RANGES if recipe.adapter in ("lora", "qlora") else FULL_RANGES)
    problems: list[str] = []
    ranges = []
    for key, spec in written.items():
        try:
            one = _read_range(key, spec)
            for value in one.values:
                candidate(recipe, {key: value}, raw.where)
            ranges.append(one)
        except (ValueError, SettingsError) as error:
            problems.append(f"{raw.place(('search', key))}: {error}")
    if problems:
        raise SettingsError(problems)
    for corner in islice(product(*(one.values for one in ranges)), MAX_CORNERS):
        candidate(recipe, dict(zip(written, corner, strict=True)), raw.where)
    return tuple(ranges)


def candidate(recipe: Recipe, settings: Mapping[str, Any], where: str) -> Recipe:
    """``recipe`` with ``settings`` put over it, checked as a recipe's file is; raises SettingsError."""
    internal = {field.name for field in dataclasses.fields(Recipe) if field.metadata.get("internal")} | set(SEARCH_KEYS)
    plain = {key: value for key, value in to_plain(recipe).items() if key not in internal}
    return build(Recipe, Raw(f"{where} with {_shown(settings)}", {**plain, **settings}, {}))


def combinations(ranges: Sequence[Range]) -> Iterator[dict[str, Any]]:
    """Every point of the grid over the ranges, as Optuna holds it."""
    return (dict(zip((one.key for one in ranges), point, strict=True)) for point in product(*(one.grid for one in ranges)))


def settings_of(ranges: Sequence[Range], params: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe says for a choice of Optuna's."""
    return {one.key: one.setting(params[one.key]) for one in ranges}


def _shown(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _read_range(key: str, spec: Any) -> Range:
    """One range as it is written; raises ValueError."""
    searched = [name for name in _hints() if name not in NOT_SEARCHED]
    if key in NOT_SEARCHED:
        raise ValueError(f"cannot be searched: {NOT_SEARCHED[key]}")
    if key not in searched:
        raise ValueError(f"unknown key; {nearest(key, searched)}")
    if not isinstance(spec, dict) or len(spec) != 1:
        raise ValueError("is not one of choice, int, float and log; write for example {choice: [8, 16]} or {log: [1e-5, 1e-2]}")
    kind, values = next(iter(spec.items()))
    if kind not in KINDS:
        raise ValueError(f"unknown kind of range '{kind}'; {nearest(kind, KINDS)}")
    if kind == "choice":
        return Range(key, kind, _choices(values))
    return _between(key, kind, values)


def _choices(values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise ValueError("choice is not a list of values; write for example {choice: [8, 16]}")
    if len({json.dumps(value) for value in values}) < len(values):
        raise ValueError("a choice stands twice; keep one")
    return tuple(values)


def _between(key: str, kind: Kind, values: Any) -> Range:
    numbers = values if isinstance(values, list) else []
    if len(numbers) != 2 or not all(type(value) in (int, float) and math.isfinite(value) for value in numbers) or not numbers[0] < numbers[1]:
        raise ValueError(f"{kind} is not a lowest and a higher highest number; write for example {{{kind}: [1, 2]}}")
    if kind == "log" and numbers[0] <= 0:
        raise ValueError("log cannot begin at 0 or below; write for example {log: [1e-5, 1e-2]}")
    is_whole = kind == "int" or (kind == "log" and int in _types(key) and float not in _types(key))
    if is_whole and not all(type(value) is int for value in numbers):
        raise ValueError(f"{kind} has ends that are no whole numbers; write for example {{{kind}: [1, 64]}}")
    return Range(key, kind, tuple(numbers) if is_whole else tuple(map(float, numbers)), is_whole)


@lru_cache(maxsize=1)
def _hints() -> dict[str, Any]:
    return typing.get_type_hints(Recipe)


def _types(key: str) -> tuple[Any, ...]:
    """The types that a key's values may have."""
    return typing.get_args(_hints()[key]) or (_hints()[key],)
