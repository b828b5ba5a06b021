"""python -m pipeline search RECIPE --trials N: tries settings of a recipe on its tokens and writes the best recipe; resumes.

Trials train on equal tokens and are compared on the validation split; --test compares the best with the recipe as it stands on the test split.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import bench, command
from pipeline.datasets import open_dataset
from pipeline.errors import MissingPackageError, UsageError
from pipeline.lock import locked
from pipeline.pools import pool
from pipeline.progress import Progress
from pipeline.settings import override, read_yaml
from pipeline.training.quiet import prepare_process
from pipeline.training.ranges import candidate, read_ranges
from pipeline.training.recipe import read_recipe
from pipeline.training.search_job import Outcome

if TYPE_CHECKING:
    from pipeline.training.search_run import Plan
    from pipeline.training.search_study import Study

DEFAULT_TRIALS = 20


def report(plan: Plan, study: Study, baseline: Outcome) -> list[str]:
    """Write what was found; gives the lines to print."""
    from pipeline.training import search_report as made

    trials, best = study.tried(), study.best()
    shares = made.importances(study.study)
    made.write_trials(plan.out / made.TRIALS, trials)
    made.draw(trials, shares, baseline.loss, f"{plan.name}, {plan.sampler}", plan.out)
    lines = [*made.table(trials, best), made.totals(trials)]
    if shares:
        num_finished = sum(trial.state == "finished" for trial in trials)
        ranked = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        lines.append(f"importance, a hint from {num_finished} finished trials: {ranked}")
    if best is None or best.loss is None:
        return [*lines, "no trial finished, so there is no best recipe; narrow the ranges"]
    against = f"trial {best.number} of study {study.name} ({plan.sampler}): validation loss {best.loss:.4f} after {best.tokens:,} tokens"
    as_it_stands = "it broke" if baseline.loss is None or baseline.state != "finished" else f"{baseline.loss:.4f} after {baseline.tokens:,} tokens"
    comments = ["pipeline.training.recipe: the best that a search found", f"of {plan.where}", against, f"the recipe as it stands: {as_it_stands}"]
    made.write_best(plan.out / made.BEST, candidate(plan.recipe, best.settings, plan.where), comments)
    lines.append(f"best: {against}; the recipe as it stands: {as_it_stands}")
    if baseline.loss is not None and baseline.state == "finished" and baseline.loss <= best.loss:
        lines.append("no trial beats the recipe as it stands: keep it, or try more (--trials)")
    return lines


def main(given: Sequence[str]) -> int:
    """The command."""
    arguments = _parser().parse_args(given)
    for package in ("optuna", "sqlalchemy"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(package, "a search", "search")
    prepare_process()
    with Progress("search", arguments.quiet) as progress:
        plan = _plan(arguments, progress.say)
        from pipeline.training import search_report, search_study
        from pipeline.training.search_run import Trials, compare

        plan.out.mkdir(parents=True, exist_ok=True)
        with locked(plan.out), pool(plan.num_workers, arguments.scheduler) as workers:
            study = search_study.Study(plan.out, plan.name, plan.identity, plan.ranges, plan.sampler, plan.recipe.seed, plan.num_trials)
            baseline = Trials(plan, study, workers, progress).run()
            lines, best = report(plan, study, baseline), study.best()
            if best is not None and arguments.test:
                broke = "the recipe as it stands broke: there is nothing to compare with on the test split"
                lines.append(compare(plan, best, workers) if baseline.state == "finished" else broke)
    if not arguments.quiet:
        print(f"\nsearch: {plan.out}")
        print("\n".join(f"  {line}" for line in lines))
        if best is not None:
            run = f"data/runs/{plan.name}-best"
            print(f"  next: python -m pipeline.stages.train {plan.tokens.folder} {run} --recipe {plan.out / search_report.BEST}")
    return 0 if best is not None else 1


def _parser() -> Any:
    parser = command.parser("python -m pipeline search", __doc__ or "")
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's file, or the name of one in train/")
    parser.add_argument("--trials", type=int, default=DEFAULT_TRIALS, metavar="N", help="how many there shall be in all (default: %(default)s)")
    parser.add_argument("--tokens", type=Path, metavar="DIR", help="a folder that the tokenize stage wrote (default: the recipe's in data/tokens)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to write (default: data/search/<recipe>)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="put one setting over the recipe's")
    parser.add_argument("--sampler", choices=["tpe", "random", "grid"], help="how trials are chosen (default: the recipe's search_sampler, else tpe)")
    parser.add_argument("--test", action="store_true", help="compare the best recipe with the one as it stands on the test split")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="trials at once, each in a process of its own (default: 1)")
    parser.add_argument(
        "--scheduler", default=os.environ.get("DASK_SCHEDULER_ADDRESS"), metavar="ADDRESS", help="a Dask scheduler: a trial on each worker"
    )
    return parser


def _plan(arguments: Any, say: Callable[[str], None]) -> Plan:
    """What the command line asks for, checked before anything runs."""
    from pipeline.training.search_run import Plan

    named = Path(arguments.recipe)
    path = named if named.suffix in (".yaml", ".yml") or named.is_file() else bench.find(f"train/{arguments.recipe}.yaml")
    raw = override(read_yaml(path), arguments.assignments)
    recipe = read_recipe(path, arguments.assignments, say)
    ranges = read_ranges(raw, recipe)
    for flag, value in (("--trials", arguments.trials), ("--workers", arguments.workers)):
        if value < 1:
            raise UsageError(f"{flag} {value}", "is less than 1", "give 1 or more")
    tokens = open_dataset(command.require(arguments.tokens or Path("data/tokens") / recipe.tokens_name))
    for split, needed in (("validation", True), ("test", arguments.test)):
        if needed and not tokens.rows(split):
            todo = f"raise {split}_share in stages/tokenize.yaml" + (", or leave --test out" if split == "test" else "")
            raise UsageError(str(tokens.folder), f"has no {split} rows", todo)
    return Plan(
        name=path.stem,
        where=path.as_posix(),
        recipe=dataclasses.replace(recipe, search={}),
        ranges=ranges,
        sampler=arguments.sampler or recipe.search_sampler,
        tokens=tokens,
        out=arguments.out or Path("data/search") / path.stem,
        num_trials=arguments.trials,
        num_workers=arguments.workers,
        is_remote=bool(arguments.scheduler),
    )
