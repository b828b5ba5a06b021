"""Trains one trial of a search, and measures on the test split; the base model stays loaded from one trial to the next."""

from __future__ import annotations

import dataclasses
import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets as hf
import optuna
import torch
from peft import PeftModel
from transformers import set_seed

from pipeline.datasets import open_dataset
from pipeline.errors import DatasetError, GristmillError, UsageError
from pipeline.models import TokenizerInfo, load_tokenizer
from pipeline.settings import digest
from pipeline.training import loop, metrics, model, steps
from pipeline.training.collate import collate
from pipeline.training.objective import predict
from pipeline.training.recipe import Precision, Recipe, settings_of_run
from pipeline.training.rows import Rows, open_rows, open_split
from pipeline.training.search_job import Held, Job, Outcome, State, Ticket
from pipeline.training.search_study import open_storage, pruner
from pipeline.training.trained import made_by

TEST = "test"

_OF_THE_RUN = frozenset(
    (
        "learning_rate",
        "lr_scheduler",
        "cosine_min_lr_ratio",
        "warmup_ratio",
        "warmup_steps",
        "weight_decay",
        "l1_penalty",
        "optimizer",
        "momentum",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "max_grad_norm",
        "lora_r",
        "lora_alpha",
        "lora_dropout",
        "lora_target_modules",
        "lora_target_linear",
    )
)
"""Settings that a frozen base model does not depend on: trials that differ in these alone share one."""

_loaded: dict[str, Any] = {}
"""The base model that this process holds, by the digest of what it depends on; never more than one."""


class _PrunedError(Exception):
    """Ends a trial's training."""


def run_trial(job: Job, log: Callable[[str], None]) -> Outcome:
    """As ``search_job.run_job`` says."""
    if job.num_threads:
        torch.set_num_threads(job.num_threads)
    recipe = as_trial(job.recipe)
    data = open_rows(job.tokens, recipe, _tokenizer(job).fingerprint, job.cache)
    watch = _Watch(job.folder / loop.METRICS, steps.in_all(recipe, len(data.train)), job.ticket, log)
    if (job.folder / made_by(recipe)).is_dir():
        return watch.outcome("finished")
    return watch.outcome(*_train(job, recipe, data, watch))


def measure_trial(job: Job) -> Held:
    """As ``search_job.measure_job`` says."""
    wanted = model.precision(job.recipe)
    split = open_test(job.tokens, job.cache)
    _free()  # measured on the base as it lies there: training may have left its norms in fp32
    done = job.folder / made_by(job.recipe)
    if job.recipe.adapter == "none":
        return held_loss(model.load_base(done, job.recipe.of_trained(), wanted), split, job.recipe, wanted)
    with _base(job, wanted) as base:
        tuned = PeftModel.from_pretrained(base, str(done))
        try:
            return held_loss(tuned, split, job.recipe, wanted)
        finally:
            tuned.unload()


def as_trial(recipe: Recipe) -> Recipe:
    """The recipe as a trial runs it: to its last step, for all trials are compared there, and with no word to anybody."""
    return dataclasses.replace(recipe, early_stopping_patience=None, save_steps=None, saves_per_epoch=None, report_to=())


def open_test(tokens: Path, cache: Path) -> hf.Dataset:
    """The rows of the test split, every byte checked; JSONL and Parquet are converted into ``cache``. Raises UsageError or DatasetError."""
    dataset = open_dataset(tokens)
    if not dataset.rows(TEST):
        raise UsageError(str(tokens), "has no test rows", "raise test_share in stages/tokenize.yaml, or leave --test out")
    return open_split(dataset, TEST, cache)


def held_loss(tuned: Any, split: hf.Dataset, recipe: Recipe, wanted: Precision) -> Held:
    """Mean loss of a model over all supervised tokens of a split."""
    tuned.eval()
    loss, num_tokens = 0.0, 0
    num_embeddings, flat = tuned.get_input_embeddings().weight.shape[0], model.attention(recipe) != "sdpa"
    for start in range(0, len(split), recipe.micro_batch_size):
        rows = list(split.select(range(start, min(start + recipe.micro_batch_size, len(split)))))
        batch = {name: tensor.to(tuned.device) for name, tensor in collate(rows, num_embeddings, flat).items()}
        with torch.no_grad(), torch.autocast(model.device(), model.DTYPES[wanted], enabled=wanted != "fp32"):
            losses = predict(tuned, batch).losses
        loss += losses.double().sum().item()
        num_tokens += len(losses)
    if not num_tokens:
        raise GristmillError(TEST, "no token of the test rows is supervised", "raise test_share in stages/tokenize.yaml")
    return Held(loss / num_tokens, len(split), num_tokens)


class _Watch:
    """Reads metrics.jsonl whenever the loop says something: passes evaluations on to the study, and ends a trial that it would prune."""

    def __init__(self, path: Path, last_step: int, ticket: Ticket | None, log: Callable[[str], None]) -> None:
        self._path, self._last_step, self._log, self._ticket = path, last_step, log, ticket
        self._storage = open_storage(ticket.database) if ticket else None
        self.step = 0

    def __call__(self, line: str) -> None:
        self._log(line)
        if self._ticket is None or self._storage is None or not self._path.exists():
            return
        for check in metrics.evaluations(metrics.read(self._path)):
            if self.step < check["step"]:
                self.step = check["step"]
                self._storage.set_trial_intermediate_value(self._ticket.trial_id, self.step, check["eval_loss"])
                if self.step < self._last_step and self._is_hopeless():
                    raise _PrunedError

    def _is_hopeless(self) -> bool:
        assert self._ticket is not None and self._storage is not None
        study = optuna.load_study(study_name=self._ticket.study, storage=self._storage, pruner=pruner())
        return bool(study.pruner.prune(study, self._storage.get_trial(self._ticket.trial_id)))

    def outcome(self, state: State, why: str = "") -> Outcome:
        """What the metrics say of the trial."""
        lines = metrics.read(self._path) if self._path.exists() else []
        losses = [check["eval_loss"] for check in metrics.evaluations(lines)]
        tokens = [line["tokens"] for line in metrics.training(lines)]
        return Outcome(state, losses[-1] if losses else None, tokens[-1] if tokens else 0, why)


def _train(job: Job, recipe: Recipe, data: Rows, watch: _Watch) -> tuple[State, str]:
    """How the training ended, and why; raises what no other trial could do better."""
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    wanted = model.precision(recipe)
    with _base(job, wanted) as base:
        set_seed(recipe.seed)
        tuned = model.add_adapter(base, recipe)
        model.require_separation(tuned)
        try:
            loop.train(tuned, recipe, data, job.folder, wanted, watch)
        except _PrunedError:
            return "pruned", f"worse than the median at step {watch.step}"
        except (UsageError, DatasetError):
            raise
        except (GristmillError, torch.OutOfMemoryError) as error:
            return "failed", str(error).splitlines()[0]
        finally:
            if isinstance(tuned, PeftModel):
                tuned.unload()
    return "finished", ""


@contextmanager
def _base(job: Job, wanted: Precision) -> Iterator[Any]:
    """The base model of a job, loaded when the process does not hold it yet; given back as it was, or not kept."""
    settings = {key: value for key, value in settings_of_run(job.recipe).items() if key not in _OF_THE_RUN}
    key = digest([job.model, wanted, settings])
    if key not in _loaded:
        _free()
        _loaded[key] = model.load_base(job.model, job.recipe, wanted, _tokenizer(job))
        model.fit_embeddings(_loaded[key], _tokenizer(job), job.recipe)
    base = _loaded[key]
    try:
        yield base
    finally:
        # what trains in the base itself, or hooks into it, would reach the next trial
        if job.recipe.adapter == "none" or job.recipe.lora_modules_to_save or job.recipe.gradient_checkpointing:
            _free()
        base.eval()


def _free() -> None:
    _loaded.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tokenizer(job: Job) -> TokenizerInfo:
    return _load_tokenizer(job.tokenizer, job.recipe.tokenizer_revision)


@lru_cache(maxsize=2)
def _load_tokenizer(name: str, revision: str | None) -> TokenizerInfo:
    return load_tokenizer(name, revision)
