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
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

FAST_PACKAGE = "fastokens"

_CHARS_A_CALL = 1_000_000
"""Texts go to the reference in groups of about this size: its answer takes some 50 bytes a character."""

_MARK = "\v"
"""A vertical tab: white space that is one token of a byte-level vocabulary and that hardly any text holds."""


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
    """fastokens, with the reference for the texts that it refuses: those with a byte that has no token (``unspelled`` characters, as the
    inside of a character class, mostly). Raises ValueError for a definition that it cannot read.

    It is five times as fast with GPT-2's pattern alone (Radford et al. 2019) as after a pre-tokenizer that splits off each digit. So
    where a tokenizer does both, a mark of white space is written before each digit, and its token taken out again: before the mark that
    pattern ends what stands there as it would at the end of a text, and between two marks there is never more than one digit.
    """

    def __init__(self, definition: Mapping[str, Any], reference: Engine, unspelled: str) -> None:
        from fastokens._native import Tokenizer as Native

        byte_level = after_digits(definition)
        self._native = Native.from_json_str(json.dumps({**definition, "pre_tokenizer": byte_level} if byte_level else definition))
        self._mark_id = self._native.encode_batch_flat([_MARK])[0] if byte_level else b""
        if byte_level and len(self._mark_id) != 4:
            raise ValueError("the vocabulary has no token for a vertical tab")
        self._reference = reference
        self._odd = re.compile(f"[{_MARK if byte_level else ''}{unspelled}]" if byte_level or unspelled else "(?!)")
        self.name = f"{FAST_PACKAGE} {metadata.version(FAST_PACKAGE)}"

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts one after the other (int32), and how many each has (int64[n])."""
        odd = [number for number, text in enumerate(texts) if self._odd.search(text)]
        if not odd:
            return self._encode(texts)
        pieces = []
        for start, stop in pairwise([-1, *odd, len(texts)]):
            pieces += [self._encode(texts[start + 1 : stop]), self._reference.encode(texts[stop : stop + 1])]
        return _joined(pieces)

    def _encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        try:
            flat, ends = self._native.encode_batch_flat(self._marked(texts))
        except ValueError:
            if len(texts) == 1:
                return self._reference.encode(texts)
            half = len(texts) // 2
            return _joined([self._encode(texts[:half]), self._encode(texts[half:])])
        ids, offsets = np.frombuffer(flat, np.uint32).view(np.int32), np.frombuffer(ends, np.uint64).astype(np.int64)
        if not self._mark_id:
            return ids, np.diff(offsets)
        marks = np.flatnonzero(ids == np.frombuffer(self._mark_id, np.int32))
        return np.delete(ids, marks), np.diff(offsets - np.searchsorted(marks, offsets))

    def _marked(self, texts: Sequence[str]) -> list[str]:
        if not self._mark_id:
            return list(texts)
        marked: list[str] = pc.replace_substring_regex(pa.array(texts, pa.large_string()), r"(\p{N})", _MARK + r"\1").to_pylist()
        return marked


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


def after_digits(definition: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The byte-level pre-tokenizer with GPT-2's pattern that comes after splitting off each digit; None where a tokenizer splits otherwise."""
    parts = (definition.get("pre_tokenizer") or {}).get("pretokenizers") or []
    if [part.get("type") for part in parts] != ["Digits", "ByteLevel"]:
        return None
    digits, byte_level = parts
    usual = digits.get("individual_digits") and not byte_level.get("add_prefix_space") and byte_level.get("use_regex", True)
    return byte_level if usual else None


def _groups(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(texts):
        stop, chars = start + 1, len(texts[start])
        while stop < len(texts) and chars + len(texts[stop]) <= _CHARS_A_CALL:
            chars += len(texts[stop])
            stop += 1
        yield start, stop
        start = stop
