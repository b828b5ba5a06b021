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


_SYMBOL = r"!-&(-/:-@\[-`{-~\ufffd"
_CUT = re.compile(rf"(?<=[!-~\ufffd])(?=[ \n])|(?<=[A-Za-z])(?=[{_SYMBOL}])|(?<=[{_SYMBOL}])(?=[A-Za-z])")
"""Where no token of GPT-2's pattern goes on: before white space, and between a letter and a symbol that is no apostrophe."""


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
    """fastokens, with the reference for what it refuses: words with a byte that has no token (``spelled`` says which bytes have one),
    and those with the mark. Raises ValueError for a definition that it cannot read.

    It is five times as fast with GPT-2's pattern alone (Radford et al. 2019) as after a pre-tokenizer that splits off each digit. So
    where a tokenizer does both, a mark of white space is written before each digit, and its token taken out again: before the mark that
    pattern ends what stands there as it would at the end of a text, and between two marks there is never more than one digit. A text may
    be cut where no token of that pattern goes on, so the reference is asked for a few words only.
    """

    def __init__(self, definition: Mapping[str, Any], reference: Engine, spelled: np.ndarray) -> None:
        from fastokens._native import Tokenizer as Native

        byte_level = after_digits(definition)
        self._native = Native.from_json_str(json.dumps({**definition, "pre_tokenizer": byte_level} if byte_level else definition))
        self._mark_id = self._native.encode_batch_flat([_MARK])[0] if byte_level else b""
        if byte_level and len(self._mark_id) != 4:
            raise ValueError("the vocabulary has no token for a vertical tab")
        self._reference = reference
        self._odd_bytes = ~spelled
        if byte_level:
            self._odd_bytes[ord(_MARK)] = True
        self._cuts_words = byte_level is not None and definition.get("normalizer") is None
        self.name = f"{FAST_PACKAGE} {metadata.version(FAST_PACKAGE)}"

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts one after the other (int32), and how many each has (int64[n])."""
        array = pa.array(texts, pa.large_string())
        odd = self._odd(array)
        if not len(odd):
            return self._encode(array)
        pieces = []
        for start, stop in pairwise([-1, *odd.tolist(), len(texts)]):
            pieces.append(self._encode(array[start + 1 : stop]))
            pieces += [self._encode_odd(text) for text in texts[stop : stop + 1]]
        return _joined(pieces)

    def _odd(self, texts: pa.LargeStringArray) -> np.ndarray:
        """The texts with a byte that the reference must be asked about: int64[], ascending."""
        return np.flatnonzero(count_bytes(texts, self._odd_bytes))

    def _encode_odd(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        if not self._cuts_words:
            return self._reference.encode([text])
        words = _CUT.split(text)
        is_odd = np.zeros(len(words), bool)
        is_odd[self._odd(pa.array(words, pa.large_string()))] = True
        edges = [0, *(np.flatnonzero(np.diff(is_odd)) + 1).tolist(), len(words)]
        runs = ["".join(words[start:end]) for start, end in pairwise(edges)]
        first_odd = 0 if is_odd[0] else 1
        ids: list[np.ndarray] = [np.empty(0, np.int32)] * len(runs)
        ids[first_odd::2] = _each(self._reference.encode(runs[first_odd::2]))
        ids[1 - first_odd :: 2] = _each(self._encode(pa.array(runs[1 - first_odd :: 2], pa.large_string())))
        joined = np.concatenate(ids)
        return joined, np.array([len(joined)], np.int64)

    def _encode(self, texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
        try:
            flat, ends = self._native.encode_batch_flat(self._marked(texts).to_pylist())
        except ValueError:
            if len(texts) == 1:
                return self._reference.encode(texts.to_pylist())
            half = len(texts) // 2
            return _joined([self._encode(texts[:half]), self._encode(texts[half:])])
        ids, offsets = np.frombuffer(flat, np.uint32).view(np.int32), np.frombuffer(ends, np.uint64).astype(np.int64)
        if not self._mark_id:
            return ids, np.diff(offsets)
        is_mark = ids == np.frombuffer(self._mark_id, np.int32)
        return ids[~is_mark], np.diff(offsets - np.searchsorted(np.flatnonzero(is_mark), offsets))

    def _marked(self, texts: pa.LargeStringArray) -> pa.LargeStringArray:
        return pc.replace_substring_regex(texts, r"(\p{N})", _MARK + r"\1") if self._mark_id else texts


def count_bytes(texts: pa.LargeStringArray, flags: np.ndarray) -> np.ndarray:
    """How many bytes of each text are flagged: int64[n]; ``flags`` is bool[256]."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts) or not flags.any():
        return np.zeros(len(texts), np.int64)
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    content = data[int(ends[0]) : int(ends[-1])].to_pybytes().translate(flags.view(np.uint8).tobytes())
    return np.diff(np.searchsorted(np.flatnonzero(np.frombuffer(content, bool)), ends - ends[0]))


def _each(encoded: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    ids, sizes = encoded
    return np.split(ids, np.cumsum(sizes)[:-1]) if len(sizes) else []


def _joined(pieces: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    ids, sizes = zip(*pieces, strict=True)
    return np.concatenate(ids), np.concatenate(sizes)


def fast_engine(definition: Mapping[str, Any], reference: Engine, spelled: np.ndarray) -> Fast | None:
    """The fast engine for a ``tokenizer.json`` whose vocabulary spells the bytes ``spelled`` (bool[256]); None where it is not installed or
    cannot read it.
    """
    if util.find_spec(FAST_PACKAGE) is None:
        return None
    try:
        return Fast(definition, reference, spelled)
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
