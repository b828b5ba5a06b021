"""The benchmark of packing measures different texts, accounts for every row and needs no peer."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pipeline.benchmarks import packing
from pipeline.benchmarks.corpus import Corpus
from pipeline.benchmarks.costs import Cost
from pipeline.benchmarks.table import Setup
from pipeline.benchmarks.variation import grown
from pipeline.models import EMBEDDED_PACKAGE

TEXTS = tuple(
    f"The {word} of number {n} was read aloud, and then the others were read." for n, word in enumerate(("house", "river", "stone", "light"))
)


def test_copies_are_new_texts_of_the_same_words() -> None:
    """Every copy differs from every other; words keep their length, and the frequent ones are those of the corpus."""
    corpus = grown(Corpus(TEXTS, "here"), 5 * sum(map(len, TEXTS)))
    assert len(set(corpus.texts)) == len(corpus.texts) >= 5 * len(TEXTS) - 1
    assert corpus.texts[: len(TEXTS)] == TEXTS
    for copy, text in zip(corpus.texts[4:8], TEXTS, strict=True):
        assert [len(word) for word in copy.split()[:-1]] == [len(word) for word in text.split()]
    assert "times over" in corpus.about
    assert grown(Corpus(TEXTS, "here"), 1) == Corpus(TEXTS, "here")
    with pytest.raises(ValueError, match="does not grow"):
        grown(Corpus((), "nowhere"), 1)


def test_planning_is_measured_for_each_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each strategy has a row for drawn lengths and one for those given; only wrapped cuts sequences, and it alone always fills the rows."""
    monkeypatch.setattr(packing, "lognormal_lengths", lambda: np.array([1500, 600, 500, 900], np.int32))
    table = packing._planning_table(np.array([1000, 1000, 1100], np.int32))
    cells = {row[0].partition(",")[0]: row for row in table.rows}
    assert list(cells) == list(packing.STRATEGIES) and len(table.rows) == 6
    assert cells["best_fit"][5] == "0" and cells["wrapped"][5] == "1"
    assert cells["wrapped"][3] == cells["wrapped"][4]


def test_costs_are_compared_with_and_without_the_start() -> None:
    """The factor of the whole and that of the work stand beside each other."""
    table = packing._costs_table([("ours", Cost(3.0, 3.0, 100.0), 1.0), ("peer", Cost(14.0, 15.0, 200.0), 4.0)], 6.0)
    assert table.rows[1][5:7] == ["4.7", "5.0"] and table.rows[0][4] == "2.00"


def test_lengths_are_the_same_every_time() -> None:
    """The drawn lengths fit into a row and do not change from run to run."""
    lengths = packing.lognormal_lengths(1000)
    assert lengths.tolist() == packing.lognormal_lengths(1000).tolist()
    assert lengths.min() >= 2 and lengths.max() == packing.LENGTH


@pytest.mark.skipif(importlib.util.find_spec(EMBEDDED_PACKAGE) is None, reason="the embedded model is not installed")
def test_the_benchmark_runs_without_a_peer(tmp_path: Path) -> None:
    """The stage, encoding and planning are measured on any corpus."""
    pytest.importorskip("gguf")
    result = packing.measure(Setup(Corpus(TEXTS * 20, "here"), tmp_path, 1, False, tmp_path / "environments"))
    assert [len(table.rows) for table in result.tables] == [1, 1, 6]
    assert all(len(row) == len(table.head) for table in result.tables for row in table.rows)
