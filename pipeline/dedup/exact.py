"""Exact duplicates: documents whose folded text is the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.dedup.compared import Compare, Pieces
from pipeline.text import Hashes, Ragged


@dataclass(frozen=True)
class Exact:
    """Removes documents whose text is the same once it is folded."""

    version: ClassVar[int] = 1

    fold: Literal["bytes", "space", "words"] = "words"
    """``bytes``: the text as it is. ``space``: case and the amount of white space do not count. ``words``: only the words count, in
    NFKC and lower case; of a text without a word, what ``space`` compares."""
    compare: Compare = "whole"
    """What of a conversation is compared: all turns but the system's, the user's (``prompts``) or the assistant's (``answers``)."""


def digests(compared: Pieces, words: Ragged, exact: Exact) -> tuple[Hashes, NDArray[np.bool_]]:
    """uint64[n, 2]: BLAKE2b of each document's ``words`` (hashes) where it has some, else of its folded text; and whether any turn is compared.

    128 bits, so that among 10^12 different texts a chance collision has probability 10^-15.
    """
    data, offsets = words.values.astype("<u8", copy=False).data.cast("B"), (words.offsets * 8).tolist()
    result: list[bytes] = []
    for row, (first, last) in enumerate(zip(compared.bounds[:-1].tolist(), compared.bounds[1:].tolist(), strict=True)):
        person = b"turns" if compared.apart[row] else b""
        if offsets[row] < offsets[row + 1]:
            result.append(_digest(data[offsets[row] : offsets[row + 1]], person))
        else:
            result.append(_digest(_folded(compared.content.slice(first, last - first), exact), person))
    return np.frombuffer(b"".join(result), "<u8").reshape(-1, 2).astype(np.uint64), np.diff(compared.bounds) > 0


def _folded(content: pa.LargeStringArray, exact: Exact) -> bytes:
    joined = b"\n".join(content.cast(pa.large_binary()).to_pylist())
    if exact.fold == "bytes":
        return joined
    return " ".join(joined.decode("utf-8", "replace").lower().split()).encode()


def _digest(data: bytes | memoryview, person: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16, person=person).digest()
