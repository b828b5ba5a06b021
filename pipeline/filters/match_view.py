"""A folded view of a text for matching only, with a way back to the original's characters.

Folded: compatibility forms (full width, mathematical letters), invisible characters, quotation marks and dashes, letters of another
script that pose as Latin ones, case, emphasis marks. What is found in the view is cut in the original, and nothing else is.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

QUOTES = dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u301d\u301e\u301f", '"')
QUOTES |= dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4", "'")
OTHER_MARKS = dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-") | {"\u3001": ","}
MOJIBAKE = {"\u00e2\u20ac\u2122": "'", "\u00e2\u20ac\u02dc": "'", "\u00e2\u20ac\u0153": '"', "\u00e2\u20ac\u009d": '"', "\u00e2\u20ac": '"'}
"""UTF-8 quotation marks read as Windows-1252, as they show up in text that nobody repaired."""

LOOKALIKES = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеіјорсухѕһԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧονα",
    "ABESIJKMHOPCTYXaeijopcyxshdqwABEZHIKMNOPTYXova",
)
"""Cyrillic and Greek letters that look like a Latin one, by their usual shape."""

_SETTLED = (
    r"\u00a1-\u00a7\u00a9\u00ac\u00ae\u00b0\u00b1\u00b6\u00b7\u00bf\u00d7\u00df-\u00ff\u03b1-\u03c9\u0430-\u045f\u05d0-\u05ea\u0621-\u065f\u066e-\u0674"
    r"\u0679-\u06d3\u2190-\u21ff\u2500-\u25ff\u3002\u3041-\u3096\u30a1-\u30fa\u30fc\u4e00-\u9fff\uac00-\ud7a3\ufffd"
)
"""Characters that folding leaves as they are, the commonest of them, for a set of a regular expression."""
_MISREAD = r"(?<![^\x00-\x7f])\u00e2\u20ac[\u2122\u02dc\u0153\u009d]?(?![^\x00-\x7f])"
_EMPHASIS = r"\*+(?=\S)|(?<=\S)\*+"
_ODD = re.compile(rf"{_EMPHASIS}|{_MISREAD}|[^\x00-\x7f{_SETTLED}]+")
_ODD_RUN = re.compile(rf"{_EMPHASIS}|{_MISREAD}")
_POSING = "".join(map(chr, LOOKALIKES))
_MIXED = re.compile(f"[A-Za-z][{_POSING}]|[{_POSING}][A-Za-z]")
_FOREIGN_WORD = re.compile(r"(?<![A-Za-z\u0370-\u052f])[A-Za-z]*[\u0370-\u052f][A-Za-z\u0370-\u052f]*")
_LATIN, _FOREIGN = re.compile(r"[A-Za-z]+"), re.compile(r"[\u0370-\u052f]+")
_SPACE_RUN = re.compile(r"[^\S ]\s*| \s+")


@dataclass(frozen=True)
class View:
    """Text for matching, and where its characters stand in the text it was made from.

    From view position ``starts[k]`` on, characters stand one to one from ``origins[k]`` on; both lists are empty for an identity.
    """

    text: str
    starts: tuple[int, ...] = ()
    origins: tuple[int, ...] = ()

    def origin(self, position: int, before: bool = False) -> int:
        """The offset in the original of the view's ``position``, after or ``before`` what folding left out there."""
        if not self.starts:
            return position
        k = bisect_left(self.starts, position) if before else -1
        if k < 0 or k == len(self.starts) or self.starts[k] != position:
            k = bisect_right(self.starts, position) - 1
        there = self.origins[k] + position - self.starts[k]
        return min(there, self.origins[k + 1]) if k + 1 < len(self.origins) else there


def fold(text: str) -> View:
    """The view of ``text`` for matching."""
    if text.isascii():
        return View(text.lower()) if "*" not in text else _rewrite(text, _ODD, _fold_run)
    if _MIXED.search(text):
        text = _unmask(text)
    return _rewrite(text, _ODD, _fold_run)


def folded(text: str) -> str:
    """The text of ``fold(text)``, but for capital sigmas, many times as fast."""
    if not text.isascii() and _MIXED.search(text):
        text = _unmask(text)
    return _ODD_RUN.sub(lambda match: MOJIBAKE.get(match.group(), ""), text).translate(_FOLDS)


class _Folds(dict[int, str]):
    """What each character met so far is in the view."""

    def __missing__(self, code: int) -> str:
        self[code] = new = fold_char(chr(code))
        return new


_FOLDS = _Folds()


def collapse(text: str) -> View:
    """``text`` with every run of white space as one blank."""
    return View(text) if not _SPACE_RUN.search(text) else _rewrite(text, _SPACE_RUN, lambda run: [" "] + [""] * (len(run) - 1))


def _rewrite(text: str, odd: re.Pattern[str], replace: Callable[[str], list[str] | None]) -> View:
    """Lower-cased ``text`` with each run of ``odd`` replaced character by character (None: left as it is)."""
    pieces: list[str] = []
    starts, origins = [0], [0]
    here = done = 0
    for match in odd.finditer(text):
        changed = replace(match.group())
        if changed is None:
            continue
        pieces.append(text[done : match.start()].lower())
        here += match.start() - done
        for offset, new in enumerate(changed):
            starts.append(here)
            origins.append(match.start() + offset)
            pieces.append(new)
            here += len(new)
        done = match.end()
        starts.append(here)
        origins.append(done)
    pieces.append(text[done:].lower())
    return View("".join(pieces), tuple(starts), tuple(origins)) if len(starts) > 1 else View("".join(pieces))


def _fold_run(run: str) -> list[str] | None:
    if run[0] == "*":
        return [""] * len(run)
    if run in MOJIBAKE:
        return [MOJIBAKE[run]] + [""] * (len(run) - 1)
    folded = list(map(fold_char, run))
    return None if "".join(folded) == run.lower() and len(run.lower()) == len(run) else folded


@lru_cache(maxsize=1 << 15)
def fold_char(char: str) -> str:
    """What one character is in the view; empty for an invisible one."""
    plain = QUOTES.get(char) or OTHER_MARKS.get(char)
    if plain:
        return plain
    if unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f":
        return ""
    return unicodedata.normalize("NFKC", char).lower()


def _unmask(text: str) -> str:
    """Look-alikes as Latin letters, in words that mix scripts; in a mostly Latin text also in words of nothing else."""
    mostly_latin = sum(map(len, _LATIN.findall(text))) > sum(map(len, _FOREIGN.findall(text)))

    def word(match: re.Match[str]) -> str:
        shown = match.group().translate(LOOKALIKES)
        return shown if shown.isascii() and (mostly_latin or _LATIN.search(match.group())) else match.group()

    return _FOREIGN_WORD.sub(word, text)
