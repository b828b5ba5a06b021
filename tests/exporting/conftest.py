"""Small datasets of documents and of tokens, written by the project's own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.commits import Build, ShardWriter
from pipeline.documents import SCHEMA, Document, Message, to_batch
from pipeline.settings import digest
from pipeline.stages import tokenize

Documents = Sequence[Document]
Write = Callable[..., Path]


def user(text: str) -> Message:
    """A question."""
    return Message("user", text)


def assistant(text: str, train: bool | None = None, extra: Any = None) -> Message:
    """An answer."""
    return Message("assistant", text, train, None if extra is None else json.dumps(extra))


CALL = {"tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Lund"}}}]}

MIXED = [
    Document("plain", text="Bake it until the crust is dark.\nThen let it cool."),
    Document("one", messages=(Message("system", "Be brief."), user("Which tree?"), assistant("An oak."))),
    Document("two", messages=(user("Which tree?"), assistant("An oak."), user("Why?"), assistant("It bears acorns."))),
    Document("last", messages=(user("Which tree?"), assistant("A fir.", train=False), user("Why?"), assistant("It has cones."))),
    Document("opens", messages=(assistant("Welcome."), user("Soup?"), assistant("Peel carrots."))),
    Document(
        "calls", messages=(user("Rain?"), assistant("", extra=CALL), Message("tool", "yes", None, '{"name": "weather"}'), assistant("It rains."))
    ),
    Document("mute", messages=(user("Which tree?"), assistant("An oak.", train=False))),
    Document("broken", messages=(user("Which tree?"), Message("assistant", "An oak.", None, "[1]"))),
]
"""One of each kind that targets treat differently."""


def write_documents(folder: Path, documents: Documents, source: str = "talk", per_shard: int = 3) -> Path:
    """A clean dataset of documents, in shards of ``per_shard``."""
    with Build(folder, digest([source, [repr(document) for document in documents]])) as build:
        shards = []
        for start in range(0, max(1, len(documents)), per_shard):
            with ShardWriter(build.folder, "", f"{start:06d}", SCHEMA, always=True) as writer:
                writer.write(to_batch(source, documents[start : start + per_shard]))
            shards += writer.shards
        build.commit(shards, {"stage": "filter", "counts": {}, "inputs": [], "settings": {}}, {})
    return folder


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """MIXED as a clean dataset."""
    return write_documents(tmp_path / "clean", MIXED)


@pytest.fixture(scope="session")
def many() -> list[Document]:
    """Enough groups for every split, two documents each."""
    return [Document(f"d{n}", messages=(user(f"Question {n}?"), assistant(f"Answer {n}.")), group=f"g{n // 2}") for n in range(80)]


@pytest.fixture
def tokenized(tmp_path: Path, tiny_tokenizer: Path, many: list[Document]) -> Write:
    """Writes ``many`` as ``clean`` and tokens of it beside it, with settings KEY=VALUE; gives the folder of tokens."""

    def write(*assignments: str) -> Path:
        clean = write_documents(tmp_path / "clean", many, per_shard=30)
        given = [str(clean), str(tmp_path / "tokens"), "--tokenizer", str(tiny_tokenizer), "--length", "128", "--workers", "1", "--quiet"]
        assert tokenize.main([*given, *(part for one in assignments for part in ("--set", one))]) == 0
        return tmp_path / "tokens"

    return write


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file, none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
