"""JSON lines, JSON, Parquet and Arrow files."""

from __future__ import annotations

import datetime
import decimal
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Document, Extracted, Message, Removed, Skipped, to_batch
from pipeline.errors import SettingsError
from pipeline.extractors import json_values, lines, records
from pipeline.extractors.files import SourceFile, kind_of
from pipeline.extractors.json_values import BrokenJsonError
from pipeline.extractors.records import ArrowRows, JsonFile, JsonLines, ParquetRows
from pipeline.extractors.rows import RowMapping

HOSTILE = Path(__file__).resolve().parents[3] / "shared" / "gold" / "hostile"
READERS = {"jsonl": JsonLines, "json": JsonFile, "parquet": ParquetRows, "arrow": ArrowRows}


def read(folder: Path, kind: str, data: bytes | str, mapping: RowMapping | None = None) -> list[Extracted]:
    """The items of a file with these bytes."""
    path = folder / f"a.{kind}"
    path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    return list(READERS[kind](mapping).read(SourceFile(path, path.name)))


def texts(items: list[Extracted]) -> list[str | None]:
    """The texts of the documents."""
    return [item.text for item in items if isinstance(item, Document)]


def errors(items: list[Extracted]) -> list[str]:
    """Place and kind of error of what was skipped."""
    return [f"{item.locator.partition('#')[2]} {item.error.partition(':')[0]}" for item in items if isinstance(item, Skipped)]


def parquet(table: pa.Table, **options: object) -> bytes:
    """A table as Parquet with page checksums."""
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=True, **options)
    return sink.getvalue()


def arrow(table: pa.Table, is_file: bool = True) -> bytes:
    """A table as an Arrow file or stream, in batches of three rows."""
    sink = io.BytesIO()
    with (pa.ipc.new_file if is_file else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return sink.getvalue()


def test_one_bad_line_costs_one_line(tmp_path: Path) -> None:
    """Broken lines are quarantined with their offset and bytes; all others are read, those that are no object or hold no text removed."""
    data = '{"text": "one"}\n{"text": "cut\n\n[]\n"str"\n{"text": 5}\n{"tekst": "x"}\n{"text": "\\ud800"}\n{"text": NaN}\n{"text": "last"}'
    items = read(tmp_path, "jsonl", data)
    assert texts(items) == ["one", "last"]
    assert errors(items) == ["row=1 broken JSON", "row=7 half a surrogate pair", "row=8 broken JSON"]
    gone = [(item.document.locator, item.rule) for item in items if isinstance(item, Removed)]
    assert gone[:2] == [("a.jsonl#row=3", "not_an_object"), ("a.jsonl#row=4", "not_an_object")]
    assert [where for where, _ in gone[2:]] == ["a.jsonl#row=5", "a.jsonl#row=6"]
    broken = next(item for item in items if isinstance(item, Skipped))
    assert (broken.offset, broken.raw) == (16, b'{"text": "cut\n')


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    """Other separators inside a string do not cut a line, and Windows line ends do no harm."""
    text = "a\u2028b\u2029c\u0085d\x0be\x0cf"
    items = read(tmp_path, "jsonl", f'{{"text": "{text}"}}\r\n'.replace("\x0b", "\\u000b").replace("\x0c", "\\f") * 3)
    assert texts(items) == [text] * 3


def test_lines_may_differ_in_shape(tmp_path: Path) -> None:
    """Objects of different kinds in one file are each read by their own keys."""
    data = [
        {"text": "plain"},
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"instruction": "Add.", "output": "3"},
        {"body": "B", "title": "T"},
        {"conversations": [{"from": "human", "value": "Hi"}]},
    ]
    items = read(tmp_path, "jsonl", "\n".join(map(json.dumps, data)))
    assert [type(item) for item in items] == [Document] * 5
    assert [len(item.messages or ()) for item in items if isinstance(item, Document)] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    """A byte order mark is no part of the first line, and UTF-16 is known by it."""
    assert texts(read(tmp_path, "jsonl", '{"text": "ä"}\n{"text": "b"}\n'.encode(encoding))) == ["ä", "b"]
    assert texts(read(tmp_path, "json", '[{"text": "ä"}, {"text": "b"}]'.encode(encoding))) == ["ä", "b"]


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    """A broken byte costs its line or element, never the file, and is never replaced."""
    assert errors(read(tmp_path, "jsonl", b'{"text": "a\xff"}\n{"text": "b"}')) == ["row=0 not UTF-8"]
    items = read(tmp_path, "json", b'[{"text": "a\xff"}, {"text": "b"}]')
    assert texts(items) == ["b"]
    assert errors(items) == ["row=0 half a surrogate pair"]


def test_long_lines_are_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line beyond the cap is quarantined with its beginning, and the next one is read."""
    monkeypatch.setattr(records, "MAX_LINE_BYTES", 5000)
    items = read(tmp_path, "jsonl", '{"text": "one"}\n{"text": "' + "x" * 20_000 + '"}\n{"text": "two"}\n')
    assert texts(items) == ["one", "two"]
    assert errors(items) == ["row=1 line too long"]


@pytest.mark.parametrize(
    "data",
    [
        '[{"text": "one"}, {"text": "two"}]',
        '\n [\n{"text": "one"}\n,\n{"text": "two"}\n]\n',
        '{"data": [{"text": "one"}, {"text": "two"}], "version": 1}',
        '["one", "two"]',
        '{"text": "one"}\n{"text": "two"}\n',
    ],
)
def test_json_files(tmp_path: Path, data: str) -> None:
    """A list of objects or texts, an object that holds one, and JSON lines under the name .json all give their rows."""
    assert texts(read(tmp_path, "json", data)) == ["one", "two"]


def test_a_json_list_under_the_name_of_json_lines(tmp_path: Path) -> None:
    """A list named .jsonl is read as the list it is; lists of turns are lines."""
    assert texts(read(tmp_path, "jsonl", '[\n {"text": "one"},\n {"text": "two"}\n]')) == ["one", "two"]
    (item,) = read(tmp_path, "jsonl", '[{"role": "user", "content": "Hi"}]\n')
    assert isinstance(item, Document)
    assert item.messages


def test_broken_json_keeps_what_stands_before(tmp_path: Path) -> None:
    """The elements before the break are read; the break is reported with its place; scalars are removed one by one."""
    items = read(tmp_path, "json", '[{"text": "one"}, 5, {"text": "two"} {"text": "three"}]')
    assert texts(items) == ["one", "two"]
    assert errors(items) == ["row=3 broken JSON"]
    assert [item.reason for item in items if isinstance(item, Removed)] == ["the element is a number"]
    for data in ("", "[", "{", '{"a": 1} x', "nul", "[" * 100_000, '{"a":' * 100_000, "1" * 5000, "[1,]", "\ufeff"):
        assert [type(item) for item in read(tmp_path, "json", data)][-1:] == [Skipped]


@given(st.lists(st.recursive(st.none() | st.booleans() | st.integers(-9, 10**20) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)), max_size=8), st.sampled_from([None, 1]), st.integers(1, 7))
def test_lists_are_read_piece_by_piece(values: list, indent: int | None, chunk: int) -> None:
    """However small the pieces it is read in, a list gives its elements."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values, "_CHUNK_BYTES", chunk)
        assert list(json_values.values(io.BytesIO(json.dumps(values, indent=indent, ensure_ascii=False).encode()))) == values


@given(st.binary(max_size=60) | st.text(st.sampled_from('[]{}",:1 eE.-\\untrfalse\n'), max_size=40).map(str.encode))
def test_json_agrees_with_the_standard_library(data: bytes) -> None:
    """A file that Python's strict parser takes is read the same; any other ends in BrokenJsonError."""
    found = list(json_values.values(io.BytesIO(data)))
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        assert isinstance(found[-1], BrokenJsonError) or b"\xff" in data or not data.isascii()
        return
    assert found == (value if isinstance(value, list) else [value])


def _no_constant(name: str) -> None:
    raise ValueError(name)


@given(st.lists(st.text(max_size=40), max_size=20))
def test_json_lines_round_trip(tmp_path_factory: pytest.TempPathFactory, values: list[str]) -> None:
    """Any texts written as JSON lines come back the same, those of white space as removals."""
    data = "".join(json.dumps({"text": value, "id": number}, ensure_ascii=number % 2 == 0) + "\n" for number, value in enumerate(values))
    items = read(tmp_path_factory.mktemp("lines"), "jsonl", data)
    assert texts(items) == [value for value in values if value.strip()]
    assert len(items) == max(1, len(values))


def test_a_wrong_mapping_is_the_users_mistake(tmp_path: Path) -> None:
    """A column that no row has is a settings error in every format; one that some rows lack is none."""
    mapping = RowMapping(text="{titel}")
    table = pa.table({"title": ["a"]})
    for kind, data in (("jsonl", b'{"title": "a"}'), ("json", b'[{"title": "a"}]'), ("parquet", parquet(table)), ("arrow", arrow(table))):
        with pytest.raises(SettingsError, match="did you mean 'title'"):
            read(tmp_path, kind, data, mapping)
    assert texts(read(tmp_path, "jsonl", '{"a": "x"}\n{"b": "y"}\n', RowMapping(text="{a}{b}"))) == ["x", "y"]


TABLE = pa.table({"id": range(10), "text": [f"text {number}" for number in range(10)]})


@pytest.mark.parametrize(("kind", "data"), [("parquet", parquet(TABLE, row_group_size=4)), ("arrow", arrow(TABLE)), ("arrow", arrow(TABLE, is_file=False))])
def test_columnar_files(tmp_path: Path, kind: str, data: bytes) -> None:
    """Every row is read in order over row groups and batches, with locators that count from 0."""
    items = read(tmp_path, kind, data)
    assert texts(items) == TABLE["text"].to_pylist()
    assert [item.locator for item in items if isinstance(item, Document)] == [f"a.{kind}#row={number}" for number in range(10)]
    assert kind_of(SourceFile(tmp_path / f"a.{kind}", "no suffix")) == kind


def test_our_own_dataset_reads_back(tmp_path: Path) -> None:
    """A shard of this project's schema gives the documents it was made of, with their ids in meta."""
    turn = Message("assistant", "Ho", True, '{"name": "x"}')
    documents = [Document("a", text="plain"), Document("b", messages=(turn,))]
    items = read(tmp_path, "parquet", parquet(pa.Table.from_batches([to_batch("s", documents)])))
    assert [(item.text, item.messages) for item in items if isinstance(item, Document)] == [("plain", None), (None, (turn,))]
    assert all(len(str(item.meta["id"])) == 32 for item in items if isinstance(item, Document))


def test_values_of_all_types(tmp_path: Path) -> None:
    """Times, decimals, dictionaries and bytes become text in a template; times beyond Python's range do no harm."""
    table = pa.table(
        {
            "when": pa.array([datetime.datetime(2024, 1, 2, 3, 4, 5)], pa.timestamp("ns")),
            "far": pa.array([2**62], pa.timestamp("ms")),
            "price": pa.array([decimal.Decimal("1.50")], pa.decimal128(5, 2)),
            "kind": pa.array(["a"]).dictionary_encode(),
            "raw": pa.array([b"bytes"]),
            "noise": pa.array([b"\xff"]),
            "large": pa.array(["x"], pa.large_string()),
        }
    )
    (item,) = read(tmp_path, "parquet", parquet(table), RowMapping(text="{when} {price} {kind} {raw}{noise} {large}"))
    assert isinstance(item, Document)
    assert item.text == "2024-01-02 03:04:05.000000000 1.50 a bytes x"


def test_invalid_text_costs_its_row(tmp_path: Path) -> None:
    """A string column with bytes that are no UTF-8 loses that row only, to quarantine; a bytes column without text is removed."""
    bad = pa.array([b"a", b"\xff\xfe", b"c"]).view(pa.string())
    for kind, data in (("parquet", parquet(pa.table({"text": bad}))), ("arrow", arrow(pa.table({"text": bad})))):
        items = read(tmp_path, kind, data)
        assert texts(items) == ["a", "c"]
        assert errors(items) == ["row=1 invalid values"]
    items = read(tmp_path, "parquet", parquet(pa.table({"text": pa.array([b"ok", b"\xff"])})))
    assert [type(item) for item in items] == [Document, Removed]


def test_a_damaged_row_group_costs_itself(tmp_path: Path) -> None:
    """A changed byte in a page is noticed by its checksum; the row groups around it are read."""
    table = pa.table({"text": [f"a text of its own, number {number * 7919}" for number in range(3000)]})
    data = bytearray(parquet(table, row_group_size=1000, compression="none", use_dictionary=False))
    position = data.index(b"number 11878500")
    data[position + 3] ^= 1
    items = read(tmp_path, "parquet", bytes(data))
    kept = texts(items)
    assert kept[:1000] == table["text"].to_pylist()[:1000]
    assert kept[-1000:] == table["text"].to_pylist()[-1000:]
    assert len(kept) < 3000
    (error,) = errors(items)
    assert error.endswith("damaged parquet file")


def test_damaged_and_empty_files(tmp_path: Path) -> None:
    """A file cut short, empty, of another kind or without rows is one reported item."""
    for kind, data in (("parquet", parquet(TABLE)), ("arrow", arrow(TABLE)), ("arrow", arrow(TABLE, is_file=False))):
        for broken in (b"", b"junk", data[:-20]):
            assert [type(item) for item in read(tmp_path, kind, broken)][-1:] == [Skipped]
    assert errors(read(tmp_path, "parquet", parquet(TABLE.slice(0, 0)))) == [" empty"]
    assert errors(read(tmp_path, "jsonl", b"\n\n")) == [" empty"]
    assert [type(item) for item in read(tmp_path, "json", b"[]")] == [Removed]


@given(st.sampled_from(["parquet", "arrow"]), st.data())
def test_any_damage_is_survived(tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject) -> None:
    """Bytes changed anywhere give rows or reports, never an exception."""
    whole = bytearray(parquet(TABLE) if kind == "parquet" else arrow(TABLE))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    assert read(tmp_path_factory.mktemp("damage"), kind, bytes(whole))


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=200))
def test_any_bytes_are_survived(tmp_path_factory: pytest.TempPathFactory, kind: str, data: bytes) -> None:
    """Any bytes under any name give at least one item and no exception."""
    assert read(tmp_path_factory.mktemp("any"), kind, data)


@given(st.binary(max_size=60), st.integers(1, 9))
def test_lines_are_all_there(data: bytes, cap: int) -> None:
    """Lines cover the bytes without a gap, split at line feeds only, whatever the cap."""
    found = list(lines.lines(io.BytesIO(data), cap))
    assert [line.offset for line in found] == [sum(line.num_bytes for line in found[:index]) for index in range(len(found))]
    assert sum(line.num_bytes for line in found) == len(data)
    assert [line.num_bytes for line in found] == [len(line) for line in io.BytesIO(data)]
    assert all(line.is_cut == (line.num_bytes > cap) for line in found)


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile inputs are not beside this checkout")
@pytest.mark.parametrize("kind", ["json", "parquet", "arrow"])
def test_hostile_files(kind: str) -> None:
    """Every hostile file gives items and no exception; those that must be refused are, unless what they hold is intact."""
    intact = {"parquet/flip_08.parquet", "parquet/flip_10.parquet"}  # the changed bit lies in statistics that no row depends on
    for line in (HOSTILE / "expectations.jsonl").read_text().splitlines():
        case = json.loads(line)
        if not case["path"].startswith(f"{kind}/"):
            continue
        items = list(READERS[kind]().read(SourceFile(HOSTILE / case["path"], case["path"])))
        assert items, case
        if case["must"] in ("quarantine", "reject") and case["path"] not in intact:
            assert any(isinstance(item, Skipped) for item in items), case
        assert len(texts(items)) == case.get("n_rows", len(texts(items))), case
