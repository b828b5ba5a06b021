"""The datasets of ``dedup.against``: committed ones as they are, other folders of documents extracted for the time of the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import bench
from pipeline.datasets import find_datasets, open_dataset
from pipeline.errors import SettingsError, nearest
from pipeline.progress import Progress
from pipeline.stages.inputs import Inputs, open_inputs


def digests_of(names: Sequence[str]) -> list[dict[str, str]]:
    """Name and digest of each dataset, by digest; raises SettingsError for one that is not there."""
    found = []
    for name in names:
        path = _path(name)
        datasets = [open_dataset(folder) for folder in find_datasets(path)]
        found += [{"name": dataset.folder.resolve().name, "digest": dataset.digest} for dataset in datasets]
        if not datasets:
            found.append({"name": path.name, "digest": _extraction_key(path)})
    return sorted(found, key=lambda item: (item["digest"], item["name"]))


def open_others(names: Sequence[str], output: Path, workers: int, scheduler: str | None, progress: Progress) -> Inputs:
    """The datasets, in an order that does not depend on that of the names; ``discard`` what was extracted when the run is done."""
    if not names:
        return Inputs(())
    beside = output.parent / f"{output.name}.against"
    opened = open_inputs([_path(name) for name in sorted(names)], beside, workers, scheduler, progress, "dedup.against")
    return Inputs(tuple(sorted(opened.datasets, key=lambda dataset: dataset.digest)), opened.extracted, opened.fetched)


def _extraction_key(path: Path) -> str:
    from pipeline.stages import extract  # slow to import, and only needed here

    return extract.resolve(extract.sources_of([path], extract.read_settings(bench.settings_file("extract", None)))).key


def _path(name: str) -> Path:
    path = Path(name)
    if not path.exists():
        known = [(path.parent / child.name).as_posix() for child in path.parent.iterdir()] if path.parent.is_dir() else []
        raise SettingsError([f"dedup.against: {name} is not there; {nearest(name, known)}"])
    return path
