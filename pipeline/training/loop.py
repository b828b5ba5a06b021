"""The training loop: the recipe in the Trainer's own words, from the last checkpoint on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainingArguments

from pipeline.progress import Progress
from pipeline.training import steps
from pipeline.training.checkpoints import last_complete
from pipeline.training.collate import collate
from pipeline.training.model import attention, device
from pipeline.training.outputs import save_adapter, save_model
from pipeline.training.recipe import Precision, Recipe
from pipeline.training.recorder import Recorder, trackers
from pipeline.training.rows import Rows
from pipeline.training.trained import ADAPTER, MODEL
from pipeline.training.trainer import RecipeTrainer

CHECKPOINTS, METRICS = "checkpoints", "metrics.jsonl"
_NEVER = 2**31
"""An interval longer than any run."""

_SGD_MOMENTUM = 0.9


def num_processes() -> int:
    """How many processes train together, as ``accelerate launch`` has it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this one writes what is written once."""
    return int(os.environ.get("RANK", "0")) == 0


def train(
    model: Any,
    recipe: Recipe,
    rows: Rows,
    out: Path,
    wanted: Precision,
    log: Callable[[str], None],
    tokenizer: Mapping[str, Path] | None = None,
    progress: Progress | None = None,
) -> None:
    """Train what can be trained of ``model`` and write it into ``out``, beside ``metrics.jsonl``; goes on from the last checkpoint in ``out``.

    ``tokenizer``: its files, which go along with a whole model. Raises GristmillError when the loss is not a number, or 0.
    """
    checkpoint = _last_checkpoint(out / CHECKPOINTS, log)
    arguments = _arguments(recipe, rows, out, wanted, from_start=checkpoint is None)
    callbacks: list[TrainerCallback] = [Recorder(out / METRICS, log, arguments.load_best_model_at_end, progress)]
    if recipe.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(recipe.early_stopping_patience))
    trainer = RecipeTrainer(
        recipe,
        rows.sources,
        model=model,
        args=arguments,
        train_dataset=rows.train,
        eval_dataset=rows.validation,
        data_collator=partial(
            collate,
            num_embeddings=model.get_input_embeddings().weight.shape[0],  # an adapter may be around them
            flat=attention(recipe) != "sdpa",
            sources={name: code for code, name in enumerate(rows.sources)},
        ),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    if checkpoint:
        log(f"going on from {checkpoint.name}")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if not is_main_process():
        return
    if recipe.adapter == "none":
        save_model(model, tokenizer or {}, out / MODEL)
    else:
        save_adapter(model, recipe, out / ADAPTER)


def _last_checkpoint(folder: Path, log: Callable[[str], None]) -> Path | None:
    """The checkpoint to go on from; of several processes the main one looks first, since it removes what is incomplete."""
    if num_processes() == 1:
        return last_complete(folder, log)
    with PartialState(cpu=device() == "cpu").main_process_first():
        return last_complete(folder, log)


def _arguments(recipe: Recipe, rows: Rows, out: Path, wanted: Precision, from_start: bool) -> TrainingArguments:
    """The recipe in the Trainer's own words."""
    evaluates = rows.validation is not None
    stops_early = evaluates and recipe.early_stopping_patience is not None
    epoch = steps.per_epoch(recipe, len(rows.train), num_processes())
    eval_steps = steps.interval(recipe.eval_steps, recipe.evals_per_epoch, epoch)
    save_steps = eval_steps if stops_early else steps.interval(recipe.save_steps, recipe.saves_per_epoch, epoch)
    return TrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        per_device_train_batch_size=recipe.micro_batch_size,
        per_device_eval_batch_size=recipe.micro_batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        num_train_epochs=recipe.num_epochs or 1.0,
        max_steps=recipe.max_steps or -1,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        adam_beta1=recipe.adam_beta1,
        adam_beta2=recipe.adam_beta2,
        adam_epsilon=recipe.adam_epsilon,
        max_grad_norm=recipe.max_grad_norm,
        **_optimizer(recipe),
        **_scheduler(recipe),
        **_hardware(recipe, wanted),
        **trackers(recipe, out),
        seed=recipe.seed,
        data_seed=recipe.seed,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=eval_steps or _NEVER,  # the last step is evaluated in any case
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
        disable_tqdm=True,
        log_level="error",
    )


def _optimizer(recipe: Recipe) -> dict[str, Any]:
    if recipe.optimizer == "adam":
        return {}  # RecipeTrainer has it
    momentum = recipe.momentum if recipe.momentum is not None else {"sgd": _SGD_MOMENTUM}.get(recipe.optimizer)
    has_momentum = recipe.optimizer in ("sgd", "rmsprop") and momentum is not None
    return {"optim": recipe.optimizer, "optim_args": f"momentum={momentum}" if has_momentum else None}


def _scheduler(recipe: Recipe) -> dict[str, Any]:
    if recipe.cosine_min_lr_ratio:
        return {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": recipe.cosine_min_lr_ratio}}
    # what transformers calls constant has no warm-up; without one the two are the same
    return {"lr_scheduler_type": "constant_with_warmup" if recipe.lr_scheduler == "constant" else recipe.lr_scheduler}


def _hardware(recipe: Recipe, wanted: Precision) -> dict[str, Any]:
    on_gpu = device() == "cuda"
    may_round = on_gpu and recipe.tf32 is not None and torch.cuda.get_device_capability() >= (8, 0)
    return {
        "activation_checkpointing": bool(recipe.gradient_checkpointing),
        "activation_checkpointing_kwargs": {"use_reentrant": False} if recipe.gradient_checkpointing else None,
        "bf16": wanted == "bf16",
        "fp16": wanted == "fp16",
        "tf32": recipe.tf32 if may_round else None,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "ddp_find_unused_parameters": False if num_processes() > 1 else None,
    }
