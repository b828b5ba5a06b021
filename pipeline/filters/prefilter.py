"""Finds, a whole batch at a time, the pieces of text that a rule may speak about, so that only those are looked at sentence by sentence.

The batch's bytes are folded like ``match_view`` folds, all at once; one Aho-Corasick scan finds the rules' anchors, and a rule's pattern is
tried on the unit around an anchor: a stretch between two places where a sentence surely ends. Rules for the beginning or the end of a text are
not tried where the text before or after is too long. Whatever is in doubt passes: a piece may pass without need, but none is kept back
that a rule speaks about.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import ahocorasick_rs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.filters import match_view
from pipeline.filters.batch_bytes import Joined, distinct, join, met, wide
from pipeline.filters.match_view import LOOKALIKES, fold_char

_LOWER = bytes(ord(" ") if chr(b).isspace() and b != 10 and b < 128 else ord(chr(b).lower()) if b < 128 else b for b in range(256))
_WORD = np.array([b < 128 and (chr(b).isalnum() or b == ord("_")) for b in range(256)])
_NOT_SOLID = bytes(b for b in range(256) if not ((b < 128 and chr(b).isalnum()) or b >= 0xC0))
"""All but the first bytes of characters that count as text: letters, digits, and whatever is not ASCII."""
_NOT_IN_WORD = bytes(b for b in range(256) if not _WORD[b])

_LETTER = np.array([b < 128 and chr(b).isalpha() for b in range(256)])
_ENDS = np.isin(np.arange(256), [ord(mark) for mark in ".!?"])
_POSING = np.array(sorted(LOOKALIKES), np.int32)
_LONG_WORD = 7
"""No abbreviation that ``sentences`` knows has so many letters."""

_TOKEN = re.compile(r"\\[Az]|\\[pP]\{\^?\w+\}|\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|[\^$]|\{(\d+),(\d+)\}", re.S)
_MANY = 8
"""More repetitions than this are as good as any number for a sieve, and make RE2's automaton many times as large."""

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

    text    bytes: lower case, every run of white space one blank
    starts  int64[n]: where each piece begins in ``text``
    units   int64[m]: where pieces and units begin, ascending
    odd     strings with their piece: paragraphs, or whole pieces, that this way of folding gets wrong
    """

    text: bytes
    starts: np.ndarray
    units: np.ndarray
    odd: Sequence[tuple[int, str]]


def fold_all(contents: pa.LargeStringArray, unmasked: bool = False) -> Folded:
    """The pieces (large_string[n], no null, n > 0) folded in bulk; ``unmasked``: letters that pose as Latin ones were dealt with."""
    joined = join(contents)
    starts = joined.starts
    text = np.frombuffer(bytearray(joined.text.translate(_LOWER)), np.uint8)
    ends = np.flatnonzero(text == 10)
    breaks = ends[1:][np.diff(ends) == 1]
    text[ends] = 32
    left_out, wrong, masked = _fold_other(text)
    odd = _odd(joined, distinct(np.concatenate([starts, breaks])), wrong, masked[:0] if unmasked else masked)
    left_out = distinct(np.concatenate([left_out, np.flatnonzero(text == ord("*"))]))
    text, starts, breaks = _without(left_out, text, starts, breaks)
    blanks = np.flatnonzero(text == 32)
    text, starts, breaks = _without(blanks[1:][np.diff(blanks) == 1], text, starts, breaks)
    return Folded(text.tobytes(), starts, distinct(np.concatenate([starts, breaks, _sentence_ends(text)])), odd)


def _sentence_ends(text: np.ndarray) -> np.ndarray:
    """Where a sentence surely ends in folded ``text``: after a mark and before a blank, and no full stop after what may be an abbreviation."""
    blanks = np.flatnonzero(text == 32)
    ends = blanks[_ENDS[text[blanks - 1]] & (blanks > 0)] - 1
    stops = text[ends] == ord(".")
    ends = ends[~stops | (ends >= _LONG_WORD)]
    sure = text[ends] != ord(".")
    sure |= np.logical_and.reduce([_LETTER[text[ends - n]] for n in range(1, _LONG_WORD + 1)])
    places: np.ndarray = ends[sure] + 1
    return places


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

    The bytes to leave out (int64), the places of what has no room here or was misread (int64), and those of letters of another script that
    pose as Latin ones beside one (int64), which mean something for the whole piece.
    """
    chars = wide(text)
    leads, width, code = chars.places, chars.widths, chars.codes
    if not len(leads):
        return leads, leads, leads
    table = _folding()
    table.learn(code)
    kind = table.kind[code]
    masked = np.isin(code, _POSING) & (_LETTER[text[leads - 1]] & (leads > 0) | _LETTER[text[leads + width]])
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

    def part(match: re.Match[str]) -> str:
        least, most = match.groups()
        if most is not None and int(most) > _MANY:
            return f"{{{min(int(least), _MANY)},}}"
        return "" if match.group() in ("^", "$", r"\A", r"\z") else match.group()

    return _TOKEN.sub(part, pattern)


@dataclass(frozen=True)
class Wanted:
    """A rule as the prefilter needs it.

    anchors      folded words of which one stands in every sentence it speaks about
    may_match    whether folded bytes may hold such a sentence
    also         folded words of which one stands there too; none: nothing more is asked
    most_before  how many letters may at most stand before, in units without any anchor; None: any number
    most_after   how many units with a word may at most come after; None: any number
    """

    anchors: tuple[str, ...]
    may_match: Callable[[bytes], bool]
    also: tuple[bytes, ...] = ()
    most_before: int | None = None
    most_after: int | None = None


class Prefilter:
    """The anchors of rules that can act alone, and what must hold for each of them."""

    def __init__(self, rules: Sequence[Wanted]) -> None:
        self._rules = rules
        keys: dict[bytes, dict[bool, set[int]]] = {}
        for number, rule in enumerate(rules):
            for word in rule.anchors:
                key = word.lstrip()
                key = key if key[-1:] == " " and key[-2:-1].isalnum() else key.rstrip()
                keys.setdefault(key.encode(), {}).setdefault(word[0] == " ", set()).add(number)
        anywhere, at_start = ([sorted(by_begin.get(begins, ())) for by_begin in keys.values()] for begins in (False, True))
        self._asked = [[*one, *two] for one, two in zip(anywhere, at_start, strict=True)]
        self._anywhere = anywhere
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
        found = self._speaks(folded, whole=True)
        if folded.odd:
            pieces = np.array([piece for piece, _ in folded.odd])
            second = fold_all(pa.array([match_view.folded(text) for _, text in folded.odd], pa.large_string()), unmasked=True)
            found[pieces[self._speaks(second, whole=False)]] = True
            found[pieces[[number for number, _ in second.odd]]] = True
        return found

    def _speaks(self, folded: Folded, whole: bool) -> np.ndarray:
        """bool[n]: whether a rule may speak about each piece; ``whole``: the pieces are not parts whose surroundings are elsewhere."""
        found = np.zeros(len(folded.starts), bool)
        hits = self._scan.find_matches_as_indexes(folded.text, overlapping=True)
        if not hits or not self._rules:
            return found
        table = np.array(hits, np.int64)
        unit = np.searchsorted(folded.units, table[:, 1], side="right") - 1
        begins = ~_WORD[np.frombuffer(folded.text, np.uint8)[table[:, 1] - 1]] | (table[:, 1] == 0)
        cases = distinct((unit * 2 + begins) * len(self._asked) + table[:, 0])
        place, key = np.divmod(cases, len(self._asked))
        unit, begins = np.divmod(place, 2)
        piece = np.searchsorted(folded.starts, folded.units[unit], side="right") - 1
        around = _Surroundings(folded, distinct(unit).tolist())
        ends = around.ends
        tried: set[tuple[int, int]] = set()
        for document, at, first, number in zip(piece.tolist(), unit.tolist(), begins.tolist(), key.tolist(), strict=True):
            if found[document]:
                continue
            for rule in self._asked[number] if first else self._anywhere[number]:
                if (at, rule) in tried:
                    continue
                tried.add((at, rule))
                wanted = self._rules[rule]
                if whole and not around.allow(at, wanted):
                    continue
                stretch = folded.text[ends[at] : ends[at + 1]]
                if wanted.also and not any(word in stretch for word in wanted.also):
                    continue
                if wanted.may_match(stretch):
                    found[document] = True
                    break
        return found


class _Surroundings:
    """What stands before and after a unit in its piece, looked at no further than a rule asks."""

    def __init__(self, folded: Folded, with_anchor: Sequence[int]) -> None:
        self._text = folded.text
        self._with_anchor = with_anchor
        self.ends = [*folded.units.tolist(), len(folded.text)]
        """Where each unit begins, and where the last one ends."""
        self._starts = [*folded.starts.tolist(), len(folded.text)]
        self._counted: dict[tuple[int, int], int] = {}

    def allow(self, unit: int, rule: Wanted) -> bool:
        """Whether no more stands before and after ``unit`` than ``rule`` allows."""
        if rule.most_before is not None and not self._few_before(unit, rule.most_before):
            return False
        return rule.most_after is None or self._few_after(unit, rule.most_after)

    def _few_before(self, unit: int, most: int) -> bool:
        """Whether at most so many letters stand before, in units without an anchor."""
        start = self._starts[bisect_right(self._starts, self.ends[unit]) - 1]
        stretch = 4 * most + 64
        while start < self.ends[unit]:  # a stretch at a time: most texts are far too long, and soon known to be
            stop = min(self.ends[unit], start + stretch)
            if (start, stop) not in self._counted:
                self._counted[start, stop] = self._letters(start, stop) - self._letters_with_anchor(start, stop)
            most -= self._counted[start, stop]
            if most < 0:
                return False
            start = stop
        return True

    def _letters(self, start: int, stop: int) -> int:
        return len(self._text[start:stop].translate(None, _NOT_SOLID))

    def _letters_with_anchor(self, start: int, stop: int) -> int:
        first = bisect_right(self.ends, start) - 1
        place = bisect_left(self._with_anchor, first)
        letters = 0
        while place < len(self._with_anchor) and self.ends[self._with_anchor[place]] < stop:
            unit = self._with_anchor[place]
            letters += self._letters(max(start, self.ends[unit]), min(stop, self.ends[unit + 1]))
            place += 1
        return letters

    def _few_after(self, unit: int, most: int) -> bool:
        """Whether at most so many units with a word come after."""
        stop = self._starts[bisect_right(self._starts, self.ends[unit])]
        unit += 1
        while unit < len(self.ends) - 1 and self.ends[unit] < stop:
            most -= len(self._text[self.ends[unit] : self.ends[unit + 1]].translate(None, _NOT_IN_WORD)) > 0
            if most < 0:
                return False
            unit += 1
        return True
