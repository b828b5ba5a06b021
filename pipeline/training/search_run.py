"""Runs the trials of a search on workers: which come next, what became of each, and which files stay."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from pathlib import Path

from pipeline.commits import write_json
from pipeline.datasets import Dataset
from pipeline.errors import GristmillError
from pipeline.pools import Cluster, InProcess, Workers, default_workers
from pipeline.progress import Progress
from pipeline.settings import digest
from pipeline.training.ranges import Range, candidate
from pipeline.training.recipe import Recipe, settings_of_run
from pipeline.training.search_job import Job, Outcome, Ticket, measure_job, run_job
from pipeline.training.search_study import Asked, Sampler, Study, Tried
from pipeline.training.trained import ADAPTER, MODEL

BASELINE, TRIAL_FOLDERS, CACHE, COMPARISON = "as-it-stands", "trials", "rows", "test.json"


@dataclass(frozen=True)
class Plan:
    """What is searched and where: the recipe as it stands, the ranges around it, the rows, the folder to write, and how many at once."""

    name: str
    where: str
    recipe: Recipe
    ranges: tuple[Range, ...]
    sampler: Sampler
    tokens: Dataset
    out: Path
    num_trials: int
    num_workers: int
    is_remote: bool

    @property
    def identity(self) -> str:
        """Digest of what makes trials comparable: how many there are is no part of it."""
        ranges = [[one.key, one.kind, one.values] for one in self.ranges]
        return digest(["search", settings_of_run(self.recipe), ranges, self.sampler, self.tokens.digest])

    def job(self, recipe: Recipe, folder: Path, ticket: Ticket | None = None) -> Job:
        """A task that trains ``recipe``; workers of a cluster stand elsewhere, so that paths are absolute for them."""
        tokens = self.tokens.folder.resolve()
        model = str(Path(recipe.base_model).resolve()) if Path(recipe.base_model).is_dir() else recipe.base_model
        beside = recipe.tokenizer_beside(tokens)
        tokenizer = str(Path(beside).resolve()) if Path(beside).exists() else beside
        threads = max(1, default_workers() // self.num_workers) if self.num_workers > 1 and not self.is_remote else None
        return Job(recipe, tokens, folder.resolve(), model, tokenizer, (self.out / CACHE).resolve(), ticket, threads)

    def trial_folder(self, number: int) -> Path:
        """Where a trial trains."""
        return self.out / TRIAL_FOLDERS / f"{number:04d}"

    def baseline(self) -> Job:
        """The recipe as it stands."""
        return self.job(self.recipe, self.out / BASELINE)

    def trial(self, study: Study, asked: Asked) -> Job:
        """A trial of the study."""
        ticket = Ticket(study.database.resolve(), study.name, asked.trial_id)
        return self.job(candidate(self.recipe, asked.settings, self.where), self.trial_folder(asked.number), ticket)


class Trials:
    """The trials of a study on workers, up to the number that the plan asks for, and beside them the recipe as it stands."""

    def __init__(self, plan: Plan, study: Study, workers: Workers, progress: Progress) -> None:
        self._plan, self._study, self._workers, self._say = plan, study, workers, progress.say
        self._log = progress.say if isinstance(workers, InProcess) else None
        self._pending: dict[Future[Outcome], Asked | None] = {}
        self._baseline: Outcome | None = None

    def run(self) -> Outcome:
        """Run all that is missing; gives the outcome of the recipe as it stands. Raises GristmillError when no trial can be run."""
        if line := self._workers.check(self._plan.out.resolve()):
            self._say(line)
        ended = sum(trial.state in ("finished", "pruned", "failed") for trial in self._study.tried())
        names = ", ".join(one.key for one in self._plan.ranges)
        earlier = f" ({ended} by an earlier run)" if ended else ""
        self._say(f"the recipe as it stands, and {self._study.size} trials{earlier} by {self._plan.sampler}: {names}")
        self._submit(self._plan.baseline(), None)
        while True:
            self._fill()
            if not self._pending:
                break
            for future in wait(self._pending, return_when=FIRST_COMPLETED).done:
                self._settle(self._pending.pop(future), _outcome(future, self._workers))
                self._tidy()
        assert self._baseline is not None
        return self._baseline

    def _fill(self) -> None:
        """Give every idle worker a trial."""
        slots = len(self._workers.threads()) if isinstance(self._workers, Cluster) else self._plan.num_workers
        while len(self._pending) < slots and (asked := self._study.next()) is not None:
            chosen = ", ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in asked.settings.items())
            self._say(f"trial {asked.number}: {chosen}")
            twin = self._study.twin(asked)
            if twin is None:
                self._submit(self._plan.trial(self._study, asked), asked)
            else:
                self._settle(asked, twin)

    def _submit(self, job: Job, asked: Asked | None) -> None:
        self._pending[self._workers.submit(run_job, job, self._log)] = asked

    def _settle(self, asked: Asked | None, outcome: Outcome | None) -> None:
        """Write down what became of a trial, or of the recipe as it stands (``asked`` is None); no outcome: its worker died."""
        name = "the recipe as it stands" if asked is None else f"trial {asked.number}"
        self._say(f"{name}: {'its worker died' if outcome is None else outcome}")
        if asked is not None and outcome is not None:
            self._study.end(asked, outcome)
        elif asked is not None:
            self._study.lose(asked.number)
        elif outcome is not None:
            self._baseline = outcome
        else:
            raise GristmillError(name, "ends its worker", "give the workers more memory, or use fewer")

    def _tidy(self) -> None:
        """Of trials that have ended keep metrics alone, and what the best one trained."""
        best = self._study.best()
        for trial in self._study.tried():
            folder = self._plan.trial_folder(trial.number)
            if trial.state == "interrupted":
                shutil.rmtree(folder, ignore_errors=True)
            elif trial.state != "running":
                for made in _folders(folder, best is not None and trial.number == best.number):
                    shutil.rmtree(made)


def _folders(trial: Path, is_best: bool) -> Iterator[Path]:
    """What of a trial that has ended is not kept."""
    return (path for path in trial.glob("*") if path.is_dir() and not (is_best and path.name in (ADAPTER, MODEL)))


def _outcome(future: Future[Outcome], workers: Workers) -> Outcome | None:
    """The outcome of a trial, None when its worker died."""
    try:
        return future.result()
    except workers.died:
        return None
    except CancelledError:
        raise GristmillError("the search", "its cluster has gone", "start it again and run again: finished trials are kept") from None


def compare(plan: Plan, best: Tried, workers: Workers) -> str:
    """Measure the recipe as it stands and the best one on the test split, and write both down; gives the line to print."""
    tuned = plan.job(candidate(plan.recipe, best.settings, plan.where), plan.trial_folder(best.number))
    before, after = (workers.submit(measure_job, job).result() for job in (plan.baseline(), tuned))
    write_json(plan.out / COMPARISON, {"as it stands": dataclasses.asdict(before), "best": dataclasses.asdict(after)})
    return (
        f"on the test split ({after.num_rows:,} rows, {after.num_tokens:,} supervised tokens; no trial saw it): "
        f"as it stands {before.loss:.4f}, best {after.loss:.4f} ({after.loss / before.loss - 1:+.2%})"
    )
