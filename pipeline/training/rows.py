"""Rows of tokens as a training run sees them: memory-mapped, checked against recipe and tokenizer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import datasets as hf
import pyarrow.compute as pc

from pipeline.datasets import Dataset, open_dataset
from pipeline.errors import DatasetError, UsageError
from pipeline.training.recipe import Recipe

COLUMNS = ["input_ids", "labels", "position_ids", "sequence_lengths", "pieces"]
"""Prompts for the samples, and losses of single documents, are cut from rows by the last two."""


@dataclass(frozen=True)
class Rows:
    """The rows of both splits; ``digest`` is that of the tokens they come from. ``validation`` is None when the split is empty.

    ``sources``: those that the validation rows name, sorted.
    """

    train: hf.Dataset
    validation: hf.Dataset | None
    digest: str
    sources: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, hf.Dataset]:
        """The splits that have rows, by name."""
        return {"train": self.train, **({"validation": self.validation} if self.validation is not None else {})}


def open_rows(tokens: Path, recipe: Recipe, fingerprint: str, cache: Path) -> Rows:
    """The rows of the committed dataset ``tokens``; Arrow is mapped as it lies there, JSONL and Parquet are converted into ``cache`` once.

    Raises DatasetError when it is damaged, UsageError when it was made with another tokenizer or length than the recipe's, or has no rows.
    """
    dataset = open_dataset(tokens)
    manifest = dataset.manifest
    try:
        made_with, made_len = manifest["tokenizer"]["fingerprint"], int(manifest["sequence_len"])
    except (KeyError, TypeError, ValueError):
        raise UsageError(str(tokens), "holds no token rows", "name a dataset that the tokenize stage wrote") from None
    if made_with != fingerprint:
        raise UsageError(str(tokens), f"was made with another tokenizer than that of {recipe.tokenizer_name}", "run: make tokenize")
    if made_len != recipe.sequence_len:
        raise UsageError(str(tokens), f"has rows of {made_len} tokens, not of {recipe.sequence_len} (sequence_len)", "run: make tokenize")
    if not dataset.rows("train"):
        raise UsageError(str(tokens), "has no rows to train on", "add documents, or lower validation_share in stages/tokenize.yaml")
    validation = open_split(dataset, "validation", cache) if dataset.rows("validation") else None
    if validation is not None and recipe.eval_max_rows is not None:
        validation = validation.take(min(recipe.eval_max_rows, len(validation)))
    return Rows(open_split(dataset, "train", cache), validation, dataset.digest, _sources(validation))


def open_all(tokens: Path, recipe: Recipe, fingerprint: str, cache: Path) -> dict[str, hf.Dataset]:
    """All rows of the splits that are not the test, by name; raises as ``open_rows`` does."""
    return open_rows(tokens, dataclasses.replace(recipe, eval_max_rows=None), fingerprint, cache).splits


def _sources(rows: hf.Dataset | None) -> tuple[str, ...]:
    """The names of sources that pieces of rows carry; none in rows of before they did."""
    if rows is None:
        return ()
    pieces = pc.list_flatten(rows.data.column("pieces"))
    if pieces.type.get_field_index("source") < 0:
        return ()
    return tuple(sorted(name for name in pc.unique(pc.struct_field(pieces, "source")).to_pylist() if name is not None))


def open_split(dataset: Dataset, split: str, cache: Path) -> hf.Dataset:
    """All rows of a split, every byte checked: Arrow as it lies there, JSONL and Parquet converted into ``cache``. Raises DatasetError."""
    paths = [str(path) for path in dataset.checked_files(split)]
    kind = Path(paths[0]).suffix
    try:
        if kind == ".arrow":
            rows = hf.concatenate_datasets([hf.Dataset.from_file(path) for path in paths])
        elif kind == ".parquet":
            rows = hf.Dataset.from_parquet(paths, cache_dir=str(cache))
        else:
            rows = hf.Dataset.from_json(paths, cache_dir=str(cache))
        return rows.select_columns(COLUMNS)
    except (OSError, ValueError, hf.exceptions.DatasetsError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise DatasetError(f"{dataset.folder}/{split}", f"cannot be read ({why})", "build the dataset again") from error
