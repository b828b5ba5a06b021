"""The study of a search: what it asks, and that one killed at any point asks the same as one that nobody disturbed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.lock import locked
from pipeline.training.ranges import Range
from pipeline.training.search_job import Outcome
from pipeline.training.search_study import MAX_TRIES, STARTUP_TRIALS, Asked, Sampler, Study, open_storage, pruner

RANGES = (Range("lora_r", "choice", (8, 16)), Range("lora_alpha", "int", (16, 256), is_whole=True), Range("learning_rate", "log", (1e-5, 1e-2)))


def study(folder: Path, sampler: Sampler = "tpe", num_trials: int = 9, ranges: Sequence[Range] = RANGES) -> Study:
    """A study as each start of the command opens it."""
    return Study(folder, "one", "identity", ranges, sampler, 7, num_trials)


def outcome(asked: Asked) -> Outcome:
    """What training with these settings is made out to give: a valley in the learning rate, a place where it breaks, one where it is pruned."""
    values = asked.settings
    loss = abs(math.log10(values["learning_rate"]) + 3) + values["lora_alpha"] / 1000
    if values["lora_alpha"] > 240:
        return Outcome("failed", None, 0, "step 2: the loss is nan")
    return Outcome("pruned" if loss > 1.8 else "finished", loss, 100, "worse" if loss > 1.8 else "")


def work(folder: Path, sampler: Sampler, deaths: Sequence[int] = ()) -> list[tuple[dict[str, Any], str, float | None]]:
    """Search to the end, dying (no word to the study) while the trials of these numbers run; gives what was tried, interruptions left out."""
    made = study(folder, sampler)
    while (asked := made.next()) is not None:
        if asked.number in deaths:
            made = study(folder, sampler)
            continue
        made.end(asked, outcome(asked))
    return [(dict(trial.settings), trial.state, trial.loss) for trial in made.tried() if trial.state != "interrupted"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[Sampler, list[Any]]:
    """What each sampler tries when nothing happens."""
    samplers: tuple[Sampler, ...] = ("tpe", "random", "grid")
    return {sampler: work(tmp_path_factory.mktemp(sampler), sampler) for sampler in samplers}


@settings(max_examples=8)
@given(st.sets(st.integers(0, 12), max_size=4), st.sampled_from(["tpe", "random", "grid"]))
def test_deaths_change_nothing(
    undisturbed: dict[Sampler, list[Any]], tmp_path_factory: pytest.TempPathFactory, deaths: set[int], sampler: Sampler
) -> None:
    """Whatever trials a search dies in, unless one dies too often, it tries the same settings with the same outcomes."""
    lone = {number for number in deaths if not {number - 1, number - 2} <= deaths}
    assert work(tmp_path_factory.mktemp("killed"), sampler, sorted(lone)) == undisturbed[sampler]


def test_the_samplers_differ_and_stay_in_their_ranges(undisturbed: dict[Sampler, list[Any]]) -> None:
    """TPE leaves chance after its first trials, and the grid tries each of its points at most once."""
    chosen = {sampler: [made[0] for made in tried] for sampler, tried in undisturbed.items()}
    assert [len(tried) for tried in chosen.values()] == [9, 9, 9]
    assert len({str(settings) for settings in chosen["grid"]}) == 9
    assert all(settings["learning_rate"] in RANGES[2].grid and settings["lora_alpha"] in (16, 136, 256) for settings in chosen["grid"])
    assert chosen["tpe"] != chosen["random"]
    for tried in chosen.values():
        assert all(one["lora_r"] in (8, 16) and 16 <= one["lora_alpha"] <= 256 and 1e-5 <= one["learning_rate"] <= 1e-2 for one in tried)


def test_the_first_trials_of_tpe_cover_every_range(undisturbed: dict[Sampler, list[Any]]) -> None:
    """Each quarter of the learning rate's ratios and of alpha is tried once, each choice equally often."""
    first = [settings for settings, _, _ in undisturbed["tpe"][:STARTUP_TRIALS]]
    assert sorted(int((math.log10(one["learning_rate"]) + 5) / 3 * 4) for one in first) == [0, 1, 2, 3]
    assert sorted((one["lora_alpha"] - 16) * 4 // 241 for one in first) == [0, 1, 2, 3]
    assert sorted(one["lora_r"] for one in first) == [8, 8, 16, 16]


def test_a_grid_ends(tmp_path: Path) -> None:
    """A grid of two points is two trials, however many were asked for."""
    made = study(tmp_path, "grid", 9, RANGES[:1])
    assert made.size == 2
    for _ in range(2):
        asked = made.next()
        assert asked is not None
        made.end(asked, Outcome("finished", 1.0, 1))
    assert made.next() is None


def test_a_trial_that_always_dies_has_failed(tmp_path: Path) -> None:
    """After so many deaths with the same settings the search goes on without them."""
    settings_seen = []
    for _ in range(MAX_TRIES):
        asked = study(tmp_path).next()
        assert asked is not None
        settings_seen.append(asked.settings)
    assert settings_seen == [settings_seen[0]] * MAX_TRIES
    made = study(tmp_path)
    assert [trial.state for trial in made.tried()] == ["interrupted"] * (MAX_TRIES - 1) + ["failed"]
    assert made.tried()[-1].why == f"its process died {MAX_TRIES} times"
    asked = made.next()
    assert asked is not None and asked.settings != settings_seen[0]


def test_more_trials_go_on_where_fewer_ended(tmp_path: Path, undisturbed: dict[Sampler, list[Any]]) -> None:
    """A search of 9 begun as one of 5 tries what one of 9 tries."""
    for num_trials in (5, 9):
        made = study(tmp_path, num_trials=num_trials)
        while (asked := made.next()) is not None:
            made.end(asked, outcome(asked))
    assert [(dict(trial.settings), trial.state, trial.loss) for trial in made.tried()] == undisturbed["tpe"]


def test_running_trials_count_and_two_at_once_differ(tmp_path: Path) -> None:
    """Trials under way in parallel are not asked for again, and are no copies of each other."""
    made = study(tmp_path, num_trials=STARTUP_TRIALS + 2)
    asked = [made.next() for _ in range(STARTUP_TRIALS + 3)]
    assert asked.pop() is None
    assert len({str(one.settings) for one in asked if one is not None}) == STARTUP_TRIALS + 2


def test_the_same_settings_have_the_same_outcome(tmp_path: Path) -> None:
    """A second trial of the same choice needs no training; the first of equal losses is the best."""
    made = study(tmp_path, "random", 6, RANGES[:1])
    seen: dict[int, float] = {}
    while (asked := made.next()) is not None:
        rank = asked.settings["lora_r"]
        twin = made.twin(asked)
        assert (twin is not None) == (rank in seen)
        if twin is not None:
            assert twin.loss == seen[rank] and twin.why.startswith("the settings of trial")
        seen.setdefault(rank, 1.0)
        made.end(asked, twin or Outcome("finished", 1.0, 10))
    best = made.best()
    assert best is not None and best.number == 0


def test_another_search_is_refused(tmp_path: Path) -> None:
    """Outcomes of another recipe are never compared with these; nor do two processes search in one folder."""
    study(tmp_path)
    with pytest.raises(UsageError, match="begun with another recipe"):
        Study(tmp_path, "one", "another", RANGES, "tpe", 7, 9)
    with locked(tmp_path), pytest.raises(UsageError, match="another run is writing it"), locked(tmp_path):
        pass


def test_the_pruner_waits_and_then_asks_for_the_median(tmp_path: Path) -> None:
    """Nothing is pruned before enough trials have finished; then what is worse than their median at the same step is."""
    made = study(tmp_path, "random", 20)
    storage = open_storage(made.database)

    def is_hopeless(loss: float) -> bool:
        asked = made.next()
        assert asked is not None
        storage.set_trial_intermediate_value(asked.trial_id, 2, loss)
        loaded = optuna.load_study(study_name=made.name, storage=storage)
        answer = bool(pruner().prune(loaded, storage.get_trial(asked.trial_id)))
        made.end(asked, Outcome("pruned" if answer else "finished", loss, 10, "worse" if answer else ""))
        return answer

    assert [is_hopeless(loss) for loss in (1.0, 2.0, 3.0, 4.0)] == [False] * STARTUP_TRIALS
    assert [is_hopeless(loss) for loss in (2.6, 2.4)] == [True, False]
