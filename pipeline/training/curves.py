"""Learning curves: training and validation loss by step, as SVG and PNG, the same bytes for the same metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.training.diagnosis import Diagnosis, diagnose
from pipeline.training.metrics import Line, evaluations, training

NAMES = ("learning_curve.svg", "learning_curve.png")
_SMOOTH = 0.2
"""Weight of the newest step in the smoothed training loss; single steps of small batches jump."""

_PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1}


def draw(lines: Sequence[Line], title: str, out: Path) -> None:
    """Draw ``lines`` (of metrics.jsonl) into the files NAMES of the folder ``out``, with the best step and where validation turned."""
    steps = [line["step"] for line in training(lines)]
    losses = [line["loss"] for line in training(lines)]
    checks = evaluations(lines)
    with mpl.rc_context({"svg.hashsalt": "gristmill", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.plot(steps, losses, color="#9db7d5", linewidth=1, label="training, each step")
        axes.plot(steps, smoothed(losses), color="#2b5c94", linewidth=2, label="training, smoothed")
        if checks:
            axes.plot([c["step"] for c in checks], [c["eval_loss"] for c in checks], "o-", color="#c1440e", label="validation")
            for step, loss in ((c["step"], c["eval_loss"]) for c in (checks[0], checks[-1])):
                axes.annotate(f"{loss:.3f}", (step, loss), textcoords="offset points", xytext=(0, 7), ha="center", bbox=_PLATE)
        _mark(axes, diagnose(lines))
        axes.set(title=title, xlabel="step", ylabel="loss (nats a token)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        figure.savefig(out / NAMES[0], metadata={"Date": None})
        figure.savefig(out / NAMES[1], dpi=150)


def _mark(axes: Any, found: Diagnosis) -> None:
    """A ring around the best evaluation, and a line where validation turned."""
    if found.best_step is not None:
        axes.plot(
            [found.best_step], [found.best_loss], "o", color="none", markeredgecolor="#1a7f37", markersize=11, label=f"best: step {found.best_step}"
        )
    if found.turned_at is not None:
        axes.axvline(found.turned_at, color="#c1440e", linestyle=":", linewidth=1, label=f"validation turned: step {found.turned_at}")


def smoothed(values: Sequence[float]) -> list[float]:
    """The exponential moving average of ``values``, of the same length, beginning at the first."""
    means: list[float] = []
    for value in values:
        means.append(value if not means else means[-1] + _SMOOTH * (value - means[-1]))
    return means
