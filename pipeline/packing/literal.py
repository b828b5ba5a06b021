"""Tokenizers that take text literally: whatever a document holds, it becomes ordinary tokens and never a control token.

A control token is every token that was added to the vocabulary (``<|im_end|>``, ``<think>``, ``[INST]``), special or not, but for
those of white space alone, which are part of how a tokenizer spells ordinary text.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from pipeline.models import TokenizerInfo
from pipeline.packing.engine import Engine, Reference, count_bytes, fast_engine

_SPACE = "\u2581"
"""SentencePiece writes a blank as this character."""


class LiteralTokenizer:
    """The encodings a document needs, built on one tokenizer.

    ``text``: a text from its start, literally. ``inner``: the same in the middle of something, where a tokenizer that writes a blank
    before its first word must not. ``template``: text of a chat template, in which control tokens count.
    """

    def __init__(self, info: TokenizerInfo) -> None:
        self.info = info
        self._engines: dict[tuple[int, bool], Engine] = {}
        added = {entry["id"]: entry for entry in info.definition.get("added_tokens") or ()}
        self.controls: dict[str, int] = {entry["content"]: token_id for token_id, entry in sorted(added.items()) if not _is_space(entry)}
        for text in info.special.values():
            token_id = info.id_of(text)
            if token_id is not None:
                self.controls.setdefault(text, token_id)

    @cached_property
    def is_control(self) -> np.ndarray:
        """bool[vocabulary]: which ids a document must never become; the unknown token stands for unknown characters and is allowed."""
        size = max(self.info.tokenizer.get_vocab(with_added_tokens=True).values(), default=0) + 1
        flags = np.zeros(size, dtype=bool)
        flags[[token_id for token_id in self.controls.values() if token_id != self._unknown]] = True
        return flags

    @cached_property
    def newlines(self) -> tuple[np.ndarray, np.ndarray]:
        """For every id: how many line feeds its text ends with (int8[vocabulary]), and whether it is nothing else (bool[vocabulary])."""
        texts = [self.info.tokenizer.id_to_token(token_id) or "" for token_id in range(len(self.is_control))]
        spelled = [text.replace("\u010a", "\n").replace("<0x0A>", "\n") for text in texts]  # byte-level; SentencePiece's byte fallback
        ends = np.array([len(text) - len(text.rstrip("\n")) for text in spelled], np.int8)
        return ends, np.array([bool(text) and not text.strip("\n") for text in spelled], bool)

    @cached_property
    def control_pattern(self) -> str:
        """An RE2 pattern that finds a control token's text, the longest where several begin."""
        longest_first = sorted(self.controls, key=lambda token: (-len(token), token))
        return "|".join(re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", token) for token in longest_first)

    @cached_property
    def text(self) -> Tokenizer:
        """Encodes a whole text literally."""
        return Tokenizer.from_str(json.dumps(self._text_definition))

    @cached_property
    def inner(self) -> Tokenizer:
        """Encodes a text that follows another literally; the same object as ``text`` where that makes no difference."""
        return self.text if self._inner_definition == self._text_definition else Tokenizer.from_str(json.dumps(self._inner_definition))

    def engines(self, fast: bool) -> tuple[Engine, Engine]:
        """What encodes texts in bulk as ``text`` and ``inner`` do: the ``fast`` engine where there is one, else the tokenizers themselves."""
        engine = self._engine(self._text_definition, self.text, fast)
        return engine, engine if self.inner is self.text else self._engine(self._inner_definition, self.inner, fast)

    def _engine(self, definition: Mapping[str, Any], tokenizer: Tokenizer, fast: bool) -> Engine:
        found = self._engines.get((id(tokenizer), fast))
        if found is None:
            reference = Reference(tokenizer)
            found = (fast_engine(definition, reference, self._spelled_bytes) if fast else None) or reference
            self._engines[id(tokenizer), fast] = found
        return found

    @cached_property
    def _text_definition(self) -> dict[str, Any]:
        return literal_definition(self.info.definition, self.controls)

    @cached_property
    def _inner_definition(self) -> dict[str, Any]:
        whole = self._text_definition
        return {**whole, "normalizer": _no_prefix(whole["normalizer"]), "pre_tokenizer": _no_prefix(whole["pre_tokenizer"])}

    @cached_property
    def prefix_after_control(self) -> bool:
        """Whether the tokenizer writes its blank after a control token too, as it does at the start of a text."""
        if self.inner is self.text:
            return False
        for control, token_id in self.controls.items():
            ids = self.info.tokenizer.encode(control + "a", add_special_tokens=False).ids
            if ids[:1] == [token_id]:
                return bool(ids[1:] == self.text.encode("a", add_special_tokens=False).ids)
        return False

    def count_controls(self, texts: pa.LargeStringArray) -> np.ndarray:
        """How many control tokens each text spells: int64[n]."""
        if not self.controls:
            return np.zeros(len(texts), dtype=np.int64)
        counts = pc.fill_null(pc.count_substring_regex(texts, pattern=self.control_pattern), 0)
        return np.asarray(counts.to_numpy(zero_copy_only=False), dtype=np.int64)

    def count_lost_bytes(self, texts: pa.LargeStringArray) -> np.ndarray:
        """How many bytes of each text the vocabulary cannot spell and the tokenizer leaves out without a word: int64[n]."""
        return count_bytes(texts, ~self._spelled_bytes)

    @cached_property
    def _spelled_bytes(self) -> np.ndarray:
        """bool[256]: the bytes that have a token; all of them for a model that knows no byte-level alphabet or has an unknown token."""
        spelled = np.ones(256, dtype=bool)
        if _is_byte_level(self.info.definition) and self._unknown is None:
            vocabulary = self.info.definition["model"].get("vocab") or {}
            for byte, letter in enumerate(_byte_letters()):
                spelled[byte] = letter in vocabulary
        return spelled

    def template(self, text: str, at_start: bool) -> np.ndarray:
        """The ids (int32) of template text; ``at_start``: nothing stands before it."""
        if at_start or self.inner is self.text:
            return np.array(self.info.tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int32)
        encoding = self.info.tokenizer.encode(text, add_special_tokens=False)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        cut = next((start for token_id, (start, end) in spans if self._spells(text[start:end], token_id)), len(text))
        head = self.inner.encode(text[:cut], add_special_tokens=False).ids
        tail = self.info.tokenizer.encode(text[cut:], add_special_tokens=False).ids
        return np.array(head + tail, dtype=np.int32)

    def _spells(self, text: str, token_id: int) -> bool:
        """Whether a token is there because the text spells it; the unknown token mostly is not."""
        return self.controls.get(text.strip()) == token_id

    @property
    def _unknown(self) -> int | None:
        """The id the model itself gives to characters it cannot spell, if any."""
        model = self.info.definition["model"]
        if isinstance(model.get("unk_id"), int):
            return int(model["unk_id"])
        return self.info.id_of(model["unk_token"]) if isinstance(model.get("unk_token"), str) else None


def literal_tokenizer(info: TokenizerInfo) -> LiteralTokenizer:
    """The literal tokenizer of this process for ``info``: building one takes a second, and equal fingerprints give equal ids."""
    found = _BUILT.get(info.fingerprint)
    if found is None:
        if len(_BUILT) >= _MAX_BUILT:
            _BUILT.clear()
        found = _BUILT[info.fingerprint] = LiteralTokenizer(info)
    return found


_BUILT: dict[str, LiteralTokenizer] = {}
_MAX_BUILT = 2


def literal_definition(definition: Mapping[str, Any], controls: Mapping[str, int]) -> dict[str, Any]:
    """``tokenizer.json`` without its control tokens: nothing is left that could match their text.

    They keep their ids in the model's vocabulary, under names no text can spell, since some models look up whole words there.
    """
    literal = {**definition, "post_processor": None, "truncation": None, "padding": None}
    literal.setdefault("normalizer", None)
    literal.setdefault("pre_tokenizer", None)
    literal["added_tokens"] = [entry for entry in definition.get("added_tokens") or () if entry["content"] not in controls]
    model = dict(definition["model"])
    hidden = {token: f" \n{token_id} \n" for token, token_id in controls.items()}
    if isinstance(model.get("vocab"), dict):
        kept = {entry["content"]: entry["id"] for entry in literal["added_tokens"]}
        model["vocab"] = {hidden.get(token, token): token_id for token, token_id in model["vocab"].items()} | kept
        model["vocab"] |= {hidden[token]: token_id for token, token_id in controls.items()}
    else:
        model["vocab"] = [[hidden.get(token, token), score] for token, score in model.get("vocab") or ()]
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _touches(merge, controls)]
    if model.get("unk_token") in hidden:
        model["unk_token"] = hidden[model["unk_token"]]
    literal["model"] = model
    return literal


def _touches(merge: Any, controls: Mapping[str, int]) -> bool:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left in controls or right in controls or left + right in controls


def _is_byte_level(definition: Mapping[str, Any]) -> bool:
    parts = (definition.get("pre_tokenizer") or {}, *((definition.get("pre_tokenizer") or {}).get("pretokenizers") or ()))
    return any(part.get("type") == "ByteLevel" for part in parts)


def _byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself where it is printable, else the next from U+0100 on."""
    letters, spare = [], iter(range(0x100, 0x200))
    for byte in range(256):
        printable = 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE
        letters.append(chr(byte if printable else next(spare)))
    return letters


def _is_space(entry: Mapping[str, Any]) -> bool:
    return not entry.get("special") and not entry["content"].replace(_SPACE, "").strip()


def _no_prefix(part: Any) -> Any:
    """A normalizer or pre-tokenizer without the blank it writes before a text."""
    if not isinstance(part, dict):
        return part
    if part.get("type") == "Prepend":
        return None
    changed = copy.copy(part)
    if "prepend_scheme" in changed:
        changed["prepend_scheme"] = "never"
    if "add_prefix_space" in changed:
        changed["add_prefix_space"] = False
    for key in ("normalizers", "pretokenizers"):
        if key in changed:
            changed[key] = [inner for inner in map(_no_prefix, changed[key]) if inner is not None]
    return changed
