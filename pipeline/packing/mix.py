"""How often each source's sequences stand in the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.errors import UsageError, nearest
from pipeline.packing.plan import mixed


def times(sources: Sequence[str], tokens: np.ndarray, epochs: Mapping[str, float], ratio: Mapping[str, float]) -> np.ndarray:
    """How often the sequences of each source stand in the training rows: float64[sources].

    ``tokens`` (int64[sources]): what each source has. With a ``ratio``, as many tokens are taken as the scarcest source can give its share
    of. Raises UsageError for a source that is not there, that the ratio leaves out, or that is taken less than no times.
    """
    for name, values in (("epochs", epochs), ("ratio", ratio)):
        for source, value in values.items():
            if source not in sources:
                raise UsageError(f"{name}.{source}", "there is no such source", nearest(source, sources))
            if not 0 <= value < float("inf"):
                raise UsageError(f"{name}.{source}", f"is {value}", "take a number from 0 up")
    most = np.array([epochs.get(source, 1.0) for source in sources])
    if not ratio:
        return most
    for source in sources:
        if source not in ratio:
            raise UsageError("ratio", f"does not name the source {source!r}", f"write {source}: 0 to leave it out")
    wanted = np.array([ratio[source] for source in sources])
    if not wanted.any():
        raise UsageError("ratio", "is 0 for every source", "give one a share")
    there = (wanted > 0) & (tokens > 0)
    scale = (most[there] * tokens[there] / wanted[there]).min() if there.any() else 0.0
    often: np.ndarray = np.divide(wanted * scale, tokens, out=np.zeros(len(sources)), where=tokens > 0)
    return often


def copies(hashes: np.ndarray, source: np.ndarray, often: np.ndarray, seed: int) -> np.ndarray:
    """How often each sequence stands in the rows (int64[n]): the whole number of its source's times, and once more for a seeded share.

    ``hashes`` (uint64[n]) are those of the groups, so a group is taken whole or left out whole; ``source`` (int[n]) indexes ``often``.
    """
    whole = np.floor(often).astype(np.int64)
    draw = mixed(hashes, seed + 1).astype(np.float64) / 2**64
    taken: np.ndarray = whole[source] + (draw < (often - whole)[source])
    return taken
