"""Rules that are kept between runs are those of the file as it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.filters import kept_rules, rules
from pipeline.filters.rules import read_rules

FILTERS = Path(__file__).resolve().parents[2] / "filters"
FILE = """about: greetings
rules:
  hello:
    action: cut_sentence
    phrases: ["{phrase}"]
    examples: ["Hello there."]
    near_misses: ["Goodbye."]
"""


def anew(path: Path) -> tuple[rules.Rule, ...]:
    """The rules as another process reads them."""
    rules._rules_of.cache_clear()
    return read_rules([path])


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python may keep compiled modules."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


@pytest.mark.parametrize("name", ["self_reference.yaml", "languages/ko.yaml"])
def test_kept_rules_are_the_rules(name: str, keeping: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second reading understands no file and gives equal rules."""
    path = tmp_path / Path(name).name
    path.write_text((FILTERS / name).read_text(encoding="utf-8"), encoding="utf-8")
    first = anew(path)
    monkeypatch.setattr(rules, "_parsed", None)
    assert anew(path) == first and first


def test_a_change_is_seen(keeping: None, tmp_path: Path) -> None:
    """Another text, damage to what was kept, or other code: the file is understood anew."""
    path = tmp_path / "mine.yaml"
    path.write_text(FILE.format(phrase="hello there"))
    first = anew(path)
    path.write_text(FILE.format(phrase="hello here"))
    assert anew(path) != first
    kept = tmp_path / kept_rules.FOLDER / "mine.yaml.json"
    second = anew(path)
    kept.write_text(kept.read_text()[:-20])
    assert anew(path) == second


def test_nothing_is_kept_where_python_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With PYTHONDONTWRITEBYTECODE no file appears; in a folder that cannot be written all works too."""
    path = tmp_path / "mine.yaml"
    path.write_text(FILE.format(phrase="hello there"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    first = anew(path)
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / kept_rules.FOLDER).write_text("a file in its place")
    assert anew(path) == first
