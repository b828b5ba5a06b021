"""Searches with the tiny model: what they write, that they resume after SIGKILL as if nothing had been, and that the best is what it says."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from wsgiref.util import setup_testing_defaults

import optuna
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import __main__ as commands
from pipeline.datasets import open_dataset
from pipeline.errors import SettingsError, UsageError
from pipeline.pools import InProcess, Workers
from pipeline.training import metrics, search, search_report, search_run, search_trial, steps
from pipeline.training.recipe import Recipe, read_recipe
from pipeline.training.run import run_training
from pipeline.training.search_job import Job, Outcome, run_job
from pipeline.training.search_study import Tried

from .conftest import LENGTH, Commit, rows

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
RANGES = {"lora_r": {"choice": [2, 4]}, "lora_alpha": {"int": [4, 32]}, "learning_rate": {"log": [1e-4, 1e-1]}}
NUM_TRIALS = 5


@dataclass(frozen=True)
class Bench:
    """A recipe's file and rows of all three splits."""

    recipe: Path
    tokens: Path

    def run(self, out: Path, *more: str) -> int:
        """The command in this process."""
        return search.main([str(self.recipe), "--tokens", str(self.tokens), "--out", str(out), *more])


@pytest.fixture(scope="module")
def bench(tiny_model: Path, commit: Commit, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A recipe of a few steps that hardly learns, and ranges in which it can."""
    folder = tmp_path_factory.mktemp("bench")
    settings = {"base_model": str(tiny_model), "adapter": "lora", "bf16": False, "sequence_len": LENGTH, "max_steps": 4, "eval_steps": 2}
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump({**settings, "learning_rate": 1e-6, "lora_dropout": 0.1, "lora_r": 4, "save_steps": 2, "search": RANGES}))
    return Bench(recipe, commit(folder / "set", {"train": rows(12), "validation": rows(3, seed=1), "test": rows(2, seed=2)}))


@dataclass(frozen=True)
class Searched:
    """A search that nobody disturbed."""

    out: Path


@pytest.fixture(scope="module")
def searched(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """One for the tests of this file."""
    out = tmp_path_factory.mktemp("searched") / "out"
    command = [str(bench.recipe), "--tokens", str(bench.tokens), "--out", str(out), "--trials", str(NUM_TRIALS), "--test", "--quiet"]
    assert search.main(command) == 0
    return Searched(out)


def trials(out: Path) -> list[dict[str, Any]]:
    """The rows of trials.parquet."""
    found: list[dict[str, Any]] = pq.read_table(out / "trials.parquet").to_pylist()
    return found


def test_a_search_leaves_everything(bench: Bench, searched: Searched, capsys: pytest.CaptureFixture[str]) -> None:
    """It writes the study, the trials, a plot and the best recipe; asked again it trains nothing, prints the same and names what comes next."""
    written = {path.name for path in searched.out.iterdir()} - {".lock", "rows"}
    assert written == {"search.db", "trials.parquet", "best.yaml", "search.svg", "search.png", "test.json", "trials", "as-it-stands"}
    before = {path: path.stat().st_mtime_ns for path in searched.out.rglob("metrics.jsonl")}
    files = {name: (searched.out / name).read_bytes() for name in ("trials.parquet", "best.yaml", "search.svg", "search.png", "test.json")}
    assert bench.run(searched.out, "--trials", str(NUM_TRIALS), "--test") == 0
    assert before == {path: path.stat().st_mtime_ns for path in searched.out.rglob("metrics.jsonl")}
    assert files == {name: (searched.out / name).read_bytes() for name in files}
    said = capsys.readouterr().out
    assert f"{NUM_TRIALS} trials: " in said and "on the test split (2 rows" in said
    assert f"next: python -m pipeline.stages.train {bench.tokens} data/runs/tiny-best --recipe {searched.out}/best.yaml" in said


def test_trials_train_on_equal_tokens_and_keep_only_the_best_adapter(searched: Searched) -> None:
    """Every finished trial saw the tokens that the recipe as it stands saw; the best has the lowest loss of all, and alone keeps its adapter."""
    finished = [trial for trial in trials(searched.out) if trial["state"] == "finished"]
    lines = metrics.training(metrics.read(searched.out / "as-it-stands" / "metrics.jsonl"))
    assert {trial["tokens"] for trial in finished} == {lines[-1]["tokens"]}
    best = min(finished, key=lambda trial: trial["loss"])
    kept = {path.parent.name for path in (searched.out / "trials").glob("*/adapter")}
    assert kept == {f"{best['trial']:04d}"}


def test_the_best_recipe_gives_what_the_search_says(bench: Bench, searched: Searched, tmp_path: Path) -> None:
    """The train stage's own run of best.yaml ends at the best trial's loss, to the last bit, though that trial shared its base model with others."""
    best = min((trial for trial in trials(searched.out) if trial["state"] == "finished"), key=lambda trial: trial["loss"])
    recipe = read_recipe(searched.out / "best.yaml")
    assert (recipe.lora_r, recipe.lora_alpha, recipe.learning_rate) == (best["lora_r"], best["lora_alpha"], best["learning_rate"])
    assert not recipe.search and recipe.save_steps == 2 and recipe.lora_dropout == 0.1
    summary = run_training(recipe, bench.tokens, tmp_path, Path(recipe.base_model), lambda _: None)
    assert summary.final_loss == best["loss"] and summary.tokens == best["tokens"]


def test_both_are_measured_on_the_test_split(bench: Bench, searched: Searched) -> None:
    """The comparison is over the test rows' supervised tokens, and the base model's own loss is what an adapter without effect has."""
    held = json.loads((searched.out / "test.json").read_text())
    supervised = sum(label != -100 for row in rows(2, seed=2) for label, position in zip(row["labels"], row["position_ids"], strict=True) if position)
    assert {one["num_tokens"] for one in held.values()} == {supervised} and {one["num_rows"] for one in held.values()} == {2}
    assert held["best"]["loss"] < held["as it stands"]["loss"]
    split = search_trial.open_test(bench.tokens, searched.out / "rows")
    recipe = read_recipe(bench.recipe)
    base = search_trial.model.load_base(recipe.base_model, recipe, "fp32")
    whole = search_trial.held_loss(base, split, recipe, "fp32")
    one_by_one = search_trial.held_loss(base, split, dataclasses.replace(recipe, micro_batch_size=2), "fp32")
    assert whole.loss == pytest.approx(one_by_one.loss, abs=1e-5)
    assert held["as it stands"]["loss"] == pytest.approx(whole.loss, abs=1e-3)


def killed_when(command: Sequence[str], said: str) -> None:
    """Start a search as users do, and kill its process once it says this."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-m", "pipeline", "search", *command], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if said in line:
                process.kill()
        assert process.wait() == -9, "".join(lines)


def test_a_search_resumes_after_sigkill(bench: Bench, searched: Searched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in its second trial: what had finished is not done again, that trial is, and the end is that of an undisturbed search."""
    out = tmp_path / "out"
    common = [str(bench.recipe), "--tokens", str(bench.tokens), "--out", str(out), "--trials", "3"]
    killed_when(common, "trial 1: ")
    trained: list[Path] = []

    def spy(job: Job, log: Any = None) -> Outcome:
        trained.append(job.folder)
        return run_job(job, log)

    monkeypatch.setattr(search_run, "run_job", spy)
    assert search.main([*common, "--quiet"]) == 0
    assert [folder.name for folder in trained] == ["as-it-stands", "0002", "0003"]
    after = trials(out)
    assert [trial["state"] for trial in after if trial["trial"] == 1] == ["interrupted"]
    names = ("state", "loss", "step", "tokens", *RANGES)
    resumed = [[trial[name] for name in names] for trial in after if trial["state"] != "interrupted"]
    assert resumed == [[trial[name] for name in names] for trial in trials(searched.out)[:3]]


def test_a_trial_is_pruned_while_it_trains(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that is worse than the median at its first evaluation ends there, is counted, and the process can train the next one."""
    monkeypatch.setattr(search_trial._Watch, "_is_hopeless", lambda watch: watch._ticket is not None and watch._ticket.trial_id == 1)
    assert bench.run(tmp_path / "out", "--trials", "2", "--quiet") == 0
    first, second = trials(tmp_path / "out")
    assert (first["state"], first["step"], first["why"]) == ("pruned", 2, "worse than the median at step 2")
    assert (second["state"], second["step"]) == ("finished", 4)
    lines = metrics.training(metrics.read(tmp_path / "out" / "trials" / "0000" / "metrics.jsonl"))
    assert lines[-1]["step"] == 2


@pytest.mark.parametrize("adapter", ["none", "qlora"])
def test_every_method_can_be_searched(bench: Bench, tmp_path: Path, adapter: str) -> None:
    """Without an adapter each trial begins with the base model's own weights, and in 4 bits with its own: same settings, same loss."""
    out, search_one = tmp_path / "out", "search={learning_rate: {choice: [0.001, 0.01]}}"
    more = (
        "--trials",
        "2",
        "--sampler",
        "grid",
        "--test",
        "--quiet",
        "--set",
        f"adapter={adapter}",
        "--set",
        "learning_rate=0.01",
        "--set",
        search_one,
    )
    assert bench.run(out, *more) == 0
    made = {trial["learning_rate"]: trial["loss"] for trial in trials(out)}
    as_it_stands = metrics.evaluations(metrics.read(out / "as-it-stands" / "metrics.jsonl"))[-1]["eval_loss"]
    assert made[0.01] == as_it_stands != made[0.001]
    held = json.loads((out / "test.json").read_text())
    assert (made[0.01] < made[0.001]) == (held["best"] == held["as it stands"])


def test_a_trial_that_breaks_has_failed(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings that make the loss no number cost that trial alone; without one that finished there is no best recipe, and that is said."""
    out = tmp_path / "out"
    assert bench.run(out, "--trials", "1", "--set", "search={adam_epsilon: {choice: [0.0]}}") == 1  # Adam divides 0 by 0
    (trial,) = trials(out)
    assert trial["state"] == "failed" and "loss is nan" in trial["why"]
    said = capsys.readouterr().out
    assert "1 trials: 0 finished, 0 pruned, 1 failed" in said and "no trial finished" in said and not (out / "best.yaml").exists()


class DyingWorkers(InProcess):
    """Workers of which the second call's dies."""

    died = (RuntimeError,)

    def __init__(self) -> None:
        self.calls = 0

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As its base, but for the second call."""
        self.calls += 1
        if self.calls != 2:
            return super().submit(fn, *args, **kwargs)
        future: Future[T] = Future()
        future.set_exception(RuntimeError("killed"))
        return future


def test_a_trial_whose_worker_dies_is_tried_again(bench: Bench, searched: Searched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial is marked, and comes again with its own settings."""

    @contextmanager
    def dying(workers: int, scheduler: str | None = None) -> Iterator[Workers]:
        yield DyingWorkers()

    monkeypatch.setattr(search, "pool", dying)
    assert bench.run(tmp_path / "out", "--trials", "1", "--quiet") == 0
    lost, again = trials(tmp_path / "out")
    assert (lost["state"], again["state"]) == ("interrupted", "finished")
    assert again["loss"] == trials(searched.out)[0]["loss"] and [lost[name] for name in RANGES] == [again[name] for name in RANGES]


def test_trials_run_on_a_cluster(bench: Bench, tmp_path: Path) -> None:
    """Two workers of a Dask cluster take the trials, which report into the same file and are counted."""
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "out"
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        assert bench.run(out, "--trials", "3", "--quiet", "--test", "--scheduler", cluster.scheduler_address) == 0
    made = trials(out)
    assert len(made) == 3 and {trial["state"] for trial in made} == {"finished"}
    assert len({trial["tokens"] for trial in made}) == 1 and (out / "best.yaml").exists() and (out / "test.json").exists()


def test_optuna_reads_the_file(searched: Searched) -> None:
    """The SQLite file is a plain study of Optuna's, under the recipe's name, with every evaluation of every trial."""
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{searched.out / 'search.db'}")
    assert [trial.number for trial in study.trials] == list(range(NUM_TRIALS))
    assert study.best_value == min(trial["loss"] for trial in trials(searched.out) if trial["state"] == "finished")
    assert all(max(trial.intermediate_values) == 4 for trial in study.trials if trial.state.name == "COMPLETE")


def test_optuna_dashboard_opens_the_file(searched: Searched) -> None:
    """The dashboard's own application finds the study and its trials."""
    dashboard = pytest.importorskip("optuna_dashboard")
    application = dashboard.wsgi(f"sqlite:///{searched.out / 'search.db'}")
    statuses: list[str] = []

    def get(path: str) -> Any:
        request: dict[str, Any] = {"PATH_INFO": path}
        setup_testing_defaults(request)
        body = b"".join(application(request, lambda status, *others: statuses.append(status)))
        assert statuses[-1].startswith("200")
        return json.loads(body)

    (study,) = get("/api/studies")["study_summaries"]
    assert study["study_name"] == "tiny"
    assert len(get(f"/api/studies/{study['study_id']}")["trials"]) == NUM_TRIALS


def test_mistakes_are_one_line_before_anything_runs(bench: Bench, commit: Commit, tmp_path: Path) -> None:
    """A wrong range, no validation rows, no test rows for --test, a number of trials below 1 and an unknown recipe write nothing."""
    out = tmp_path / "out"
    with pytest.raises(SettingsError, match=r"search\.lora_q: unknown key; did you mean 'lora_r'"):
        bench.run(out, "--set", "search.lora_q={choice: [8]}")
    with pytest.raises(UsageError, match="--trials 0"):
        bench.run(out, "--trials", "0")
    with pytest.raises(SettingsError, match=r"did you mean 'train/smollm2-qlora.yaml'"):
        commands._dispatch(["search", "smollm2-qlor", "--tokens", str(bench.tokens), "--out", str(out)])
    for splits, more, said in (
        ({"train": rows(2)}, [], "no validation rows"),
        ({"train": rows(2), "validation": rows(2)}, ["--test"], "no test rows"),
    ):
        tokens = commit(tmp_path / said.replace(" ", "-"), splits)
        with pytest.raises(UsageError, match=said):
            Bench(bench.recipe, tokens).run(out, *more)
    assert not out.exists()


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_test_rows_of_any_format_are_read_alike(commit: Commit, bench: Bench, tmp_path: Path, form: str) -> None:
    """Rows in JSON lines and in Parquet are those in Arrow."""
    other = commit(tmp_path / "tokens", {"train": rows(1), "test": rows(2, seed=2)}, form)
    assert list(search_trial.open_test(other, tmp_path)) == list(search_trial.open_test(bench.tokens, tmp_path))
    assert open_dataset(other).rows("test") == 2


def test_the_number_of_steps_is_the_trainers(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """Epochs in part, with rows that do not divide evenly: counted as the training loop counts."""
    odd = dataclasses.replace(recipe, max_steps=None, num_epochs=1.2, micro_batch_size=5, gradient_accumulation_steps=2)
    summary = run_training(odd, tokens, tmp_path, Path(odd.base_model), lambda _: None)
    assert summary.steps == steps.in_all(odd, 12)


def test_the_plot_is_the_same_bytes_for_the_same_trials(tmp_path: Path) -> None:
    """Drawn twice SVG and PNG do not differ; a search without a finished trial has a plot too."""
    tried = [
        Tried(0, "finished", 2.5, 4, 100, 1.0, {"lora_r": 8}, ""),
        Tried(1, "pruned", 2.9, 2, 50, 0.5, {"lora_r": 16}, "worse"),
        Tried(2, "finished", 2.4, 4, 100, 9.0, {"lora_r": 32}, ""),
    ]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        search_report.draw(tried, {"lora_r": 1.0}, 2.6, "a search", tmp_path / name)
    for name in search_report.PLOTS:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    search_report.draw([], {}, None, "nothing", tmp_path)
    assert (tmp_path / search_report.PLOTS[0]).read_text().lstrip().startswith("<?xml")


def test_what_is_said_adds_up() -> None:
    """The states in the summary add up to the number of trials, interrupted ones named apart."""
    states = ["finished", "pruned", "interrupted", "failed", "finished"]
    tried = [Tried(n, state, 1.0, 1, 1, 1.0, {}, "") for n, state in enumerate(states)]  # type: ignore[arg-type]
    assert search_report.totals(tried) == "5 trials: 2 finished, 1 pruned, 1 failed, 1 interrupted and tried again"
