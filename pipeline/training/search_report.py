"""What a search found: the best recipe as a file, every trial as a table and as Parquet, and a plot of trials and importances."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline.commits import writing
from pipeline.settings import to_plain
from pipeline.training.recipe import Recipe
from pipeline.training.search_study import Tried

BEST, TRIALS, PLOTS = "best.yaml", "trials.parquet", ("search.svg", "search.png")

GOOD_TRIALS = 5
"""Importances compare the best trials with all of them; Optuna wants at least so many among the best (its PED-ANOVA evaluator)."""


def write_best(path: Path, recipe: Recipe, comments: Sequence[str]) -> None:
    """A recipe that the train stage reads, under comments: what differs from the defaults, in the order of the table of keys."""
    usual = to_plain(Recipe(base_model=""))
    settings = {key: value for key, value in to_plain(recipe).items() if value != usual[key]}
    text = "".join(f"# {line}\n" for line in comments) + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    with writing(path) as file:
        file.write(text.encode())


def write_trials(path: Path, trials: Sequence[Tried]) -> None:
    """One row a trial: ``trial, state, loss`` (nats a token), ``step, tokens, why``, then a column for each setting."""
    names = list(trials[0].settings) if trials else []
    columns: dict[str, list[Any]] = {
        "trial": [trial.number for trial in trials],
        "state": [trial.state for trial in trials],
        "loss": [trial.loss for trial in trials],
        "step": [trial.step for trial in trials],
        "tokens": [trial.tokens for trial in trials],
        "why": [trial.why for trial in trials],
    }
    for name in names:
        values = [trial.settings[name] for trial in trials]
        is_one_type = len({type(value) for value in values}) == 1 and not isinstance(values[0], list | dict)
        columns[name] = values if is_one_type else [json.dumps(value) for value in values]
    with writing(path) as file:
        pq.write_table(pa.table(columns), file)


def table(trials: Sequence[Tried], best: Tried | None) -> list[str]:
    """The trials as aligned lines, the best one marked."""
    names = list(trials[0].settings) if trials else []
    rows = [["trial", "state", "loss", *names, "seconds", ""]]
    for trial in trials:
        loss = "-" if trial.loss is None else f"{trial.loss:.4f}"
        note = "best" if best is not None and trial.number == best.number else trial.why
        rows.append([str(trial.number), trial.state, loss, *(_short(trial.settings[name]) for name in names), f"{trial.seconds:.0f}", note])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def totals(trials: Sequence[Tried]) -> str:
    """How the trials ended; what is said adds up to their number."""
    states: Counter[str] = Counter(trial.state for trial in trials)
    parts = [f"{states[state]} {state}" for state in ("finished", "pruned", "failed")]
    parts += [f"{states[state]} {word}" for state, word in (("interrupted", "interrupted and tried again"), ("running", "running")) if states[state]]
    return f"{len(trials)} trials: {', '.join(parts)}"


def importances(study: optuna.Study) -> dict[str, float]:
    """The share of each setting in what made the best trials good (PED-ANOVA, Watanabe et al. 2023); empty below 4 finished trials.

    So few trials say little: read it as a hint.
    """
    finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(finished) < 4:
        return {}
    share = min(0.5, max(0.1, GOOD_TRIALS / len(finished)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
        found: dict[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return found


def draw(trials: Sequence[Tried], shares: Mapping[str, float], baseline: float | None, title: str, out: Path) -> None:
    """Draw losses by trial, with the best so far, and the importances, into the files PLOTS of ``out``: same bytes for the same trials."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with mpl.rc_context({"svg.hashsalt": "gristmill", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 4), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_trials(left, trials, baseline)
        left.set(title=title, xlabel="trial", ylabel="validation loss (nats a token)")
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        left.grid(alpha=0.3)
        left.legend(frameon=False)
        names = sorted(shares, key=lambda name: (shares[name], name))
        right.barh(names, [shares[name] for name in names], color="#2b5c94")
        right.set(title="importance" if shares else "importance: too few trials", xlim=(0, 1))
        figure.savefig(out / PLOTS[0], metadata={"Date": None})
        figure.savefig(out / PLOTS[1], dpi=150)


def _draw_trials(axes: Any, trials: Sequence[Tried], baseline: float | None) -> None:
    looks = {"finished": ("o", "#2b5c94"), "pruned": ("x", "#9a9a9a")}
    for state, (marker, colour) in looks.items():
        shown = [(trial.number, trial.loss) for trial in trials if trial.state == state and trial.loss is not None]
        if shown:
            axes.plot(*zip(*shown, strict=True), marker, color=colour, label=state)
    finished = [trial for trial in trials if trial.state == "finished" and trial.loss is not None]
    lowest = [min(trial.loss or 0.0 for trial in finished[: n + 1]) for n in range(len(finished))]
    axes.step([trial.number for trial in finished], lowest, where="post", color="#c1440e", label="best so far")
    if baseline is not None:
        axes.axhline(baseline, color="#5a5a5a", linestyle=":", label="recipe as it stands")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, list) else str(value)
