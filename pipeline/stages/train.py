"""python -m pipeline.stages.train TOKENS RUN --recipe FILE: trains an adapter on packed rows; resumes from its checkpoints.

RUN gets the adapter, the resolved recipe, metrics.jsonl, learning curves and samples from before and after.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import bench, command
from pipeline.commits import Build, copy
from pipeline.datasets import RUN, Dataset, file_sha256, open_dataset
from pipeline.progress import Progress
from pipeline.settings import digest, to_plain
from pipeline.stages.tokenize import DEFAULT_RECIPE
from pipeline.training.recipe import Recipe, read_recipe

STAGE_VERSION = 1
CHECKPOINTS = "checkpoints"


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
    """The recipe's values."""
    plain: dict[str, Any] = to_plain(recipe)
    return plain


def resolve(recipe: Recipe, inputs: Sequence[Mapping[str, str]], file_digest: Callable[[Path], str] = file_sha256) -> Job:
    """Fix the key: a local model by the bytes of its configuration and weights, one of the Hub by its name and revision."""
    folder = Path(recipe.base_model)
    files = sorted([*folder.glob("config.json"), *folder.glob("*.safetensors")]) if folder.is_dir() else []
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
            copy(workshop / name, build.folder / name)
        about = {
            "stage": "train",
            "settings": settings_for_key(job.recipe),
            "inputs": list(job.inputs),
            "model": dict(job.model),
        }
        return build.commit([], about, {"results": results}, files=files)


def _run(recipe: Recipe, tokens: Path, workshop: Path, progress: Progress) -> Any:
    from pipeline.training.run import run_training

    return run_training(recipe, tokens, workshop, recipe.base_model, progress.say)


def _lines(output: Path) -> list[str]:
    results = json.loads((output / RUN).read_text(encoding="utf-8"))["results"]
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
    arguments = parser.parse_args(given)
    tokens = open_dataset(command.require(arguments.tokens))
    recipe = read_recipe(arguments.recipe or bench.find(DEFAULT_RECIPE), arguments.assignments)
    with Progress("train", arguments.quiet) as progress:
        job = resolve(recipe, [{"name": tokens.folder.resolve().name, "digest": tokens.digest}])
        dataset = train(job, arguments.tokens, arguments.output, progress)
    if not arguments.quiet:
        print(f"\ntrain: {arguments.output}")
        print("\n".join(f"  {line}" for line in _lines(dataset.folder)))
        print(f"  next: look at {dataset.folder}/learning_curve.png and {dataset.folder}/samples.md")
    return 0


if __name__ == "__main__":
    from pipeline.stages import train as module

    sys.exit(command.run(module.main))
