"""Packed rows: every sequence whole in one row, masked where it begins, the same bytes whoever writes them."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DatasetError, UsageError
from pipeline.models import IGNORED
from pipeline.packing import rows as packed
from pipeline.packing import sequences
from pipeline.packing.rows import ROWS, Padding, gather, padding_for, plan_splits, shard_tasks, write_rows
from pipeline.packing.sequences import ENCODED, index_sequences, write_encoded
from pipeline.packing.settings import TokenizeSettings
from tests.packing.conftest import MakeInfo

CAPACITY = 16
documents = st.lists(
    st.tuples(st.integers(2, CAPACITY), st.integers(0, 3)).flatmap(
        lambda one: st.tuples(st.lists(st.integers(0, 1), min_size=one[0], max_size=one[0]).filter(lambda mask: any(mask[1:])), st.just(one[1]))
    ),
    min_size=1,
    max_size=30,
)


def encoded(masks: list[tuple[list[int], int]], first: int = 0) -> pa.RecordBatch:
    """Sequences with ids that name document and position, in groups."""
    rows = [
        {"id": f"d{first + n}", "source": f"s{(first + n) % 2}", "split_hash": group * 2**62, "start": n % 3, "input_ids": [(first + n) * 100 + i for i in range(len(mask))], "learned": mask}
        for n, (mask, group) in enumerate(masks)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=ENCODED)


def all_rows(folder: Path, batches: list[pa.RecordBatch], padding: Padding | None = None, **settings: Any) -> dict[str, list[dict[str, Any]]]:
    """Write sequences into one file a batch, plan, gather: the rows of each split."""
    chosen = TokenizeSettings(**settings)
    paths = [folder / f"{number}.arrow" for number in range(len(batches))]
    for path, batch in zip(paths, batches, strict=True):
        write_encoded(path, [batch.slice(0, 2), batch.slice(2)])
    index = index_sequences(paths)
    plans, _ = plan_splits(index, CAPACITY, chosen)
    return {
        split: [row for task in shard_tasks(index, plan, chosen.rows_per_shard, padding) for batch in gather(task) for row in batch.to_pylist()]
        for split, plan in plans.items()
    }


@settings(max_examples=25)  # each example writes files
@given(masks=documents, share=st.sampled_from([0.0, 0.4]), rows_per_shard=st.integers(1, 5))
def test_rows_hold_every_sequence_once(tmp_path_factory: pytest.TempPathFactory, masks: list[tuple[list[int], int]], share: float, rows_per_shard: int) -> None:
    """Each sequence is in one row, whole and in order, with its labels; groups are not parted; no row is without something to learn."""
    half = len(masks) // 2
    batches = [encoded(masks[:half]), encoded(masks[half:], half)]
    splits = all_rows(tmp_path_factory.mktemp("rows"), batches, validation_share=share, rows_per_shard=rows_per_shard)
    found: dict[str, str] = {}
    for split, rows in splits.items():
        for row in rows:
            assert len(row["input_ids"]) == len(row["labels"]) == len(row["position_ids"]) == sum(row["sequence_lengths"]) <= CAPACITY
            assert any(label != IGNORED for label in row["labels"])
            begin = 0
            for size, piece in zip(row["sequence_lengths"], row["pieces"], strict=True):
                number = int(piece["id"][1:])
                mask = masks[number][0]
                ids = [number * 100 + i for i in range(len(mask))]
                part = slice(begin, begin + size)
                assert row["input_ids"][part] == ids
                assert row["labels"][part] == [token if flag and i else IGNORED for i, (token, flag) in enumerate(zip(ids, mask, strict=True))]
                assert row["position_ids"][part] == list(range(size))
                assert piece["end"] - piece["start"] == size
                assert piece["source"] == f"s{number % 2}"
                assert piece["id"] not in found
                found[piece["id"]] = split
                begin += size
    assert len(found) == len(masks)
    sides = {(group, found[f"d{number}"]) for number, (_, group) in enumerate(masks)}
    assert len(sides) == len({group for group, _ in sides})


@settings(max_examples=25)
@given(masks=documents, side=st.sampled_from(["left", "right"]))
def test_padded_rows_have_one_length(tmp_path_factory: pytest.TempPathFactory, masks: list[tuple[list[int], int]], side: str) -> None:
    """Without packing each row is one sequence and its padding: a sequence of its own, not learned, on the side that was asked for."""
    rows = all_rows(tmp_path_factory.mktemp("rows"), [encoded(masks)], Padding(7, side, CAPACITY), pack="none", validation_share=0.0)["train"]
    assert len(rows) == len(masks)
    for row in rows:
        assert len(row["input_ids"]) == sum(row["sequence_lengths"]) == CAPACITY
        names = [piece["id"] for piece in row["pieces"]]
        assert all((piece["source"] is None) == (piece["id"] is None) for piece in row["pieces"])
        size = next(size for size, name in zip(row["sequence_lengths"], names, strict=True) if name is not None)
        rest = CAPACITY - size
        assert names == ([names[0]] if not rest else [None, names[1]] if side == "left" else [names[0], None])
        padding = slice(0, rest) if side == "left" else slice(size, CAPACITY)
        assert row["input_ids"][padding] == [7] * rest
        assert row["labels"][padding] == [IGNORED] * rest
        assert row["position_ids"][padding] == list(range(rest))


def test_the_order_of_rows_is_the_seed_s(tmp_path: Path) -> None:
    """The same seed gives the same rows in the same order; another one another order."""
    batch = encoded([([1] * 9, number % 4) for number in range(40)])
    first, again, other = (all_rows(tmp_path, [batch], seed=seed, validation_share=0.0)["train"] for seed in (5, 5, 6))
    assert first == again != other
    assert sorted(row["input_ids"] for row in first) == sorted(row["input_ids"] for row in other)


def test_large_shards_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard is gathered in batches of bounded size, which together are the same rows, each row whole."""
    write_encoded(tmp_path / "e", [encoded([([1] * (2 + number % 9), 0) for number in range(50)])])
    index = index_sequences([tmp_path / "e"])
    task = next(shard_tasks(index, plan_splits(index, CAPACITY, TokenizeSettings())[0]["train"], 1000, None))
    whole = [row for batch in gather(task) for row in batch.to_pylist()]
    monkeypatch.setattr(packed, "_TOKENS_A_BATCH", 40)
    batches = list(gather(task))
    assert len(batches) > 3
    assert [row for batch in batches for row in batch.to_pylist()] == whole
    monkeypatch.setattr(packed, "_TOKENS_A_BATCH", 1)
    assert [len(batch) for batch in gather(task)] == [1] * len(whole)


def test_sequences_are_kept_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches are written together up to a bounded size, and found again in order."""
    batches = [encoded([([1, 1], 0)] * 3, number * 3) for number in range(10)]
    assert write_encoded(tmp_path / "one", batches) == 30
    assert len(index_sequences([tmp_path / "one"]).chunks) == 1
    monkeypatch.setattr(sequences, "CHUNK_BYTES", 400)
    write_encoded(tmp_path / "many", batches)
    index = index_sequences([tmp_path / "many"])
    assert len(index.chunks) > 2
    chunks = sequences.Chunks(index.chunks)
    found = [chunks[c].document[r].as_py() for c, r in zip(index.chunk.tolist(), index.row.tolist(), strict=True)]
    assert found == [f"d{number}" for number in range(30)]


def test_tokens_are_read_and_not_mapped(tmp_path: Path) -> None:
    """A file that lost its end under a reader is an error with its name, and not a signal."""
    path = tmp_path / "e"
    write_encoded(path, [encoded([([1] * 300, 0)])])
    chunk = sequences.Chunks([(path, 0)])[0]
    ids, learned = np.zeros(3, np.int32), np.zeros(3, np.uint8)
    chunk.read(2, ids, learned)
    assert ids.tolist() == pa.ipc.open_file(path).get_batch(0).column("input_ids")[0].as_py()[2:5] and learned.tolist() == [1, 1, 1]
    os.truncate(path, 100)
    with pytest.raises(DatasetError, match="ends too early"):
        chunk.read(2, ids, learned)


@pytest.mark.parametrize("format", ["arrow", "jsonl", "parquet"])
def test_every_format_holds_the_same_rows(tmp_path: Path, format: str) -> None:
    """What was gathered is read back from each format, its counts are right, and writing twice gives the same bytes."""
    write_encoded(tmp_path / "e", [encoded([([0, 1, 1], 0), ([1] * 16, 1), ([0, 0, 1, 1], 2)])])
    index = index_sequences([tmp_path / "e"])
    plan = plan_splits(index, CAPACITY, TokenizeSettings(validation_share=0.0))[0]["train"]
    task = pickle.loads(pickle.dumps(next(shard_tasks(index, plan, 1000, None))))
    expected = [row for batch in gather(task) for row in batch.to_pylist()]
    counts = write_rows(tmp_path / "rows", gather(task), format)
    assert counts == {"rows": 2, "sequences": 3, "tokens": 23, "learned": 2 + 15 + 2, "padding": 0, "tokens_unlearned": 0}
    if format == "arrow":
        table = pa.ipc.open_stream(pa.memory_map(str(tmp_path / "rows"))).read_all()
        assert table.schema.equals(ROWS)
        found = table.to_pylist()
    elif format == "jsonl":
        found = [json.loads(line) for line in (tmp_path / "rows").read_text().split("\n") if line]
    else:
        found = pq.read_table(tmp_path / "rows", page_checksum_verification=True).to_pylist()
    assert found == expected
    write_rows(tmp_path / "again", gather(task), format)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "rows").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "e", "rows"]


def test_arrow_shards_open_as_datasets(tmp_path: Path) -> None:
    """datasets.Dataset.from_file maps an Arrow shard."""
    datasets = pytest.importorskip("datasets")
    write_encoded(tmp_path / "e", [encoded([([0, 1, 1], 0)])])
    index = index_sequences([tmp_path / "e"])
    task = next(shard_tasks(index, plan_splits(index, CAPACITY, TokenizeSettings())[0]["train"], 1000, None))
    write_rows(tmp_path / "rows.arrow", gather(task), "arrow")
    assert datasets.Dataset.from_file(str(tmp_path / "rows.arrow"))[0]["labels"] == [IGNORED, 1, 2]


@settings(max_examples=25)
@given(masks=documents, pack=st.sampled_from(["best_fit", "sequential", "wrapped", "none"]))
def test_every_way_of_packing_keeps_every_token(tmp_path_factory: pytest.TempPathFactory, masks: list[tuple[list[int], int]], pack: str) -> None:
    """Tokens in are tokens in rows plus those of rows that teach nothing; every row teaches, and pieces say which tokens they are."""
    folder = tmp_path_factory.mktemp("packed")
    write_encoded(folder / "e", [encoded(masks)])
    index = index_sequences([folder / "e"])
    plans, _ = plan_splits(index, CAPACITY, TokenizeSettings(pack=pack, validation_share=0.3))
    tokens, seen = 0, []
    for split, plan in plans.items():
        for number, task in enumerate(shard_tasks(index, plan, 4, None)):
            counts = write_rows(folder / f"{split}{number}.parquet", gather(task), "parquet")
            tokens += counts["tokens"] + counts["tokens_unlearned"]
            for row in pq.read_table(folder / f"{split}{number}.parquet").to_pylist():
                assert len(row["input_ids"]) <= CAPACITY
                assert any(label != IGNORED for label in row["labels"])
                seen += [(piece["id"], position) for piece in row["pieces"] for position in range(piece["start"], piece["end"])]
                told = [int(piece["id"][1:]) * 100 + n - int(piece["id"][1:]) % 3 for piece in row["pieces"] for n in range(piece["start"], piece["end"])]
                assert row["input_ids"] == told
    assert tokens == sum(len(mask) for mask, _ in masks)
    assert len(seen) == len(set(seen))
    assert pack == "wrapped" or len(seen) == tokens


def test_sources_are_mixed(tmp_path: Path) -> None:
    """Twice is twice, half is a seeded half that takes groups whole, a ratio is kept; what is left out is named."""
    rows = [
        {"id": f"{source}{n}", "source": source, "split_hash": hash_of(source, n // 2), "start": 0, "input_ids": [n] * 4, "learned": [1] * 4}
        for source in ("a", "b") for n in range(400)
    ]
    write_encoded(tmp_path / "e", [pa.RecordBatch.from_pylist(rows, schema=ENCODED)])
    index = index_sequences([tmp_path / "e"])
    plans, mix = plan_splits(index, CAPACITY, TokenizeSettings(epochs={"a": 2.0, "b": 0.5}, validation_share=0.0))
    taken = np.bincount(plans["train"].sequences, minlength=800)
    assert set(taken[:400].tolist()) == {2}
    assert set(taken[400:].tolist()) == {0, 1}
    assert 120 < taken[400:].sum() < 280
    assert (taken[400::2] == taken[401::2]).all()
    assert mix.repeated == {"a": 1600, "b": 0}
    listed = [row for batch in packed.left_out(index, mix.left_out) for row in batch.to_pylist()]
    assert [row["id"] for row in listed] == [f"b{n}" for n in range(400) if not taken[400 + n]]
    assert listed[0]["end"] == 4
    plans, _ = plan_splits(index, CAPACITY, TokenizeSettings(ratio={"a": 3.0, "b": 1.0}, validation_share=0.0))
    tokens = np.bincount(index.source[plans["train"].sequences])
    assert tokens[0] / tokens[1] == pytest.approx(3.0, rel=0.25)


def hash_of(source: str, number: int) -> int:
    """A hash for a group."""
    from pipeline.packing.split import split_hashes

    return int(split_hashes(pa.array([f"{source}-{number}"]), 0)[0])


def test_nothing_gives_no_rows(tmp_path: Path) -> None:
    """No sequences: no plan, no shard, no error."""
    assert write_encoded(tmp_path / "e", []) == 0
    index = index_sequences([tmp_path / "e"])
    assert len(index) == 0
    assert all(not list(shard_tasks(index, plan, 10, None)) for plan in plan_splits(index, CAPACITY, TokenizeSettings())[0].values())
    assert len(index_sequences([])) == 0


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    """A file that is no Arrow file, or is not there, is a DatasetError."""
    (tmp_path / "e").write_bytes(b"ARROW1 no")
    for name in ("e", "none"):
        with pytest.raises(DatasetError, match="tokenize"):
            index_sequences([tmp_path / name])


def test_padding_is_never_the_end_of_text(make_info: MakeInfo) -> None:
    """The pad token is the user's, else the tokenizer's own unless it ends texts, else the unknown token, else a new one."""
    info, none = make_info(), TokenizeSettings(pack="none")
    ids = {name: info.id_of(name) or -1 for name in ("<pad>", "<unk>", "<|end|>")}
    assert padding_for(info, 8, TokenizeSettings()) is None
    assert padding_for(info, 8, none) == Padding(ids["<pad>"], "right", 8)
    assert padding_for(make_info(pad_token="</s>"), 8, none) == Padding(ids["<unk>"], "right", 8)
    chosen = TokenizeSettings(pack="none", pad_token="<|end|>", padding_side="left")
    assert padding_for(info, 8, chosen) == Padding(ids["<|end|>"], "left", 8)
    with pytest.raises(UsageError, match="vocabulary"):
        padding_for(info, 8, TokenizeSettings(pack="none", pad_token="<nope>"))
    bare = make_info(pad_token="</s>", unk_token="</s>")
    after_all = max(bare.tokenizer.get_vocab().values()) + 1
    assert padding_for(bare, 8, none) == Padding(after_all, "right", 8, is_new=True)
    assert bare.tokenizer.id_to_token(after_all) is None


def test_end_to_end_rows_decode_to_their_documents(tmp_path: Path, make_info: MakeInfo) -> None:
    """From documents to rows: what the pieces of a document hold, put together, is the document."""
    from pipeline.documents import Document, to_batch
    from pipeline.packing.encode import Encoder

    info = make_info()
    texts = [f"Document {number}: <|im_end|> " + "word " * (number * 7 % 90) for number in range(60)]
    batch = to_batch("s", [Document(str(number), text=text) for number, text in enumerate(texts)])
    encoder = Encoder(info, 64, TokenizeSettings())
    write_encoded(tmp_path / "e", [encoder.encode(batch).sequences])
    index = index_sequences([tmp_path / "e"])
    plans, _ = plan_splits(index, 64, TokenizeSettings(validation_share=0.2))
    parts: dict[str, list[tuple[int, list[int]]]] = {}
    for plan in plans.values():
        for task in shard_tasks(index, plan, 4, None):
            for row in (row for rows in gather(task) for row in rows.to_pylist()):
                ends = np.cumsum(row["sequence_lengths"]).tolist()
                for piece, end in zip(row["pieces"], ends, strict=True):
                    ids = row["input_ids"][end - (piece["end"] - piece["start"]) : end]
                    parts.setdefault(piece["id"], []).append((piece["start"], ids))
    for name, text in zip(batch.column("id").to_pylist(), texts, strict=True):
        ids = [token for _, piece in sorted(parts[name]) for token in piece]
        assert info.tokenizer.decode(ids, skip_special_tokens=False) == text + "</s>"
