"""The benchmark of training counts what was trained on, and takes the start away from what is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from pipeline.benchmarks import training
from pipeline.benchmarks.costs import Cost
from pipeline.datasets import open_dataset
from pipeline.stages import extract, tokenize


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Path:
    """Packed and padded rows of a few conversations, and the first three of each to train on."""
    root = tmp_path_factory.mktemp("rows")
    (root / "in").mkdir()
    turns = [
        f'{{"messages": [{{"role": "user", "content": "Question {n}?"}}, {{"role": "assistant", "content": "Answer {n}."}}]}}' for n in range(40)
    ]
    (root / "in" / "a.jsonl").write_text("\n".join(turns) + "\n")
    assert extract.main([str(root / "in"), str(root / "raw"), "--quiet"]) == 0
    for name, pack in (("packed", "best_fit"), ("padded", "none")):
        how = [
            "--tokenizer",
            str(tiny_tokenizer),
            "--length",
            "128",
            "--workers",
            "1",
            "--quiet",
            "--set",
            f"pack={pack}",
            "--set",
            "validation_share=0.2",
        ]
        assert tokenize.main([str(root / "raw"), str(root / name), *how]) == 0
        training._first_rows(root / name, root / f"{name}-rows", 3)
    return root


def test_the_first_rows_are_a_set_without_validation(rows: Path) -> None:
    """It names the same tokenizer and length, and holds the first rows as they are."""
    whole, first = open_dataset(rows / "packed"), open_dataset(rows / "packed-rows")
    assert first.rows("train") == 3 and first.rows("validation") == 0 < whole.rows("validation")
    assert all(first.manifest[name] == whole.manifest[name] for name in ("tokenizer", "sequence_len"))
    assert first.digest != whole.digest


def test_filling_is_not_counted_as_text(rows: Path) -> None:
    """A padded row is full of filling; a packed one holds several times the supervised tokens."""
    filled, real, learned = training._counts(rows / "packed-rows")
    assert learned < real <= filled <= 3 * 128
    padded = training._counts(rows / "padded-rows")
    assert padded[0] == 3 * 128 and padded[1] < padded[0] / 2
    assert learned > 2 * padded[2]


def test_work_is_that_of_the_steps_alone() -> None:
    """The start is taken away, and the step that the start's run made is put back."""
    assert training._work(Cost(10.0 + training.STEPS * 2.0, 0.0, 0.0), Cost(12.0, 0.0, 0.0)) == pytest.approx(training.STEPS * 2.0)


def test_a_tool_has_a_line_beside_the_untrained_model(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates come from the work, losses from all seeds."""
    monkeypatch.setattr(training, "_loss", lambda folder, adapter: 2.5)
    one = training._Trained("ours", Cost(10.0 + 2.0 * training.STEPS, 25.0, 900.0), Cost(12.0, 9.0, 800.0), (2.25, 2.35))
    table = training._tools_table(rows, {"lora": [one]})
    tokens = training._counts(rows / "packed-rows")[0]
    assert float(table.rows[0][2].replace(",", "")) == pytest.approx(tokens / (2.0 * training.STEPS), abs=0.1)
    assert table.rows[0][5:] == ["900", "2.3000 (seeds: 0.1000 apart)"] and table.rows[1][-1] == "2.5000"
