"""The default rules measured on labelled responses, where those lie beside the checkout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.documents import Document, Message, to_batch
from pipeline.filters.cut_slop import CutSlop
from pipeline.filters.refusals import Refusals
from tests.filters.conftest import contents, find

FLOORS = {False: (0.98, 0.89), True: (0.97, 0.80)}
"""Precision and recall of detection that must hold, as assistant turns and as plain documents."""


@pytest.mark.parametrize("as_text", [False, True])
def test_precision_and_recall_hold(gold: Path, as_text: bool) -> None:
    """A row of every fourth of the set counts as found when it is cut or removed; neither figure falls below its floor."""
    rows = [json.loads(line) for line in gold.read_text(encoding="utf-8").splitlines()[::4]]
    documents = [
        Document(locator=row["id"], text=row["text"])
        if as_text or row["kind"] == "document"
        else Document(locator=row["id"], messages=(Message("user", "q"), Message("assistant", row["text"])))
        for row in rows
    ]
    batch = to_batch("gold", documents)
    edited = CutSlop().resolve(find).edit(batch).batch
    removed = Refusals().resolve(find).judge(edited).column("reason").to_pylist()
    found = [bool(reason) or before != after for reason, before, after in zip(removed, contents(batch), contents(edited), strict=True)]
    wrong = sum(hit and row["label"] == "clean" for hit, row in zip(found, rows, strict=True))
    right = sum(hit and row["label"] != "clean" for hit, row in zip(found, rows, strict=True))
    precision, recall = right / (right + wrong), right / sum(row["label"] != "clean" for row in rows)
    assert precision >= FLOORS[as_text][0] and recall >= FLOORS[as_text][1]
