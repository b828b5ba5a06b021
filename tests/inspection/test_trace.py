"""From any row back to the bytes of its source, and from the source to the row: two hundred documents of every kind of source."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets import open_dataset
from pipeline.errors import UsageError
from pipeline.extractors.files import SourceFile
from pipeline.extractors.sources import SourceSettings
from pipeline.inspection import show, trace, why
from pipeline.inspection.lookup import History, built_in, find_ids
from pipeline.inspection.shown import piece
from pipeline.inspection.trace import Options
from pipeline.inspection.trace_page import Traced
from pipeline.inspection.trace_source import CHANGED, UNCHANGED, UNKNOWN, source_of
from pipeline.inspection.trace_units import Locator, unit_of
from pipeline.packing.reading import read_rows
from pipeline.reporting import command as report

from .conftest import CHECKOUT, run

NUM_TRACED = 200

THINGS = ("bread", "water", "salt", "yeast", "garden", "tomato", "primary-key", "table", "index", "query", "letter", "river", "mountain", "violin")
DEEDS = ("mends", "forgets", "carries", "paints", "counts", "teaches", "borrows", "answers")
ENDS = (
    'It "really" happened.',
    "It's true; isn't it?",
    "A path is C:\\temp\\new (so they say).",
    "Caf\u00e9, na\u00efve, \u6771\u4eac.",
    "50% of it, 'at least'.",
)
REFUSAL = "As an AI language model, I cannot help with that."

SETTINGS = """sources:
  pages: {path: sources/pages}
  site: {path: sources/site.warc}
  table: {path: sources/table.csv}
  wide: {path: sources/wide.csv}
  shop: {path: sources/shop.sql, sql: {tables: [posts]}, tables: {posts: {text: "{title}\\n\\n{body}"}}}
  copy: {path: sources/copy.sql}
  talk: {path: sources/talk.jsonl.gz}
  list: {path: sources/list.json}
  columns: {path: sources/columns.parquet, rows: {id: name}}
  file: {path: sources/file.sqlite}
  notes: {path: sources/notes}
  board:
    path: sources/board
    tables: {posts: {text: "{body}", id: id, threads: {thread: topic, order: [id], author: who}}}
"""


class Texts:
    """Sentences, no two alike, some with signs that formats have to escape; now and then one that a rule removes."""

    def __init__(self) -> None:
        self._random = random.Random(5)
        self._number = 0

    def text(self) -> str:
        """The next one."""
        self._number += 1
        pick = self._random.choice
        if self._number % 17 == 0:
            return REFUSAL
        pairs = " ".join(f"{pick(THINGS)} {pick(DEEDS)} the {pick(THINGS)}," for _ in range(9))
        return f"Number {self._number}: the {pairs} and {pick(THINGS)} stays. {pick(ENDS)}"


def _sources(folder: Path) -> None:
    texts = Texts()
    (folder / "pages" / "deep").mkdir(parents=True)
    (folder / "notes").mkdir()
    (folder / "board").mkdir()
    for number in range(12):
        page = f"<html><head><title>Page {number}</title></head><body><article><p>{texts.text()}</p><p>{texts.text()}</p></article></body></html>"
        name = "deep/a b \u00e9.html" if number == 0 else f"p{number}.html"
        (folder / "pages" / name).write_text(page, encoding="utf-8")
        (folder / "notes" / f"n {number}.md").write_text(f"# Note {number}\n\n{texts.text()}\n", encoding="utf-8")
    (folder / "pages" / "packed.html.gz").write_bytes(gzip.compress(f"<html><body><p>{texts.text()}</p></body></html>".encode(), mtime=0))
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer"])
        writer.writerows([f"What, and\nwhy {number}?" if number % 3 else f"What {number}?", texts.text()] for number in range(40))
    wide = io.StringIO()
    csv.writer(wide, delimiter=";").writerows([["name", "text"], *([f"w{number}", texts.text()] for number in range(12))])
    (folder / "wide.csv").write_bytes(wide.getvalue().encode("utf-16"))
    escaped = [texts.text().replace("\\", "\\\\").replace("'", "\\'") for _ in range(40)]
    values = ",\n".join(f"({3 * number + 1},'Title {number}','{text}')" for number, text in enumerate(escaped))
    create = "CREATE TABLE `posts` (`id` int NOT NULL, `title` varchar(80), `body` text, PRIMARY KEY (`id`)) ENGINE=InnoDB;\n"
    (folder / "shop.sql").write_text(f"-- MySQL dump 10.13\n{create}INSERT INTO `posts` VALUES {values};\n", encoding="utf-8")
    lines = "".join(f"{number}\t{texts.text()}\n".replace("\\", "\\\\") for number in range(30))
    copy = f"-- PostgreSQL database dump\nCREATE TABLE notes (id integer, body text);\nCOPY notes (id, body) FROM stdin;\n{lines}\\.\n"
    (folder / "copy.sql").write_text(copy, encoding="utf-8")
    turns = [[{"role": "user", "content": f"Question {number}?"}, {"role": "assistant", "content": texts.text()}] for number in range(40)]
    talk = [json.dumps({"messages": both}) for both in turns]
    (folder / "talk.jsonl.gz").write_bytes(gzip.compress("\n".join([*talk[:5], "", '{"broken', *talk[5:]]).encode(), mtime=0))
    (folder / "list.json").write_text(json.dumps({"data": [{"text": texts.text()} for _ in range(12)]}, indent=1), encoding="utf-8")
    columns = {"name": [f"row {number}" for number in range(20)], "text": [texts.text() for _ in range(20)]}
    pq.write_table(pa.table(columns), folder / "columns.parquet")
    with sqlite3.connect(folder / "file.sqlite") as database:
        database.execute("CREATE TABLE letters (id INTEGER PRIMARY KEY, body TEXT)")
        database.executemany("INSERT INTO letters VALUES (?, ?)", [(5 * number + 2, texts.text()) for number in range(12)])
    database.close()
    posts = [(number, number % 5, f"user {number % 3}", texts.text()) for number in range(20)]
    for part in (0, 1):
        with (folder / "board" / f"posts.{part}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("id", "topic", "who", "body"), *posts[part::2]])
    _warc(folder / "site.warc", texts)


def _warc(path: Path, texts: Texts) -> None:
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for number in range(8):
            page = f"<html><body><p>{texts.text()}</p><p>{texts.text()}</p></body></html>".encode()
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            url = f"https://example.org/{number}"
            writer.write_record(writer.create_warc_record(url, "response", payload=io.BytesIO(page), http_headers=headers))


@pytest.fixture(scope="session")
def traceable(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Path:
    """A project with sources of every kind, built up to token sets in two formats; nobody writes to it."""
    folder = tmp_path_factory.mktemp("traceable")
    (folder / "stages").mkdir()
    (folder / "stages" / "extract.yaml").write_text(SETTINGS)
    _sources(folder / "sources")
    names = re.findall(r"^  (\w+):", SETTINGS, re.M)
    build(folder, "extract", *(word for name in names for word in ("--source", name)), "data/raw/all")
    build(folder, "filter", "data/raw", "data/clean")
    for name, told in KINDS.items():
        build(folder, "tokenize", "data/clean", f"data/tokens/{name}", "--tokenizer", tiny_tokenizer, "--length", 1024, *told)
    return folder


def build(folder: Path, stage: str, *arguments: object) -> None:
    """Run a stage in a folder."""
    done = run(f"pipeline.stages.{stage}", *arguments, "--workers", 1, cwd=folder)
    assert done.returncode == 0, done.stderr


KINDS = {"rows": ("--set", "format=parquet"), "lines": ("--set", "format=jsonl"), "arrow": ("--set", "pack=none")}


@pytest.fixture
def project(traceable: Path) -> Iterator[Path]:
    """The project as the current folder."""
    with chdir(traceable):
        yield traceable


def rows_of(dataset: str, part: str) -> list[tuple[str, int, dict[str, Any]]]:
    """File, number and content of each row of a part of a dataset of documents."""
    files = open_dataset(Path(dataset)).files(part)
    return [(str(file), number, row) for file in files for number, row in enumerate(pq.read_table(file).to_pylist())]


def ids_to_trace() -> list[str]:
    """Two hundred ids of all that was extracted, kept or removed by whatever stage."""
    ids = sorted({row["id"] for name, part in PARTS if part != "__quarantine" for _, _, row in rows_of(name, part)})
    return random.Random(9).sample(ids, NUM_TRACED)


PARTS = [("data/raw/all", ""), ("data/raw/all", "__removed"), ("data/raw/all", "__quarantine"), ("data/clean", ""), ("data/clean", "__removed")]


def one_traced(wanted: str, options: Options = Options()) -> Traced:  # noqa: B008 (frozen)
    """What is found of the one document that ``wanted`` names."""
    built, asked = trace.asked_for(wanted, None, 3)
    assert (len(asked.documents), asked.num_found) == (1, 1)
    return trace.traced(built, asked.documents[0], options)


def numbers(text: str) -> set[str]:
    """The numbers of the sentences in a text."""
    return set(re.findall(r"Number (\d+): the", text))


def test_ids_lead_to_their_bytes_and_back(project: Path) -> None:
    """Of 200 documents of every kind of source the bytes hold all sentences and no other's; the place finds the document again."""
    built = built_in(Path("data"))
    verbatim: set[str] = set()
    for index, name in enumerate(ids_to_trace()):
        one = one_traced(name)
        row = one.history.document
        assert row is not None and one.unit is not None, one.problem
        assert (one.history.id, one.state) == (name, UNCHANGED)
        data, text = one.unit.data.decode(), piece(row, None)
        assert numbers(data) == numbers(text)
        assert all(sentence in data for sentence in re.findall(r"Number \d+: .*? stays\.", text)) and (REFUSAL in data) == (REFUSAL in text)
        if one.unit.start is not None:
            verbatim.add(row["source"])
            with SourceFile(Path(one.where), "").open() as stream:
                assert stream.read()[one.unit.start : one.unit.end] == one.unit.data
        elif row["source"] != "site":
            assert all(json.loads(line) for line in data.splitlines())
        path, mark, part = row["locator"].partition("#")
        where = one.where if Path(one.where).is_file() else f"{one.where}/{path}"
        for place in (f"{row['source']}/{row['locator']}", f"{where}{mark}{part}")[: 1 + (index % 3 == 0)]:
            ids, number, found_by = find_ids(built, place, 3)
            assert (ids, number, found_by) == ([name], 1, "place"), place
    assert verbatim == {"pages", "table", "shop", "copy", "talk", "notes"}


def test_rows_lead_to_their_documents(project: Path) -> None:
    """A row of any part of any dataset of documents names the document in it, and the chain holds that row."""
    everything = [(dataset, *row) for dataset, part in PARTS for row in rows_of(dataset, part)]
    unreadable = [row for row in everything if "id" not in row[-1]]
    assert len(unreadable) == 1
    for dataset, file, number, row in [*random.Random(3).sample(everything, 60), *unreadable]:
        built, asked = trace.asked_for(f"{file}:{number}", None, 3)
        if "id" not in row:
            (unit,) = asked.unreadable
            assert b'{"broken' in trace.traced(built, History(None), Options(), unit).unit.data  # type: ignore[union-attr]
            continue
        assert [item.id for item in asked.documents] == [row["id"]]
        one = trace.traced(built, asked.documents[0], Options())
        steps = [(step["dataset"], f"{step['dataset']}/{step['file']}", step["row"]) for step in one.steps]
        assert (dataset, file, number) in steps


def test_a_folder_counts_the_rows_of_its_files(project: Path) -> None:
    """A dataset, or a part of one, in place of a file: the row of that number over all files."""
    for where, dataset, part in (("data/clean", "data/clean", ""), ("data/clean/__removed", "data/clean", "__removed")):
        for number, (_, _, row) in list(enumerate(rows_of(dataset, part)))[::40]:
            assert one_traced(f"{where}:{number}").history.id == row["id"]
    packed = [
        trace.asked_for(f"{where}:0", None, 3)[1]
        for where in ("data/tokens/rows", "data/tokens/rows/train", "data/tokens/rows/train/part-00000.parquet")
    ]
    assert packed[0].row == packed[1].row == packed[2].row


def test_packed_rows_lead_to_their_documents(project: Path) -> None:
    """A packed row of each format and split names the documents in it, and each document's chain holds that row."""
    for name in KINDS:
        dataset = open_dataset(Path("data/tokens") / name)
        for split in ("train", "validation", "test"):
            (file,) = dataset.files(split)
            rows = [row for batch in read_rows(file, ["pieces"]) for row in batch.column("pieces").to_pylist()]
            for number in random.Random(4).sample(range(len(rows)), min(6, len(rows))):
                built, asked = trace.asked_for(f"{file}:{number}", None, 3)
                assert {item.id for item in asked.documents} == {one["id"] for one in rows[number] if one["id"]}
                for item in asked.documents:
                    one = trace.traced(built, item, Options())
                    stages = [step["stage"] for step in one.steps]
                    assert (str(file), number) in [(f"{step['dataset']}/{step['file']}", step["row"]) for step in one.steps]
                    assert {"tokenize", "filter", "extract"} == set(stages) and one.state == UNCHANGED and one.unit is not None


def test_each_step_names_a_command_that_works(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands behind the steps run, and the last of them writes the bytes that were announced."""
    name = next(row["id"] for _, _, row in rows_of("data/clean", "") if row["source"] == "shop")
    assert trace.main([name]) == 0
    commands = [shlex.split(line)[4:] for line in capsys.readouterr().out.splitlines() if line.strip().startswith("next: ")]
    assert [words[0] for words in commands] == ["show", "show", "show", "why", "show", "trace"]
    for word, *arguments in commands[:-1]:
        assert {"show": show, "why": why}[word].main(arguments) == 0
        assert name in capsys.readouterr().out
    assert trace.main([name, "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["documents"]
    told = document["source"]["unit"]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-m", "pipeline", *commands[-1]], cwd=project, env=env, capture_output=True, check=True)
    assert done.stdout == Path("sources/shop.sql").read_bytes()[told["start"] : told["end"]] and len(done.stdout) == told["bytes"]


def test_what_the_report_shows_can_be_traced(project: Path, tmp_path: Path) -> None:
    """Each id on the page, also the beginnings beside duplicates, leads to bytes."""
    assert report.main(["--out", str(tmp_path / "report.html"), "--quiet"]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "python -m pipeline trace ID" in page
    ids = set(re.findall(r"pipeline why ([0-9a-f]{32})", page))
    assert len(ids) >= 3
    assert all(one_traced(name).unit is not None for name in ids)


def test_extracted_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A document of each source, and one whose thread lies in two files, comes out of another extraction as it was."""
    first = {row["source"]: row["id"] for _, _, row in rows_of("data/raw/all", "")}
    assert len(first) == 12
    for name in first.values():
        assert one_traced(name, Options(again=True)).again == "extracted again, the source gives the same document"


def test_a_source_that_changed_or_moved(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed file is said to be; one that was moved is found by its name and digest, or at the place that is named; else a line says what to do."""
    shutil.copytree("data", tmp_path / "data")
    shutil.copytree("sources", tmp_path / "sources")
    name = next(row["id"] for _, _, row in rows_of("data/raw/all", "") if row["locator"] == "table.csv#row=30")
    with chdir(tmp_path):
        table = Path("sources/table.csv")
        old = table.read_bytes()
        assert one_traced(name).state == UNCHANGED  # no settings: it is looked for
        table.write_bytes(old.replace(b"What 30?", b"Why 30, then?"))
        assert one_traced(name).state == CHANGED
        assert trace.main([name, "--bytes"]) == 0
        assert "CHANGED" in capsys.readouterr().err
        table.write_bytes(old[:200])
        assert "is not in" in one_traced(name).problem
        with pytest.raises(UsageError, match="is not in"):
            trace.main([name, "--bytes"])
        table.unlink()
        assert "lies nowhere" in one_traced(name).problem
        Path("moved").mkdir()
        Path("moved/table.csv").write_bytes(old)
        for options in (Options(), Options(source="moved/table.csv"), Options(source="moved")):
            one = one_traced(name, options)
            assert one.state == UNCHANGED and one.unit is not None and one.unit.data.startswith(b"What 30?")
        assert "holds no table.csv" in one_traced(name, Options(source="sources/notes")).problem


def test_extracted_on_the_way(project: Path, tmp_path: Path) -> None:
    """Where only a clean dataset was built the source is found too, and it is said that its digest is not known."""
    shutil.copytree("sources/notes", tmp_path / "raw" / "notes")
    build(tmp_path, "filter", "raw/notes", "clean")
    with chdir(tmp_path):
        one = one_traced(f"clean/{open_dataset(Path('clean')).shards[0].path}:1")
        assert one.state == UNKNOWN and one.unit is not None and one.unit.data == Path(one.where).read_bytes()
        assert one_traced(f"clean/{open_dataset(Path('clean')).shards[0].path}:1", Options(again=True)).again.endswith("gives a document of this id")


DUMPS = """sources:
  parts: {path: dumps, sql: {together: true}, tables: {posts: {text: "{body}", where: {kind: [a]}}}}
  board:
    path: dumps
    sql: {together: true}
    tables: {posts: {text: "{body}", id: id, join: {topics: {key: topic}}, threads: {thread: topic, order: [id], author: who, title: name}}}
"""


def test_dumps_that_are_one_database(tmp_path: Path) -> None:
    """A row is found in the dump that holds it, a thread's rows by the table of its posts, also where a table of names is joined."""
    (tmp_path / "dumps").mkdir()
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "extract.yaml").write_text(DUMPS)
    (tmp_path / "dumps" / "1.sql").write_text("CREATE TABLE posts (id INT PRIMARY KEY, kind TEXT, body TEXT, topic INT, who TEXT);\n")
    values = "(3,'a','How is bread made?',1,'x'),(7,'b','With water.',1,'y'),(9,'a','How is salt made?',2,'x'),(11,'a','In the sun.',2,'y')"
    topics = "CREATE TABLE topics (topic INT PRIMARY KEY, name TEXT);\nINSERT INTO topics VALUES (1,'Bread'),(2,'Salt');\n"
    (tmp_path / "dumps" / "2.sql").write_text(f"INSERT INTO posts VALUES {values};\n{topics}")
    (tmp_path / "dumps" / "0.csv").write_text("a,b\n1,a table that is no dump\n2,and has two rows\n")
    build(tmp_path, "extract", "--source", "parts", "--source", "board", "data/raw/all")
    with chdir(tmp_path):
        rows = [row for part in ("", "__removed") for _, _, row in rows_of("data/raw/all", part)]
        found = {f"{row['source']}/{row['locator']}": one_traced(row["id"], Options(again=True)) for row in rows}
    assert {one.again for one in found.values()} == {"extracted again, the source gives the same document"}
    units = {place: one.unit for place, one in found.items() if one.unit is not None and one.state == UNCHANGED}
    assert len(units) == len(rows) >= 8
    posts = {unit.data.decode() for place, unit in units.items() if place.startswith("parts/.#table=posts")}
    assert posts == {f"({post})" for post in values[1:-1].split("),(")}
    thread = units["board/.#table=posts&thread=2"].data.splitlines()
    assert [json.loads(line)["body"] for line in thread] == ["How is salt made?", "In the sun."]


def test_a_live_database(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a live database table and key are told; there are no bytes to write."""
    name = next(row["id"] for _, _, row in rows_of("data/raw/all", "") if row["source"] == "file")
    one = one_traced(name, Options(source="sqlite:///sources/file.sqlite"))
    assert one.unit is None and one.problem.startswith("ask it for table letters, key ") and "live" in one.state
    with pytest.raises(UsageError, match="ask it for table letters"):
        trace.main([name, "--bytes", "--source", "sqlite:///sources/file.sqlite"])


def test_no_path_out_of_the_source(project: Path) -> None:
    """A locator that leads out of its source's folder finds nothing there."""
    with pytest.raises(UsageError, match="holds no"), source_of(built_in(Path("data")), "pages", Locator.of("../table.csv"), None, None):
        pass


@pytest.mark.parametrize(
    "text",
    ["table.csv#row=x", "table.csv#key=1", "talk.jsonl.gz#row=", "site.warc#record=-", "shop.sql#row=1", "table.csv#bytes=", "wide.csv#row=99"],
)
def test_a_place_that_cannot_be(text: str, project: Path) -> None:
    """A locator that no reader wrote, or of a row that is not there, is one line."""
    wanted = Locator.of(text)
    with pytest.raises(UsageError, match=r"is no place in such a file|is not in "):
        unit_of([SourceFile(Path("sources") / wanted.path, wanted.path)], wanted, SourceSettings("."))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["data/clean/part-00000:3"], "data/clean/part-00000: is not there; did you mean 'part-00000.parquet'?"),
        (["data/clean/part-00000.parquet:90000"], "is not there: part-00000.parquet has {rows} rows; count from 0"),
        (["data/clean/part-00000.parquet:x"], "names no row"),
        (["data/tokens/rows/trian:1"], "data/tokens/rows/trian: is not there; did you mean 'train'?"),
        (["data/tokens/rows/train:90000"], "90000: is not there: train has "),
        (["sources/table.csv:1"], "is part of no dataset"),
        (["zzzz"], "is neither a row nor a document"),
        ([" "], "nothing is asked for"),
        (["data/tokens/rows/train/part-00000.parquet:0", "--bytes"], "documents, and --bytes gives one; name one of them: "),
        (["x", "--data", "dat"], "dat: is not there; did you mean 'data'?"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], line: str, project: Path) -> None:
    """A mistake is one line and names what is near."""
    rows = open_dataset(Path("data/clean")).shards[0].rows
    with pytest.raises(UsageError, match=re.escape(line.format(rows=rows))):
        trace.main(arguments)


def test_an_unknown_id_names_the_nearest(project: Path) -> None:
    """An id that is not there is told with those that begin like it."""
    known = rows_of("data/clean", "")[0][2]["id"]
    with pytest.raises(UsageError, match=f"is no document's id; the nearest: {known}"):
        trace.main([known[:-1] + ("0" if known[-1] != "0" else "1")])
