"""Where the rows of tables and dumps stand in their files, to the byte."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.extractors.batches import Rows, TableBatch
from pipeline.extractors.files import SourceFile
from pipeline.extractors.sql_dump import table_batches
from pipeline.extractors.sql_settings import SqlSettings
from pipeline.extractors.tables import CsvSettings, CsvTable
from pipeline.inspection.trace_spans import csv_record, sql_row

TABLES = {
    "plain": ("a,b\n1,one of them\n2,two of them\n", CsvSettings()),
    "blank lines and bad rows": ('a,b\n\n1,one of them\nbad\n2,"two\n\nof them"\n3,"open\n4,four of them\n5,five, of them\n', CsvSettings()),
    "titles": ("All of it,\nname,text\nx,some text here\ny,more text here\nz,and more text\n", CsvSettings()),
    "no header": ("1,the same\n1,the same\n2,the same\n", CsvSettings(header=False)),
    "skipped": ('# "\n# x\na;b\n1;x y z\n2;y z x\n', CsvSettings(skip_rows=2, nulls=("1",))),
    "carriage returns": ("a,b\r1,x y\r2,y z\r", CsvSettings()),
    "mark and repair": ("\ufeffa,b\n1,x y\n2\n3,y z\n", CsvSettings(bad_rows="repair")),
    "blocks": ("a,b\n" + "".join(f'{n},"text, number {n}\nof many"\n' for n in range(40_000)), CsvSettings()),
}


@pytest.mark.parametrize("name", TABLES)
def test_where_a_record_stands(name: str, tmp_path: Path) -> None:
    """The bytes that are found for a row are the record that the reader made it from."""
    content, settings = TABLES[name]
    path = tmp_path / "table.csv"
    path.write_bytes(content.encode())
    file = SourceFile(path, path.name)
    delimiter = ";" if name == "skipped" else ","
    pieces = [piece for piece in CsvTable(replace(settings, nulls=(), bad_rows="quarantine")).rows(file) if isinstance(piece, Rows)]
    rows = [(number, list(row.values())) for piece in pieces for number, row in zip(piece.numbers.tolist(), piece.dicts(), strict=True)]
    assert rows
    for number, cells in rows[:: max(1, len(rows) // 5)]:
        span = csv_record(file, settings, number)
        assert span is not None
        text = path.read_bytes()[span.start : span.end].decode()
        assert list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) == [cells], number


def test_where_a_row_of_a_dump_stands(tmp_path: Path) -> None:
    """Rows of one text are told apart by their keys; one that a later statement changed is not found."""
    lines = ["CREATE TABLE t (id INT PRIMARY KEY, a TEXT, b TEXT);", "INSERT INTO t VALUES (1,'same (1,x)','a'),(2,'same (1,x)','a');"]
    lines += ["INSERT INTO t (b, id, a) VALUES ('it''s', 3, 'other \\'text'), ('it''s',4,'other text');", "UPDATE t SET a='new words' WHERE id=4;"]
    path = tmp_path / "t.sql"
    path.write_text("\n".join(lines))
    rows = [
        row for batch in table_batches([SourceFile(path, "t.sql")], SqlSettings()) if isinstance(batch, TableBatch) for row in batch.batch.to_pylist()
    ]
    spans = [sql_row(SourceFile(path, "t.sql"), row, SqlSettings()) for row in rows]
    found = [path.read_text()[span.start : span.end] if span else None for span in spans]
    assert found == ["(1,'same (1,x)','a')", "(2,'same (1,x)','a')", "('it''s', 3, 'other \\'text')", None]
