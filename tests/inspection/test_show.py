"""Looking at rows and documents: what is shown is what stands there, in every format, with and without colour."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import command
from pipeline.datasets import open_dataset, read_batches
from pipeline.documents import Document, Message, to_batch
from pipeline.inspection.bars import bars
from pipeline.inspection.show import main
from pipeline.inspection.show_tokens import CLOSE, OPEN
from pipeline.models import IGNORED, load_tokenizer
from pipeline.packing.reading import read_rows
from pipeline.stages import tokenize

Show = Callable[..., str]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Runs the command; gives what it prints."""

    def shown(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 0
        return capsys.readouterr().out

    return shown


@pytest.fixture(scope="session")
def in_formats(built: Path, tiny_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The clean documents of the built project as tokens in each format, one of them padded."""
    folder = tmp_path_factory.mktemp("formats")
    shutil.copytree(built / "data" / "clean", folder / "clean")
    for name, more in {"arrow": [], "jsonl": ["rows_per_shard=1", "pack=none"], "parquet": ["pack=none"]}.items():
        given = [
            str(folder / "clean"),
            str(folder / "tokens" / name),
            "--tokenizer",
            str(tiny_tokenizer),
            "--length",
            "256",
            "--workers",
            "1",
            "--quiet",
        ]
        assignments = [f"format={name}", "validation_share=0.3", "test_share=0", *more]
        assert tokenize.main([*given, *(part for one in assignments for part in ("--set", one))]) == 0
    return {name: folder / "tokens" / name for name in ("arrow", "jsonl", "parquet")}


@pytest.mark.parametrize("name", ["arrow", "jsonl", "parquet"])
def test_a_row_is_shown_as_it_stands(name: str, in_formats: dict[str, Path], tiny_tokenizer: Path, show: Show) -> None:
    """The runs of each piece are its decoded tokens, split where learning begins or ends; padding is a number."""
    dataset, info = open_dataset(in_formats[name]), load_tokenizer(str(tiny_tokenizer))
    rows = [row for path in dataset.files("train") for batch in read_rows(path) for row in batch.to_pylist()]
    for number, row in enumerate(rows):
        (answer,) = json.loads(show(dataset.folder, number, "--json"))
        start = 0
        for size, piece, shown in zip(row["sequence_lengths"], row["pieces"], answer["pieces"], strict=True):
            labels, ids = row["labels"][start : start + size], row["input_ids"][start : start + size]
            start += size
            if piece["id"] is None:
                assert shown == {"padding": size}
                continue
            assert shown["learned"] == sum(label != IGNORED for label in labels)
            assert (shown["id"], shown["start"], shown["end"]) == (piece["id"], piece["start"], piece["end"])
            assert shown["source"] in ("talk", "notes")
            assert "".join(text for _, text in shown["runs"]) == info.tokenizer.decode(ids, skip_special_tokens=False)
            assert "".join(text for learned, text in shown["runs"] if learned) in info.tokenizer.decode(
                [t for t in labels if t != IGNORED], skip_special_tokens=False
            )


def test_learned_text_stands_in_brackets_without_colour(in_formats: dict[str, Path], show: Show) -> None:
    """Where output is no terminal there are no escapes, control tokens are literal, and brackets mark what is learned."""
    page = show(in_formats["parquet"], 0)
    assert "\x1b" not in page
    assert page.count(OPEN) == page.count(CLOSE) > 1
    assert "<|end|>" in page
    assert "padding, " in page


def test_a_document_is_found_in_its_rows(in_formats: dict[str, Path], show: Show) -> None:
    """An id, or its beginning, finds every row that holds the document, in whichever split."""
    for folder in in_formats.values():
        for split in ("train", "validation"):
            for path in open_dataset(folder).files(split):
                for batch in read_rows(path, ["pieces"]):
                    for number, row in enumerate(batch.to_pylist()):
                        wanted = row["pieces"][0]["id"]
                        (answer,) = json.loads(show(folder, wanted[:16], "--json"))
                        assert answer["file"] == path.relative_to(folder).as_posix()
                        assert answer["row"] == number or len(batch) != open_dataset(folder).rows(split)


def test_shard_and_row(in_formats: dict[str, Path], show: Show) -> None:
    """SHARD:ROW names a shard by number, file or path; a number alone counts on over the shards."""
    folder = in_formats["jsonl"]
    shards = [shard for shard in open_dataset(folder).shards if shard.part == "train"]
    assert len(shards) > 1
    asked = ["1", "1:0", "part-00001:0", "part-00001.jsonl:0", f"{shards[1].path}:0"]
    assert len({show(folder, one) for one in asked}) == 1


def test_a_summary_has_the_figures_of_the_rows(in_formats: dict[str, Path], show: Show) -> None:
    """Tokens, padding and learned tokens are those that stand in the rows; the shares follow; lengths add up to the sequences."""
    for folder in in_formats.values():
        answer = json.loads(show(folder, "--json"))
        for split, figures in answer["splits"].items():
            rows = [row for path in open_dataset(folder).files(split) for batch in read_rows(path) for row in batch.to_pylist()]
            padding = sum(size for row in rows for size, piece in zip(row["sequence_lengths"], row["pieces"], strict=True) if piece["id"] is None)
            everything = sum(len(row["input_ids"]) for row in rows)
            assert figures["padding_share"] == pytest.approx(padding / everything, abs=1e-6)
            assert figures["learned_share"] == pytest.approx(
                sum(t != IGNORED for row in rows for t in row["labels"]) / (everything - padding), abs=1e-6
            )
            assert figures["utilisation"] == pytest.approx((everything - padding) / (len(rows) * 256), abs=1e-6)
            assert sum(answer["sequence_lengths"][split].values()) == figures["sequences"]
        assert "room used" in show(folder)


def test_documents_are_shown_whole(built: Path, show: Show) -> None:
    """A number, SHARD:ROW or an id shows a document with its text; a removed one is found by id and says why it went."""
    clean = open_dataset(built / "data" / "clean")
    rows = [row for path in clean.files() for batch in read_batches(path) for row in batch.to_pylist()]
    for number, row in enumerate(rows):
        text = row["text"] or row["messages"][-1]["content"]
        assert text in show(clean.folder, number)
        assert text in show(clean.folder, row["id"])
    removed = [row for path in clean.files("__removed") for batch in read_batches(path) for row in batch.to_pylist()]
    assert removed
    assert f"removed by {removed[0]['rule']}" in show(clean.folder, removed[0]["id"])


def test_a_summary_of_documents_adds_up(built: Path, show: Show) -> None:
    """Documents by source and in bins of length are all that there are."""
    clean = open_dataset(built / "data" / "clean")
    answer = json.loads(show(clean.folder, "--json"))
    assert sum(one["documents"] for one in answer["sources"].values()) == sum(answer["characters"].values()) == clean.rows() == answer["documents"]
    assert sum(answer["removed"].values()) == clean.rows("__removed")
    assert "talk" in show(clean.folder)


def test_a_terminal_is_not_obeyed(tmp_path: Path, show: Show) -> None:
    """What a text says to a terminal is spelled out; line ends stay."""
    from pipeline.commits import Build, ShardWriter
    from pipeline.documents import SCHEMA

    with Build(tmp_path / "clean", "k") as build:
        with ShardWriter(build.folder, "", "0", SCHEMA) as writer:
            writer.write(to_batch("s", [Document("d", messages=(Message("user", "a\x1b[31mred\nline"),))]))
        build.commit(writer.shards, {"stage": "filter", "counts": {}}, {})
    page = show(tmp_path / "clean", 0)
    assert "\x1b" not in page
    assert "a\\x1b[31mred\nline" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{tokens}", "999"], "is not there: train has"),
        (["{tokens}", "ffffzz"], "is no row and no document"),
        (["{tokens}", "9:0"], "is no shard"),
        (["{tokens}", "0:99"], "is not there"),
        (["{tokens}", "a:b"], "is neither a row nor an id"),
        (["{tokens}", ""], "is neither a row nor an id"),
        (["{tokens}", "0", "--split", "trian"], "did you mean 'train'?"),
        (["{tokens}", "0", "--tokenizer", "{other}"], "is not the tokenizer"),
        (["{clean}", "77"], "is not there"),
        (["{nothing}"], "is not there"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    said: str,
    in_formats: dict[str, Path],
    built: Path,
    tiny_tokenizer: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is not there is said in one line, with exit code 2."""
    other = tmp_path / "other"
    shutil.copytree(tiny_tokenizer, other)
    config: dict[str, Any] = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": "x"}))
    names = {"tokens": in_formats["jsonl"], "clean": built / "data" / "clean", "other": other, "nothing": tmp_path / "nothing"}
    assert command.run(main, [argument.format(**names) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_bars_show_empty_bins_between() -> None:
    """Each bin from the first to the last has a line; one that holds anything has a bar."""
    shown = bars({"4": 1, "16": 1000}, "tokens")
    assert [line.split()[0] for line in shown] == ["4-7", "8-15", "16-31"]
    assert [line.count("#") for line in shown] == [1, 0, 40]
    assert bars({}, "tokens") == []
