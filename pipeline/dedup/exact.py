"""Exact duplicates: documents whose folded text is the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.dedup.compared import Compare, Pieces
from pipeline.text import Hashes, Ragged, Rows

DIGEST = pa.binary(16)
"""Type of the digest: 128 bits, so that among 10^12 different texts a chance collision has probability 10^-15."""


@dataclass(frozen=True)
class Exact:
    """Removes documents whose text is the same once it is folded."""

    version: ClassVar[int] = 1

    fold: Literal["bytes", "space", "words"] = "words"
    """``bytes``: the text as it is. ``space``: case and the amount of white space do not count. ``words``: only the words count, in
    NFKC and lower case; of a text without a word, what ``space`` compares."""
    compare: Compare = "whole"


def digests(compared: Pieces, words: Ragged, exact: Exact) -> pa.FixedSizeBinaryArray:
    """BLAKE2b of each document's ``words`` (hashes) where it has some, else of its folded text; null where none of its turns is compared."""
    data, offsets = words.values.astype("<u8", copy=False).data.cast("B"), (words.offsets * 8).tolist()
    result: list[bytes | None] = []
    for row, (first, last) in enumerate(zip(compared.bounds[:-1].tolist(), compared.bounds[1:].tolist(), strict=True)):
        person = b"turns" if compared.apart[row] else b""
        if first == last:
            result.append(None)
        elif offsets[row] < offsets[row + 1]:
            result.append(_digest(data[offsets[row] : offsets[row + 1]], person))
        else:
            result.append(_digest(_folded(compared.content.slice(first, last - first), exact), person))
    return pa.array(result, DIGEST)


def keepers(high: Hashes, low: Hashes, known: NDArray[np.bool_], length: Rows) -> Rows:
    """int64[n]: the row that is kept of those with a row's digest, the longest and then the first; the row itself where ``known`` is false.

    ``high`` and ``low`` are the halves of the digest, ``length`` is what the longest is judged by.
    """
    rows = np.flatnonzero(known)
    order = rows[np.lexsort((rows, -length[rows], low[rows], high[rows]))]
    starts = np.ones(len(order), np.bool_)
    starts[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    keeper = np.arange(len(length))
    keeper[order] = order[starts][np.cumsum(starts) - 1]
    return keeper


def _folded(content: pa.LargeStringArray, exact: Exact) -> bytes:
    joined = b"\n".join(content.cast(pa.large_binary()).to_pylist())
    if exact.fold == "bytes":
        return joined
    return " ".join(joined.decode("utf-8", "replace").lower().split()).encode()


def _digest(data: bytes | memoryview, person: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16, person=person).digest()
