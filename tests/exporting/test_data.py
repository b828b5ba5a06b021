"""Exports: every document is written or named, every mask is as it was, and the tools' own words are used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import command
from pipeline.datasets import open_dataset, read_batches, verify
from pipeline.documents import Document, Message, record_id
from pipeline.errors import UsageError
from pipeline.exporting import command as exporting
from pipeline.exporting.data import LEFT_OUT, TARGETS, main
from pipeline.packing.reading import read_rows
from pipeline.packing.split import SPLITS
from tests.exporting.conftest import MIXED, Write, assistant, lines, user, write_documents

TEXT_TARGETS = sorted(TARGETS)


def export(dataset: Path, out: Path, to: str, *more: object) -> dict[str, Any]:
    """Run the command; gives the counts of its manifest."""
    assert main([str(dataset), str(out), "--to", to, "--quiet", *map(str, more)]) == 0
    counts: dict[str, Any] = open_dataset(out).manifest["counts"]
    return counts


def learned_in(to: str, line: dict[str, Any]) -> list[str]:
    """The contents that a tool learns of a line, read as its documentation says."""
    if "text" in line:
        return [line["text"]]
    if to == "axolotl":
        return [message["content"] for message in line["messages"] if message["train"]]
    if to == "trl":
        return [message["content"] for message in line["completion"]]
    return [line["conversations"][-1]["value"]]  # mask_history


@pytest.mark.parametrize("to", TEXT_TARGETS)
def test_each_document_is_written_or_named(to: str, clean: Path, tmp_path: Path) -> None:
    """What is read is written or stands in __left_out.jsonl with a reason, and the export verifies."""
    counts = export(clean, tmp_path / "out", to)
    named = lines(tmp_path / "out" / LEFT_OUT)
    assert counts["read"] == len(MIXED) == counts["written"] + counts["left_out"]
    assert {item["id"] for item in named if item["message"] is None} >= {record_id("talk", "mute"), record_id("talk", "broken")}
    assert sum(item["message"] is None for item in named) == counts["left_out"]
    assert all(item["reason"] for item in named)
    assert verify(open_dataset(tmp_path / "out")) == []


def test_axolotl_carries_every_mask(clean: Path, tmp_path: Path) -> None:
    """Each message says whether it is learned, and keeps its other fields."""
    export(clean, tmp_path / "out", "axolotl")
    found = lines(tmp_path / "out" / "data" / "train.conversations.jsonl")
    assert [[message["train"] for message in line["messages"]] for line in found] == [
        [False, False, True],
        [False, True, False, True],
        [False, False, False, True],
        [True, False, True],
        [False, True, False, True],
    ]
    assert found[-1]["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"city": "Lund"}


def test_trl_gets_a_line_a_learned_turn(clean: Path, tmp_path: Path) -> None:
    """All before a learned turn is its prompt; a turn that opens a conversation is named, since it has none."""
    counts = export(clean, tmp_path / "out", "trl")
    found = lines(tmp_path / "out" / "data" / "train.conversations.jsonl")
    said = [(len(line["prompt"]), line["completion"][0]["content"]) for line in found]
    assert said == [(2, "An oak."), (1, "An oak."), (3, "It bears acorns."), (3, "It has cones."), (2, "Peel carrots."), (1, ""), (3, "It rains.")]
    assert sum(counts["not_carried"].values()) == 1
    assert [item["message"] for item in lines(tmp_path / "out" / LEFT_OUT) if item["id"] == record_id("talk", "opens")] == [0]


def test_trl_messages_hold_only_whole_masks(clean: Path, tmp_path: Path) -> None:
    """With --messages a conversation is one line, and one whose masks are finer is left out by name."""
    export(clean, tmp_path / "out", "trl", "--messages")
    assert [len(line["messages"]) for line in lines(tmp_path / "out" / "data" / "train.conversations.jsonl")] == [3, 4, 3, 4]
    assert record_id("talk", "last") in {item["id"] for item in lines(tmp_path / "out" / LEFT_OUT)}
    assert yaml.safe_load((tmp_path / "out" / "sft.conversations.yaml").read_text())["assistant_only_loss"] is True


def test_llamafactory_gets_turns_that_alternate(clean: Path, tmp_path: Path) -> None:
    """Question and answer alternate, tool calls are JSON, and mask_history is set as soon as one mask is finer than a role."""
    export(clean, tmp_path / "out", "llamafactory")
    found = lines(tmp_path / "out" / "data" / "train.conversations.jsonl")
    for line in found:
        turns = [turn["from"] for turn in line["conversations"] if turn["from"] != "system"]
        assert all(name in (("human", "observation"), ("gpt", "function_call"))[n % 2] for n, name in enumerate(turns))
        assert len(turns) % 2 == 0
    calls = [turn["value"] for line in found for turn in line["conversations"] if turn["from"] == "function_call"]
    assert json.loads(calls[0]) == [{"name": "weather", "arguments": {"city": "Lund"}}]
    assert yaml.safe_load((tmp_path / "out" / "sft.yaml").read_text())["mask_history"] is True
    info = json.loads((tmp_path / "out" / "data" / "dataset_info.json").read_text())
    assert all((tmp_path / "out" / "data" / entry["file_name"]).is_file() for entry in info.values())


def test_llamafactory_keeps_conversations_whole_when_roles_say_it_all(tmp_path: Path) -> None:
    """Where exactly the assistant's turns are learned, a conversation is one line and history is learned too."""
    clean = write_documents(tmp_path / "clean", [MIXED[1], MIXED[2]])
    counts = export(clean, tmp_path / "out", "llamafactory")
    assert counts["lines"] == {"train.conversations.jsonl": 2}
    assert "mask_history" not in yaml.safe_load((tmp_path / "out" / "sft.yaml").read_text())


turns = st.lists(st.tuples(st.sampled_from(["user", "assistant", "system", "tool"]), st.sampled_from([None, True, False])), min_size=1, max_size=6)


@settings(max_examples=15)  # each example writes three exports
@given(st.lists(turns, min_size=1, max_size=4))
def test_masks_survive_any_conversation(tmp_path_factory: pytest.TempPathFactory, conversations: list[list[tuple[str, bool | None]]]) -> None:
    """What a tool learns of a document, with what is named as not carried, is what was to be learned, nothing more and nothing twice."""
    folder = tmp_path_factory.mktemp("any")
    documents = [
        Document(f"d{n}", messages=tuple(Message(role, f"{n}:{k}", train) for k, (role, train) in enumerate(conversation)))
        for n, conversation in enumerate(conversations)
    ]
    documents.append(Document("sure", messages=(user("a"), assistant("never learned by all", True), user("b"), assistant("c", False))))
    clean = write_documents(folder / "clean", documents)
    for to in TEXT_TARGETS:
        export(clean, folder / to, to)
        found = sorted(text for line in lines(folder / to / "data" / "train.conversations.jsonl") for text in learned_in(to, line))
        named = lines(folder / to / LEFT_OUT)
        gone = {item["locator"] for item in named if item["message"] is None}
        lost = {(item["locator"], item["message"]) for item in named}
        wanted = sorted(
            message.content
            for document in documents
            for k, message in enumerate(document.messages or ())
            if document.locator not in gone and (document.locator, k) not in lost
            if (message.role == "assistant" if message.train is None else message.train)
        )
        assert found == wanted


@pytest.mark.parametrize("to", TEXT_TARGETS)
def test_lines_load_with_datasets(to: str, clean: Path, tmp_path: Path) -> None:
    """datasets.load_dataset finds every line of every kind by the card beside them."""
    datasets = pytest.importorskip("datasets")
    export(clean, tmp_path / "out", to)
    for kind in ("conversations", "text"):
        loaded = datasets.load_dataset(str(tmp_path / "out" / "data"), kind, cache_dir=str(tmp_path / "cache"))
        assert list(loaded) == ["train"]
        assert len(loaded["train"]) == len(lines(tmp_path / "out" / "data" / f"train.{kind}.jsonl"))


@pytest.mark.parametrize("to", [*TEXT_TARGETS, "hf-dataset"])
def test_the_split_is_that_of_the_tokens(to: str, tokenized: Write, tmp_path: Path) -> None:
    """With --splits-from each document is in the split whose rows hold it."""
    pytest.importorskip("datasets")
    tokens = open_dataset(tokenized("validation_share=0.2", "test_share=0.2"))
    counts = export(tmp_path / "clean", tmp_path / "out", to, "--splits-from", tokens.folder)
    for split in SPLITS:
        held = {name for path in tokens.files(split) for batch in read_rows(path, ["pieces"]) for row in batch.to_pylist() for name in ids(row)}
        assert held
        assert counts["lines"][split if to == "hf-dataset" else f"{split}.conversations.jsonl"] == len(held)


def ids(row: dict[str, Any]) -> list[str]:
    """The documents of a packed row."""
    return [piece["id"] for piece in row["pieces"]]


def test_a_group_that_no_row_holds_is_not_parted(tmp_path: Path, tiny_tokenizer: Path, many: list[Document]) -> None:
    """A document that tokenization removed goes with its group, and alone where its hash lies."""
    from pipeline.exporting.splits import splits_of
    from pipeline.stages import tokenize

    long = [Document(f"long{n}", messages=(user("x " * 400), assistant("y")), group=f"g{n // 2}") for n in range(80)]
    lonely = [Document(f"lone{n}", messages=(user("x " * 400), assistant("y"))) for n in range(40)]
    documents = [*many, *long, *lonely]
    clean = write_documents(tmp_path / "clean", documents, per_shard=50)
    given = [str(clean), str(tmp_path / "tokens"), "--tokenizer", str(tiny_tokenizer), "--length", "128", "--workers", "1", "--quiet"]
    assert tokenize.main([*given, "--set", "validation_share=0.3", "--set", "test_share=0"]) == 0
    split_of = splits_of(open_dataset(clean), open_dataset(tmp_path / "tokens"))
    by_group: dict[str, set[int]] = {}
    for document, split in zip(documents, split_of.tolist(), strict=True):
        by_group.setdefault(document.group or document.locator, set()).add(split)
    assert all(len(splits) == 1 for splits in by_group.values())
    assert {split for document, split in zip(documents, split_of.tolist(), strict=True) if document.group is None} == {0, 1}


def test_only_the_asked_splits_are_written(tokenized: Write, tmp_path: Path) -> None:
    """--split leaves the others out, counts them, and writes no configuration that could not run."""
    tokens = tokenized("validation_share=0.2", "test_share=0")
    counts = export(tmp_path / "clean", tmp_path / "out", "axolotl", "--splits-from", tokens, "--split", "validation")
    assert list(counts["lines"]) == ["validation.conversations.jsonl"]
    assert counts["other_splits"] + counts["written"] == 80
    assert not list((tmp_path / "out").glob("*.yaml"))


@pytest.mark.parametrize("file_format", ["arrow", "jsonl", "parquet"])
@pytest.mark.parametrize("pack", ["best_fit", "none"])
def test_rows_of_tokens_load_from_disk(file_format: str, pack: str, tokenized: Write, tmp_path: Path) -> None:
    """datasets.load_from_disk gives every row of every split as it was packed, whatever its format."""
    datasets = pytest.importorskip("datasets")
    tokens = open_dataset(tokenized(f"format={file_format}", f"pack={pack}", "validation_share=0.2", "test_share=0"))
    export(tokens.folder, tmp_path / "out", "hf-dataset")
    loaded = datasets.load_from_disk(str(tmp_path / "out"))
    assert list(loaded) == ["train", "validation"]
    for split in loaded:
        rows = [row for path in tokens.files(split) for batch in read_rows(path) for row in batch.to_pylist()]
        assert loaded[split].to_list() == rows


def test_documents_load_from_disk(clean: Path, tmp_path: Path) -> None:
    """Documents keep all of their columns."""
    datasets = pytest.importorskip("datasets")
    export(clean, tmp_path / "out", "hf-dataset")
    rows = [row for path in open_dataset(clean).files() for batch in read_batches(path) for row in batch.to_pylist()]
    assert datasets.load_from_disk(str(tmp_path / "out"))["train"].to_list() == rows


@pytest.mark.parametrize("to", [*TEXT_TARGETS, "hf-dataset"])
def test_the_same_bytes_again(to: str, clean: Path, tmp_path: Path) -> None:
    """Two exports of the same documents are the same, byte for byte; a second run over the first does nothing."""
    pytest.importorskip("datasets")
    for name in ("one", "two"):
        export(clean, tmp_path / name, to)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file() and path.name != "__run.json")
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    before = (tmp_path / "one" / "__run.json").stat().st_mtime_ns
    export(clean, tmp_path / "one", to)
    assert (tmp_path / "one" / "__run.json").stat().st_mtime_ns == before


def test_a_failed_export_leaves_nothing_at_its_place(clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stops halfway is not seen, and the next run finishes."""

    def stop(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(TARGETS["axolotl"], "carry", stop)
        with pytest.raises(OSError, match="No space"):
            export(clean, tmp_path / "out", "axolotl")
    assert not (tmp_path / "out").exists()
    assert export(clean, tmp_path / "out", "axolotl")["written"] > 0


@pytest.mark.parametrize("to", TEXT_TARGETS)
def test_configurations_name_files_that_are_there(to: str, clean: Path, tmp_path: Path) -> None:
    """Every path in a configuration lies in the export, and no absolute path stands in one."""
    export(clean, tmp_path / "out", to, "--model", "owner/model", "--length", 99)
    configs = {path.name: yaml.safe_load(path.read_text()) for path in (tmp_path / "out").glob("*.yaml")}
    assert configs
    for config in configs.values():
        named = [config[key] for key in ("dataset_name", "dataset_dir") if key in config] + [one["path"] for one in config.get("datasets", ())]
        assert named
        assert all((tmp_path / "out" / name).exists() for name in named)
        assert "owner/model" in config.values()
        assert 99 in config.values()
        assert str(tmp_path) not in json.dumps(config)


def test_a_model_in_a_folder_is_found_from_the_export(clean: Path, tmp_path: Path) -> None:
    """Tools run in the export, so a path to a model is written as it is seen from there."""
    (tmp_path / "models" / "mine").mkdir(parents=True)
    export(clean, tmp_path / "deep" / "out", "axolotl", "--model", tmp_path / "models" / "mine")
    named = yaml.safe_load((tmp_path / "deep" / "out" / "axolotl.yaml").read_text())["base_model"]
    assert named == "../../models/mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{clean}", "{out}", "--to", "axolotel"], "did you mean 'axolotl'?"),
        (["{clean}", "{out}", "--to", "axolotl", "--messages"], "--messages: is not for axolotl"),
        (["{tokens}", "{out}", "--to", "trl"], "was made by tokenize"),
        (["{clean}", "{out}", "--to", "trl", "--splits-from", "{clean}"], "--splits-from: takes the token set"),
        (["{clean}", "{clean}/out", "--to", "trl"], "lies in the input"),
        (["{clean}", "{out}", "--to", "trl", "--split", "trian"], "did you mean 'train'?"),
        (["{clean}", "{out}", "--to", "trl", "--split", "test"], "holds nothing that trl can hold in test"),
        (["{clean}", "{out}", "--to", "trl", "--length", "0"], "is no number of tokens"),
        (["{other}", "{out}", "--to", "trl", "--splits-from", "{tokens}"], "was not made from"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str, tokenized: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake on the command line ends with one line that says what to do, and exit code 2."""
    names = {"tokens": tokenized(), "clean": tmp_path / "clean", "out": tmp_path / "out", "other": write_documents(tmp_path / "other", MIXED)}
    assert command.run(main, [argument.format(**names) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_an_unknown_kind_of_export_is_refused() -> None:
    """The nearest known kind is named."""
    with pytest.raises(UsageError, match="did you mean 'data'"):
        exporting.main(["date"])
