"""A tokenizer as a GGUF holds one: tokens with their kinds, merges or scores, and the name of the rule that cuts text into words.

llama.cpp knows such rules by name only, so a tokenizer whose rule has no name there is refused rather than written with another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UsageError
from pipeline.models import TokenizerInfo

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""``gguf.TokenType``."""

_SPACE = "\u2581"
_LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""The pattern of Llama 3's tokenizer."""

_UNUSED_SCORE = -10_000.0
TODO = "export --to merged, and convert that folder with llama.cpp's convert_hf_to_gguf.py"
"""What to do about a model or a tokenizer that cannot be written here."""


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF says of a tokenizer. ``merges`` for a byte-level BPE (``gpt2``), ``scores`` for SentencePiece's (``llama``)."""

    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    adds_space: bool = False


def vocabulary(info: TokenizerInfo, size: int) -> Vocabulary:
    """The vocabulary of ``info``, filled with unused tokens up to the ``size`` rows of the embeddings. Raises UsageError for other kinds."""
    model = info.definition["model"]
    if model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise UsageError(info.where, f"is a {model.get('type')} tokenizer, which cannot be written as GGUF here", TODO)
    merges = [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in model.get("merges") or ()]
    if model.get("byte_fallback"):
        tokens, types = _tokens(info, size, is_byte_level=False)
        return Vocabulary("llama", "default", tokens, types, scores=_scores(tokens, merges), adds_space=_adds_space(info.definition))
    tokens, types = _tokens(info, size, is_byte_level=True)
    return Vocabulary("gpt2", _rule(info), tokens, types, merges=tuple(" ".join(merge) for merge in merges))


def _tokens(info: TokenizerInfo, size: int, is_byte_level: bool) -> tuple[tuple[str, ...], tuple[int, ...]]:
    tokens, types = [f"[PAD{number}]" for number in range(size)], [UNUSED] * size
    unknown = info.definition["model"].get("unk_token")
    added = {entry["id"]: entry for entry in info.definition.get("added_tokens") or ()}
    for token, number in {**info.definition["model"]["vocab"], **{entry["content"]: number for number, entry in added.items()}}.items():
        tokens[number] = token
        if number in added:
            types[number] = UNKNOWN if token == unknown else CONTROL if added[number].get("special") else USER_DEFINED
        else:
            types[number] = BYTE if not is_byte_level and _is_byte(token) else NORMAL
    return tuple(tokens), tuple(types)


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _scores(tokens: Sequence[str], merges: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """llama.cpp merges the pair whose result scores highest, tokenizers the one whose merge stands first: so a score is minus that place."""
    places: dict[str, int] = {}
    for place, (left, right) in enumerate(merges):
        places.setdefault(left + right, place)
    return tuple(-float(places[token]) if token in places else _UNUSED_SCORE if token.startswith("[PAD") else 0.0 for token in tokens)


def _parts(step: Any, key: str) -> list[Mapping[str, Any]]:
    """A normalizer or pre-tokenizer as the list of its steps."""
    if step is None:
        return []
    return list(step[key]) if step.get("type") == "Sequence" else [step]


def _adds_space(definition: Mapping[str, Any]) -> bool:
    """Whether a blank is written before a text's first word."""
    normalizers = _parts(definition.get("normalizer"), "normalizers")
    words = _parts(definition.get("pre_tokenizer"), "pretokenizers")
    prepends = any(part["type"] == "Prepend" and part.get("prepend") == _SPACE for part in normalizers)
    schemes = [part.get("prepend_scheme", "always") for part in words if part["type"] == "Metaspace"]
    return prepends or any(scheme != "never" for scheme in schemes)


def _rule(info: TokenizerInfo) -> str:
    """llama.cpp's name of the rule that cuts text into words."""
    parts = _parts(info.definition.get("pre_tokenizer"), "pretokenizers")
    kinds = [part["type"] for part in parts]
    known = ""
    if info.definition.get("normalizer") is None and parts and parts[-1]["type"] == "ByteLevel" and not parts[-1].get("add_prefix_space"):
        by_pattern = parts[-1].get("use_regex", True)
        if kinds == ["ByteLevel"] and by_pattern:
            known = "gpt-2"
        elif kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits") and by_pattern:
            known = "smollm"
        elif kinds == ["Split", "ByteLevel"] and parts[0]["pattern"].get("Regex") == _LLAMA_3 and not by_pattern:
            known = "llama-bpe"
    if not known:
        raise UsageError(info.where, f"cuts text into words in a way that has no name in llama.cpp here ({', '.join(kinds)})", TODO)
    return known
