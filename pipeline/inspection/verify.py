"""python -m pipeline verify DATASET...: reads every byte of datasets and compares it with their manifests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import command
from pipeline.datasets import find_datasets, open_dataset, verify
from pipeline.errors import DatasetError, UsageError


def main(given: Sequence[str]) -> int:
    """The command; exit code 1 when a byte differs or a file is missing."""
    parser = command.parser("python -m pipeline verify", "Read every byte of datasets and compare it with their manifests.")
    parser.add_argument("paths", nargs="*", type=Path, metavar="DATASET", help="a dataset, or a folder of datasets")
    arguments = parser.parse_args(given)
    if not arguments.paths:
        raise UsageError("verify", "nothing has been built yet", "run: make extract")
    num_problems = 0
    for folder in [found for path in arguments.paths for found in _datasets(path)]:
        try:
            dataset = open_dataset(folder)
            problems = verify(dataset)
        except DatasetError as error:  # the next one may be whole
            problems = [str(error)]
        num_problems += len(problems)
        print("\n".join(problems) if problems else f"{folder}: {len(dataset.shards) + len(dataset.manifest['files'])} files as written")
    return 1 if num_problems else 0


def _datasets(path: Path) -> list[Path]:
    command.require(path)
    found = find_datasets(path)
    if not found:
        raise UsageError(str(path), "holds no dataset", "name a folder with a __manifest.json, or one above it")
    return found
