"""What turns literal text into ids: the ``tokenizers`` library, or fastokens where that is installed and gives the same ids.

``tokenizers`` is the reference and the only judge: ``agreement.py`` asks both about the documents of a run before the fast one may work
on it. So which of them worked never shows in the output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata, util
from itertools import chain, pairwise
from typing import Any, Protocol

import numpy as np
from tokenizers import Tokenizer

FAST_PACKAGE = "fastokens"

_CHARS_A_CALL = 1_000_000
"""Texts go to the reference in groups of about this size: its answer takes some 50 bytes a character."""

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|%s ?[^\s\p{L}\p{N}]+|%s\s+(?!\S)|\s+"
_DIGITS_THEN_GPT2 = _GPT2 % (r"\p{N}|", r"\s+(?=\p{N})|")
"""GPT-2's pattern (Radford et al. 2019, as the ByteLevel pre-tokenizer spells it) on text whose digits were split off before: a digit
stands alone, and white space before a digit, which then is the end of its piece, stays together."""


class Engine(Protocol):
    """Encodes texts literally: no control token, nothing added around them."""

    name: str

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts one after the other (int32), and how many each has (int64[n])."""
        ...


class Reference:
    """The ``tokenizers`` library."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.name = f"tokenizers {metadata.version('tokenizers')}"

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts one after the other (int32), and how many each has (int64[n])."""
        flat, sizes = [np.empty(0, dtype=np.int32)], np.empty(len(texts), dtype=np.int64)
        for start, stop in _groups(texts):
            ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts[start:stop], add_special_tokens=False)]
            sizes[start:stop] = [len(one) for one in ids]
            flat.append(np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(sizes[start:stop].sum())))
        return np.concatenate(flat), sizes


class Fast:
    """fastokens, with the reference for the texts that it refuses: those with a byte that has no token (``unspelled`` characters, mostly).

    Raises ValueError for a definition that it cannot read.
    """

    def __init__(self, definition: Mapping[str, Any], reference: Engine, unspelled: str) -> None:
        from fastokens._native import Tokenizer as Native

        self._native = Native.from_json_str(json.dumps(one_split(definition)))
        self._reference = reference
        self._unspelled = re.compile(f"[{re.escape(unspelled)}]" if unspelled else "(?!)")
        self.name = f"{FAST_PACKAGE} {metadata.version(FAST_PACKAGE)}"

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts one after the other (int32), and how many each has (int64[n])."""
        odd = [number for number, text in enumerate(texts) if self._unspelled.search(text)]
        if not odd:
            return self._encode(texts)
        pieces = []
        for start, stop in pairwise([-1, *odd, len(texts)]):
            pieces += [self._encode(texts[start + 1 : stop]), self._reference.encode(texts[stop : stop + 1])]
        return _joined(pieces)

    def _encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        try:
            ids, offsets = self._native.encode_batch_flat(list(texts))
        except ValueError:
            if len(texts) == 1:
                return self._reference.encode(texts)
            half = len(texts) // 2
            return _joined([self._encode(texts[:half]), self._encode(texts[half:])])
        return np.frombuffer(ids, np.uint32).view(np.int32), np.diff(np.frombuffer(offsets, np.uint64).astype(np.int64))


def _joined(pieces: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    ids, sizes = zip(*pieces, strict=True)
    return np.concatenate(ids), np.concatenate(sizes)


def fast_engine(definition: Mapping[str, Any], reference: Engine, unspelled: str = "") -> Fast | None:
    """The fast engine for a ``tokenizer.json``; None where it is not installed or cannot read it."""
    if util.find_spec(FAST_PACKAGE) is None:
        return None
    try:
        return Fast(definition, reference, unspelled)
    except ValueError:
        return None


def one_split(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """The definition with "split off each digit, then GPT-2's pattern" as a single pattern, which fastokens matches three times as fast."""
    parts = (definition.get("pre_tokenizer") or {}).get("pretokenizers") or []
    if [part.get("type") for part in parts] != ["Digits", "ByteLevel"]:
        return definition
    digits, byte_level = parts
    if not digits.get("individual_digits") or byte_level.get("add_prefix_space") or not byte_level.get("use_regex", True):
        return definition
    split = {"type": "Split", "pattern": {"Regex": _DIGITS_THEN_GPT2}, "behavior": "Isolated", "invert": False}
    return {**definition, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, {**byte_level, "use_regex": False}]}}


def _groups(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(texts):
        stop, chars = start + 1, len(texts[start])
        while stop < len(texts) and chars + len(texts[stop]) <= _CHARS_A_CALL:
            chars += len(texts[stop])
            stop += 1
        yield start, stop
        start = stop
