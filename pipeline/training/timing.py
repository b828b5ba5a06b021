"""How long a step takes and what it holds, from a few steps of the run itself, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from pipeline.training.memory import peak_resident_bytes
from pipeline.training.recipe import Recipe, as_yaml, read_recipe

STEPS = 3
"""The first is left out: it is slower, because kernels are chosen and memory is asked for."""

EVALUATED_ROWS = 2


@dataclass(frozen=True)
class Timing:
    """Seconds of one step and of one validation row, None where there is none; ``peak_bytes`` is the main memory at the fullest moment."""

    step: float
    validation_row: float | None
    peak_bytes: int


class _EnoughError(Exception):
    """The steps are done: what a run does after them is not waited for."""


def measure(recipe: Recipe, tokens: Path) -> Timing:
    """Train STEPS steps in a new process and throw the result away. Raises ChildProcessError with its last line when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(as_yaml(recipe))
        command = [sys.executable, "-m", __name__, str(path), str(tokens), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["it said nothing"]
            raise ChildProcessError(lines[-1])
        return Timing(**json.loads(done.stdout.splitlines()[-1]))


def run(recipe: Recipe, tokens: Path, out: Path) -> Timing:
    """The same in this process."""
    from pipeline.training.run import run_training

    steps: list[float] = []
    evaluations: list[tuple[float, float]] = []

    def log(line: str) -> None:
        now = time.monotonic()
        if not line.startswith("step "):
            return
        if "validation loss" in line:
            evaluations.append((steps[-1] if steps else now, now))
        else:
            steps.append(now)
        # a last evaluation, where there is one, follows the last step
        if len(steps) == STEPS and (len(evaluations) == 2 or not evaluations):
            raise _EnoughError

    short = replace(
        recipe,
        max_steps=STEPS,
        eval_max_rows=EVALUATED_ROWS,
        eval_steps=STEPS,
        evals_per_epoch=None,
        save_steps=None,
        saves_per_epoch=None,
        early_stopping_patience=None,
        report_to=(),
    )
    with suppress(_EnoughError):
        run_training(short, tokens, out / "run", recipe.base_model, log)
    pairs = [after - before for before, after in pairwise(steps)]
    row = (evaluations[-1][1] - evaluations[-1][0]) / EVALUATED_ROWS if len(evaluations) == 2 else None
    return Timing(median(pairs), row, peak_resident_bytes())


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    print(json.dumps(asdict(run(read_recipe(given[0]), given[1], given[2]))))
