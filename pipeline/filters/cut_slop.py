"""Cuts what assistants say about themselves and keeps the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
import pyarrow as pa

from pipeline.documents import PLAIN, turns
from pipeline.filters.assessment import Cut, assess_pieces
from pipeline.filters.edits import Replacement, apply, edit_pieces
from pipeline.filters.rules import Rule, for_documents, matcher, read_rules
from pipeline.filters.verdicts import Edits, Find
from pipeline.settings import internal

SLOP_RULES = (
    "filters/refusals.yaml",
    "filters/self_reference.yaml",
    "filters/cutoff.yaml",
    "filters/disclaimers.yaml",
    "filters/openers.yaml",
    "filters/closers.yaml",
    "filters/languages/de.yaml",
    "filters/languages/es.yaml",
    "filters/languages/fr.yaml",
    "filters/languages/it.yaml",
    "filters/languages/ja.yaml",
    "filters/languages/ko.yaml",
    "filters/languages/pt.yaml",
    "filters/languages/ru.yaml",
    "filters/languages/zh.yaml",
)
"""The rule files that ``cut_slop`` and ``refusals`` share, so that a text is either cut or taken for a refusal, never both."""

OPTIONAL_RULES = ("filters/moralising.yaml",)
"""Rule files that are off until ``more_rules`` names them."""


@dataclass(frozen=True)
class CutSlop:
    """Cut self-references, knowledge cut-offs, disclaimers and canned openers and closers; keep the answer.

    A text that is a refusal, or of which nothing would be left, is left whole: ``refusals`` removes it.
    """

    rules: tuple[str, ...] = SLOP_RULES
    """The rule files; naming some replaces these."""
    more_rules: tuple[str, ...] = ()
    """Rule files used besides ``rules``, such as ``filters/moralising.yaml``; name them under ``refusals`` too."""
    roles: tuple[str, ...] = ("assistant", PLAIN)
    """Which turns are cut; ``text`` stands for plain documents, of which stricter evidence is asked."""
    weak: Literal["never", "beside", "always"] = "beside"
    """When rules marked weak act (a mere offer of further help): beside another rule in the same text, always, or never."""
    found: tuple[Rule, ...] = internal((), as_digest=True)
    version: ClassVar[int] = 2

    def resolve(self, find: Find) -> Self:
        """The same editor with its rules read in; raises SettingsError when a rule file is missing or wrong."""
        return replace(self, found=read_rules([find(name) for name in (*self.rules, *self.more_rules)]))

    def edit(self, batch: pa.RecordBatch) -> Edits:
        """The batch with slop cut from its pieces of ``roles``, and the cuts (rule: the rule's id, or ``capital``)."""
        view = turns(batch).of_roles(self.roles)
        found = assess_pieces(view, matcher(self.found), matcher(for_documents(self.found)), self.weak)
        rows = [row for row, told in found.items() if told.kind == "cuts"]
        told = iter([found[row] for row in rows])

        def step(text: str, role: str) -> tuple[str, list[tuple[int, str, str, str]]]:
            new, cuts = apply(text, replacements(text, next(told).cuts))
            return (new, cuts) if new.strip() else (text, [])

        return edit_pieces(batch, view.take(np.array(rows, np.int64)), step)


def replacements(text: str, cuts: Sequence[Cut]) -> list[Replacement]:
    """The cuts with the white space that would be left over, and a capital where a sentence now begins with its second clause."""
    made: list[Replacement] = []
    floor = 0
    for group in _neighbours(text, cuts):
        start, end = _with_space(text, max(group[0].start, floor), max(group[-1].end, floor), floor)
        for number, cut in enumerate(group):
            stop = end if number == len(group) - 1 else cut.end
            if start < stop:
                made.append(Replacement(start, stop, "", cut.rule))
                start = stop
        floor = end
        if group[-1].capital and len(text[end : end + 1].upper()) == 1 and text[end].islower():
            made.append(Replacement(end, end + 1, text[end].upper(), "capital"))
            floor = end + 1
    return made


def _neighbours(text: str, cuts: Sequence[Cut]) -> list[list[Cut]]:
    """The cuts in groups between which there is nothing but white space."""
    groups: list[list[Cut]] = []
    for cut in cuts:
        if groups and not text[groups[-1][-1].end : cut.start].strip():
            groups[-1].append(cut)
        else:
            groups.append([cut])
    return groups


def _with_space(text: str, start: int, end: int, floor: int) -> tuple[int, int]:
    """The span widened so that neither a doubled blank nor an empty paragraph is left."""
    before, after = start, end
    while before > floor and text[before - 1] in " \t\xa0":
        before -= 1
    while after < len(text) and text[after] in " \t\xa0":
        after += 1
    opens = before == 0 or text[before - 1] == "\n"
    closes = after == len(text) or text[after] in "\r\n"
    if not closes:
        return start, after if opens or before < start else end
    if not opens:
        return before, after
    while after < len(text) and text[after] in "\r\n \t":
        after += 1
    if after < len(text):
        return before, after - _indentation(text, after)
    while before > floor and text[before - 1].isspace():
        before -= 1
    return before, after


def _indentation(text: str, position: int) -> int:
    """How many blanks stand before ``position`` in its line."""
    line = position
    while line > 0 and text[line - 1] in " \t":
        line -= 1
    return position - line
