"""What differs between two builds: figures, counts by rule, and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.reporting.figures import Figures
from pipeline.training import metrics


@dataclass(frozen=True)
class Change:
    """A value ``before`` (in the base) and ``after``; None where there is none."""

    name: str
    before: Any
    after: Any


def changed_figures(base: Figures, now: Figures) -> list[Change]:
    """The figures that differ, in the order of the flow."""
    return _differences(_numbers(base), _numbers(now))


def changed_settings(base: Figures, now: Figures) -> list[Change]:
    """The settings that differ, by stage and name."""
    return _differences(settings_of(base), settings_of(now))


def settings_of(figures: Figures) -> dict[str, Any]:
    """Every setting of every stage, ``clean.remove.length.min_chars`` and its value."""
    found: dict[str, Any] = {}
    for stage, datasets in (("extract", figures.raw), ("clean", figures.clean), ("tokenize", figures.tokens)):
        for dataset in datasets:
            _flatten(f"{stage}", dataset.manifest.get("settings", {}), found)
    for run in figures.runs:
        _flatten(f"train {run.name}", run.settings, found)
    return found


def _flatten(name: str, value: Any, found: dict[str, Any]) -> None:
    if isinstance(value, Mapping) and value:
        for key, one in value.items():
            _flatten(f"{name}.{key}", one, found)
    elif not name.endswith((".found", ".version")):
        found[name] = value


def _numbers(figures: Figures) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for step in figures.steps:
        found[f"{step.stage}: {step.unit} read"] = step.read
        found |= {f"{step.stage}: {loss.kind} {loss.rule}": loss.units for loss in step.losses}
        found[f"{step.stage}: kept"] = step.kept
        found[f"{step.stage}: characters kept"] = step.chars_kept
    for dataset in figures.tokens:
        for split, one in dataset.manifest.get("splits", {}).items():
            found[f"{dataset.folder.name}: {split} tokens"] = one["tokens"]
    for run in figures.runs:
        checks = metrics.evaluations(run.lines)
        if checks:
            found[f"{run.name}: validation loss at the end"] = round(checks[-1]["eval_loss"], 4)
    return found


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    names = [*after, *(name for name in before if name not in after)]
    return [Change(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]
