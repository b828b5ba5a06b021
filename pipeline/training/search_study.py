"""The study of a search in its SQLite file: what was tried, what comes next, and what a killed search owes.

Every answer is worked out of the file alone. The sampler is seeded anew for each trial by the number of trials before it, so that a search
that was killed and resumed tries what an uninterrupted one would have tried.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from pipeline.errors import UsageError
from pipeline.settings import digest
from pipeline.training.ranges import Range, combinations, settings_of
from pipeline.training.search_job import Outcome, State

DATABASE = "search.db"
DATABASE_PATIENCE_SECONDS = 60
"""How long a process waits for another one that writes the file."""

STARTUP_TRIALS = 4
"""So many trials begin before TPE chooses, and finish before any is pruned; Optuna's own 10 and 5 suit longer searches.

They are a Latin hypercube: each quarter of each range is tried once, where four trials by chance leave a quarter out as often as not.
"""

MAX_TRIES = 3
"""A trial whose process died so often has failed."""

Sampler = Literal["tpe", "random", "grid"]

_AGAIN, _WHY, _TOKENS, _ABOUT = "again", "why", "tokens", "about"
"""Attributes of a trial: the number of the interrupted one that it repeats, what ended it, what it trained on; of a study: its identity."""


@dataclass(frozen=True)
class Asked:
    """A trial to run: its number in the study, its id in the file, what it says of the recipe."""

    number: int
    trial_id: int
    settings: Mapping[str, Any]
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Tried:
    """A trial of the study as the report shows it; ``loss`` is the last evaluation's, after ``step`` steps."""

    number: int
    state: State | Literal["interrupted", "running"]
    loss: float | None
    step: int
    tokens: int
    seconds: float
    settings: Mapping[str, Any]
    why: str


def open_storage(path: Path) -> RDBStorage:
    """The SQLite file of a study, made when it is not there."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": DATABASE_PATIENCE_SECONDS}})


def pruner() -> BasePruner:
    """Ends a trial whose best evaluation so far is worse than the median of the finished ones at the same step."""
    return MedianPruner(n_startup_trials=STARTUP_TRIALS)


class Study:
    """Asks for trials up to ``num_trials`` and takes their outcomes; made in a locked folder.

    ``identity`` is the digest of all that makes outcomes comparable: raises UsageError when the folder's study has another.
    """

    def __init__(self, folder: Path, name: str, identity: str, ranges: Sequence[Range], sampler: Sampler, seed: int, num_trials: int) -> None:
        self.name, self.database = name, folder / DATABASE
        self._ranges, self._sampler, self._seed, self._num_trials = ranges, sampler, seed, num_trials
        self._distributions = {one.key: one.distribution for one in ranges}
        self._first = {"tpe": _hypercube, "random": _nothing, "grid": _shuffled}[sampler](ranges, seed)
        self._storage = open_storage(self.database)
        self._study = optuna.create_study(storage=self._storage, study_name=name, direction="minimize", pruner=pruner(), load_if_exists=True)
        if self._study.user_attrs.get(_ABOUT, identity) != identity:
            what = "was begun with another recipe, other ranges or other tokens"
            raise UsageError(str(folder), what, "remove it, or name another folder with --out")
        self._study.set_user_attr(_ABOUT, identity)
        for trial in self._trials():
            if not trial.state.is_finished():
                self.lose(trial.number)

    @property
    def study(self) -> optuna.Study:
        """Optuna's own study, to read."""
        return self._study

    @property
    def size(self) -> int:
        """How many trials there will be, interrupted ones not counted: a grid may end before ``num_trials``."""
        return min(self._num_trials, len(self._first)) if self._sampler == "grid" else self._num_trials

    def next(self) -> Asked | None:
        """The next trial, now running, or None when there are enough; one that was interrupted comes again with its own parameters."""
        trials = [trial for trial in self._trials() if not self._is_void(trial)]
        states = Counter(_state(trial) for trial in trials)
        if states.total() - states["interrupted"] >= self.size:
            return None
        repeated = {trial.user_attrs.get(_AGAIN) for trial in trials}
        owed = [trial for trial in trials if _state(trial) == "interrupted" and trial.number not in repeated]
        num_fresh = sum(_AGAIN not in trial.user_attrs for trial in trials)
        if owed:
            self._study.enqueue_trial(owed[0].params, user_attrs={_AGAIN: owed[0].number})
        elif num_fresh < len(self._first):
            self._study.enqueue_trial(self._first[num_fresh])
        else:
            self._study.sampler = self._seeded(num_fresh)
        trial = self._study.ask(self._distributions)
        return Asked(trial.number, trial._trial_id, settings_of(self._ranges, trial.params), trial.params)

    def twin(self, asked: Asked) -> Outcome | None:
        """The outcome of an earlier trial with the same parameters: its training would be the same, bit by bit."""
        for tried in self.tried():
            if tried.state in ("finished", "pruned") and tried.settings == asked.settings and tried.number < asked.number:
                return Outcome(tried.state, tried.loss, tried.tokens, f"the settings of trial {tried.number}")
        return None

    def end(self, asked: Asked, outcome: Outcome) -> None:
        """Write down how a trial ended."""
        for name, value in ((_TOKENS, outcome.tokens), (_WHY, outcome.why)):
            self._storage.set_trial_user_attr(asked.trial_id, name, value)
        state = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}[outcome.state]
        self._study.tell(asked.number, outcome.loss if outcome.state == "finished" else None, state=state)

    def lose(self, number: int) -> None:
        """Mark a trial whose process is gone as failed; ``next`` tries it again unless that happened too often."""
        trials = self._trials()
        tries, trial = 1, trials[number]
        while _AGAIN in trial.user_attrs:
            tries, trial = tries + 1, trials[trial.user_attrs[_AGAIN]]
        if tries >= MAX_TRIES:
            self._storage.set_trial_user_attr(trials[number]._trial_id, _WHY, f"its process died {tries} times")
        self._storage.set_trial_state_values(trials[number]._trial_id, TrialState.FAIL)

    def tried(self) -> list[Tried]:
        """Every trial that has its parameters, in the order in which they began."""
        return [self._tried(trial) for trial in self._trials() if self._is_complete(trial)]

    def best(self) -> Tried | None:
        """The finished trial with the lowest loss, the first of equals."""
        finished = [trial for trial in self.tried() if trial.state == "finished" and trial.loss is not None]
        return min(finished, key=lambda trial: (trial.loss, trial.number), default=None)

    def _tried(self, trial: FrozenTrial) -> Tried:
        last = trial.last_step
        loss = trial.value if trial.value is not None else trial.intermediate_values.get(last) if last is not None else None
        seconds = trial.duration.total_seconds() if trial.duration is not None else 0.0
        settings = settings_of(self._ranges, trial.params)
        why, tokens = trial.user_attrs.get(_WHY, ""), trial.user_attrs.get(_TOKENS, 0)
        return Tried(trial.number, _state(trial), loss, last or 0, tokens, seconds, settings, why)

    def _trials(self) -> list[FrozenTrial]:
        trials: list[FrozenTrial] = self._study.get_trials(deepcopy=False)
        return trials

    def _is_complete(self, trial: FrozenTrial) -> bool:
        return self._distributions.keys() <= trial.params.keys()

    def _is_void(self, trial: FrozenTrial) -> bool:
        """Whether a trial was lost before all its parameters were written down: as if it had never been."""
        return _state(trial) == "interrupted" and not self._is_complete(trial)

    def _seeded(self, number: int) -> BaseSampler:
        seed = int(digest([self._seed, number])[:8], 16)
        return RandomSampler(seed) if self._sampler == "random" else TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed)


def _state(trial: FrozenTrial) -> State | Literal["interrupted", "running"]:
    match trial.state:
        case TrialState.COMPLETE:
            return "finished"
        case TrialState.PRUNED:
            return "pruned"
        case TrialState.FAIL:
            return "failed" if trial.user_attrs.get(_WHY) else "interrupted"
    return "running"


def _nothing(ranges: Sequence[Range], seed: int) -> list[dict[str, Any]]:
    """No trial is settled beforehand."""
    return []


def _hypercube(ranges: Sequence[Range], seed: int) -> list[dict[str, Any]]:
    """``STARTUP_TRIALS`` points of which each has its own part of every range."""
    chance = random.Random(seed)
    columns = {}
    for one in ranges:
        parts = chance.sample(range(STARTUP_TRIALS), STARTUP_TRIALS)
        columns[one.key] = [one.at((part + chance.random()) / STARTUP_TRIALS) for part in parts]
    return [{key: column[i] for key, column in columns.items()} for i in range(STARTUP_TRIALS)]


def _shuffled(ranges: Sequence[Range], seed: int) -> list[dict[str, Any]]:
    """The points of the grid, so that the first ones do not all lie in one corner."""
    points = list(combinations(ranges))
    random.Random(seed).shuffle(points)
    return points
