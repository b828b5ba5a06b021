"""What a stage reads: committed datasets as they are; anything else is extracted first, into a dataset beside the output.

A dataset at a URL is copied beside the output for the time of the run, its kept shards only; other files there are extracted a few at a time.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets import Dataset, find_datasets, open_dataset
from pipeline.errors import DatasetError
from pipeline.extractors.databases_login import is_address
from pipeline.progress import Progress
from pipeline.remote import Fetched, Place, Url
from pipeline.settings import digest


@dataclass(frozen=True)
class Inputs:
    """The datasets to read, in order; ``extracted`` is the one that was made for this run, which goes when it is done, as ``fetched`` does."""

    datasets: tuple[Dataset, ...]
    extracted: Dataset | None = None
    fetched: tuple[Path, ...] = ()

    def digests(self) -> list[dict[str, str]]:
        """Name and digest of each input, for the key and the manifest."""
        return [{"name": self._name(dataset), "digest": dataset.digest} for dataset in self.datasets]

    def _name(self, dataset: Dataset) -> str:
        return "extracted" if dataset is self.extracted else dataset.folder.resolve().name

    def discard(self) -> None:
        """Delete what was extracted or copied for this run only, and what a run that died left of that kind."""
        for made in (*self.fetched, *([self.extracted.folder] if self.extracted is not None else [])):
            kind = made.name.rpartition("-")[0]
            for folder in made.parent.iterdir():
                if folder.name.startswith(f"{kind}-"):
                    shutil.rmtree(folder, ignore_errors=True)


def open_inputs(paths: Sequence[Place], output: Path, workers: int, scheduler: str | None, progress: Progress, stage: str) -> Inputs:
    """Open the inputs of a stage; raises DatasetError for one of the wrong stage and UsageError for an empty one."""
    datasets: list[Dataset] = []
    loose: list[Place] = []
    copies: list[Path] = []
    for path in paths:
        folders = _folders(path, output, progress, copies)
        found = [open_dataset(folder) for folder in folders]
        for dataset in found:
            if dataset.manifest.get("stage") not in ("extract", "filter", "perplexity"):
                raise DatasetError(str(dataset.folder), f"was made by {dataset.manifest.get('stage')}", f"{stage} reads documents")
        datasets += found
        if not found:
            loose.append(path)
        elif isinstance(path, Path) and found[0].folder != path and (others := _others(path, found)):
            progress.say(f"{path}: {others} files beside the datasets are not read; extract them to a dataset of their own")
    if not loose:
        return Inputs(tuple(datasets), fetched=tuple(copies))
    extracted = _extract(loose, output, workers, scheduler, progress)
    return Inputs((*datasets, extracted), extracted, tuple(copies))


def _folders(path: Place, output: Path, progress: Progress, copies: list[Path]) -> list[Path]:
    """The datasets at a place; a live database holds none."""
    if not isinstance(path, Url):
        return find_datasets(path)
    return [] if is_address(str(path)) else _fetch(path, output, progress, copies)


def _fetch(url: Url, output: Path, progress: Progress, copies: list[Path]) -> list[Path]:
    """The datasets at a URL, copied beside the output; empty when no dataset is there."""
    folder = output.parent / f".{output.name}.fetched-{digest([url.text])[:16]}"
    datasets = Fetched.of(url, url.files(), folder).datasets
    if datasets:
        copies.append(folder)
        progress.say(f"{url}: {len(datasets)} datasets copied for this run")
    return list(datasets)


def _others(path: Path, found: Sequence[Dataset]) -> int:
    known = {dataset.folder.name for dataset in found}
    return sum(1 for child in path.iterdir() if child.name not in known and not child.name.startswith("."))


def _extract(paths: Sequence[Place], output: Path, workers: int, scheduler: str | None, progress: Progress) -> Dataset:
    from pipeline import bench
    from pipeline.stages import extract

    settings = extract.read_settings(bench.settings_file("extract", None))
    job = extract.resolve(extract.sources_of(paths, settings))
    return extract.extract(job, output.parent / f".{output.name}.extracted-{job.key[:16]}", workers, scheduler, progress)
