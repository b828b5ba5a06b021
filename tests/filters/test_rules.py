"""Rule files: every example and near-miss of every rule, and what a stranger sees who makes a mistake."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.filters.assessment import assess
from pipeline.filters.cut_slop import OPTIONAL_RULES, SLOP_RULES, CutSlop
from pipeline.filters.rules import Matcher, RuleEntry, matcher, read_rule_file, read_rules
from pipeline.settings import digest, read_yaml
from tests.filters.conftest import ROOT, find

EXAMPLES = ROOT / "filters" / "examples"
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "filters").rglob("*.yaml") if EXAMPLES not in path.parents)


def with_examples(file: str) -> dict[str, RuleEntry]:
    """The rules of a file, with those of the file of further examples beside it."""
    rules = dict(read_rule_file(ROOT / file).rules)
    path = EXAMPLES / Path(file).relative_to("filters")
    for name, more in (read_yaml(path).values if path.is_file() else {}).items():
        added = {key: (*getattr(rules[name], key), *map(str, texts)) for key, texts in more.items()}
        rules[name] = replace(rules[name], **added)
    return rules


ENTRIES = [(file, name, entry) for file in FILES for name, entry in with_examples(file).items() if entry.action != "answer"]
CASES = [(file, name, entry, text) for file, name, entry in ENTRIES for text in (*entry.examples, *entry.near_misses)]


def rules_for(file: str, name: str, entry: RuleEntry) -> Matcher:
    """The rule alone; with all default rules where it acts only together with others."""
    if entry.weak or entry.position == "after_cut":
        return matcher(read_rules([find(other) for other in SLOP_RULES]))
    return matcher(tuple(rule for rule in read_rules([find(file)]) if rule.id == name))


def fired(text: str, rules: Matcher, is_document: bool) -> set[str]:
    """Ids of the rules that spoke about a text."""
    found = assess(text, rules, is_document)
    return set() if found is None else {found.rule} | {cut.rule for cut in found.cuts}


@pytest.mark.parametrize(("file", "name", "entry", "text"), CASES, ids=[f"{name}-{number}" for number, (_, name, _, _) in enumerate(CASES)])
def test_examples_match_and_near_misses_do_not(file: str, name: str, entry: RuleEntry, text: str) -> None:
    """Each rule finds its examples, as a turn and, where it says so, as a document, and none of its near-misses."""
    rules = rules_for(file, name, entry)
    wanted = text in entry.examples
    assert (name in fired(text, rules, False)) == wanted
    if wanted and entry.documents:
        assert name in fired(text, rules, True)


@pytest.mark.parametrize(("file", "name", "entry"), ENTRIES, ids=[name for _, name, _ in ENTRIES])
def test_every_rule_shows_itself(file: str, name: str, entry: RuleEntry) -> None:
    """Each rule has at least one example and one near-miss."""
    assert entry.examples and entry.near_misses


def test_every_file_is_used() -> None:
    """The default rules name every rule file of the project but those that are off until they are asked for."""
    assert set(SLOP_RULES) <= set(FILES) <= {*SLOP_RULES, *OPTIONAL_RULES}


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("action: cut_sentence\n    phrases: [x]\n    phrase: y", "phrase: unknown key; did you mean 'phrases'?"),
        ("action: cut\n    phrases: [x]", "is 'cut'; allowed: cut_sentence, cut_clause"),
        ("action: refusal", "neither phrases nor patterns"),
        ("action: refusal\n    patterns: ['(x']\n    anchors: [x]", "is not an RE2 pattern"),
        ("action: refusal\n    patterns: ['x(?=y)']\n    anchors: [x]", "is not an RE2 pattern"),
        ("action: refusal\n    patterns: ['{verbs} x']\n    anchors: [x]", "{verbs} is not among the file's words; did you mean 'verb'?"),
        ("action: refusal\n    patterns: [x y]", "patterns need anchors"),
        ("action: refusal\n    patterns: ['x*']\n    anchors: [x]", "matches an empty text"),
        ("action: refusal\n    patterns: [x]\n    anchors: ['{lst}']", "{lst} is not among the file's anchors; did you mean 'list'?"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, rule: str, problem: str) -> None:
    """A wrong rule file is refused with the file, the rule's key and what is wrong."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"about: test\nanchors:\n  list: [x]\nwords:\n  verb: a|b\nrules:\n  mine:\n    {rule}\n")
    with pytest.raises(SettingsError) as error:
        read_rules([path])
    assert problem in str(error.value)
    assert "mine.yaml:" in str(error.value) and "rules.mine" in str(error.value)


def test_one_id_in_two_files_is_refused(tmp_path: Path) -> None:
    """Rule ids name cuts in the output, so that one id never means two rules."""
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("about: test\nrules:\n  same:\n    action: refusal\n    phrases: [no way]\n")
    with pytest.raises(SettingsError, match=r"same.*stands in another file"):
        read_rules([tmp_path / "a.yaml", tmp_path / "b.yaml"])


def test_a_phrase_is_one_line(tmp_path: Path) -> None:
    """A file of one rule and one phrase works, whatever the phrase's case, quotes and white space."""
    path = tmp_path / "mine.yaml"
    path.write_text("about: test\nrules:\n  mine:\n    action: cut_sentence\n    phrases:\n      - I’m Your  Helper (Beta)\n")
    rules = matcher(read_rules([path]))
    assert fired("Boil it. I'm your\nhelper (beta) today. Serve it.", rules, False) == {"mine"}
    assert fired("Boil it. I am your helper.", rules, False) == set()


def test_examples_and_comments_re_run_nothing(tmp_path: Path) -> None:
    """The digest of a resolved editor changes with a phrase, not with an example or a comment; it survives pickling."""
    path = tmp_path / "mine.yaml"
    head = "about: test\nrules:\n  mine:\n    action: cut_sentence\n    phrases: [one two]\n"

    def resolved(text: str) -> CutSlop:
        path.write_text(text)
        return CutSlop(rules=("mine.yaml",)).resolve(lambda name: path)

    first = resolved(head)
    assert digest(first) == digest(resolved(head + "    examples: [One two.]\n# a comment\n"))
    assert digest(first) != digest(resolved(head.replace("one two", "one three")))
    assert digest(pickle.loads(pickle.dumps(first))) == digest(first)
