"""Excel workbooks."""

from __future__ import annotations

import datetime
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.documents import Document, Extracted, Removed, Skipped
from pipeline.extractors import xlsx
from pipeline.extractors.batches import Rows
from pipeline.extractors.files import SourceFile, kind_of
from pipeline.extractors.rows import RowMapping
from pipeline.extractors.xlsx import Workbook, XlsxSettings

SHEET = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{}</sheetData></worksheet>'
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def cell(reference: str, value: object) -> str:
    """One cell as a sheet spells it; a str that begins with ``=`` is a formula with the value 42 saved beside it."""
    if isinstance(value, str) and value.startswith("="):
        return f'<c r="{reference}"><f>{value[1:]}</f><v>42</v></c>'
    if isinstance(value, str):
        return f'<c r="{reference}" t="inlineStr"><is><t xml:space="preserve">{value}</t></is></c>'
    if isinstance(value, bool):
        return f'<c r="{reference}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, datetime.date):
        return f'<c r="{reference}" s="1"><v>{(value - datetime.date(1899, 12, 30)).days}</v></c>'
    return f'<c r="{reference}"><v>{value}</v></c>'


def workbook(path: Path, sheets: dict[str, list[list[Any]]], extra: dict[str, bytes] | None = None) -> SourceFile:
    """A workbook of these cells, None being no cell."""
    names = list(sheets)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        types = "".join(
            f'<Override PartName="/xl/worksheets/s{n}.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
            for n in range(len(names))
        )
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" ContentType="application/xml"/>{types}</Types>')
        archive.writestr("_rels/.rels", f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r" Type="{LINKS}/officeDocument" Target="xl/workbook.xml"/></Relationships>')
        listed = "".join(f'<sheet name="{name}" sheetId="{n + 1}" r:id="r{n}"/>' for n, name in enumerate(names))
        archive.writestr("xl/workbook.xml", f'<workbook xmlns="{MAIN}" xmlns:r="{LINKS}"><sheets>{listed}</sheets></workbook>')
        links = "".join(f'<Relationship Id="r{n}" Type="{LINKS}/worksheet" Target="worksheets/s{n}.xml"/>' for n in range(len(names)))
        links += f'<Relationship Id="rs" Type="{LINKS}/styles" Target="styles.xml"/>'
        archive.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{PACKAGE}/relationships">{links}</Relationships>')
        archive.writestr("xl/styles.xml", f'<styleSheet xmlns="{MAIN}"><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>')
        for number, rows in enumerate(sheets.values()):
            lines = [
                f'<row r="{y}">{"".join(cell(f"{chr(65 + x)}{y}", value) for x, value in enumerate(row) if value is not None)}</row>'
                for y, row in enumerate(rows, 1)
            ]
            archive.writestr(f"xl/worksheets/s{number}.xml", SHEET.format("".join(lines)))
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return SourceFile(path, path.name)


def read(file: SourceFile, mapping: RowMapping | None = None, **told: Any) -> list[Extracted]:
    """The items of a workbook."""
    return list(Workbook(XlsxSettings(**told), mapping).read(file))


def test_cells_as_text(tmp_path: Path) -> None:
    """Numbers, dates, booleans and saved values of formulas are text; an empty cell is null and no formula is computed."""
    file = workbook(tmp_path / "a.xlsx", {"Posts": [["id", "body", "when", "ok", "sum"], [1, "some words", datetime.date(2020, 1, 2), True, "=1+1"], [2.5, None, None, False, None]]})
    ((sheet, piece),) = Workbook().rows(file)
    assert sheet == "Posts"
    assert isinstance(piece, Rows)
    assert piece.dicts() == [
        {"id": "1", "body": "some words", "when": "2020-01-02", "ok": "TRUE", "sum": "42"},
        {"id": "2.5", "body": None, "when": None, "ok": "FALSE", "sum": None},
    ]


def test_sheets_become_documents(tmp_path: Path) -> None:
    """Each sheet is a table with its own header and locators; a row without text is removed; sheets can be chosen."""
    file = workbook(tmp_path / "a.xlsx", {"A b": [["id", "text"], [1, "one"], [2, None]], "Q": [["question", "answer"], ["Why?", "So."]], "None": []})
    assert kind_of(file) == "xlsx"
    first, second, third = read(file)
    assert isinstance(first, Document)
    assert (first.locator, first.text, first.meta["id"]) == ("a.xlsx#sheet=A%20b&row=0", "one", "1")
    assert isinstance(second, Removed)
    assert isinstance(third, Document)
    assert [message.content for message in third.messages or ()] == ["Why?", "So."]
    assert len(read(file, sheets=("Q",))) == 1
    assert isinstance(read(file, sheets=("R",))[0], Skipped)


def test_titles_above_the_header(tmp_path: Path) -> None:
    """A title above the table is no row and no header."""
    file = workbook(tmp_path / "a.xlsx", {"S": [["Sales of the bakery", None, None], [None, None, None], ["id", "text", "n"], [1, "one", 3], [2, "two", 4]]})
    assert [item.text for item in read(file) if isinstance(item, Document)] == ["one", "two"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text("abc xyz1", min_size=1), st.integers(-(10**12), 10**12)), min_size=1, max_size=20))
def test_texts_and_numbers_come_back(tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, int]]) -> None:
    """Any text and whole number of a sheet comes back the same."""
    file = workbook(tmp_path_factory.mktemp("x") / "a.xlsx", {"S": [["words", "number"], *map(list, table)]})
    pieces = [piece for _, piece in Workbook(XlsxSettings(header=True)).rows(file) if isinstance(piece, Rows)]
    assert [tuple(row.values()) for piece in pieces for row in piece.dicts()] == [(words, str(number)) for words, number in table]


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to too much, lies about it, or claims a table of billions of cells is quarantined before it is read."""
    far = SHEET.format('<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>')
    (spread,) = read(workbook(tmp_path / "far.xlsx", {}, {"xl/worksheets/s0.xml": far.encode()}))
    monkeypatch.setattr(xlsx, "MAX_UNPACKED_BYTES", 1_000_000)
    (large,) = read(workbook(tmp_path / "large.xlsx", {"S": [["text"]]}, {"xl/media/x.bin": b"\0" * 2_000_000}))
    data = (tmp_path / "large.xlsx").read_bytes()
    (tmp_path / "lies.xlsx").write_bytes(data.replace((2_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    (lies,) = read(SourceFile(tmp_path / "lies.xlsx", "lies.xlsx"))
    for item in (spread, large, lies):
        assert isinstance(item, Skipped)
        assert item.error.startswith("decompression bomb")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_is_told(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A workbook with any bytes broken gives items, never an error."""
    path = tmp_path_factory.mktemp("x") / "a.xlsx"
    workbook(path, {"S": [["id", "text"], *([n, f"text {n}"] for n in range(20))]})
    broken = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(broken) - 1), min_size=1, max_size=4)):
        broken[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(broken[: data.draw(st.integers(1, len(broken)))]))
    assert read(SourceFile(path, "a.xlsx"))


def test_same_as_openpyxl(tmp_path: Path) -> None:
    """A workbook that another library wrote is read with the values that it put in."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Data"
    table = [["id", "text", "at"], [1, "Käse & <b>", datetime.datetime(2021, 3, 4, 5, 6, 7)], [2, "two\nlines", datetime.time(3, 4)]]
    for row in table:
        sheet.append(row)
    stored = io.BytesIO()
    book.save(stored)
    (tmp_path / "a.xlsx").write_bytes(stored.getvalue())
    ((_, piece),) = Workbook().rows(SourceFile(tmp_path / "a.xlsx", "a.xlsx"))
    assert isinstance(piece, Rows)
    assert [tuple(row.values()) for row in piece.dicts()] == [("1", "Käse & <b>", "2021-03-04T05:06:07"), ("2", "two\nlines", "03:04:00")]
