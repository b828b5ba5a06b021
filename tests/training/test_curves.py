"""The learning curve marks what the diagnosis found, in the same bytes each time."""

from __future__ import annotations

import math
from pathlib import Path

from pipeline.training import curves
from pipeline.training.metrics import Line


def overfit() -> list[Line]:
    """Validation turns at step 20, training goes on falling."""
    made: list[Line] = [{"step": step, "loss": 3 * math.exp(-step / 10) + 0.1, "learning_rate": 1e-3} for step in range(1, 41)]
    return made + [{"step": step, "eval_loss": loss} for step, loss in ((0, 3.0), (10, 2.0), (20, 1.5), (30, 1.8), (40, 2.4))]


def test_the_best_step_and_the_turning_point_are_marked(tmp_path: Path) -> None:
    """Once where validation turned, not at all where there is no validation."""
    for name, lines in (("overfit", overfit()), ("again", overfit()), ("plain", [line for line in overfit() if "loss" in line])):
        (tmp_path / name).mkdir()
        curves.draw(lines, "a run", tmp_path / name)
    drawn = {name: (tmp_path / name / curves.NAMES[0]).read_text() for name in ("overfit", "again", "plain")}
    assert "best: step 20" in drawn["overfit"] and "validation turned: step 20" in drawn["overfit"]
    assert "best" not in drawn["plain"] and "turned" not in drawn["plain"]
    for name in curves.NAMES:
        assert (tmp_path / "overfit" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
