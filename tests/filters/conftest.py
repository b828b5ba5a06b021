"""What the tests of the filters share: the project's rule files, and cuts put back."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.documents import Document, Message, to_batch, turns

ROOT = Path(__file__).resolve().parents[2]


def find(name: str) -> Path:
    """The file of the checkout that a settings file names."""
    return ROOT / name


def plain(*texts: str) -> pa.RecordBatch:
    """A batch of plain documents."""
    return to_batch("test", [Document(locator=f"rows#row={row}", text=text) for row, text in enumerate(texts)])


def chat(*answers: str, question: str = "Why is the sky blue?", role: str = "assistant") -> pa.RecordBatch:
    """A batch of conversations of one question and one answer each."""
    messages = [(Message("user", question), Message(role, answer)) for answer in answers]
    return to_batch("test", [Document(locator=f"rows#row={row}", messages=pair) for row, pair in enumerate(messages)])


def contents(batch: pa.RecordBatch) -> list[str]:
    """The last piece of text of every document."""
    view = turns(batch)
    return list({int(d): c for d, c in zip(view.document, view.content.to_pylist(), strict=True)}.values())


def pieces(batch: pa.RecordBatch) -> dict[tuple[str, int], str]:
    """Every piece of text by document id and message index."""
    view, ids = turns(batch), batch.column("id").to_pylist()
    keys = [(ids[d], int(m)) for d, m in zip(view.document, view.message, strict=True)]
    return dict(zip(keys, view.content.to_pylist(), strict=True))


def put_back(edited: pa.RecordBatch, cuts: pa.Table) -> dict[tuple[str, int], str]:
    """The pieces of ``edited`` with every cut undone, last one first; fails when a cut does not fit the text."""
    texts = pieces(edited)
    for cut in sorted(cuts.to_pylist(), key=lambda row: (row["id"], -row["seq"])):
        key = (cut["id"], cut["message"])
        start, end = cut["start"], cut["start"] + len(cut["after"])
        assert texts[key][start:end] == cut["after"]
        texts[key] = texts[key][:start] + cut["before"] + texts[key][end:]
    return texts


@pytest.fixture(scope="session")
def gold() -> Path:
    """The labelled responses beside the checkout; the test is skipped where there are none."""
    path = ROOT.parent / "shared" / "gold" / "slop" / "labelled.jsonl"
    if not path.exists():
        pytest.skip("no labelled responses beside the checkout")
    return path
