"""python -m pipeline.stages.train TOKENS RUN --recipe FILE: trains an adapter, or a model, on packed rows; resumes from its checkpoints.

RUN gets what was trained, the resolved recipe, metrics.jsonl, learning curves and samples from before and after. On several GPUs:
accelerate launch -m pipeline.stages.train TOKENS RUN --recipe FILE
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import bench, command
from pipeline.commits import Build, copy
from pipeline.datasets import RUN, Dataset, committed, file_sha256, open_dataset
from pipeline.progress import Progress
from pipeline.settings import digest
from pipeline.stages.tokenize import DEFAULT_RECIPE
from pipeline.summary import say
from pipeline.training.recipe import Recipe, read_recipe, settings_of_run

STAGE_VERSION = 1
CHECKPOINTS = "checkpoints"
SYNCED = ("adapter", "model")
"""Folders of a run whose files are on disk already, and may be large."""


@dataclass(frozen=True)
class Job:
    """What is trained on what: its key decides whether there is anything to do."""

    recipe: Recipe
    model: Mapping[str, str]
    inputs: tuple[Mapping[str, str], ...]

    @property
    def key(self) -> str:
        """Digest of all that goes in."""
        return digest(["train", STAGE_VERSION, settings_for_key(self.recipe), dict(self.model), [item["digest"] for item in self.inputs]])


def settings_for_key(recipe: Recipe) -> dict[str, Any]:
    """The recipe's values that decide what the run does."""
    return settings_of_run(recipe)


def resolve(recipe: Recipe, inputs: Sequence[Mapping[str, str]], file_digest: Callable[[Path], str] = file_sha256) -> Job:
    """Fix the key: a local model by the bytes of its configuration and weights, one of the Hub by its name and revision."""
    folder = Path(recipe.base_model)
    weights = folder.glob("*.safetensors") if recipe.init == "pretrained" else ()
    files = sorted([*folder.glob("config.json"), *weights]) if folder.is_dir() else []
    return Job(recipe, {path.name: file_digest(path) for path in files}, tuple(inputs))


def train(job: Job, tokens: Path, output: Path, progress: Progress) -> Dataset:
    """Train in the folder beside the output, where a killed run finds its checkpoints again, and commit the run."""
    with Build(output, job.key) as build:
        if build.ready is not None:
            return build.ready
        workshop = build.work / output.name
        results = asdict(_run(job.recipe, tokens, workshop, progress))
        made = sorted(path.relative_to(workshop) for path in workshop.rglob("*") if path.is_file())
        files = [path.as_posix() for path in made if path.parts[0] != CHECKPOINTS]
        for name in files:
            _place(workshop / name, build.folder / name, Path(name).parts[0] in SYNCED)
        about = {
            "stage": "train",
            "settings": settings_for_key(job.recipe),
            "inputs": list(job.inputs),
            "model": dict(job.model),
        }
        return build.commit([], about, {"results": results}, files=files)


def follow(job: Job, tokens: Path, output: Path, progress: Progress) -> None:
    """What the processes beside the main one do under ``accelerate launch``: they train along, and write nothing."""
    build = Build(output, job.key)
    for folder in (build.target, build.folder):
        done = committed(folder)
        if done is not None and done.key == job.key:
            return
    _run(job.recipe, tokens, build.work / output.name, progress)


def _place(source: Path, target: Path, synced: bool) -> None:
    """Put a file of the workshop into the run: by a second name where that is enough."""
    if synced:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
            return
        except OSError:
            pass
    copy(source, target)


def _run(recipe: Recipe, tokens: Path, workshop: Path, progress: Progress) -> Any:
    from pipeline.training.run import run_training

    return run_training(recipe, tokens, workshop, recipe.base_model, progress.say, progress)


def _lines(results: Mapping[str, Any]) -> list[str]:
    return [
        f"{results['steps']:,} steps over {results['tokens']:,} tokens in {results['seconds']:,.0f} s",
        f"validation loss {results['base_loss']:.4f} -> {results['final_loss']:.4f} ({results['final_loss'] / results['base_loss'] - 1:+.1%})"
        if results["base_loss"] is not None
        else "no validation rows, so nothing was validated",
    ]


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline.stages.train", __doc__ or "")
    parser.add_argument("tokens", type=Path, metavar="TOKENS", help="a folder that the tokenize stage wrote")
    parser.add_argument("output", type=Path, metavar="RUN", help="the folder to write")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help=f"the recipe (default: {DEFAULT_RECIPE})")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="put one setting over the recipe's")
    command.add_json(parser)
    arguments = parser.parse_args(given)
    tokens = open_dataset(command.require(arguments.tokens))
    follows = os.environ.get("RANK", "0") != "0"
    with Progress("train", arguments.quiet or follows) as progress:
        recipe = read_recipe(arguments.recipe or bench.find(DEFAULT_RECIPE), arguments.assignments, progress.say)
        job = resolve(recipe, [{"name": tokens.folder.resolve().name, "digest": tokens.digest}])
        if follows:
            follow(job, arguments.tokens, arguments.output, progress)
            return 0
        dataset = train(job, arguments.tokens, arguments.output, progress)
    results = json.loads((dataset.folder / RUN).read_text(encoding="utf-8"))["results"]
    following = f"look at {dataset.folder}/learning_curve.png and {dataset.folder}/samples.md"
    say(arguments, dataset, _lines(results), {"results": results}, following)
    return 0


if __name__ == "__main__":
    from pipeline.stages import train as module

    sys.exit(command.run(module.main))
