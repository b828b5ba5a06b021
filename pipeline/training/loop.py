"""The training loop: transformers' Trainer, with an evaluation weighted by tokens, sealed checkpoints, and a stop when the loss breaks."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from pipeline.errors import GristmillError
from pipeline.training import metrics
from pipeline.training.checkpoints import last_complete, seal, sync
from pipeline.training.collate import IGNORED, collate
from pipeline.training.model import device
from pipeline.training.recipe import Precision, Recipe
from pipeline.training.rows import Rows

ADAPTER, CHECKPOINTS, METRICS = "adapter", "checkpoints", "metrics.jsonl"
_NEVER = 2**31
"""An interval longer than any run."""

_LOOK_AT_LABELS = "look at the labels of the rows: is every answer cut off?"


def train(model: Any, recipe: Recipe, rows: Rows, out: Path, wanted: Precision, log: Callable[[str], None]) -> None:
    """Train the adapters of ``model`` and write ``out/adapter`` and ``out/metrics.jsonl``; goes on from the last checkpoint in ``out``.

    Raises GristmillError when the loss is not a number, or 0.
    """
    checkpoint = last_complete(out / CHECKPOINTS, log)
    arguments = _arguments(recipe, rows, out / CHECKPOINTS, wanted, from_start=checkpoint is None)
    callbacks: list[TrainerCallback] = [_Recorder(out / METRICS, log, save_last=arguments.load_best_model_at_end)]
    if recipe.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(recipe.early_stopping_patience))
    trainer = RecipeTrainer(
        model=model,
        args=arguments,
        train_dataset=rows.train,
        eval_dataset=rows.validation,
        data_collator=partial(collate, num_embeddings=model.get_input_embeddings().num_embeddings),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    if checkpoint:
        log(f"going on from {checkpoint.name}")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    save_adapter(model, recipe, out / ADAPTER)


def _arguments(recipe: Recipe, rows: Rows, folder: Path, wanted: Precision, from_start: bool) -> TrainingArguments:
    """The recipe in the Trainer's own words."""
    evaluates = rows.validation is not None
    stops_early = evaluates and recipe.early_stopping_patience is not None
    save_steps = recipe.eval_steps if stops_early else recipe.save_steps
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=recipe.micro_batch_size,
        per_device_eval_batch_size=recipe.micro_batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        num_train_epochs=recipe.num_epochs or 1.0,
        max_steps=recipe.max_steps or -1,
        optim=recipe.optimizer,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.lr_scheduler,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        adam_beta2=recipe.adam_beta2,
        adam_epsilon=recipe.adam_epsilon,
        max_grad_norm=recipe.max_grad_norm,
        activation_checkpointing=recipe.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if recipe.gradient_checkpointing else None,
        bf16=wanted == "bf16",
        fp16=wanted == "fp16",
        use_cpu=device() == "cpu",
        seed=recipe.seed,
        data_seed=recipe.seed,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=recipe.eval_steps or _NEVER,  # the last step is evaluated in any case
        eval_on_start=evaluates and from_start,
        save_strategy="steps" if save_steps else "no",
        save_steps=save_steps or _NEVER,
        save_total_limit=2,  # the one before stays until the newest is sealed
        load_best_model_at_end=stops_early,
        metric_for_best_model="loss" if stops_early else None,
        greater_is_better=False if stops_early else None,
        restore_callback_states_from_checkpoint=stops_early,
        logging_steps=recipe.logging_steps,
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="all",
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=device() == "cuda",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )


class RecipeTrainer(Trainer):
    """The Trainer with the three things it lacks; see the module."""

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass; raises GristmillError before a broken loss can reach the weights."""
        where = f"step {self.state.global_step + 1}"
        if bool((inputs["labels"] == IGNORED).all()):
            raise GristmillError(where, "no token of the batch is supervised", _LOOK_AT_LABELS)
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if not math.isfinite(loss.item()):
            rate = f"{self._get_learning_rate():.2g}"
            raise GristmillError(where, f"the loss is {loss.item()}", f"lower learning_rate (it was {rate}), or use bf16 instead of fp16")
        if loss.item() == 0.0:
            raise GristmillError(where, "the loss is 0, so nothing can be learned", _LOOK_AT_LABELS)
        return loss

    def evaluation_loop(
        self, dataloader: Any, description: str, *arguments: Any, metric_key_prefix: str = "eval", **others: Any
    ) -> EvalLoopOutput:
        """Mean loss over all supervised tokens, where the Trainer's own is the mean of the batches' means."""
        model: Any = self.model
        model.eval()
        loss, num_tokens, num_rows = 0.0, 0, 0
        for batch in dataloader:
            batch = self._prepare_inputs(batch)
            labels = batch.pop("labels")[:, 1:]
            with torch.no_grad():
                logits = model(**batch, use_cache=False).logits[:, :-1].float()
            loss += torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum").item()
            num_tokens += int((labels != IGNORED).sum())
            num_rows += len(labels)
        where = f"step {self.state.global_step}"
        if not num_tokens:
            raise GristmillError(where, "no token of the validation rows is supervised", _LOOK_AT_LABELS)
        if not math.isfinite(loss):
            raise GristmillError(where, f"the validation loss is {loss}", "lower learning_rate, or look whether base_model is damaged")
        values = {f"{metric_key_prefix}_loss": loss / num_tokens, f"{metric_key_prefix}_tokens": num_tokens}
        nothing: Any = None
        return EvalLoopOutput(predictions=nothing, label_ids=nothing, metrics=values, num_samples=num_rows)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        seal(Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}")


class _Recorder(TrainerCallback):
    """Writes metrics as they come and says how it goes."""

    def __init__(self, path: Path, log: Callable[[str], None], save_last: bool) -> None:
        self._path, self._log, self._save_last = path, log, save_last
        self._started: float | None = None
        self._first_step = self._first_tokens = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Begin the file with what the checkpoint remembers, so that no line of a lost step stays."""
        metrics.write(self._path, [line for line in map(metrics.line_of, state.log_history) if line])
        self._first_step, self._first_tokens = state.global_step, state.num_input_tokens_seen

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Start the clock at the first step: the evaluation before it does not count."""
        self._started = self._started or time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """The last step is logged whatever the interval, and saved only if it may be the best: the adapter follows at once."""
        if state.global_step >= state.max_steps:
            control.should_log = True
            control.should_save = self._save_last

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Write and say the newest entry of the history."""
        line = metrics.line_of(state.log_history[-1])
        if line is None:
            return
        metrics.write(self._path, [line], append=True)
        at = f"step {state.global_step}/{state.max_steps}"
        if "eval_loss" in line:
            self._log(f"{at}: validation loss {line['eval_loss']:.4f} over {line['eval_tokens']:,} tokens")
            return
        seconds = time.monotonic() - (self._started or 0.0)
        speed = (line["tokens"] - self._first_tokens) / seconds
        left = seconds / (state.global_step - self._first_step) * (state.max_steps - state.global_step)
        self._log(f"{at}: loss {line['loss']:.4f}, learning rate {line['learning_rate']:.2g}, {speed:,.0f} tokens/s, {left:,.0f} s left")


def save_adapter(model: Any, recipe: Recipe, folder: Path) -> None:
    """Write the adapter as plain peft files; the folder appears whole or not at all, and names the base model as the recipe does."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(str(partial), save_embedding_layers=False)
    (partial / "README.md").unlink(missing_ok=True)  # a form to fill in
    path = partial / "adapter_config.json"
    config = json.loads(path.read_text())
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # peft writes a set
    config |= {"base_model_name_or_path": recipe.base_model, "revision": recipe.revision_of_model}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (partial / "adapter_model.safetensors").chmod(0o644)  # safetensors keeps others out
    sync(partial)
    partial.rename(folder)
