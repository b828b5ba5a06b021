"""What the rules make of one piece of text: a refusal, nothing but disclaimers, or stretches to cut.

``cut_slop`` and ``refusals`` share it, so that a text is either cut or removed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.documents import Turns
from pipeline.filters.match_view import View, collapse, fold
from pipeline.filters.rules import END_SENTENCES, LEAD_CHARS, OPENING_CHARS, Match, Matcher, Rule
from pipeline.filters.sentences import Protected, Span, split

ANSWER_CHARS = 60
"""This much text after a sentence that announces an answer makes a refused part the beginning of an answer."""

MAX_REMEMBERED_CHARS = 8000
"""The assessment of a longer text is not kept for the next filter, so that what is kept stays small."""

DOCUMENT_CHARS = 4000
"""A longer plain document is not taken for a refusal."""

_LEADING = re.compile(r"[^\w]*(?:\d{1,2}[.)]\s+)?(?:(?:answer|response|assistant|output|a)\s*:\s*)?")
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-+\u2022]|\d{1,2}[.)])\s+\S", re.M)
_ABOUT_MODELS = re.compile(
    r"\b(?:chat ?bots?|chatgpt|gpt-?\d|llms?|(?:the|a|large|these|such|our|other) (?:language )?models?|datasets?|fine-?tun\w+|jailbreaks?"
    r"|red[- ]team\w*|refusals?|training data|boilerplate)\b"
)
"""In a plain document, words of people who write about such models; counted outside the sentences that rules found."""

Kind = Literal["refusal", "only_slop", "cuts"]


@dataclass(frozen=True)
class Cut:
    """Characters ``start`` to ``end`` of the original go; ``capital``: what follows becomes the sentence's beginning."""

    start: int
    end: int
    rule: str
    capital: bool


@dataclass(frozen=True)
class Assessment:
    """What a piece of text is. ``start`` and ``end``: the original's characters of the sentence that decided, ``rule`` the rule."""

    kind: Kind
    rule: str
    start: int
    end: int
    cuts: tuple[Cut, ...]


@dataclass
class _Sentence:
    """A sentence, what was found in it, and whether it is anybody's guess (plain)."""

    start: int
    end: int
    view: View
    skip: int
    cut: Match | None = None
    refusal: Match | None = None
    follows: bool = False

    @property
    def text(self) -> str:
        return self.view.text[self.skip :]

    @property
    def plain(self) -> bool:
        return self.cut is None and self.refusal is None

    @property
    def stays(self) -> bool:
        """Whether it, or its second clause, is more than slop."""
        return self.refusal is None and not self.whole

    @property
    def whole(self) -> bool:
        """Whether nothing of it would stay."""
        return self.cut is not None and self.cut.rule.action != "cut_clause"


def assess_pieces(view: Turns, turn_rules: Matcher, document_rules: Matcher, weak: str = "beside") -> dict[int, Assessment]:
    """What the pieces of ``view`` are, by their row; a row that is missing is one that no rule has anything to say about.

    ``weak`` as for ``assess``.
    """
    is_document = view.message < 0
    rows = np.arange(len(view))
    if weak != "always":
        kinds = ((document_rules, rows[is_document]), (turn_rules, rows[~is_document]))
        rows = np.sort(np.concatenate([chosen[rules.passes(view.content.take(pa.array(chosen)))] for rules, chosen in kinds]))
    found: dict[int, Assessment] = {}
    for row, plain, text in zip(rows.tolist(), is_document[rows].tolist(), view.content.take(pa.array(rows)).to_pylist(), strict=True):
        judge = assess if len(text) > MAX_REMEMBERED_CHARS else _remembered
        told = judge(text, document_rules if plain else turn_rules, plain, weak)
        if plain and told is not None and len(text) <= DOCUMENT_CHARS:
            told = judge(text, turn_rules, False, weak) or told  # it is an assistant's answer, so all of what such say is looked for
        if told is not None:
            found[row] = told
    return found


def assess(text: str, rules: Matcher, is_document: bool, weak: str = "beside") -> Assessment | None:
    """What ``text`` is, or None when no rule has anything to say.

    ``is_document``: ask for stricter evidence (``rules`` are then those ``for_documents``). ``weak``: whether weak rules act
    ``never``, ``beside`` others or ``always``.
    """
    view = fold(text)
    flat = view.text if view.text.isascii() and "\n" not in view.text and "  " not in view.text else " ".join(view.text.split())
    if not rules.touches(flat) and weak != "always":
        return None
    if is_document and "```" in view.text:
        return None
    protected = Protected(view.text, is_document)
    sentences = [_sentence(view.text, span) for span in split(view.text)]
    _find_strong(sentences, rules, protected, flat)
    found = any(not s.plain for s in sentences)
    if (not found and weak != "always") or (is_document and _about_models(view.text, sentences)):
        return None
    _find_dependent(sentences, rules, protected, weak, found)
    refusal = _refusal(view.text, sentences, is_document)
    if refusal:
        return _assessment("refusal", refusal, refusal.refusal, view, ())
    for sentence in sentences:
        sentence.cut = sentence.cut or sentence.refusal  # refused a part, then answered
    cut = [s for s in sentences if s.cut]
    if not cut:
        return None
    cuts = tuple(_cut(text, view, s, s.cut) for s in sentences if s.cut)
    nothing_left = all(s.whole or not any(c.isalnum() for c in s.text) for s in sentences)
    return _assessment("only_slop" if nothing_left else "cuts", cut[0], cut[0].cut, view, cuts)


_remembered = lru_cache(maxsize=2048)(assess)
"""``refusals`` asks again about most of what ``cut_slop`` has asked about in the same batch."""


def _assessment(kind: Kind, sentence: _Sentence, match: Match | None, view: View, cuts: tuple[Cut, ...]) -> Assessment:
    assert match is not None
    return Assessment(kind, match.rule.id, view.origin(sentence.start), view.origin(sentence.end), cuts)


def _sentence(text: str, span: Span) -> _Sentence:
    view = collapse(text[span[0] : span[1]])
    leading = _LEADING.match(view.text)
    return _Sentence(*span, view, leading.end() if leading else 0)


def _find_strong(sentences: Sequence[_Sentence], rules: Matcher, protected: Protected, flat: str) -> None:
    before = 0
    voided: dict[str, bool] = {}
    for number, sentence in enumerate(sentences):
        for match in rules.strong(sentence.text):
            rule = match.rule
            if protected.covers(_place(sentence, match)):
                continue
            if (rule.position == "start" and before > LEAD_CHARS) or (rule.position == "end" and number < len(sentences) - END_SENTENCES):
                continue
            if rule.position == "first" and before > OPENING_CHARS:
                continue
            if rule.id not in voided:
                voided[rule.id] = rules.voided(rule, flat)
            if voided[rule.id]:
                continue
            if rule.action == "refusal":
                sentence.refusal = sentence.refusal or match
            else:
                sentence.cut = sentence.cut or match
        if sentence.cut and sentence.refusal and sentence.refusal.end <= sentence.cut.end and not sentence.whole:
            sentence.refusal = None  # "I can't say, but the answer is ...": the clause goes, the sentence answers
        if sentence.cut and sentence.refusal and not sentence.refusal.rule.final and before > OPENING_CHARS:
            sentence.refusal = None  # a disclaimer after an answer
        if sentence.plain:
            before += len(sentence.text)


def _find_dependent(sentences: Sequence[_Sentence], rules: Matcher, protected: Protected, weak: str, found: bool) -> None:
    refused = False
    for number, sentence in enumerate(sentences):
        stands = {"first": number < 2, "start": number < 2, "end": number >= len(sentences) - END_SENTENCES, "anywhere": True}
        stands["after_cut"] = number > 0 and (sentences[number - 1].whole or sentences[number - 1].refusal is not None)

        def may_act(rule: Rule, stands: Mapping[str, bool] = stands, sentence: _Sentence = sentence, refused: bool = refused) -> bool:
            if rule.action == "answer":
                return refused
            silenced = rule.weak and (weak == "never" or (not found and weak == "beside"))
            return sentence.plain and stands[rule.position] and not silenced

        for match in rules.dependent(sentence.text, may_act):
            if protected.covers(_place(sentence, match)):
                continue
            if match.rule.action == "answer":
                sentence.follows = True
            elif sentence.plain:
                sentence.cut = match
        refused = refused or sentence.refusal is not None


def _place(sentence: _Sentence, match: Match) -> int:
    """Where in the whole view the match begins."""
    return sentence.start + sentence.view.origin(sentence.skip + match.start)


def _about_models(text: str, sentences: Sequence[_Sentence]) -> bool:
    """Whether a document speaks of models and their answers in sentences of its own."""
    return any(s.plain and _ABOUT_MODELS.search(s.text) for s in sentences)


def _refusal(text: str, sentences: Sequence[_Sentence], is_document: bool) -> _Sentence | None:
    """The sentence that makes the text a refusal, if there is one and no answer follows it."""
    if is_document and len(text) > DOCUMENT_CHARS:
        return None
    refusing = [n for n, s in enumerate(sentences) if s.refusal]
    if not refusing:
        return None
    final = [n for n in refusing if _rule_is_final(sentences[n])]
    if final:
        return sentences[final[0]]
    rest = sentences[refusing[0] + 1 :]
    announced = next((n for n, s in enumerate(rest) if s.follows), None)
    if announced is not None and sum(len(s.text) for s in rest[announced:] if s.stays) >= ANSWER_CHARS:
        return None
    after = text[sentences[refusing[0]].end :]
    if "```" in after or len(_LIST_ITEM.findall(after)) >= 3:
        return None
    return sentences[refusing[0]]


def _rule_is_final(sentence: _Sentence) -> bool:
    return sentence.refusal is not None and sentence.refusal.rule.final


def _cut(text: str, view: View, sentence: _Sentence, match: Match) -> Cut:
    if sentence.whole:
        return Cut(*_unpaired(text, view.origin(sentence.start, before=True), view.origin(sentence.end)), match.rule.id, False)
    start = _place(sentence, match)
    end = sentence.start + sentence.view.origin(sentence.skip + match.end)
    return Cut(view.origin(start), view.origin(end), match.rule.id, match.start == 0)


def _unpaired(text: str, start: int, end: int) -> Span:
    """The span without a mark of bold type whose partner stays behind."""
    if text.count("**", start, end) % 2 == 0:
        return start, end
    return (start + 2, end) if text.startswith("**", start) else (start, end - 2) if text.endswith("**", start, end) else (start, end)
