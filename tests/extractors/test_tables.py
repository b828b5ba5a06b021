"""CSV files."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.documents import Document, Extracted, Removed, Skipped
from pipeline.errors import GristmillError, SettingsError
from pipeline.extractors import dialects
from pipeline.extractors.batches import Rows
from pipeline.extractors.dialects import Dialect, Records
from pipeline.extractors.files import SourceFile
from pipeline.extractors.lines import lines
from pipeline.extractors.rows import RowMapping, TurnTemplate
from pipeline.extractors.tables import CsvSettings, CsvTable
from pipeline.settings import build, parse_yaml

GOLD = Path(__file__).resolve().parents[3] / "shared" / "gold"


def read(folder: Path, data: bytes | str, mapping: RowMapping | None = None, name: str = "a.csv", **told: object) -> list[Extracted]:
    """The items of a file with these bytes."""
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return list(CsvTable(CsvSettings(**told), mapping).read(SourceFile(folder / name, name)))  # type: ignore[arg-type]


def texts(items: list[Extracted]) -> list[str | None]:
    """The texts of the documents."""
    return [item.text for item in items if isinstance(item, Document)]


def errors(items: list[Extracted]) -> list[str]:
    """Place and kind of error of what was skipped."""
    return [f"{item.locator.partition('#')[2]} {item.error.partition(':')[0]}" for item in items if isinstance(item, Skipped)]


def table_of(folder: Path, data: bytes, **told: object) -> list[list[str]]:
    """The table as read: header and good rows."""
    (folder / "t.csv").write_bytes(data)
    return rows_of(SourceFile(folder / "t.csv", "t.csv"), **told)


def rows_of(file: SourceFile, **told: object) -> list[list[str]]:
    """Header and good rows of a file."""
    pieces = [piece for piece in CsvTable(CsvSettings(**told)).rows(file) if isinstance(piece, Rows)]  # type: ignore[arg-type]
    return [pieces[0].batch.schema.names, *([cell or "" for cell in row.values()] for piece in pieces for row in piece.dicts())] if pieces else []


def test_cells_stay_text(tmp_path: Path) -> None:
    """No cell becomes missing, a number or a date: what stands in the file is what comes out."""
    cells = ["NA", "null", "None", "nan", "N/A", "-inf", "TRUE", "007", "1e5", "2024-01-01"]
    assert texts(read(tmp_path, "id,text\n" + "".join(f"{number},{cell}\n" for number, cell in enumerate(cells)))) == cells


def test_empty_cells_and_nulls(tmp_path: Path) -> None:
    """An empty cell is empty text, so that its row is removed and not lost; what the settings call null is none either."""
    items = read(tmp_path, "id,text\n1,\n2,\"\"\n3,\\N\n4,words\n", nulls=["\\N"])
    assert [type(item) for item in items] == [Removed, Removed, Removed, Document]
    assert isinstance(items[2], Removed)
    assert json.loads(items[2].document.text or "") == {"id": "3", "text": None}


def test_locators_count_rows_from_zero(tmp_path: Path) -> None:
    """A row is found again by its number after the header, blank lines not counted, and by its own id."""
    items = read(tmp_path, "id,text\nx,one\n\ny,\"two\nlines\"\nz,three\n")
    assert [item.locator for item in items if isinstance(item, Document)] == ["a.csv#row=0", "a.csv#row=1", "a.csv#row=2"]
    assert [item.meta["id"] for item in items if isinstance(item, Document)] == ["x", "y", "z"]
    assert texts(items)[1] == "two\nlines"


DIALECTS = {
    "comma": "id,text\n1,\"a, b\"\n2,c\n",
    "semicolon": "id;text\n1;a, b\n2;c\n",
    "tab": "id\ttext\n1\ta, b\n2\tc\n",
    "pipe": "id|text\n1|a, b\n2|c\n",
    "single quotes": "id,text\n'1','a, b'\n'2','c'\n",
    "backslash": 'id,text,x\n1,"a, b","say \\"a, b\\" or \\d"\n2,"c","he said \\"no, no\\""\n',
    "blank after comma": 'id, text\n1, "a, b"\n2, "c"\n',
    "carriage returns": "id,text\r1,\"a, b\"\r2,c\r",
    "windows": "id,text\r\n1,\"a, b\"\r\n2,c\r\n",
    "byte order mark": "\ufeffid,text\n1,\"a, b\"\n2,c\n",
    "trailing delimiter": "id,text\n1,\"a, b\",\n2,c,\n",
}


@pytest.mark.parametrize("data", DIALECTS.values(), ids=DIALECTS.keys())
def test_finds_the_dialect(tmp_path: Path, data: str) -> None:
    """Delimiter, quotes, escapes and line ends are found out; a wrong guess would show as other texts or ids."""
    items = read(tmp_path, data)
    assert texts(items) == ["a, b", "c"]
    assert [item.meta["id"] for item in items if isinstance(item, Document)] == ["1", "2"]


def test_escapes_leave_other_backslashes_alone(tmp_path: Path) -> None:
    """A backslash is taken off only before a quote, a delimiter or a backslash."""
    assert table_of(tmp_path, DIALECTS["backslash"].encode())[1] == ["1", "a, b", 'say "a, b" or \\d']


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16", "utf-8-sig"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    """Text in any usual encoding is read, found out or told."""
    data = "id,text\n" + "".join(f"{number},Der Käse ist für Möhren übrig; schön süß\n" for number in range(20))
    assert set(texts(read(tmp_path, data.encode(encoding)))) == {"Der Käse ist für Möhren übrig; schön süß"}
    assert set(texts(read(tmp_path, data.encode(encoding), encoding=encoding))) == {"Der Käse ist für Möhren übrig; schön süß"}


def test_bytes_that_are_no_text_cost_their_row_only(tmp_path: Path) -> None:
    """A row with a broken byte is quarantined with its offset; its neighbours stay."""
    items = read(tmp_path, "id,text\n1,ä ö ü ß\n2,a".encode() + b"\xff\n3,c\n")
    assert texts(items) == ["ä ö ü ß", "c"]
    assert errors(items) == ["row=1 not utf-8"]
    assert next(item for item in items if isinstance(item, Skipped)).offset == 22


def test_unclosed_quotes_cost_one_line(tmp_path: Path) -> None:
    """A quote that never closes does not swallow the rows after it: its line is quarantined, the rest is read."""
    rows = [f"{number},\"text {number}\",x" if number % 3 else f"{number},text {number},x" for number in range(200)]
    rows[50] = '50,"text 50,x'
    items = read(tmp_path, "\n".join(["id,text,c", *rows]) + "\n")
    assert len(texts(items)) == 199
    assert errors(items) == ["row=50 unclosed quote"]
    rows[199] = '199,"the last'
    assert errors(read(tmp_path, "\n".join(["id,text,c", *rows]))) == ["row=50 unclosed quote", "row=199 unclosed quote"]


def test_a_quote_that_closes_in_a_later_row_is_noticed(tmp_path: Path) -> None:
    """Rows between a stray quote and the next are good rows again, not one long cell."""
    items = read(tmp_path, "id,text,c\n" + "".join(f"{number},words here,x\n" for number in range(30)) + '30,"oops,x\n31,words here,x\n32,"quoted",x\n33,words here,x\n')
    assert errors(items) == ["row=30 unclosed quote"]
    assert len(texts(items)) == 33


def test_rows_of_another_width_are_quarantined(tmp_path: Path) -> None:
    """Too few or too many cells cost that row, which is kept in quarantine with its bytes; never a shift of columns."""
    data = "id,text,c\n" + "".join(f"{number},text {number},x\n" for number in range(9)) + "9,short\n10,long,x,y\n11,good,x\n"
    items = read(tmp_path, data)
    assert errors(items) == ["row=9 wrong number of cells", "row=10 wrong number of cells"]
    assert texts(items)[-1] == "good"
    assert [item.raw for item in items if isinstance(item, Skipped)] == [b"9,short\n", b"10,long,x,y\n"]


def test_repair_and_error(tmp_path: Path) -> None:
    """``repair`` keeps bad rows as well as it can, ``error`` stops with the place and what to do."""
    tail = "".join(f"{number},more\n" for number in range(5, 100))
    data = f'id,text\n1,one\n2\n3,three,more\n4,"fo"ur\n{tail}'
    assert texts(read(tmp_path, data)) == ["one", *["more"] * 95]
    repaired = read(tmp_path, data, bad_rows="repair")
    assert texts(repaired) == ["one", "three,more", 'fo"ur', *["more"] * 95]
    assert len(repaired) == 99
    with pytest.raises(GristmillError, match=r"a.csv byte 14: wrong number of cells.*bad_rows"):
        read(tmp_path, data, bad_rows="error")


def test_preamble(tmp_path: Path) -> None:
    """Lines before the table are quarantined, or left out when told; the header is the first row of the table's width."""
    data = "Report of the bakery\nas of today\nid,text,c\n1,one,x\n2,two,y\n3,three,z\n"
    found = read(tmp_path, data)
    assert texts(found) == ["one", "two", "three"]
    assert [item.locator for item in found if isinstance(item, Skipped)] == ["a.csv#bytes=0", "a.csv#bytes=21"]
    assert len(read(tmp_path, data, skip_rows=2)) == 3


def test_a_header_of_another_width_is_not_replaced_by_a_row(tmp_path: Path) -> None:
    """When the header has too few cells no row is taken for names."""
    items = read(tmp_path, "key text,c\n" + "".join(f"k{letter},Bread {letter} wants time and warmth,x\n" for letter in "abcdef"))
    assert len(texts(items)) == 6
    assert errors(items) == ["bytes=0 before the table"]


def test_header_told(tmp_path: Path) -> None:
    """The settings' word on the header counts, and columns without names have numbers."""
    items = read(tmp_path, "a,Some words of text here\nb,Other words of text there\n", RowMapping(text="{col_1}"), header=False)
    assert texts(items) == ["Some words of text here", "Other words of text there"]
    assert len(table_of(tmp_path, b"1,2\n3,4\n", header=True)) == 2


def test_titles_above_the_header(tmp_path: Path) -> None:
    """Rows of one cell or of blanks above the names are titles: they are quarantined, and the names are found below."""
    data = "Sales of the bakery,,\n,,\nid,text,n\n1,one,3\n2,two,4\n"
    assert table_of(tmp_path, data.encode()) == [["id", "text", "n"], ["1", "one", "3"], ["2", "two", "4"]]
    assert errors(read(tmp_path, data)) == ["bytes=0 before the table", "bytes=22 before the table"]
    sparse = "Bread wants time. It does. Really.,,\nMore prose stands here. It does.,,\n,,x\n"
    assert len(texts(read(tmp_path, sparse, RowMapping(text="{col_0}{col_2}")))) == 3


def test_names_in_two_rows(tmp_path: Path) -> None:
    """A cell that was merged over several columns is put before the names below it; a row of words that are data is no header."""
    data = b"Day,Travel,,Total\n,Air,Rail,\nMon,1.5,2,3.5\nTue,2,4,6\n"
    assert table_of(tmp_path, data)[0] == ["Day", "Travel Air", "Travel Rail", "Total"]
    assert table_of(tmp_path, b"name,,city\nBob,tall,Paris\nAnn,small,Rome\n")[0] == ["name", "", "city"]


def test_a_header_short_of_one_name(tmp_path: Path) -> None:
    """Names in quotes cannot hide a lost delimiter: those that are there count, and the last column has none."""
    assert table_of(tmp_path, b'"id";"text"\n"1";"one";"x"\n"2";"two";"y"\n"3";"three";"z"\n')[0] == ["id", "text", ""]


def test_a_delimiter_at_every_line_end_is_no_column(tmp_path: Path) -> None:
    """A last column that nothing stands in, name included, is none; a name or a cell makes it one."""
    assert table_of(tmp_path, b"id;text;\n1;one;\n2;two;\n") == [["id", "text"], ["1", "one"], ["2", "two"]]
    assert table_of(tmp_path, b"id;text;\n1;one;\n2;two;x\n")[0] == ["id", "text", ""]


def test_names_are_as_written(tmp_path: Path) -> None:
    """Blanks around a name stay in the table, and a mapping finds the column without them."""
    assert table_of(tmp_path, b"id, text ,\"a b\"\n1,2,3\n")[0] == ["id", " text ", "a b"]
    assert texts(read(tmp_path, "id, text ,x\n1,some words,3\n", RowMapping(text="{text}"))) == ["some words"]


def test_columns_told(tmp_path: Path) -> None:
    """Names of the settings stand for those of the file, and rows of another width do not fit."""
    items = read(tmp_path, "1,one\n2,two\n3,three,more\n", RowMapping(text="{words}"), columns=("number", "words"), header=False)
    assert texts(items) == ["one", "two"]
    assert errors(items) == ["row=2 wrong number of cells"]
    assert table_of(tmp_path, b"a,b\n1,one\n", columns=("number", "words")) == [["number", "words"], ["1", "one"]]


def test_encoding_that_shows_late(tmp_path: Path) -> None:
    """A file that is ASCII for its first megabyte is still read in the encoding of what comes then."""
    rows = "".join(f"{number},{'plain words ' * 10}\n" for number in range(12_000)) + "x,Käse für die schöne Müllerin\n" * 20
    assert texts(read(tmp_path, ("id,text\n" + rows).encode("cp1252")))[-1] == "Käse für die schöne Müllerin"


def test_repair_never_cuts_a_row(tmp_path: Path) -> None:
    """A broken row longer than what quarantine keeps of it is not repaired from that piece."""
    tail = "".join(f"{number},more\n" for number in range(50))
    assert texts(read(tmp_path, f'id,text\n1,"fo"{"x" * 5000}\n{tail}', bad_rows="repair")) == ["more"] * 50
    assert 'fo"ür' in texts(read(tmp_path, f'id,text\n1,"fo"ür\n{tail}'.encode("cp1252"), bad_rows="repair", encoding="cp1252"))


def test_one_column_is_noticed(tmp_path: Path) -> None:
    """A table of one column says so; a told delimiter that cannot be right is refused, not obeyed in silence."""
    (item,) = read(tmp_path, "text\nhello there\n")
    assert isinstance(item, Document)
    assert item.meta["extractor"] == "csv of one column text from text"
    assert errors(read(tmp_path, "id;text\n1;a\n2;b\n", delimiter=",")) == [" wrong delimiter"]


def test_duplicate_columns_are_all_kept(tmp_path: Path) -> None:
    """A name that stands twice is numbered."""
    assert texts(read(tmp_path, "text,text\na,b\n", RowMapping(text="{text} {text_2}"))) == ["a b"]


def test_turns_by_template(tmp_path: Path) -> None:
    """The mapping of the settings makes turns of columns; a wrong name is the one error that is raised."""
    mapping = RowMapping(turns=(TurnTemplate("user", "{q}"), TurnTemplate("assistant", "{a}")))
    (item,) = read(tmp_path, "q,a\nWhy?,So.\n", mapping)
    assert isinstance(item, Document)
    assert [message.content for message in item.messages or ()] == ["Why?", "So."]
    with pytest.raises(SettingsError, match=r"a.csv: has no column 'quest'"):
        read(tmp_path, "question,a\nWhy?,So.\n", RowMapping(text="{quest}"))


def test_long_cells_and_endless_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell beyond the csv module's own limit is read; a line beyond the cap is one quarantined row."""
    assert [len(text or "") for text in texts(read(tmp_path, f"id,text\n1,{'x' * 400_000}\n2,y\n"))] == [400_000, 1]
    monkeypatch.setattr(dialects, "MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr("pipeline.extractors.tables.MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr("pipeline.extractors.csv_blocks.MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr("pipeline.extractors.csv_blocks.BLOCK_BYTES", 500)
    items = read(tmp_path, f"id,text\n1,{'x' * 5000}\n2,y\n")
    assert texts(items) == ["y"]
    assert errors(items) == ["row=0 row too long"]


def test_damage_after_good_rows(tmp_path: Path) -> None:
    """Of a file cut short the rows before the cut are kept and the cut is reported."""
    packed = gzip.compress(b"id,text\n" + b"".join(b"%d,row %d of many\n" % (number, number * 7919) for number in range(40_000)))
    items = read(tmp_path, packed[: len(packed) // 2], name="a.csv.gz")
    assert len(texts(items)) > 0
    assert [item.error.partition(":")[0] for item in items if isinstance(item, Skipped)] == ["cannot be read"]


def test_empty_and_binary(tmp_path: Path) -> None:
    """An empty file, a lone header and binary content are each one reported item."""
    for data, error in ((b"", "empty"), (b"id,text\n", "empty"), (b"%PDF-1.4 ...", "not text")):
        assert errors(read(tmp_path, data)) == [f" {error}"]


def test_pandas_options(tmp_path: Path) -> None:
    """Options of pandas are honoured; without a word about it nothing becomes NaN, and bad lines are reported."""
    data = "# note\nid;text\n1;NA\n2;two words\n3;a;b\n4;x\n"
    items = read(tmp_path, data, pandas={"sep": ";", "comment": "#"})
    assert texts(items) == ["NA", "two words", "x"]
    assert [item.meta["id"] for item in items if isinstance(item, Document)] == ["1", "2", "4"]
    assert errors(items) == ["line=4 wrong number of cells"]
    kept = read(tmp_path, data, pandas={"sep": ";", "comment": "#", "keep_default_na": True})
    assert texts(kept) == ["two words", "x"]
    with pytest.raises(SettingsError, match="did you mean 'sep'"):
        read(tmp_path, data, pandas={"seb": ";"})


def test_settings_are_checked(tmp_path: Path) -> None:
    """Marks of more than one character and unknown encodings are told when the settings are read."""
    for text in ("delimiter: '||'", "encoding: utf-9", "skip_rows: -1", "bad_rows: skip"):
        with pytest.raises(SettingsError):
            build(CsvSettings, parse_yaml(text, "x.yaml"))
    assert build(CsvSettings, parse_yaml('delimiter: "\\t"\nquote: ""\nnulls: [NULL]', "x.yaml")) == CsvSettings(delimiter="\t", quote="", nulls=("NULL",))


CELL = st.text(st.sampled_from("ab1 ,;|\t\"'\n\\é—"), max_size=12)
WRITERS = [
    {"delimiter": ","},
    {"delimiter": ";"},
    {"delimiter": "\t", "quoting": csv.QUOTE_ALL},
    {"delimiter": "|", "lineterminator": "\n"},
    {"delimiter": ",", "quotechar": "'"},
    {"delimiter": ",", "escapechar": "\\", "doublequote": False, "quoting": csv.QUOTE_ALL},
]


@settings(max_examples=150)
@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=8)), st.sampled_from(WRITERS))
def test_told_tables_come_back_equal(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], writer: dict) -> None:
    """Any cells written by the csv module in a dialect that is told come back the same."""
    header = [f"name_{number}" for number in range(len(rows[0]))]
    text = io.StringIO(newline="")
    csv.writer(text, **{"lineterminator": "\r\n", **writer}).writerows([header, *rows])
    told = {"delimiter": writer["delimiter"], "quote": writer.get("quotechar", '"'), "header": True}
    if "escapechar" in writer:
        told["escape"] = "\\"
    folder = tmp_path_factory.mktemp("told")
    assume(len(header) > 1 or all(cell for row in rows for cell in row))
    assert table_of(folder, text.getvalue().encode(), **told) == [header, *rows]


@given(st.lists(st.tuples(st.integers(0, 9999), st.text(st.sampled_from("abcdefg ,.!\n\"é"), min_size=1, max_size=60), st.sampled_from(["red", "green", "blue"])), min_size=5, max_size=30), st.sampled_from(WRITERS[:4]))
def test_ordinary_tables_come_back_without_a_word(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, str]], writer: dict) -> None:
    """A table of a number, a text and a colour comes back the same with nothing told."""
    text = io.StringIO(newline="")
    csv.writer(text, **{"lineterminator": "\r\n", **writer}).writerows([("number", "words", "colour"), *rows])
    expected = [["number", "words", "colour"], *([str(number), words, colour] for number, words, colour in rows)]
    assert table_of(tmp_path_factory.mktemp("found"), text.getvalue().encode()) == expected


@given(st.binary(max_size=300) | st.text(st.sampled_from("a1,;\"'\n\r\\\t "), max_size=120).map(str.encode))
def test_never_raises(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Any bytes become items, repaired or not."""
    read(tmp_path_factory.mktemp("any"), data)
    read(tmp_path_factory.mktemp("any"), data, bad_rows="repair")


@given(st.text(st.sampled_from("a1,\"\n\r"), max_size=80), st.sampled_from([None, 1, 2, 3]))
def test_no_line_is_lost(text: str, width: int | None) -> None:
    """Every line that is not blank belongs to exactly one record, good or bad, in the order of the file."""
    all_lines = list(lines(io.BytesIO(text.encode()), 1000))
    at = 0
    for record in Records(all_lines, Dialect(), width=width):
        while not all_lines[at].raw.strip(b"\r\n"):
            at += 1
        assert record.offset == all_lines[at].offset
        at += record.num_lines
    assert not b"".join(line.raw for line in all_lines[at:]).strip(b"\r\n")


@pytest.mark.skipif(not GOLD.is_dir(), reason="the gold data is not beside this checkout")
def test_gold_tables() -> None:
    """With nothing told, at most one row is wrong in as many gold tables as were measured."""
    good: Counter[str] = Counter()
    exact: Counter[str] = Counter()
    for truth in sorted((GOLD / "tables" / "csv").glob("*.truth.json")):
        path = truth.with_name(truth.name.removesuffix(".truth.json"))
        expected, found = _trimmed(json.loads(truth.read_text())["rows"]), _trimmed(rows_of(SourceFile(path, path.name)))
        kind = path.name.partition("__")[0]
        good[kind] += (expected - found).total() <= 1 and (found - expected).total() <= 1
        exact[kind] += expected == found
    assert good["rfc4180"] == 9
    assert good["pollock"] >= 104
    assert good["survey"] >= 30
    assert exact["survey"] >= 18


def _trimmed(rows: list[list[str]]) -> Counter[tuple[str, ...]]:
    plain = (tuple("\t".join((cell or "").replace("\r\n", "\n") for cell in row).rstrip("\t").split("\t")) for row in rows)
    return Counter(row for row in plain if any(row))
