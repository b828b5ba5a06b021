"""The split of every document of a clean dataset: that of a token set made from it, by group, or all for training."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets import Dataset, read_batches
from pipeline.errors import UsageError
from pipeline.packing.reading import read_rows
from pipeline.packing.split import SPLITS, TRAIN, split_hashes


def splits_of(documents: Dataset, tokens: Dataset | None) -> np.ndarray:
    """The split of each kept document, in the order of the shards: int8[n], index into SPLITS; all TRAIN without ``tokens``.

    A group is where the rows of ``tokens`` have it; one that no row holds (its documents were too long, say) goes where its hash lies.
    Takes 17 bytes a document. Raises UsageError when the token set was not made from these documents.
    """
    if tokens is None:
        return np.zeros(documents.rows(), np.int8)
    if documents.digest not in [item["digest"] for item in tokens.manifest["inputs"]]:
        raise UsageError(
            str(tokens.folder), f"was not made from {documents.folder} as it is now", "name the token set of this dataset, or build it again"
        )
    ids, groups = _hashes(documents, int(tokens.manifest["settings"]["seed"]))
    _, group_of = np.unique(groups, return_inverse=True)
    split_of_group = _by_hash(groups, group_of, tokens)
    for split, name in enumerate(SPLITS):
        split_of_group[group_of[np.isin(ids, _ids_in(tokens, name))]] = split
    chosen: np.ndarray = split_of_group[group_of]
    return chosen


def _hashes(documents: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint64[n] of each document's id, and of its group as packing hashes it."""
    ids, groups = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for path in documents.files():
        for batch in read_batches(path, ["id", "group"]):
            ids.append(split_hashes(batch.column("id"), 0))
            groups.append(split_hashes(pc.coalesce(batch.column("group"), batch.column("id")), seed))
    return np.concatenate(ids), np.concatenate(groups)


def _by_hash(groups: np.ndarray, group_of: np.ndarray, tokens: Dataset) -> np.ndarray:
    """int8[groups]: where each group's hash lies, before any look at the rows; as ``packing.split.assign`` has it."""
    hashes = np.zeros(int(group_of.max(initial=-1)) + 1, np.uint64)
    hashes[group_of] = groups
    settings = tokens.manifest["settings"]
    chosen = np.full(len(hashes), TRAIN, np.int8)
    edges = np.cumsum([float(settings.get(f"{name}_share", 0.0)) for name in SPLITS[1:]])
    for split in range(len(edges), 0, -1):
        chosen[hashes < np.uint64(min(int(edges[split - 1] * 2**64), 2**64 - 1))] = split
    return chosen


def _ids_in(tokens: Dataset, split: str) -> np.ndarray:
    """uint64[]: hashes of the ids of all documents that rows of a split hold, each once."""
    found = np.empty(0, np.uint64)
    for path in tokens.files(split):
        mine = []
        for batch in read_rows(path, ["pieces"]):
            names = pc.unique(batch.column("pieces").flatten().field("id")).drop_null()
            mine.append(split_hashes(names.cast(pa.string()), 0))
        found = np.union1d(found, np.concatenate([np.empty(0, np.uint64), *mine]))
    return found
