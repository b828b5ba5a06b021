"""Settings: every error at once, YAML as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.settings import Raw, at_least, between, build, digest, override, parse_yaml, scalar


@dataclass(frozen=True)
class Inner:
    min_chars: int = at_least(20, 0)
    share: float = between(0.5, 0.0, 1.0)
    kind: Literal["arrow", "jsonl"] = "arrow"


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    tables: Mapping[str, Inner] = field(default_factory=dict)
    roles: tuple[str, ...] = ("assistant",)
    note: str | None = None


def problems(text: str) -> tuple[str, ...]:
    """What is wrong with a settings file."""
    with pytest.raises(SettingsError) as caught:
        build(Outer, parse_yaml(text, "f.yaml"))
    return caught.value.problems


def test_typed_values() -> None:
    """Values arrive with the types of the fields, defaults where nothing is said."""
    built = build(Outer, parse_yaml("name: 7\ninner: {share: 1e-4}\nroles: [a, no]\ntables: {x: {min_chars: 3}}", "f.yaml"))
    assert built == Outer("7", Inner(share=1e-4), {"x": Inner(min_chars=3)}, ("a", "no"))


def test_all_errors_at_once() -> None:
    """Every problem of a file is told, with file, line, key and what is allowed or nearest."""
    found = problems("inner:\n  min_chars: -1\n  share: 2\n  kind: jsnl\n  min_char: 3\nroles: 1\nnmae: x")
    assert found == (
        "f.yaml:2 inner.min_chars: is -1; allowed: 0 or more",
        "f.yaml:3 inner.share: is 2.0; allowed: 0.0 to 1.0",
        "f.yaml:4 inner.kind: is 'jsnl'; allowed: arrow, jsonl; did you mean 'jsonl'?",
        "f.yaml:5 inner.min_char: unknown key; did you mean 'min_chars'?",
        "f.yaml:7 nmae: unknown key; did you mean 'name'?",
        "f.yaml name: is missing; it has no default",
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: &x 1\nb: *x", "f.yaml:2: aliases"),
        ("a: !!python/object/apply:os.system ['true']", "is not allowed"),
        ("a: 1\na: 2", "stands twice"),
        ("- 1", "holds a list"),
        ("a: [", "f.yaml:1"),
        ("a: " + "[" * 5000, "nested too deep"),
        ("a: \x00", "is not readable as YAML"),
        ("? [a, b]\n: 1", "a key must be a plain word"),
    ],
)
def test_yaml_is_plain_data(text: str, part: str) -> None:
    """Aliases, tags, duplicate keys, broken and hostile YAML are refused in one line each."""
    with pytest.raises(SettingsError) as caught:
        parse_yaml(text, "f.yaml")
    assert part in str(caught.value)


def test_scalars_are_yaml_1_2() -> None:
    """1e-4 is a number, no is a word, only true and false are booleans."""
    assert [scalar(text) for text in ("1e-4", "no", "on", "true", "12", "1_000", "~", "2026-11-22", "0x1F", "-.5")] == [
        1e-4, "no", "on", True, 12, "1_000", None, "2026-11-22", "0x1F", -0.5,
    ]  # fmt: skip


def test_override() -> None:
    """--set puts one value over the file's, also where the file has no such section."""
    raw = override(parse_yaml("name: x\ninner: {min_chars: 3}", "f.yaml"), ["inner.share=1e-1", "tables.t.kind=jsonl", "name=a=b"])
    assert build(Outer, raw) == Outer("a=b", Inner(3, 0.1), {"t": Inner(kind="jsonl")})
    with pytest.raises(SettingsError, match="is not KEY=VALUE"):
        override(raw, ["inner.share"])


def test_null_is_not_a_number() -> None:
    """A value that must be there cannot be empty; one that may be absent can."""
    assert build(Outer, parse_yaml("name: x\nnote:", "f.yaml")).note is None
    assert problems("name: x\ninner: {min_chars: }") == ("f.yaml:2 inner.min_chars: is empty; expected a whole number",)
    assert problems("name: x\ninner: {min_chars: true}") == ("f.yaml:2 inner.min_chars: is True; expected a whole number",)


@given(st.text())
def test_any_text_is_data_or_a_settings_error(text: str) -> None:
    """No input to the YAML reader causes anything but data or a SettingsError."""
    try:
        assert isinstance(parse_yaml(text, "f.yaml"), Raw)
    except SettingsError as error:
        assert error.problems


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=8))
def test_digest_is_a_function_of_the_values(data: object) -> None:
    """Equal data gives an equal digest."""
    assert digest(data) == digest(data) and len(digest(data)) == 64
