"""Documents made of whole columns are those made row by row."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.documents import REMOVED, Document, Extracted, Removed, to_batch
from pipeline.extractors import rows
from pipeline.extractors.batches import Rows
from pipeline.extractors.columns import DocumentBatch, is_columnar
from pipeline.extractors.rows import RowMapping, TurnTemplate
from pipeline.extractors.sources import SourceSettings, list_parts, read_part

CELL = st.none() | st.text(st.sampled_from('a "\\\n\t\x00\x1c\u3000\u200b\x85é{}中\x7f'), max_size=6)
MAPPINGS = [
    None,
    RowMapping(text="{a}"),
    RowMapping(text="T: {a}\n{b} and {c}\n\nlit\n\n{c}"),
    RowMapping(text="{a}\n\n{b}\n{c}", group="c", meta=("b", "a")),
    RowMapping(text="the same"),
    RowMapping(turns=(TurnTemplate("user", "{a}\n{b}", when_empty="only {a}"), TurnTemplate("assistant", "{c}"))),
    RowMapping(
        turns=(TurnTemplate("system", "fixed"), TurnTemplate("human", "{a}"), TurnTemplate("assistant", "{b}{c}", when_empty="?")), meta=("c",)
    ),
]
NAMES = [
    ("a", "b", "c"),
    ("instruction", "input", "output"),
    ("title", "body", "id"),
    ("system", "prompt", "response"),
    ("text", "title", "extractor"),
]


def batch_of(names: tuple[str, ...], table: list[tuple[str | None, ...]], start: int, mapping: RowMapping | None = None) -> DocumentBatch:
    """Rows of text on their way to documents."""
    batch = pa.RecordBatch.from_arrays([pa.array(cells, pa.string()) for cells in zip(*table, strict=True)], names=list(names))
    made = Rows(batch, np.arange(start, start + len(table)))
    return DocumentBatch(made, rows.plan(names, mapping, "x", made.dicts()), "a%20b.csv#row=", "csv")


def removed_rows(source: str, items: list[Extracted]) -> list[dict[str, object]]:
    """The rows of ``__removed`` for what is no document among ``items``."""
    removed = [item for item in items if not isinstance(item, Document)]
    assert all(isinstance(item, Removed) for item in removed)
    documents = to_batch(source, [item.document for item in removed if isinstance(item, Removed)]).to_pylist()
    why = [{"rule": item.rule, "reason": item.reason} for item in removed if isinstance(item, Removed)]
    empty = dict.fromkeys(REMOVED.names)
    return [{**empty, **document, **said} for document, said in zip(documents, why, strict=True)]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MAPPINGS), st.sampled_from(NAMES), st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6), st.integers(0, 2**40))
def test_columns_give_the_same_documents(mapping: RowMapping | None, names: tuple[str, ...], table: list[tuple[str | None, ...]], start: int) -> None:
    """Ids, locators, texts, turns, groups and meta are the same, and so is what becomes of rows without text."""
    made = batch_of(NAMES[0] if mapping else names, table, start, mapping)
    if not is_columnar(made.plan):
        assert mapping is None
        return
    batch, without_text = made.made("søurce")
    items = list(made.items())
    batch.validate(full=True)
    without_text.validate(full=True)
    assert batch.to_pylist() == to_batch("søurce", [item for item in items if isinstance(item, Document)]).to_pylist()
    assert without_text.to_pylist() == removed_rows("søurce", items)


def test_many_rows_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a batch give the documents and removed rows of the whole, in order."""
    whole = batch_of(NAMES[2], [(f"t{n}", "" if n % 2 else f"body {n}", str(n)) for n in range(7)], 3, RowMapping(text="{body}"))
    monkeypatch.setattr("pipeline.extractors.columns.MAX_ROWS", 3)
    pieces = [piece.made("s") for piece in whole.pieces()]
    assert len(pieces) == 3
    for part, expected in zip(zip(*pieces, strict=True), whole.made("s"), strict=True):
        assert [row for batch in part for row in batch.to_pylist()] == expected.to_pylist()


def test_only_plain_plans_are_columnar() -> None:
    """A plan that asks for anything beside templates of columns goes row by row."""
    table: list[tuple[str | None, ...]] = [("x", "y", "z")]
    assert is_columnar(batch_of(NAMES[0], table, 0, RowMapping(text="{a}")).plan)
    for mapping in (
        RowMapping(text="{a.field}"),
        RowMapping(text="{a}", id="b"),
        RowMapping(messages="a"),
        RowMapping(text="{a}", formats={"a": "html"}),
    ):
        assert not is_columnar(batch_of(NAMES[0], table, 0, mapping).plan)
    assert not is_columnar(batch_of(("messages", "text", "c"), [("[]", "y", "z")], 0).plan)


def test_the_stage_gives_the_same_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CSV file extracted by columns or row by row gives the same rows and counts, those removed and quarantined included."""
    source = tmp_path / "in"
    source.mkdir()
    with (source / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["id", "title", "body"], *([n, f"title {n}", "" if n % 7 == 0 else f'words "{n}"\nand more'] for n in range(5000))])
        file.write("1,2\n")
    with (source / "numbers.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "n", 'odd "name'], *([n, n * n, '"' if n % 3 else ""] for n in range(3000))])
    (part,) = list_parts("s", SourceSettings(str(source)), lambda path: "digest")

    def extracted() -> tuple[object, list[object]]:
        folder = tmp_path / "out"
        record = read_part(folder, "t", part)
        tables = [pq.read_table(path).to_pylist() for path in sorted(folder.rglob("*.parquet"))]
        shutil.rmtree(folder)
        return record["counts"], tables

    fast = extracted()
    monkeypatch.setattr("pipeline.extractors.tables.is_columnar", lambda plan: False)
    assert fast == extracted()
    assert "8001" in str(fast[0])
    assert "'no_text_columns': 3000" in str(fast[0])
