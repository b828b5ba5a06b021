"""The way back to the data, in a small project trained with the tiny model: suspects with their text, the list of ids, and ablations."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.training.quiet import prepare_process

prepare_process()
pytest.importorskip("torch")

from pipeline.datasets import open_dataset, verify  # noqa: E402
from pipeline.errors import GristmillError, UsageError  # noqa: E402
from pipeline.inspection import ablate, suspects  # noqa: E402
from pipeline.settings import read_list  # noqa: E402
from pipeline.stages import extract, tokenize, train  # noqa: E402
from pipeline.stages import filter as filtering  # noqa: E402

RECIPE = """
base_model: {model}
adapter: lora
bf16: false
sequence_len: 128
max_steps: 2
learning_rate: 0.01
lora_r: 4
document_losses_max_rows: {rows}
"""
WORDS = [
    "flour",
    "water",
    "salt",
    "yeast",
    "dough",
    "oven",
    "crust",
    "bread",
    "tomato",
    "sun",
    "root",
    "stick",
    "column",
    "table",
    "row",
    "key",
    "name",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Path]:
    """A project in which everything was built; the current folder while these tests run."""
    folder = tmp_path_factory.mktemp("bench")
    before = Path.cwd()
    os.chdir(folder)
    (folder / "sources").mkdir()
    talk = [
        {"messages": [{"role": "user", "content": f"What of {a} and {b}?"}, {"role": "assistant", "content": f"The {b} comes after the {a} here."}]}
        for a, b in zip(WORDS, WORDS[7:] + WORDS[:7], strict=True)
    ]
    notes = [{"text": f"A note on {word}, which is kept in a cool and dry place."} for word in WORDS]
    refused = [{"text": "As an AI language model, I cannot help with that."}]
    for name, rows in (("talk", talk), ("notes", notes + refused)):
        (folder / "sources" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
        extract.main([f"sources/{name}.jsonl", f"data/raw/{name}", "--quiet", "--workers", "1"])
    filtering.main(["data/raw", "data/clean", "--quiet", "--workers", "1", "--set", "dedup.near=false"])
    (folder / "recipe.yaml").write_text(RECIPE.format(model=tiny_model, rows=2))
    shares = ["--set", "validation_share=0.2", "--set", "test_share=0"]
    tokenize.main(["data/clean", "data/tokens/tiny-128", "--recipe", "recipe.yaml", "--quiet", "--workers", "1", *shares])
    train.main(["data/tokens/tiny-128", "data/runs/tiny", "--recipe", "recipe.yaml", "--quiet"])
    yield folder
    os.chdir(before)


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What ``suspects --json`` says."""
    capsys.readouterr()
    assert suspects.main(["data/runs/tiny", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_suspects_come_with_their_text(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The strongest first, of the rows measured after training, each with its document out of the clean dataset; --source and --top choose."""
    found = asked(capsys)
    assert not found["all_rows"] and 0 < found["documents"] < len(WORDS) * 2
    scores = [one["score"] for one in found["suspects"]]
    assert scores == sorted(scores, reverse=True)
    assert all(one["document"]["id"] == one["id"] and one["document"]["source"] == one["source"] for one in found["suspects"])
    few = asked(capsys, "--source", "notes", "--top", "1")["suspects"]
    assert [one["source"] for one in few] == ["notes"]
    with pytest.raises(UsageError, match="did you mean 'notes'"):
        suspects.main(["data/runs/tiny", "--source", "note"])


def test_complete_measures_all_rows(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --complete every document of the training and validation rows is there; the run stays as it was, and both can be verified."""
    first = asked(capsys)
    found = asked(capsys, "--complete")
    assert found["all_rows"] and found["documents"] == open_dataset(project / "data" / "clean").rows() > first["documents"]
    for folder in ("tiny", "tiny.documents"):
        assert not verify(open_dataset(project / "data" / "runs" / folder))
    (path,) = open_dataset(project / "data" / "runs" / "tiny.documents").files()
    before = path.read_bytes()
    few = {row["id"]: row for row in pq.read_table(project / "data" / "runs" / "tiny" / "documents.parquet").to_pylist()}
    for row in pq.read_table(path).to_pylist():
        if row["id"] in few and row["pieces"] == few[row["id"]]["pieces"]:
            assert row["tuned_loss"] == pytest.approx(few[row["id"]]["tuned_loss"], abs=1e-3)
    assert asked(capsys, "--complete") == found and path.read_bytes() == before
    assert suspects.main(["data/runs/tiny", "--top", "2"]) == 0
    assert "of all rows" in capsys.readouterr().out


def test_drop_fills_the_filters_list(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A number takes the first of those shown, an id that one; nothing stands there twice, and the filter stage then removes them."""
    listed = project / "filters" / "drop.txt"
    listed.unlink(missing_ok=True)
    found = asked(capsys, "--drop", "2")
    ids = [one["id"] for one in found["suspects"]]
    assert found["dropped"] == 2 and read_list(listed) == tuple(ids[:2])
    assert asked(capsys, "--drop", "1", ids[4][:12])["dropped"] == 1 and read_list(listed) == (*ids[:2], ids[4])
    with pytest.raises(UsageError, match="is none of the documents shown"):
        suspects.main(["data/runs/tiny", "--drop", "ffffffffffff"])
    filtering.main(["data/raw", "data/again", "--quiet", "--workers", "1", "--set", "dedup.near=false"])
    removed = [row for path in open_dataset(project / "data" / "again").files("__removed") for row in pq.read_table(path).to_pylist()]
    assert {row["id"] for row in removed if row["rule"] == "drop"} == {*ids[:2], ids[4]}
    listed.unlink()


def test_the_text_is_looked_for_where_it_is_said(project: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """--clean names the documents; where there are none the figures are shown alone; what is no run is refused in one line."""
    (project / "data" / "clean").rename(tmp_path / "elsewhere")
    try:
        assert {one["document"] for one in asked(capsys)["suspects"]} == {None}
        assert all(one["document"] for one in asked(capsys, "--clean", str(tmp_path / "elsewhere"))["suspects"])
    finally:
        (tmp_path / "elsewhere").rename(project / "data" / "clean")
    with pytest.raises(GristmillError, match="is not a training run"):
        suspects.main(["data/clean"])
    (project / "data" / "tokens").rename(tmp_path / "tokens")
    try:
        with pytest.raises(UsageError, match="with --tokens"):
            suspects.main(["data/runs/tiny", "--complete"])
        with pytest.raises(UsageError, match="does not hold the rows"):
            suspects.main(["data/runs/tiny", "--complete", "--tokens", "data/clean"])
    finally:
        (tmp_path / "tokens").rename(project / "data" / "tokens")


@pytest.mark.parametrize(("without", "named"), [("refusals", "the rule remove.refusals"), ("notes", "the source notes")])
def test_ablations_compare_on_the_same_rows(project: Path, capsys: pytest.CaptureFixture[str], without: str, named: str) -> None:
    """Both arms train as many steps with each seed and are validated on the same rows; one arm lacks the rule or the source; nothing is done twice."""
    call = ["--without", without, "--recipe", "recipe.yaml", "--seeds", "2", "--json"]
    capsys.readouterr()
    assert ablate.main(call) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["without"] == named and named in found["sentence"]
    assert set(found["losses"]["with"]) == set(found["losses"]["without"]) == {"42", "43"}
    work = project / "data" / "ablations" / without
    assert json.loads((work / "ablation.json").read_text()) == found
    with_it, without_it = (open_dataset(work / "tokens" / name) for name in ("with", "without-validated"))
    same = [[shard.sha256 for shard in rows.shards if shard.part == "validation"] for rows in (with_it, without_it)]
    assert same[0] == same[1] != []
    assert with_it.digest != without_it.digest
    if without == "notes":
        pieces = [piece for path in without_it.files("train") for piece in _pieces(path)]
        assert pieces and set(pieces) <= _ids(project, "talk")
    else:
        assert open_dataset(work / "clean" / "without").rows() == open_dataset(work / "clean" / "with").rows() + 1
    times = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file() and path.name != "ablation.json"}
    assert ablate.main(call) == 0 and json.loads(capsys.readouterr().out) == found
    assert times == {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file() and path.name != "ablation.json"}


def test_what_is_neither_rule_nor_source_is_refused(project: Path) -> None:
    """The nearest name is told, before anything is built."""
    with pytest.raises(UsageError, match="neither a rule that is switched on nor a source; did you mean 'refusals'"):
        ablate.main(["--without", "refusal"])


def _pieces(path: Path) -> list[str]:
    from pipeline.packing.reading import read_rows

    return [piece["id"] for batch in read_rows(path) for row in batch.column("pieces").to_pylist() for piece in row]


def _ids(project: Path, source: str) -> set[str]:
    return {
        row["id"] for path in open_dataset(project / "data" / "clean").files() for row in pq.read_table(path).to_pylist() if row["source"] == source
    }
