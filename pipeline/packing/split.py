"""Which groups are for validation: decided by a hash of the group's name, so that no thread, page or cluster is parted."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa


def split_hashes(keys: pa.StringArray, seed: int) -> np.ndarray:
    """64 bits of BLAKE2b over ``seed`` and each key: uint64[n], the same on every machine. Keys must not be null."""
    encoded = keys.dictionary_encode()
    prefix = f"{seed}\0".encode()
    digests = b"".join(hashlib.blake2b(prefix + key, digest_size=8).digest() for key in encoded.dictionary.cast(pa.binary()).to_pylist())
    hashes: np.ndarray = np.frombuffer(digests, "<u8").astype(np.uint64)[encoded.indices.to_numpy(zero_copy_only=False)]
    return hashes


def validation(hashes: np.ndarray, share: float) -> np.ndarray:
    """Which of all rows (bool[n]) go to the validation split, from the hashes of their groups (uint64[n]).

    A group goes there when its hash lies in the lowest ``share`` of all hashes, so adding documents moves no other. With a share above 0
    and two groups or more, neither split is left empty: the lowest hash goes to validation, the highest to training.
    """
    if share <= 0 or not len(hashes):
        return np.zeros(len(hashes), dtype=bool)
    lowest, highest = hashes.min(), hashes.max()
    if lowest == highest:
        return np.zeros(len(hashes), dtype=bool)
    chosen: np.ndarray = ((hashes < np.uint64(int(share * 2**64))) | (hashes == lowest)) & (hashes != highest)
    return chosen
