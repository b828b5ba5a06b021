"""Committed rows of made-up tokens for the tiny model."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commits import Build
from pipeline.datasets import Shard, file_sha256
from pipeline.models import load_tokenizer
from pipeline.training.quiet import prepare_process
from pipeline.training.recipe import Recipe

prepare_process()  # before a test module imports torch

LENGTH = 32
INTS = pa.list_(pa.int32())
PIECES = pa.list_(pa.struct([("id", pa.string()), ("source", pa.string()), ("start", pa.int32()), ("end", pa.int32())]))
SCHEMA = pa.schema([("input_ids", INTS), ("labels", INTS), ("position_ids", INTS), ("sequence_lengths", INTS), ("pieces", PIECES)])

Row = dict[str, Any]


def packed_row(lengths: Sequence[int], chance: random.Random, prompt: int = 1) -> Row:
    """Sequences of these lengths in one row; each counts up from a random token, and its first ``prompt`` tokens are not learned."""
    sequences = [[(start + i) % 300 + 5 for i in range(length)] for length in lengths for start in [chance.randrange(300)]]
    return {
        "input_ids": [token for ids in sequences for token in ids],
        "labels": [token if i >= prompt else -100 for ids in sequences for i, token in enumerate(ids)],
        "position_ids": [i for ids in sequences for i in range(len(ids))],
        "sequence_lengths": list(lengths),
        "pieces": [{"id": f"{i:032x}", "source": ("docs", "forum")[i % 2], "start": 0, "end": length} for i, length in enumerate(lengths)],
    }


def rows(number: int, seed: int = 0) -> list[Row]:
    """Rows of unequal length and number of sequences."""
    chance = random.Random(seed)
    return [packed_row(chance.choice([[LENGTH], [12, 20], [9, 7, 15], [5, 6]]), chance, prompt=chance.choice([1, 3])) for _ in range(number)]


Commit = Callable[..., Path]


@pytest.fixture(scope="session")
def commit(tiny_model: Path) -> Commit:
    """Commits rows as the tokenize stage does."""

    def write(folder: Path, splits: Mapping[str, list[Row]], form: str = "arrow", fingerprint: str = "", length: int = LENGTH) -> Path:
        fingerprint = fingerprint or load_tokenizer(str(tiny_model)).fingerprint
        with Build(folder, "0" * 64) as build:
            shards = []
            for split, lines in splits.items():
                path = build.folder / split / f"part-00000.{form}"
                path.parent.mkdir()
                table = pa.Table.from_pylist(lines, SCHEMA)
                if form == "arrow":
                    with path.open("wb") as file, pa.ipc.new_stream(file, SCHEMA) as writer:
                        writer.write_table(table)
                elif form == "parquet":
                    pq.write_table(table, path)
                else:
                    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
                shards.append(Shard(f"{split}/{path.name}", len(lines), path.stat().st_size, file_sha256(path)))
            build.commit(shards, {"tokenizer": {"fingerprint": fingerprint}, "sequence_len": length}, {})
        return folder

    return write


@pytest.fixture(scope="session")
def tokens(commit: Commit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows to train on and three to validate."""
    return commit(tmp_path_factory.mktemp("tokens") / "set", {"train": rows(12), "validation": rows(3, seed=1)})


@pytest.fixture
def recipe(tiny_model: Path) -> Recipe:
    """LoRA in fp32, a few steps."""
    return Recipe(base_model=str(tiny_model), adapter="lora", bf16=False, sequence_len=LENGTH, max_steps=6, learning_rate=0.01, lora_r=4)


def train_run(recipe: Recipe, tokens: Path, out: Path) -> Path:
    """A run as the train stage commits it."""
    from pipeline.datasets import open_dataset
    from pipeline.progress import Progress
    from pipeline.stages import train

    job = train.resolve(recipe, [{"name": tokens.name, "digest": open_dataset(tokens).digest}])
    train.train(job, tokens, out, Progress("train", quiet=True))
    return out


@pytest.fixture(scope="session")
def trained(tiny_model: Path, commit: Commit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's data folder: tokens/set, and committed runs of LoRA and of QLoRA (runs/lora, runs/qlora) that moved the model."""
    root = tmp_path_factory.mktemp("data")
    tokens = commit(root / "tokens" / "set", {"train": rows(6), "validation": rows(3, seed=1)})
    for adapter in ("lora", "qlora"):
        recipe = Recipe(
            base_model=str(tiny_model), adapter=adapter, bf16=False, sequence_len=LENGTH, max_steps=6, learning_rate=0.02, lora_r=4, logging_steps=6
        )
        train_run(recipe, tokens, root / "runs" / adapter)
    return root
