"""Losses of a tiny model as scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.commits import Build, ShardWriter
from pipeline.datasets import Dataset, open_dataset, verify
from pipeline.documents import Document, Message, to_batch
from pipeline.errors import SettingsError
from pipeline.progress import Progress
from pipeline.settings import parse_yaml
from pipeline.stages import perplexity
from pipeline.stages.perplexity import FIELDS, PerplexitySettings

from .conftest import CHECKOUT

torch = pytest.importorskip("torch")

DOCUMENTS = [
    Document(locator="a", text="Mix flour with water and salt."),
    Document(locator="b", messages=(Message("user", "What do tomatoes want?"), Message("assistant", "Sun and water."))),
    Document(locator="c", text="Bake it until the crust is dark. " * 9),
    Document(locator="d", messages=(Message("user", "And?"),)),
]


@pytest.fixture
def source(tmp_path: Path) -> Dataset:
    """A committed dataset of two shards."""
    with Build(tmp_path / "clean", "key") as build:
        shards = []
        for number in range(2):
            with ShardWriter(build.folder, "", f"{number}", to_batch("x", []).schema) as writer:
                writer.write(to_batch("mine", DOCUMENTS[2 * number : 2 * number + 2]))
            shards += writer.shards
        return build.commit(shards, {"stage": "filter", "settings": {}, "inputs": [], "counts": {}}, {})


def run(settings: PerplexitySettings, source: Dataset, output: Path) -> list[dict[str, object]]:
    """The scores of the documents in their order."""
    with Progress("perplexity", True) as progress:
        dataset = perplexity.score(settings, source, output, progress)
    assert not verify(dataset)
    table = pq.read_table([str(path) for path in dataset.files()])
    assert {one.name: one.type for one in table.schema.field("scores").type} == FIELDS
    return [row["scores"] for row in table.to_pylist()]


def test_losses_are_the_models_own(source: Dataset, tiny_model: Path, tmp_path: Path) -> None:
    """The loss of a plain document is transformers' own; a conversation's IFD is the ratio of its two; what has no answer has null."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    scores = run(PerplexitySettings(model=str(tiny_model), max_tokens=64), source, tmp_path / "out")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32), AutoTokenizer.from_pretrained(tiny_model)
    end = tokenizer.eos_token_id
    ids = torch.tensor([[*tokenizer(DOCUMENTS[0].text, add_special_tokens=False)["input_ids"], end]])
    with torch.no_grad():
        expected = model(input_ids=ids, labels=ids).loss.item()
    assert scores[0]["perplexity_loss"] == pytest.approx(expected, rel=0.02) and scores[0]["ifd"] is None
    assert scores[1]["ifd"] == pytest.approx(scores[1]["ifd_loss_given_prompt"] / scores[1]["ifd_loss_alone"], rel=0.01)  # type: ignore[operator]
    assert scores[1]["perplexity_loss"] is None and scores[3] == dict.fromkeys(FIELDS)
    assert scores[0]["perplexity_tokens"] == ids.shape[1] - 1


def test_cuts_are_counted_and_nothing_is_lost(source: Dataset, tiny_model: Path, tmp_path: Path) -> None:
    """A document longer than max_tokens is cut for the score only; the manifest says how many."""
    run(PerplexitySettings(model=str(tiny_model), max_tokens=64), source, tmp_path / "out")
    made = open_dataset(tmp_path / "out")
    assert made.manifest["scores"]["cut"] == 1 and made.manifest["scores"]["nothing_to_score"] == 1 and made.manifest["scores"]["scored"] == 3
    assert made.manifest["counts"]["mine"]["kept"] == made.manifest["counts"]["mine"]["read"] == 4
    texts = pq.read_table(made.folder).column("text").to_pylist()
    assert texts[2] == DOCUMENTS[2].text


def test_batches_do_not_decide(source: Dataset, tiny_model: Path, tmp_path: Path) -> None:
    """Documents score alike alone and together, but for rounding; the same settings give the same bytes."""
    one = run(PerplexitySettings(model=str(tiny_model), max_tokens=64, batch_tokens=16), source, tmp_path / "one")
    many = run(PerplexitySettings(model=str(tiny_model), max_tokens=64, batch_tokens=4096), source, tmp_path / "many")
    again = run(PerplexitySettings(model=str(tiny_model), max_tokens=64, batch_tokens=4096), source, tmp_path / "again")
    for a, b in zip(one, many, strict=True):
        assert {k: a[k] is None for k in a} == {k: b[k] is None for k in b}
        assert np.allclose([v for v in a.values() if v is not None], [v for v in b.values() if v is not None], rtol=0.02)
    assert many == again and open_dataset(tmp_path / "many").digest == open_dataset(tmp_path / "again").digest


def test_a_sample_is_chosen_by_ids(source: Dataset, tiny_model: Path, tmp_path: Path) -> None:
    """With max_documents the others stay, without scores; scores that were there stay too."""
    scores = run(PerplexitySettings(model=str(tiny_model), max_tokens=64, max_documents=2), source, tmp_path / "out")
    counts = open_dataset(tmp_path / "out").manifest["scores"]
    assert len(scores) == 4 and counts["not_chosen"] + counts["scored"] + counts["nothing_to_score"] == 4 and counts["not_chosen"] > 0
    again = run(PerplexitySettings(model=str(tiny_model), max_tokens=64), open_dataset(tmp_path / "out"), tmp_path / "again")
    assert sum(row["perplexity_tokens"] is not None for row in again) == 3


def test_a_killed_run_goes_on(source: Dataset, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards that were finished are not scored again; the result is that of one run."""
    settings = PerplexitySettings(model=str(tiny_model), max_tokens=64)
    whole = run(settings, source, tmp_path / "whole")
    scored, real = [], perplexity.score_shard

    def dies(folder: Path, name: str, task: perplexity.Scoring) -> object:
        scored.append(name)
        if len(scored) == 2:
            raise RuntimeError
        return real(folder, name, task)

    monkeypatch.setattr(perplexity, "score_shard", dies)
    with pytest.raises(RuntimeError):
        run(settings, source, tmp_path / "out")
    assert run(settings, source, tmp_path / "out") == whole and scored == ["00000", "00001", "00001"]


def test_the_settings_that_come_along_are_the_defaults() -> None:
    """``stages/perplexity.yaml`` names every setting at its default; a wrong one is told."""
    path = CHECKOUT / "stages" / "perplexity.yaml"
    assert perplexity.read_settings(path) == PerplexitySettings()
    assert set(parse_yaml(path.read_text(), "x").values) == set(PerplexitySettings.__dataclass_fields__)
    with pytest.raises(SettingsError, match="max_tokens"):
        perplexity.read_settings(path, ["max_tokens=1"])
