"""Which groups are for validation and which for the test: decided by a hash of the group's name, so that no thread, page or cluster is parted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

SPLITS = ("train", "validation", "test")
TRAIN = 0


def split_hashes(keys: pa.StringArray, seed: int) -> np.ndarray:
    """64 bits of BLAKE2b over ``seed`` and each key: uint64[n], the same on every machine. Keys must not be null."""
    encoded = keys.dictionary_encode()
    prefix = f"{seed}\0".encode()
    digests = b"".join(hashlib.blake2b(prefix + key, digest_size=8).digest() for key in encoded.dictionary.cast(pa.binary()).to_pylist())
    hashes: np.ndarray = np.frombuffer(digests, "<u8").astype(np.uint64)[encoded.indices.to_numpy(zero_copy_only=False)]
    return hashes


def assign(hashes: np.ndarray, sources: np.ndarray, shares: Mapping[str, float]) -> np.ndarray:
    """The split of every row (int8[n], index into SPLITS) from the hashes of their groups (uint64[n]) and their sources (int[n]).

    ``shares`` holds those of ``validation`` and ``test``. A group goes where its hash lies: the lowest hashes are for validation, the next
    for the test, so adding documents moves no other. It belongs to the source of its first row. A source from which a split would by
    chance get nothing, though its share comes to half a group or more, gives that split its lowest groups; it always keeps one for training.
    With two groups or more, validation is not left empty, nor with three the test.
    """
    groups, first, group_of = np.unique(hashes, return_index=True, return_inverse=True)
    source_of = sources[first]
    edges = np.cumsum([shares.get(name, 0.0) for name in SPLITS[1:]])
    chosen = np.full(len(groups), TRAIN, np.int8)
    for split in range(len(edges), 0, -1):
        chosen[groups < np.uint64(min(int(edges[split - 1] * 2**64), 2**64 - 1))] = split
    for source in np.unique(source_of).tolist():
        mine = np.flatnonzero(source_of == source)
        chosen[mine] = _filled(chosen[mine], shares, least=0.5)
    chosen = _filled(chosen, shares, least=0.0)
    return chosen[group_of]


def _filled(chosen: np.ndarray, shares: Mapping[str, float], least: float) -> np.ndarray:
    """The splits of groups in the order of their hashes, with one more group in each empty split that has a claim, training first of all."""
    chosen = chosen.copy()
    if len(chosen) and not (chosen == TRAIN).any():
        chosen[-1] = TRAIN
    for split, name in enumerate(SPLITS[1:], 1):
        spare = np.flatnonzero(chosen == TRAIN)
        claims = shares.get(name, 0.0) > 0 and shares.get(name, 0.0) * len(chosen) >= least
        if claims and not (chosen == split).any() and len(spare) > 1:
            chosen[spare[0]] = split
    return chosen
