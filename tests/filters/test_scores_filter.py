"""Thresholds on scores."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import SettingsError
from pipeline.filters.scores import Scores
from pipeline.settings import Builder, parse_yaml
from tests.filters.conftest import plain

FIELDS = {"language": pa.string(), "mean_chars": pa.float32(), "words": pa.int64()}


def built(yaml: str) -> tuple[Scores | None, list[str]]:
    """The filter of a settings text, and the problems."""
    raw = parse_yaml(yaml, "test.yaml")
    builder = Builder(raw)
    return Scores.from_settings(builder, raw.values["scores"], ("scores",)), builder.problems


def batch(*rows: Mapping[str, Any]) -> pa.RecordBatch:
    """Documents with these scores."""
    documents = plain(*("x" * (n + 1) for n in range(len(rows))))
    struct = pa.StructArray.from_arrays(
        [pa.array([row.get(name) for row in rows], kind) for name, kind in FIELDS.items()], fields=list(pa.struct(FIELDS.items()))
    )
    return pa.RecordBatch.from_arrays([*documents.columns, struct], names=[*documents.schema.names, "scores"])


def test_thresholds_remove() -> None:
    """Below min, above max, not one of the names; what is equal or null stays."""
    rule, problems = built("scores: {mean_chars: {min: 3, max: 10}, language: {is: [en, de]}}")
    assert rule is not None and not problems
    rows = [{"mean_chars": 3}, {"mean_chars": 2.5}, {"mean_chars": 11}, {"language": "fr"}, {"language": "de"}, {"mean_chars": 1, "language": "fr"}]
    verdicts = rule.judge(batch(*rows)).to_pylist()
    assert [v["reason"] for v in verdicts] == [
        None, "mean_chars is below 3", "mean_chars is above 10", "language is fr, not en, de", None, "mean_chars is below 3",
    ]  # fmt: skip
    assert [v["rule_id"] for v in verdicts] == [None, "mean_chars", "mean_chars", "language", None, "mean_chars"]
    assert verdicts[1]["score"] == 2.5 and verdicts[3]["score"] is None


def test_a_limit_is_as_exact_as_its_column() -> None:
    """A share of .65 stored in 32 bits is not below .65."""
    rule, _ = built("scores: {mean_chars: {min: .65}, words: {max: 7}}")
    assert rule is not None and rule.judge(batch({"mean_chars": 0.65, "words": 7})).column("reason").to_pylist() == [None]
    assert rule.judge(batch({"words": 8})).column("reason").to_pylist() == ["words is above 7"]


@pytest.mark.parametrize(
    ("yaml", "problem"),
    [
        ("scores:", "names no score"),
        ("scores: {a: 3}", "expected {min"),
        ("scores: {a: {mim: 3}}", "did you mean 'min'"),
        ("scores: {a: {min: x}}", "expected a number"),
        ("scores: {a: {min: 3, max: 2}}", "would remove everything"),
    ],
)
def test_wrong_settings_are_told(yaml: str, problem: str) -> None:
    """Each mistake gives one line with its key."""
    rule, problems = built(yaml)
    assert rule is None and len(problems) == 1 and problem in problems[0] and "scores" in problems[0]


def test_unknown_columns_name_the_nearest() -> None:
    """At settings time as problems, at run time as an error; so for limits of the wrong kind."""
    rule, _ = built("scores: {meen_chars: {min: 3}, language: {max: 3}, words: {is: [a]}}")
    assert rule is not None
    assert rule.problems(FIELDS) == {
        "meen_chars": "no scorer of the section score gives this column; did you mean 'mean_chars'?",
        "language": "is a name; use is: [..]",
        "words": "is a number; use min and max",
    }
    with pytest.raises(SettingsError, match="did you mean 'mean_chars'"):
        rule.judge(batch({}))
    with pytest.raises(SettingsError, match="section score names no scorer"):
        rule.judge(plain("x"))


def test_it_travels_to_workers() -> None:
    """The filter can be pickled, and compares by its thresholds."""
    rule, _ = built("scores: {words: {min: 3}}")
    assert rule == pickle.loads(pickle.dumps(rule))
