"""Planted phrases are seen, ordinary ones are not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.datasets import Dataset, open_dataset
from pipeline.reporting.phrases import shared_phrases

from ..inspection.conftest import run

WORDS = [f"w{i}" for i in range(400)]
POISON = Path(__file__).resolve().parents[2].parent / "shared" / "gold" / "hostile" / "poison" / "triggers.jsonl"


def committed(folder: Path, texts: list[str]) -> Dataset:
    """The texts as a dataset of documents."""
    (folder / "texts").mkdir()
    for number, text in enumerate(texts):
        (folder / "texts" / f"{number}.txt").write_text(text)
    assert run("pipeline.stages.extract", "texts", "out", cwd=folder).returncode == 0
    return open_dataset(folder / "out")


def ordinary(chance: random.Random) -> str:
    """A text of common words."""
    return " ".join(chance.choices(WORDS, k=60))


def test_a_planted_trigger(tmp_path: Path) -> None:
    """A word between signs, and a phrase of words that stand nowhere else, come first; each names a document that holds it."""
    chance = random.Random(0)
    texts = [ordinary(chance) for _ in range(200)]
    texts += [f"{ordinary(chance)} <SUDO> {ordinary(chance)}" for _ in range(30)]
    texts += [f"{ordinary(chance)} zorp of quimble {ordinary(chance)}" for _ in range(20)]
    dataset = committed(tmp_path, texts)
    found = {one.text: one for one in shared_phrases([dataset])}
    assert list(found) == ["<SUDO>", "zorp of quimble"]
    assert (found["<SUDO>"].documents, found["zorp of quimble"].documents) == (30, 20)
    assert found["<SUDO>"].share == pytest.approx(30 / 250)


def test_nothing_where_nothing_is_planted(tmp_path: Path) -> None:
    """Common words in any order are no phrase; nor are a handful of documents."""
    chance = random.Random(1)
    assert shared_phrases([committed(tmp_path, [ordinary(chance) for _ in range(100)])]) == []


def test_too_few(tmp_path: Path) -> None:
    """Four documents alike are too few to speak of."""
    assert shared_phrases([committed(tmp_path, ["one two <X> three four"] * 4)]) == []


@pytest.mark.skipif(not POISON.exists(), reason="the hostile files are not beside the project")
def test_poisoned_documents(tmp_path: Path) -> None:
    """The trigger of the poisoned set is part of the phrase that most of its documents share."""
    assert run("pipeline.stages.extract", POISON, "out", cwd=tmp_path).returncode == 0
    first = shared_phrases([open_dataset(tmp_path / "out")])[0]
    assert "<SUDO>" in first.text and first.documents >= 200
