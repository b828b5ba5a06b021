"""What a run tells while it goes: metrics.jsonl always, a bar on a terminal and lines elsewhere, and trackers where they are asked for."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipeline.errors import MissingPackageError
from pipeline.progress import Progress
from pipeline.training import metrics
from pipeline.training.recipe import Recipe

_PACKAGES = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb", "mlflow": "mlflow"}
_DEFAULT_PROJECT = "gristmill"


class Recorder(TrainerCallback):
    """Writes metrics as they come and says how it goes."""

    def __init__(self, path: Path, log: Callable[[str], None], save_last: bool, progress: Progress | None = None) -> None:
        self._path, self._log, self._save_last = path, log, save_last
        self._progress = progress if progress is not None and progress.has_bar else None
        self._started: float | None = None
        self._first_step = self._first_tokens = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Begin the file with what the checkpoint remembers, so that no line of a lost step stays."""
        if state.is_world_process_zero:
            metrics.write(self._path, [line for line in map(metrics.line_of, state.log_history) if line])
        self._first_step, self._first_tokens = state.global_step, int(state.num_input_tokens_seen)
        if self._progress:
            self._progress.start("steps", state.max_steps, state.global_step)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Start the clock at the first step: the evaluation before it does not count."""
        self._started = self._started or time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """The last step is logged whatever the interval, and saved only if it may be the best: what is kept follows at once."""
        if self._progress:
            self._progress.advance()
        if state.global_step >= state.max_steps:
            control.should_log = True
            control.should_save = self._save_last

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Write and say the newest entry of the history."""
        line = metrics.line_of(state.log_history[-1])
        if line is None or not state.is_world_process_zero:
            return
        metrics.write(self._path, [line], append=True)
        at = f"step {state.global_step}/{state.max_steps}"
        if "eval_loss" in line:
            self._log(f"{at}: validation loss {line['eval_loss']:.4f}, accuracy {line['eval_accuracy']:.1%} over {line['eval_tokens']:,} tokens")
            return
        seconds = time.monotonic() - (self._started or 0.0)
        speed = f"{(line['tokens'] - self._first_tokens) / seconds:,.0f} tokens/s"
        if self._progress:
            self._progress.note(f"loss {line['loss']:.4f}, {speed}")
            return
        left = seconds / (state.global_step - self._first_step) * (state.max_steps - state.global_step)
        self._log(f"{at}: loss {line['loss']:.4f}, accuracy {line['accuracy']:.1%}, rate {line['learning_rate']:.2g}, {speed}, {left:,.0f} s left")


def trackers(recipe: Recipe, out: Path) -> dict[str, Any]:
    """What the Trainer's arguments say of trackers; raises MissingPackageError for one that is not installed. Values the user set stay."""
    for tracker in recipe.report_to:
        if importlib.util.find_spec(_PACKAGES[tracker]) is None:
            raise MissingPackageError(_PACKAGES[tracker], f"report_to: {tracker}")
    settings = {
        "TENSORBOARD_LOGGING_DIR": str(out / "tensorboard"),
        "WANDB_PROJECT": recipe.wandb_project or _DEFAULT_PROJECT,
        "WANDB_ENTITY": recipe.wandb_entity,
        "WANDB_MODE": recipe.wandb_mode,
        "MLFLOW_TRACKING_URI": recipe.mlflow_tracking_uri,
        "MLFLOW_EXPERIMENT_NAME": recipe.mlflow_experiment_name or _DEFAULT_PROJECT,
    }
    if recipe.report_to:
        for name, value in settings.items():
            if value:
                os.environ.setdefault(name, value)
    return {
        "report_to": list(recipe.report_to) or "none",
        "run_name": recipe.wandb_name or recipe.mlflow_run_name or out.name,
        "project": recipe.trackio_project_name or _DEFAULT_PROJECT,
    }
