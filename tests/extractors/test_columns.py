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

from pipeline.documents import Document, to_batch
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
    RowMapping(turns=(TurnTemplate("system", "fixed"), TurnTemplate("human", "{a}"), TurnTemplate("assistant", "{b}{c}", when_empty="?")), meta=("c",)),
]
NAMES = [("a", "b", "c"), ("instruction", "input", "output"), ("title", "body", "id"), ("system", "prompt", "response"), ("text", "title", "extractor")]


def batch_of(names: tuple[str, ...], table: list[tuple[str | None, ...]], start: int, mapping: RowMapping | None = None) -> DocumentBatch:
    """Rows of text on their way to documents."""
    batch = pa.RecordBatch.from_arrays([pa.array(cells, pa.string()) for cells in zip(*table, strict=True)], names=list(names))
    made = Rows(batch, np.arange(start, start + len(table)))
    return DocumentBatch(made, rows.plan(names, mapping, "x", made.dicts()), "a%20b.csv#row=", "csv")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MAPPINGS), st.sampled_from(NAMES), st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6), st.integers(0, 2**40))
def test_columns_give_the_same_documents(mapping: RowMapping | None, names: tuple[str, ...], table: list[tuple[str | None, ...]], start: int) -> None:
    """Ids, locators, texts, turns, groups and meta are the same, and so is what becomes of rows without text."""
    made = batch_of(NAMES[0] if mapping else names, table, start, mapping)
    if not is_columnar(made.plan):
        assert mapping is None
        return
    batch, rest = made.made("søurce")
    items = list(made.items())
    batch.validate(full=True)
    assert batch.to_pylist() == to_batch("søurce", [item for item in items if isinstance(item, Document)]).to_pylist()
    assert rest == [item for item in items if not isinstance(item, Document)]


def test_only_plain_plans_are_columnar() -> None:
    """A plan that asks for anything beside templates of columns goes row by row."""
    table: list[tuple[str | None, ...]] = [("x", "y", "z")]
    assert is_columnar(batch_of(NAMES[0], table, 0, RowMapping(text="{a}")).plan)
    for mapping in (RowMapping(text="{a.field}"), RowMapping(text="{a}", id="b"), RowMapping(messages="a"), RowMapping(text="{a}", formats={"a": "html"})):
        assert not is_columnar(batch_of(NAMES[0], table, 0, mapping).plan)
    assert not is_columnar(batch_of(("messages", "text", "c"), [("[]", "y", "z")], 0).plan)
    assert not is_columnar(batch_of(NAMES[0], [("1", "2", "3")], 0).plan)


def test_the_stage_gives_the_same_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CSV file extracted by columns or row by row gives the same rows and counts, those removed and quarantined included."""
    source = tmp_path / "in"
    source.mkdir()
    with (source / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["id", "title", "body"], *([n, f"title {n}", "" if n % 7 == 0 else f'words "{n}"\nand more'] for n in range(5000))])
        file.write("1,2\n")
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
    assert "5001" in str(fast[0])
