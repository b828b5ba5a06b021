"""Signs of what is wrong with a document, from losses made up here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inspection.outliers import rank
from pipeline.training.document_losses import SCHEMA

Row = dict[str, Any]


def documents(number: int = 60, source: str = "talk", asked: bool = True, seed: int = 0) -> list[Row]:
    """Documents like each other."""
    chance = np.random.default_rng(seed)
    rows = []
    for n in range(number):
        tuned = float(chance.normal(2.5, 0.2))
        rows.append(
            {
                "id": f"{source}-{n:04d}",
                "split": "train",
                "source": source,
                "pieces": 1,
                "tokens": int(chance.integers(20, 200)),
                "base_loss": tuned + float(chance.normal(1.0, 0.1)),
                "tuned_loss": tuned,
                "accuracy": 0.5,
                "alone_loss": tuned * float(chance.normal(1.4, 0.03)) if asked else None,
            }
        )
    return rows


def ranked(rows: list[Row]) -> list[Any]:
    """The outliers of a table."""
    return rank(pa.Table.from_pylist(rows, SCHEMA))


SPOILED = {
    "gibberish": {"base_loss": 6.0, "tuned_loss": 5.5, "alone_loss": 7.7},
    "wrong answer": {"alone_loss": 2.5, "tuned_loss": 2.5, "base_loss": 3.5},
    "rose": {"base_loss": 2.4, "tuned_loss": 2.7, "alone_loss": 3.78},
    "by heart": {"base_loss": 1.02, "tuned_loss": 0.02, "alone_loss": 0.028},
}


@pytest.mark.parametrize("kind", SPOILED)
def test_each_kind_is_named(kind: str) -> None:
    """One document of a kind among many alike is the first, and its kind is said."""
    rows = documents()
    rows[17] |= SPOILED[kind]
    first, second, *_ = ranked(rows)
    assert (first.id, first.kind) == (rows[17]["id"], kind)
    assert first.score > 3 and first.score > second.score


def test_each_source_has_a_measure_of_its_own() -> None:
    """A source whose every document is hard has no suspects for that; an odd one among the easy ones is found all the same."""
    hard = [row | {"base_loss": row["base_loss"] + 5, "tuned_loss": row["tuned_loss"] + 5} for row in documents(40, "code", asked=False, seed=1)]
    easy = documents(40, "prose", asked=False)
    easy[5] |= {"base_loss": 6.0, "tuned_loss": 5.5}
    first, *rest = ranked([*hard, *easy])
    assert first.id == easy[5]["id"]
    assert all(one.score < first.score / 2 for one in rest)


def test_what_is_missing_is_no_sign() -> None:
    """Plain documents have no sign of a wrong answer; a model from scratch none that needs a base."""
    plain = ranked([row | {"base_loss": None} for row in documents(asked=False)])
    assert all(set(one.signs) <= {"gibberish", "by heart"} for one in plain) and any(one.signs for one in plain)
    assert ranked([]) == []
    (alone,) = ranked(documents(1))
    assert alone.score == 0.0


@given(st.permutations(range(12)), st.lists(st.floats(0.1, 8), min_size=12, max_size=12))
def test_the_order_of_the_rows_does_not_matter(order: list[int], losses: list[float]) -> None:
    """The same table in another order ranks the same; every document is ranked once."""
    rows = [row | {"tuned_loss": loss} for row, loss in zip(documents(12), losses, strict=True)]
    one, other = ranked(rows), ranked([rows[at] for at in order])
    assert one == other and {outlier.id for outlier in one} == {row["id"] for row in rows}
    assert [outlier.score for outlier in one] == sorted((outlier.score for outlier in one), reverse=True)
