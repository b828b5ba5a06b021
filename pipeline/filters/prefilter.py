"""Finds, a whole batch at a time, the pieces of text that a rule may speak about, so that only those are looked at sentence by sentence.

The batch's bytes are folded like ``match_view`` folds, all at once; one Aho-Corasick scan finds the rules' anchors, and a rule's pattern is
tried on the paragraph of an anchor. Whatever is in doubt passes: a piece may pass without need, but none is kept back that a rule speaks about.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import ahocorasick_rs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.filters.batch_bytes import Joined, distinct, join, met, wide
from pipeline.filters.match_view import fold, fold_char

_LOWER = bytes(ord(" ") if chr(b).isspace() and b != 10 and b < 128 else ord(chr(b).lower()) if b < 128 else b for b in range(256))
_WORD = np.array([b < 128 and (chr(b).isalnum() or b == ord("_")) for b in range(256)])
_LETTER = np.array([b < 128 and chr(b).isalpha() for b in range(256)])
_TOKEN = re.compile(r"\\[Az]|\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|[\^$]", re.S)

UNKNOWN, SAME, SHORTER, LONGER = range(4)
"""What folding makes of a character: nothing else, something of no more bytes, something of more bytes."""


@dataclass
class _Folding:
    """What folding makes of each character met so far, by code point; filled as characters are met."""

    kind: np.ndarray = field(default_factory=lambda: np.zeros(0x110000, np.uint8))
    width: np.ndarray = field(default_factory=lambda: np.zeros(0x110000, np.uint8))
    new: np.ndarray = field(default_factory=lambda: np.zeros((0x110000, 4), np.uint8))

    def learn(self, codes: np.ndarray) -> None:
        """Fill in those of ``codes`` (int32) that have not been met before."""
        for code in met(codes[self.kind[codes] == UNKNOWN]):
            char = chr(code)
            folded = fold_char(char)
            new = (" " if folded.isspace() else folded).encode()
            self.width[code] = len(new)
            self.kind[code] = SAME if folded == char and new == char.encode() else SHORTER if len(new) <= len(char.encode()) else LONGER
            if self.kind[code] == SHORTER:
                self.new[code, : len(new)] = list(new)


@lru_cache(maxsize=1)
def _folding() -> _Folding:
    return _Folding()


@dataclass(frozen=True)
class Folded:
    """The pieces of a batch as one run of folded bytes.

    text        bytes: lower case, every run of white space one blank
    starts      int64[n]: where each piece begins in ``text``
    paragraphs  int64[m]: where pieces and paragraphs begin, ascending
    odd         strings with their piece: paragraphs, or whole pieces, that this way of folding gets wrong
    """

    text: bytes
    starts: np.ndarray
    paragraphs: np.ndarray
    odd: Sequence[tuple[int, str]]


def fold_all(contents: pa.LargeStringArray) -> Folded:
    """The pieces (large_string[n], no null, n > 0) folded in bulk."""
    joined = join(contents)
    starts = joined.starts
    text = np.frombuffer(bytearray(joined.text.translate(_LOWER)), np.uint8)
    breaks = np.flatnonzero((text[1:] == 10) & (text[:-1] == 10)) + 1
    text[text == 10] = 32
    left_out, wrong, masked = _fold_other(text)
    odd = _odd(joined, distinct(np.concatenate([starts, breaks])), wrong, masked)
    left_out = distinct(np.concatenate([left_out, np.flatnonzero(text == ord("*"))]))
    text, starts, breaks = _without(left_out, text, starts, breaks)
    blank = text == 32
    text, starts, breaks = _without(np.flatnonzero(blank[1:] & blank[:-1]) + 1, text, starts, breaks)
    return Folded(text.tobytes(), starts, distinct(np.concatenate([starts, breaks])), odd)


def _odd(joined: Joined, paragraphs: np.ndarray, wrong: np.ndarray, masked: np.ndarray) -> list[tuple[int, str]]:
    """The paragraphs that hold one of the places ``wrong``, and whole pieces that hold one of ``masked``, with the number of their piece."""
    whole = joined.owners(masked)
    ends = np.append(paragraphs, len(joined.text))
    numbers = distinct(np.searchsorted(paragraphs, wrong, side="right") - 1)
    pieces = np.searchsorted(joined.starts, paragraphs[numbers], side="right") - 1
    spans = [(piece, ends[n], ends[n + 1]) for piece, n in zip(pieces.tolist(), numbers.tolist(), strict=True) if not whole[piece]]
    bounds = np.append(joined.starts, len(joined.text))
    spans += [(piece, bounds[piece], bounds[piece + 1]) for piece in np.flatnonzero(whole).tolist()]
    return [(piece, joined.text[start:end].decode()) for piece, start, end in spans]


def _without(left_out: np.ndarray, text: np.ndarray, *positions: np.ndarray) -> tuple[np.ndarray, ...]:
    """``text`` without the bytes at ``left_out`` (ascending), and where ``positions`` are then."""
    if not len(left_out):
        return text, *positions
    keep = np.ones(len(text), bool)
    keep[left_out] = False
    return text[keep], *(p - np.searchsorted(left_out, p) for p in positions)


def _fold_other(text: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fold what is not ASCII in place.

    The bytes to leave out (int64), the places of what has no room here or was misread (int64), and those of letters of another script in
    a Latin word (int64), which mean something for the whole piece.
    """
    chars = wide(text)
    leads, width, code = chars.places, chars.widths, chars.codes
    if not len(leads):
        return leads, leads, leads
    table = _folding()
    table.learn(code)
    kind = table.kind[code]
    foreign = (code >= 0x370) & (code <= 0x52F)
    masked = foreign & (_LETTER[text[leads - 1]] & (leads > 0) | _LETTER[text[leads + width]])
    misread = (code == 0x20AC) & (text[leads - 1] == 0xA2) & (text[leads - 2] == 0xC3)
    wrong, mixed = leads[(kind == LONGER) | misread], leads[masked]
    changed = kind == SHORTER
    leads, code, width = leads[changed], code[changed], width[changed]
    new, new_width = table.new[code], table.width[code]
    left_out = []
    for n in range(4):
        put = new_width > n
        text[leads[put] + n] = new[put, n]
        left_out.append(leads[(new_width <= n) & (width > n)] + n)
    return np.concatenate(left_out), wrong, mixed


def loosened(pattern: str) -> str:
    """An RE2 pattern for a paragraph that matches wherever ``pattern`` matches one of its sentences."""
    return _TOKEN.sub(lambda match: "" if match.group() in ("^", "$", r"\A", r"\z") else match.group(), pattern)


class Prefilter:
    """The anchors of rules that can act alone, and their patterns for paragraphs."""

    def __init__(self, anchors: Sequence[tuple[str, ...]], patterns: Sequence[Any]) -> None:
        """``anchors[k]``: folded anchors of rule k; ``patterns[k]()``: whether bytes may hold a sentence it speaks about."""
        self._patterns = patterns
        keys: dict[bytes, dict[bool, set[int]]] = {}
        for rule, words in enumerate(anchors):
            for word in words:
                key = word.lstrip()
                key = key if key[-1:] == " " and key[-2:-1].isalnum() else key.rstrip()
                keys.setdefault(key.encode(), {}).setdefault(word[0] == " ", set()).add(rule)
        self._rules = [{begins: sorted(rules) for begins, rules in by_begin.items()} for by_begin in keys.values()]
        self._scan = ahocorasick_rs.BytesAhoCorasick(list(keys) or [b"\0"], implementation=ahocorasick_rs.Implementation.DFA)
        self._last: tuple[pa.LargeStringArray, np.ndarray] | None = None

    def passes(self, contents: pa.LargeStringArray) -> np.ndarray:
        """bool[n]: whether a rule may speak about a sentence of each piece (large_string[n], no null)."""
        found = np.zeros(len(contents), bool)
        last, todo = self._last, np.arange(len(contents))
        if last is not None and len(last[0]) == len(contents):
            same = pc.equal(last[0], contents).to_numpy(zero_copy_only=False)
            found[same] = last[1][same]
            todo = np.flatnonzero(~same)
        if len(todo):
            found[todo] = self._judge(contents if len(todo) == len(contents) else contents.take(pa.array(todo)))
        self._last = contents, found
        return found

    def _judge(self, contents: pa.LargeStringArray) -> np.ndarray:
        folded = fold_all(contents)
        found = self._paragraphs(folded)
        if folded.odd:
            pieces = np.array([piece for piece, _ in folded.odd])
            second = fold_all(pa.array([fold(text).text for _, text in folded.odd], pa.large_string()))
            found[pieces[self._paragraphs(second)]] = True
            found[pieces[[number for number, _ in second.odd]]] = True
        return found

    def _paragraphs(self, folded: Folded) -> np.ndarray:
        found = np.zeros(len(folded.starts), bool)
        hits = self._scan.find_matches_as_indexes(folded.text, overlapping=True)
        if not hits or not self._rules:
            return found
        table = np.array(hits, np.int64)
        paragraph = np.searchsorted(folded.paragraphs, table[:, 1], side="right") - 1
        begins = ~_WORD[np.frombuffer(folded.text, np.uint8)[table[:, 1] - 1]] | (table[:, 1] == 0)
        cases = distinct((paragraph * 2 + begins) * len(self._rules) + table[:, 0])
        place, key = np.divmod(cases, len(self._rules))
        paragraph, begins = np.divmod(place, 2)
        piece = np.searchsorted(folded.starts, folded.paragraphs[paragraph], side="right") - 1
        ends = np.append(folded.paragraphs, len(folded.text))
        tried: set[tuple[int, int]] = set()
        for document, at, first, number in zip(piece.tolist(), paragraph.tolist(), begins.tolist(), key.tolist(), strict=True):
            if found[document]:
                continue
            by_begin = self._rules[number]
            rules = [*by_begin.get(False, ()), *(by_begin.get(True, ()) if first else ())]
            for rule in rules:
                if (at, rule) not in tried:
                    tried.add((at, rule))
                    if self._patterns[rule](folded.text[ends[at] : ends[at + 1]]):
                        found[document] = True
                        break
        return found
