"""One trial of a search as a task that travels to a worker: a recipe, its rows and a place to say how it goes. Loads torch only when called."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.training.quiet import prepare_process, quiet_libraries
from pipeline.training.recipe import Recipe

State = Literal["finished", "pruned", "failed"]

_ONE_AT_A_TIME = threading.Lock()
"""A process trains one model at a time: chance, threads and memory are shared."""


@dataclass(frozen=True)
class Ticket:
    """Where a running trial reports its evaluations: the study's SQLite file, its name, and the trial's id there."""

    database: Path
    study: str
    trial_id: int


@dataclass(frozen=True)
class Job:
    """What a worker needs to train one recipe.

    ``model`` and ``tokenizer``: what to load, which on a cluster are absolute paths; ``cache``: a folder for converted rows, shared by all
    jobs; ``ticket``: None for a run outside the study, which nothing prunes; ``num_threads``: of torch, None for as many as it takes.
    """

    recipe: Recipe
    tokens: Path
    folder: Path
    model: str
    tokenizer: str
    cache: Path
    ticket: Ticket | None = None
    num_threads: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    ``loss`` is the last validation's (nats a token), ``tokens`` what it trained on (filling included); ``why`` says what pruned it or
    made it fail.
    """

    state: State
    loss: float | None
    tokens: int
    why: str = ""

    def __str__(self) -> str:
        loss = "" if self.loss is None else f", validation loss {self.loss:.4f}"
        return f"{self.state}{loss}{f' ({self.why})' if self.why else ''}"


@dataclass(frozen=True)
class Held:
    """The loss of a trained recipe (mean nats a token) on rows held back from training, with the number of their rows and supervised tokens."""

    loss: float
    num_rows: int
    num_tokens: int


def run_job(job: Job, log: Callable[[str], None] | None = None) -> Outcome:
    """Train the job's recipe and leave the adapter and metrics.jsonl in its folder; a folder that has its adapter is only read.

    A run that breaks (its loss is not a number, memory ends) is an outcome; raises UsageError or DatasetError when no trial could do better.
    """
    with _ONE_AT_A_TIME:
        prepare_process()
        quiet_libraries()
        from pipeline.training.search_trial import run_trial

        return run_trial(job, log or (lambda _: None))


def measure_job(job: Job) -> Held:
    """Measure what the job left in its folder on the test split; raises UsageError or DatasetError."""
    with _ONE_AT_A_TIME:
        prepare_process()
        quiet_libraries()
        from pipeline.training.search_trial import measure_trial

        return measure_trial(job)
