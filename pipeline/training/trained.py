"""A finished training run as chat and export find it: its recipe, what it was trained from, and what it made. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets import Dataset, file_sha256, open_dataset
from pipeline.errors import DatasetError, UsageError
from pipeline.training.recipe import Recipe, read_recipe

ADAPTER, MODEL, RECIPE = "adapter", "model", "recipe.yaml"
"""What a run holds: an adapter of a base model, or a whole model; and the recipe as it was run."""

_TOKENS = "tokens"


def made_by(recipe: Recipe) -> str:
    """The folder of a run that holds what was trained."""
    return MODEL if recipe.adapter == "none" else ADAPTER


@dataclass(frozen=True)
class TrainedRun:
    """A committed run and its recipe, in which the revision of a Hub model is the commit that was trained on."""

    dataset: Dataset
    recipe: Recipe

    @property
    def folder(self) -> Path:
        """Where the run lies."""
        return self.dataset.folder

    @property
    def is_whole(self) -> bool:
        """Whether the run made a whole model rather than an adapter."""
        return (self.folder / MODEL).is_dir()

    @property
    def tokens(self) -> Path:
        """The folder of the rows it was trained on, by the project's layout: data/runs/<run> beside data/tokens/<name>."""
        return self.folder.resolve().parent.parent / _TOKENS / str(self.dataset.manifest["inputs"][0]["name"])

    @property
    def tokens_digest(self) -> str:
        """The digest of these rows."""
        return str(self.dataset.manifest["inputs"][0]["digest"])

    def require_tokens(self, place: Path, todo: str) -> Path:
        """``place`` when it holds the rows that were trained on; else UsageError, which says ``todo``."""
        if not place.is_dir():
            raise UsageError(str(place), "is not there", todo)
        if open_dataset(place).digest != self.tokens_digest:
            raise UsageError(str(place), f"does not hold the rows that {self.folder} was trained on", todo)
        return place

    def tokenizer_name(self, tokens: Path) -> str:
        """What to load the tokenizer from: it lies with a whole model; one that was trained on the documents lies with the rows ``tokens``."""
        return str(self.folder / MODEL) if self.is_whole else self.recipe.tokenizer_beside(tokens)

    def require_same_base(self) -> None:
        """Raises DatasetError when the base model's folder no longer holds the files that were trained on; a Hub model has its commit."""
        for name, sha256 in self.dataset.manifest["model"].items():
            path = Path(self.recipe.base_model) / name
            if not path.is_file() or file_sha256(path) != sha256:
                raise DatasetError(str(path), "is not the file that the run was trained from", "put that model back, or train again")


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn: at most ``max_tokens``; ``temperature`` 0 takes the likeliest token each time, else ``seed`` decides."""

    max_tokens: int
    temperature: float
    seed: int


def open_run(folder: Path) -> TrainedRun:
    """The run at ``folder``; raises DatasetError when it is damaged, UsageError when it is something else."""
    dataset = open_dataset(folder)
    if dataset.manifest.get("stage") != "train":
        raise UsageError(str(folder), "is not a training run", "name a folder that the train stage wrote, such as data/runs/smollm2-qlora")
    run = TrainedRun(dataset, read_recipe(folder / RECIPE))
    if not run.is_whole and not (folder / ADAPTER / "adapter_config.json").is_file():
        raise DatasetError(str(folder), f"holds neither {ADAPTER}/ nor {MODEL}/", "train again")
    return run
