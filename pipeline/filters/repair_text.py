"""Repairs encodings, characters and white space, and leaves code alone."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from pipeline.documents import turns
from pipeline.filters.edits import Replacement, apply, edit_pieces
from pipeline.filters.repair_signs import ALL, CONTROLS, INVISIBLE, LINE_ENDS, MOJIBAKE, SPACE, UNSTABLE, look, misread_letters
from pipeline.filters.verdicts import Edits, Find

MAX_DIFF_CHARS = 2000
"""A repaired line whose changed middle is longer is written down as one replacement: a finer difference would cost too much."""

_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028]|\u2029")
_CONTROL = re.compile(
    r"(?:\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff\U0001fffe\U0001ffff\U0010fffe\U0010ffff])+"
)
_WINDOWS = {n: char for n in range(0x80, 0xA0) if n != 0x85 and (char := bytes([n]).decode("cp1252", "ignore"))}
"""What C1 control characters are in text that was Windows-1252 and taken for Latin-1, as browsers take them too."""
_WINDOWS_RUN = re.compile(f"[{''.join(map(chr, _WINDOWS))}]{{1,3}}")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\u180e\ufeff\ufff9-\ufffb\U000e0001\U000e0020-\U000e007f]+")
_JOINS_AFTER = re.compile(
    "[\u0590-\u08ff\u0900-\u0fff\u1000-\u109f\u1780-\u18af\ua840-\ua87f\ufb1d-\ufdff\ufe70-\ufefe"
    "\u2190-\u2bff\u3030\u303d\ufe0f\u20e3\U0001f000-\U0001faff]"
)
"""Scripts whose letters join or break by invisible characters (Arabic, Indic, Thai, Tibetan, Khmer, Mongolian ...), and emoji."""
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe]")
_JOINERS = frozenset("\u200b\u200c\u200d\u180e")
_DIRECTION = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSTABLE = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+")
_LINE = re.compile(r"[^\n]+")
_BLANK_LINES = re.compile(r"\n{4,}")
_FENCE = re.compile(r"^[ \t]*(```|~~~)[^\n]*\n(?:.*?(?:^[ \t]*\1[^\n]*|\Z)|\Z)", re.M | re.S)


@dataclass(frozen=True)
class RepairText:
    """Repair wrong encodings, control and invisible characters, Unicode form and white space; leave code alone.

    Code is what stands between fences: only control characters and line ends are repaired there. Indentation is never touched.
    """

    mojibake: bool = True
    """Text that was decoded with a wrong character set (ftfy), in lines where that shows."""
    mac_and_dos: bool = False
    """Of ``mojibake``: also text misread as Mac Roman or code page 437, whose signs (``√±``) people write about mathematics too."""
    line_ends: bool = True
    """Line ends as LF, paragraph separators as an empty line."""
    controls: bool = True
    """Control characters and terminal colours; up to three of Windows' quotation marks and dashes that were taken for control characters
    become what they were."""
    invisible: bool = True
    """Byte order marks, soft hyphens and zero-width characters that no script or emoji needs."""
    unicode: bool = True
    """Unicode normal form C."""
    space: bool = True
    """Blanks at the end of lines, and more than two blank lines."""
    version: ClassVar[int] = 3

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def edit(self, batch: pa.RecordBatch) -> Edits:
        """The batch repaired, every turn of it, and the cuts (rule: the setting's name)."""
        view = turns(batch)
        signs = look(view.content)
        rows = np.flatnonzero(signs)
        seen = iter(signs[rows].tolist())
        return edit_pieces(batch, view.take(rows), lambda text, role: self.repair(text, next(seen)))

    def repair(self, text: str, signs: int = ALL) -> tuple[str, list[tuple[int, str, str, str]]]:
        """One text repaired, and its cuts as (start, before, after, rule) in the order they were made; ``signs``: what ``look`` saw."""
        cuts: list[tuple[int, str, str, str]] = []
        for wanted, sign, step in (
            (self.mojibake, MOJIBAKE, partial(_mojibake, rare=self.mac_and_dos)),
            (self.line_ends, LINE_ENDS, _line_ends),
            (self.controls, CONTROLS, _controls),
            (self.invisible, INVISIBLE, _invisible),
            (self.unicode, UNSTABLE, _unicode),
            (self.space, SPACE, _blanks),
            (self.space, SPACE, _blank_lines),
        ):
            found = list(step(text)) if wanted and signs & sign else []
            if found:
                text, made = apply(text, found)
                cuts += made
                signs = ALL  # what a repair leaves may need the next one
        return text, cuts


def _line_ends(text: str) -> Iterator[Replacement]:
    for match in _LINE_END.finditer(text):
        yield Replacement(*match.span(), "\n\n" if match.group() == "\u2029" else "\n", "line_ends")


def _controls(text: str) -> Iterator[Replacement]:
    for match in _CONTROL.finditer(text):
        run = match.group()
        yield Replacement(*match.span(), run.translate(_WINDOWS) if _WINDOWS_RUN.fullmatch(run) else "", "controls")


def _mojibake(text: str, rare: bool) -> Iterator[Replacement]:
    misread, pairs = misread_letters(rare)
    if text.isascii() or not misread.search(text):
        return
    code = _Code(text)
    done = 0
    for match in misread.finditer(text):
        if match.start() < done:
            continue
        start, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.start())
        done = end = len(text) if end < 0 else end
        line = text[start:end]
        if "\ufffd" not in line and pairs.search(line) and not code.covers(start):
            hunks = list(_differences(line, _reread(line), start, "mojibake"))
            if all(_plausible(text, hunk) for hunk in hunks):
                yield from hunks


def _reread(line: str) -> str:
    """The line as it was before it was decoded with a wrong character set, where that shows."""
    from ftfy import TextFixerConfig, fix_encoding  # here, because most runs need none of it
    from ftfy.badness import is_bad

    return fix_encoding(line, TextFixerConfig(replace_lossy_sequences=False, explain=False)) if is_bad(line) else line


def _plausible(text: str, hunk: Replacement) -> bool:
    """Whether a change makes text of what was none: something visible that was misread, and a mathematical sign only within a word."""
    before = text[hunk.start : hunk.end]
    if not hunk.after or not before or before.isascii() or any(unicodedata.category(char) in ("Cc", "Cn", "Co") for char in hunk.after):
        return False
    if before[0].isalpha() or before[0] in "\u201a\u201e\u2020\u2021":
        return True
    return text[hunk.start - 1 : hunk.start].isalpha() or text[hunk.end : hunk.end + 1].isalpha()


def _differences(old: str, new: str, offset: int, rule: str) -> Iterator[Replacement]:
    """What turns ``old`` into ``new``, as small as is cheap."""
    if old == new:
        return
    shorter = min(len(old), len(new))
    head = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    tail = next((i for i in range(shorter - head) if old[-1 - i] != new[-1 - i]), shorter - head)
    old, new, offset = old[head : len(old) - tail], new[head : len(new) - tail], offset + head
    if len(old) > MAX_DIFF_CHARS:
        yield Replacement(offset, offset + len(old), new, rule)
        return
    for kind, start, end, new_start, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            yield Replacement(offset + start, offset + end, new[new_start:new_end], rule)


def _invisible(text: str) -> Iterator[Replacement]:
    right_to_left: bool | None = None
    for match in _INVISIBLE.finditer(text):
        if right_to_left is None:
            right_to_left = bool(_RIGHT_TO_LEFT.search(text))
        kept = "".join(char for char in match.group() if _needed(char, text[match.start() - 1 : match.start()], right_to_left))
        if kept != match.group():
            yield Replacement(*match.span(), kept, "invisible")


def _needed(char: str, before: str, right_to_left: bool) -> bool:
    if char in _JOINERS:
        return bool(_JOINS_AFTER.match(before))
    if char in _DIRECTION:
        return right_to_left
    return "\U000e0020" <= char <= "\U000e007f" and before == "\U0001f3f4"


def _unicode(text: str) -> Iterator[Replacement]:
    if unicodedata.is_normalized("NFC", text):
        return
    code = _Code(text)
    for line in _LINE.finditer(text):
        if line.group().isascii() or unicodedata.is_normalized("NFC", line.group()):
            continue
        for match in _UNSTABLE.finditer(text, *line.span()):
            run = match.group()
            normal = unicodedata.normalize("NFC", run)
            if normal != run and not code.covers(match.start()):
                yield from _differences(run, normal, match.start(), "unicode")


def _blanks(text: str) -> Iterator[Replacement]:
    ends = [match.start() for blank in (" \n", "\t\n") if blank in text for match in re.finditer(blank, text)]
    if text[-1:] in (" ", "\t"):
        ends.append(len(text) - 1)
    code = _Code(text) if ends else None
    for end in sorted(ends):
        start = end
        while start > 0 and text[start - 1] in " \t":
            start -= 1
        if code and not code.covers(start):
            yield Replacement(start, end + 1, "", "space")


def _blank_lines(text: str) -> Iterator[Replacement]:
    if "\n\n\n\n" not in text:
        return
    code = _Code(text)
    for match in _BLANK_LINES.finditer(text):
        if not code.covers(match.start()):
            yield Replacement(*match.span(), "\n\n\n", "space")


class _Code:
    """The fenced stretches of a text."""

    def __init__(self, text: str) -> None:
        spans = [match.span() for match in _FENCE.finditer(text)] if "```" in text or "~~~" in text else []
        self._starts, self._ends = [start for start, _ in spans], [end for _, end in spans]

    def covers(self, position: int) -> bool:
        k = bisect_right(self._starts, position) - 1
        return k >= 0 and position < self._ends[k]
