"""Dumps, CSV files and databases become conversations and documents: the whole command, on a small board and a small wiki."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.stages.conftest import run_module, tree

DUMPS = Path(__file__).parent / "dumps"

BOARD = """sources:
  board:
    path: {path}
    tables:
      phpbb_posts:
        text: "{{post_text}}"
        formats: {{post_text: bbcode, topic_title: html}}
        join: {{phpbb_topics: {{key: topic_id}}}}
        id: post_id
        threads: {{thread: topic_id, order: post_time, author: poster_id, title: topic_title}}
"""

WIKI = """sources:
  wiki:
    path: wiki.sql
    tables:
      page:
        text: "# {page_title}\\n\\n{old_text}"
        needs: old_text
        formats: {page_title: mediawiki_title, old_text: mediawiki}
        join: {slots: {key: slot_revision_id, on: page_latest}, content: {key: content_id, on: slot_content_id},
               text: {key: old_id, on: content_address, strip: "tt:"}}
"""


def extract(folder: Path, settings: str, source: str, *further: object) -> tuple[dict, list[dict]]:
    """Counts and rows of the dataset that the command makes of one source."""
    (folder / "extract.yaml").write_text(settings, encoding="utf-8")
    done = run_module("pipeline.stages.extract", "--settings", "extract.yaml", "--source", source, "out", *further, cwd=folder)
    assert done.returncode == 0, done.stderr
    counts = json.loads((folder / "out/__manifest.json").read_text())["counts"][source]
    return counts, pq.read_table(folder / "out").to_pylist()


def talk(row: dict) -> list[tuple[str, str]]:
    """The turns of a row."""
    return [(message["role"], message["content"]) for message in row["messages"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the two dumps."""
    for dump in DUMPS.glob("*.sql"):
        shutil.copy(dump, tmp_path)
    return tmp_path


PALE = [
    ("user", "Bread stays pale & soft\n\nMy loaf comes out pale & soft. I bake it at **180 degrees**.\nWhat am I doing wrong? :("),
    (
        "assistant",
        "> marta wrote:\n> I bake it at **180 degrees**.\n\nThat is not hot enough: start at 240 with steam, then go down after fifteen minutes.",
    ),
    ("user", "Steam, how? My oven has none.\n\nI do have a cast iron pot, though."),
    ("assistant", "Then use the pot:\n\n1. heat it empty\n2. put the dough in, lid on\n3. take the lid off after twenty minutes"),
]


def test_a_board_becomes_conversations(folder: Path) -> None:
    """Ten lines of YAML: posts of a phpBB dump are conversations with titles out of another table; every row is accounted for."""
    counts, rows = extract(folder, BOARD.format(path="board.sql"), "board")
    assert [row["locator"] for row in rows] == [f"board.sql#table=phpbb_posts&thread={n}" for n in (1, 2, 3, 4)]
    assert talk(rows[0]) == PALE
    assert talk(rows[1])[1] == (
        "assistant",
        "> ole wrote:\n> if you are away for a week\n\nPut it into the **fridge**, it sleeps there for two.\nMine did :)",
    )
    assert [row["group"] for row in rows] == ["1", "2", "3", "4"]
    assert json.loads(rows[0]["meta"])["title"] == "Bread stays pale & soft"
    assert counts["read"] == 14
    assert (counts["kept"], counts["merged"], counts["removed"]) == (4, 9, {"not_joined": 1})
    written = b"".join(path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file())
    assert b"hunter2" not in written  # a table that nothing names is not read


def test_the_same_board_as_csv_and_sqlite(folder: Path) -> None:
    """The tables may as well be CSV files or a SQLite database: the same conversations come of them."""
    _, expected = extract(folder, BOARD.format(path="board.sql"), "board")
    tables = {"phpbb_posts": ("post_id", "topic_id", "poster_id", "post_time", "post_text"), "phpbb_topics": ("topic_id", "topic_title")}
    found = rows_of_dump(folder)
    (folder / "board").mkdir()
    database = sqlite3.connect(folder / "board.sqlite")
    for table, columns in tables.items():
        with (folder / "board" / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *([row[name] for name in columns] for row in found[table])])
        database.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
        database.executemany(
            f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", [[row[name] for name in columns] for row in found[table]]
        )
    database.commit()
    database.close()
    for path in ("board", "board.sqlite", f"sqlite:///{folder}/board.sqlite"):
        _, rows = extract(folder, BOARD.format(path=path), "board")
        assert [row["messages"] for row in rows] == [row["messages"] for row in expected], path


def rows_of_dump(folder: Path) -> dict[str, list[dict]]:
    """The rows of the board's dump, read as the documents of a plain extraction."""
    from pipeline.extractors.batches import TableBatch
    from pipeline.extractors.files import SourceFile
    from pipeline.extractors.sql_dump import table_batches
    from pipeline.extractors.sql_settings import SqlSettings

    found: dict[str, list[dict]] = {}
    for item in table_batches([SourceFile(folder / "board.sql", "board.sql")], SqlSettings()):
        assert isinstance(item, TableBatch)
        found.setdefault(item.name, []).extend(item.batch.to_pylist())
    return found


def test_a_wiki_becomes_documents(folder: Path) -> None:
    """Ten lines of YAML: the latest text of each page, found over three tables; redirects and pages without text are removed."""
    counts, rows = extract(folder, WIKI, "wiki")
    assert [row["text"] for row in rows] == ["# Rye bread\n\n**Rye bread** is a loaf made of rye flour.\n\n## Making\n- Feed the *starter*.\n- Mix, wait, bake."]
    assert counts["read"] == 12
    assert (counts["kept"], counts["merged"]) == (1, 6)
    assert counts["removed"] == {"no_text": 2, "not_joined": 3}


def test_same_bytes_for_any_number_of_workers(folder: Path) -> None:
    """One, two or three workers give the same bytes, with other sources beside."""
    settings = BOARD.format(path="board.sql") + WIKI.removeprefix("sources:\n")
    (folder / "extract.yaml").write_text(settings, encoding="utf-8")
    trees = []
    for workers in (1, 2, 3):
        arguments = ("--settings", "extract.yaml", "--source", "board", "--source", "wiki", f"out{workers}", "--workers", workers, "--quiet")
        done = run_module("pipeline.stages.extract", *arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        trees.append(tree(folder / f"out{workers}"))
    assert trees[0] == trees[1] == trees[2]


def test_mistakes_are_one_line(folder: Path) -> None:
    """A table or column that is not there is told with the nearest name, and nothing is written."""
    for right, wrong, told in [
        ("phpbb_topics:", "phpbb_topic:", "no table 'phpbb_topic' was found; did you mean 'phpbb_topics'?"),
        ("author: poster_id", "author: posterid", "phpbb_posts: has no column 'posterid'; did you mean 'poster_id'?"),
    ]:
        (folder / "extract.yaml").write_text(BOARD.format(path="board.sql").replace(right, wrong), encoding="utf-8")
        done = run_module("pipeline.stages.extract", "--settings", "extract.yaml", "--source", "board", "out", cwd=folder)
        assert done.returncode == 2
        assert told in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not (folder / "out").exists()
