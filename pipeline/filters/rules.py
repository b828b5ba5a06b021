"""Rule sets read from YAML, and the matcher that tells which rule speaks about a sentence.

A rule lists ``phrases`` (plain words) and ``patterns`` (RE2, which no input can hang); both meet the folded view of one sentence: lower
case, straight quotes, single blanks, no emphasis marks, no list marker before it. ``{name}`` in a pattern stands for an entry of ``words``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import ahocorasick_rs
import numpy as np
import pyarrow as pa
import re2

from pipeline.errors import SettingsError, nearest
from pipeline.filters import kept_rules
from pipeline.filters.match_view import collapse, fold, fold_char
from pipeline.filters.prefilter import Prefilter, Wanted, loosened
from pipeline.settings import Raw, build, parse_yaml, read_settings

LEAD_CHARS = 300
"""A rule of position ``start`` may have this much other text before it: a refusal often greets or restates the question first."""

OPENING_CHARS = 40
"""A rule of position ``first`` may have this much before it: a greeting, a yes or no."""

END_SENTENCES = 4
"""A rule of position ``end`` acts on the last so many sentences: a canned closer is rarely longer."""

Action = Literal["cut_sentence", "cut_clause", "refusal", "answer"]
Position = Literal["first", "start", "end", "anywhere", "after_cut"]


@dataclass(frozen=True)
class RuleEntry:
    """One rule as a file spells it."""

    action: Action
    """cut_sentence; cut_clause (the pattern's group, or all of its match); refusal; answer (an answer follows a refused part)."""
    lang: str = "en"
    phrases: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    """Words of which one stands in every sentence that a pattern matches, so that other text is never looked at; a blank at either end
    means the end of a word, ``{name}`` a list of the file's ``anchors``. Phrases are their own."""
    also: tuple[str, ...] = ()
    """Words or parts of words of which one stands there too, for anchors that another language's text holds for another reason."""
    unless: tuple[str, ...] = ()
    """Patterns that void the rule when one matches the same sentence."""
    unless_text: tuple[str, ...] = ()
    """Patterns that void the rule when one matches any sentence of the text."""
    position: Position = "anywhere"
    """first: the first sentence; start: before any answer; end: the last sentences; after_cut: straight after a cut sentence."""
    weak: bool = False
    """Acts only in a text in which a rule that is not weak acts too."""
    final: bool = False
    """Of a refusal: the text is one whatever else it holds."""
    documents: bool = False
    """Acts in plain documents too, where nobody can be expected to speak as an assistant."""
    examples: tuple[str, ...] = ()
    near_misses: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleFile:
    """A rule file: what it is about, fragments that its patterns share, lists of anchors that its rules share, and its rules by id."""

    about: str
    anchors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, RuleEntry] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """A rule ready for use: patterns written out, everything folded; no example, so that examples re-run nothing."""

    id: str
    action: Action
    position: Position
    weak: bool
    final: bool
    documents: bool
    anchors: tuple[str, ...]
    also: tuple[str, ...]
    pattern: str
    unless: str
    unless_text: str

    @property
    def alone(self) -> bool:
        """Whether it can act without another rule."""
        return not self.weak and self.position != "after_cut" and self.action != "answer"


def read_rule_file(path: Path) -> RuleFile:
    """The rule file at ``path`` as it is written; raises SettingsError with every problem found in it."""
    return _parsed(read_settings(path), str(path))[0]


def read_rules(paths: Sequence[Path]) -> tuple[Rule, ...]:
    """The rules of several files, in order; raises SettingsError when a file is wrong or two rules share an id."""
    rules: list[Rule] = []
    for path in paths:
        known, more = {rule.id for rule in rules}, _rules_of(path, read_settings(path))
        rules += more
        if twice := sorted(rule.id for rule in more if rule.id in known):
            raise SettingsError([f"{path} rules.{name}: stands in another file too; give one a new id" for name in twice])
    return tuple(rules)


def for_documents(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Those of ``rules`` that act in plain documents."""
    return tuple(rule for rule in rules if rule.documents or rule.action == "answer")


def _from_plain(fields: Mapping[str, Any]) -> Rule:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return Rule(**values)


@lru_cache(maxsize=64)
def _rules_of(path: Path, text: str) -> list[Rule]:
    """The rules of a file of this text: those kept from the last time, or made ready and kept."""
    kept = kept_rules.load(path, text)
    if kept is not None:
        return [_from_plain(fields) for fields in kept]
    rules = _parsed(text, str(path))[1]
    kept_rules.store(path, text, [dict(vars(rule)) for rule in rules])
    return rules


@lru_cache(maxsize=64)
def _parsed(text: str, where: str) -> tuple[RuleFile, list[Rule]]:
    """A rule file's content, understood once for all filters that use it."""
    raw = parse_yaml(text, where)
    file = build(RuleFile, raw)
    problems: list[str] = []
    known: dict[str, str] = {}
    rules = [_ready(file, name, entry, raw, known, problems) for name, entry in file.rules.items()]
    if problems:
        raise SettingsError(problems)
    return file, rules


def _ready(file: RuleFile, name: str, entry: RuleEntry, raw: Raw, known: dict[str, str], problems: list[str]) -> Rule:
    def problem(key: str, what: str) -> None:
        problems.append(f"{raw.place(('rules', name, key))}: {what}")

    if not entry.phrases and not entry.patterns:
        problem("patterns", "the rule has neither phrases nor patterns; write at least one")
    if entry.patterns and not entry.anchors and not entry.weak and entry.position != "after_cut" and entry.action != "answer":
        problem("anchors", "patterns need anchors: words of which one stands wherever a pattern matches")
    sources = [re.escape(_folded(phrase)).replace(r"\ ", " ") for phrase in entry.phrases]
    sources += [_spelled_out(pattern, file.words, known, lambda what: problem("patterns", what)) for pattern in entry.patterns]
    unless = [_spelled_out(pattern, file.words, known, lambda what: problem("unless", what)) for pattern in entry.unless]
    unless_text = [_spelled_out(pattern, file.words, known, lambda what: problem("unless_text", what)) for pattern in entry.unless_text]
    spelled = [("patterns", *pair) for pair in zip(entry.patterns, sources[len(entry.phrases) :], strict=True)]
    spelled += [("unless", *pair) for pair in zip(entry.unless, unless, strict=True)]
    spelled += [("unless_text", *pair) for pair in zip(entry.unless_text, unless_text, strict=True)]
    readable = _are_readable([source for _, _, source in spelled])
    for key, written, source in spelled:
        if not (readable and _says_something(written)) and (what := _wrong(source)):
            problem(key, what)
    named = [anchor[1:-1] for anchor in entry.anchors if anchor[0:1] == "{"]
    for list_name in sorted(set(named) - set(file.anchors)):
        problem("anchors", f"{{{list_name}}} is not among the file's anchors; {nearest(list_name, file.anchors)}")
    shared = [anchor for list_name in named for anchor in file.anchors.get(list_name, ())]
    anchors = tuple(_folded(anchor) for anchor in (*entry.phrases, *(a for a in entry.anchors if a[0:1] != "{"), *shared))
    also = tuple(map(_folded, entry.also))
    for key, words in (("anchors", anchors), ("also", also)):
        if any(not word.strip() for word in words):
            problem(key, "an empty word stands everywhere; take it out")
    options = (entry.action, entry.position, entry.weak, entry.final, entry.documents)
    return Rule(name, *options, anchors, also, _any_of(sources), _any_of(unless), _any_of(unless_text))


def _any_of(sources: Sequence[str]) -> str:
    return "|".join(f"(?:{source})" for source in sources)


def _folded(text: str) -> str:
    if "*" in text:
        return collapse(fold(text).text).text
    return _SPACES.sub(" ", "".join(map(fold_char, text)))


_SPACES = re.compile(r"\s+")


_ESCAPE = re.compile(r"\\[pP]\{\^?\w+\}|\\.|\(\?[a-zA-Z:]+|\{\w+\}|(?:[^\\({]|\((?!\?)|\{(?!\w+\}))+")


def _spelled_out(pattern: str, words: Mapping[str, str], known: dict[str, str], problem: Callable[[str], None], depth: int = 0) -> str:
    """``pattern`` with each ``{name}`` replaced by its words and its literal text folded like the view; ``known``: words spelled out before."""

    def part(match: re.Match[str]) -> str:
        text = match.group()
        if text[0] == "{":
            if text[1:-1].isdigit():
                return text
            if text[1:-1] in words and depth < 8:
                if text not in known:
                    known[text] = f"(?:{_spelled_out(words[text[1:-1]], words, known, problem, depth + 1)})"
                return known[text]
            problem(f"{text} is not among the file's words; {nearest(text[1:-1], words)}" if depth < 8 else f"{text} stands for itself")
            return text
        return text if text[0] == "\\" or text.startswith("(?") else text.lower() if text.isascii() else "".join(map(fold_char, text))

    return _ESCAPE.sub(part, pattern)


_NO_GROUP = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\[pP]\{\^?\w+\}|\\.")
_GROUP = re.compile(r"\([^()]*\)|\{[a-zA-Z_]\w*\}")
_TIMES = re.compile(r"\{\d*,?\d*\}")
_SAYS_SOMETHING = re.compile(r"[^\x00-\x1f!-/:-@\[-`{-~](?![*?])")


def _are_readable(sources: Sequence[str]) -> bool:
    """Whether RE2 can read all of these patterns, which takes a fraction of the time of making them ready."""
    try:
        _reader().Add(_any_of(sources))
    except re2.error:
        return False
    return True


@lru_cache(maxsize=1)
def _reader() -> Any:
    return re2.Set.SearchSet(_options())


def _wrong(source: str) -> str:
    """What is wrong with a pattern that is spelled out, or nothing."""
    try:
        return f"{source!r} matches an empty text; make it say something" if _compile(source).search("") is not None else ""
    except ValueError as error:
        return f"{source!r} is not an RE2 pattern ({error}); mend it"


def _says_something(written: str) -> bool:
    """Whether each way through a pattern holds a character that must be there, so that it matches no empty text."""
    outside, inner = _TIMES.sub("*", _NO_GROUP.sub(".", written)), ""
    while outside != inner:
        outside, inner = _GROUP.sub(_group_as_letter, outside), outside
    return _all_say_something(outside)


def _group_as_letter(group: re.Match[str]) -> str:
    """A letter for a group that always holds one; nothing for another, and for ``{name}``, whose words may be empty."""
    text = group.group()
    return "x" if text[0] == "(" and _all_say_something(text[1:-1]) else ""


def _all_say_something(alternatives: str) -> bool:
    return all(_SAYS_SOMETHING.search(one) for one in alternatives.removeprefix("?:").split("|"))


def _options(never_capture: bool = False) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = never_capture
    return options


@lru_cache(maxsize=1 << 14)
def _compile(source: str, never_capture: bool = False) -> Any:
    try:
        return re2.compile(source, _options(never_capture))
    except re2.error as error:
        detail = error.args[0] if error.args else error
        raise ValueError(detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)) from None


_REACH: dict[str, tuple[int | None, int | None]] = {
    "first": (2 * OPENING_CHARS, None),
    "start": (2 * LEAD_CHARS, None),
    "end": (None, END_SENTENCES - 1),
}
"""By position, what the prefilter tells from far: twice the characters, since it counts those of a mark before a sentence (``Answer:``) too."""


def _wanted(rule: Rule) -> Wanted:
    before, after = _REACH.get(rule.position, (None, None))
    return Wanted(rule.anchors, partial(_may_match, rule.pattern), tuple(word.encode() for word in rule.also), before, after)


def _may_match(pattern: str, paragraph: bytes) -> bool:
    """Whether a sentence of ``paragraph`` (folded, UTF-8) may match."""
    spans = _loose(pattern).Match(re2._Anchor.UNANCHORED, paragraph, 0, len(paragraph))
    return bool(spans[0][0] >= 0)


@lru_cache(maxsize=1 << 14)
def _loose(pattern: str) -> Any:
    return _compile(loosened(pattern), never_capture=True)._regexp


@dataclass(frozen=True)
class Match:
    """A rule that speaks about a sentence, and the stretch of it (view offsets within the sentence) that a clause rule cuts."""

    rule: Rule
    start: int
    end: int


class Matcher:
    """Rules compiled for a process; ``matcher(rules)`` keeps one for each set of rules."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        """Take up ``rules``; a pattern is compiled when it is first asked for."""
        self.rules = rules
        self._others = [number for number, rule in enumerate(rules) if not rule.alone]

    @cached_property
    def _prefilter(self) -> Prefilter:
        return Prefilter([_wanted(rule) for rule in self.rules if rule.alone])

    @cached_property
    def _anchored(self) -> dict[str, list[int]]:
        """The rules that can act alone, by their anchors."""
        anchors: dict[str, list[int]] = {}
        for number, rule in enumerate(self.rules):
            for anchor in rule.anchors if rule.alone else ():
                anchors.setdefault(anchor, []).append(number)
        return anchors

    @cached_property
    def _anchors(self) -> Any:
        return ahocorasick_rs.AhoCorasick(list(self._anchored) or ["\0"])

    @cached_property
    def _rules_of_anchor(self) -> list[list[int]]:
        return list(self._anchored.values()) or [[]]

    def passes(self, contents: pa.LargeStringArray) -> np.ndarray:
        """bool[n]: which pieces (large_string[n], no null) a rule that can act alone may speak about; all others ``assess`` finds nothing in."""
        return self._prefilter.passes(contents) if len(contents) else np.zeros(0, bool)

    def touches(self, text: str) -> bool:
        """Whether a folded text holds the anchor of any rule that can act alone."""
        return bool(self._anchors.find_matches_as_indexes(f" {text} "))

    def strong(self, sentence: str) -> Iterator[Match]:
        """Matches, in the rules' order, of rules that can act alone."""
        hits = self._anchors.find_matches_as_indexes(f" {sentence} ", overlapping=True)
        numbers = sorted({number for hit in hits for number in self._rules_of_anchor[hit[0]]})
        return self._matches(numbers, sentence)

    def voided(self, rule: Rule, text: str) -> bool:
        """Whether the folded ``text`` holds what voids the rule."""
        return bool(rule.unless_text) and _compile(rule.unless_text).search(text) is not None

    def dependent(self, sentence: str, may_act: Callable[[Rule], bool]) -> Iterator[Match]:
        """Matches, in the rules' order, of those rules that act only together with another and that ``may_act`` on this sentence."""
        return self._matches([number for number in self._others if may_act(self.rules[number])], sentence)

    def _matches(self, numbers: Sequence[int], sentence: str) -> Iterator[Match]:
        folded = sentence.encode()
        for number in numbers:
            rule = self.rules[number]
            if rule.also and not any(word in sentence for word in rule.also):
                continue
            if not _may_match(rule.pattern, folded):  # far sooner made ready than the pattern itself
                continue
            match = _compile(rule.pattern).search(sentence)
            if match and not (rule.unless and _compile(rule.unless).search(sentence)):
                group = next((n for n, text in enumerate(match.groups(), 1) if text), 0)
                yield Match(rule, *match.span(group))


@lru_cache(maxsize=16)
def matcher(rules: tuple[Rule, ...]) -> Matcher:
    """The matcher of ``rules``, made once a process."""
    return Matcher(rules)
