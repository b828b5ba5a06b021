"""A live database as a source of the stage extract: passwords stay secret, killed runs resume, and `refresh` says when it is read again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.database_servers import OwnDatabase, own_database

from .conftest import CHECKOUT, command, environment, run_module, tree

SECRET = "pa55-w/rd:öf@shop"
SPELLINGS = (SECRET, "pa55-w%2Frd", "pa55")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[OwnDatabase]:
    """A SQLite database with 40 posts."""
    with own_database("sqlite", tmp_path) as database:
        rows = [(n, f"Post number {n} says a few words about bread and gardens.") for n in range(1, 41)]
        database.run("CREATE TABLE posts (id INTEGER PRIMARY KEY, body TEXT)", "INSERT INTO posts VALUES (?, ?)", rows=rows)
        yield database


def write_settings(folder: Path, address: str, database: str = "{}") -> None:
    """``stages/extract.yaml`` of one source, shop."""
    (folder / "stages").mkdir(exist_ok=True)
    text = f"sources:\n  shop:\n    path: '{address}'\n    database: {database}\n    tables: {{posts: {{text: '{{body}}'}}}}\n"
    (folder / "stages" / "extract.yaml").write_text(text, encoding="utf-8")


def extract(folder: Path, *arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the stage for the source shop into ``out``."""
    return run_module("pipeline.stages.extract", "--source", "shop", "out", *arguments, cwd=folder, env=env)


def texts(folder: Path) -> list[str]:
    """The texts of a dataset."""
    return [str(text) for text in pq.read_table(folder).column("text").to_pylist()]


def everything_in(folder: Path) -> bytes:
    """The bytes of all files below a folder, Parquet's metadata and columns beside them in plain."""
    pieces = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        pieces.append(path.name.encode() + path.read_bytes())
        if path.suffix == ".parquet":
            pieces += [str(pq.read_metadata(path).metadata).encode(), str(pq.read_table(path).to_pylist()).encode()]
    return b"\n".join(pieces)


def mentions(*texts_: str | bytes) -> list[str]:
    """The spellings of the password that stand in any of the texts."""
    joined = b"\n".join(text.encode() if isinstance(text, str) else text for text in texts_)
    return [spelling for spelling in SPELLINGS if spelling.encode() in joined]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[OwnDatabase]:
    """A database whose reader has a password."""
    with own_database("mysql", tmp_path) as database:
        name = database.address.rpartition("/")[2]
        user = f"r{name[-12:]}"
        database.run(
            "CREATE TABLE posts (id int PRIMARY KEY, body text)",
            "INSERT INTO posts VALUES (1, 'Bread wants time more than it wants work.')",
            f"CREATE USER '{user}'@'%' IDENTIFIED BY '{SECRET}'",
            f"CREATE USER '{user}'@'localhost' IDENTIFIED BY '{SECRET}'",
            f"GRANT SELECT ON {name}.* TO '{user}'@'%', '{user}'@'localhost'",
        )
        try:
            yield OwnDatabase("mysql", database.address.replace("root@", f"{user}@"))
        finally:
            database.run(f"DROP USER '{user}'@'%', '{user}'@'localhost'")


@pytest.mark.parametrize("origin", ["env", "file"])
def test_the_password_is_nowhere(guarded: OwnDatabase, tmp_path: Path, origin: str) -> None:
    """It comes from the environment or a file, and stands in no file of the output, no message and no traceback."""
    folder = tmp_path / "bench"
    folder.mkdir()
    (tmp_path / "secret").write_text(f"{SECRET}\n", encoding="utf-8")
    given = "{password_env: SHOP_PASSWORD}" if origin == "env" else f"{{password_file: {tmp_path / 'secret'}}}"
    write_settings(folder, guarded.address, given)
    done = extract(folder, "--debug", "--workers", 2, env={"SHOP_PASSWORD": SECRET})
    assert done.returncode == 0 and texts(folder / "out") == ["Bread wants time more than it wants work."]
    assert not mentions(done.stdout, done.stderr, everything_in(folder))


def test_a_wrong_password_is_one_line(guarded: OwnDatabase, tmp_path: Path) -> None:
    """The server's reason, without the password, and no traceback but with --debug, where it is not either."""
    write_settings(tmp_path, guarded.address, "{password_env: SHOP_PASSWORD}")
    wrong = {"SHOP_PASSWORD": f"{SECRET}-wrong"}
    plain, debug = extract(tmp_path, env=wrong), extract(tmp_path, "--debug", env=wrong)
    assert plain.returncode == 1 and plain.stderr.count("\n") == 1 and "Access denied" in plain.stderr
    assert not mentions(plain.stderr, debug.stderr, everything_in(tmp_path))


@pytest.mark.parametrize("address", [f"mysql://me:{SECRET}@127.0.0.1/db", "postgresql://me:pa55-w%2Frd@127.0.0.1/db", "mysql://h/db?password=pa55"])
def test_a_password_in_the_address_is_refused(tmp_path: Path, address: str) -> None:
    """In the settings as on the command line: exit code 2, and the message does not repeat it."""
    write_settings(tmp_path, address)
    by_settings = extract(tmp_path, "--debug")
    by_argument = run_module("pipeline.stages.extract", address, "out", cwd=tmp_path)
    (tmp_path / "stages" / "extract.yaml").unlink()
    for done in (by_settings, by_argument):
        assert done.returncode == 2 and "password" in done.stderr
        assert not mentions(done.stdout, done.stderr.replace("password=pa55", ""), everything_in(tmp_path)) and "pa55" not in done.stderr


def test_workers_make_no_difference(shop: OwnDatabase, tmp_path: Path) -> None:
    """The same bytes for one worker and for three, with the rows in the order of the key."""
    write_settings(tmp_path, shop.address, "{rows_per_part: 17, refresh: never}")
    trees = []
    for workers in (1, 3):
        assert extract(tmp_path, "--workers", workers).returncode == 0
        trees.append(tree(tmp_path / "out"))
        assert [int(text.split()[2]) for text in texts(tmp_path / "out")] == list(range(1, 41))
        shutil.rmtree(tmp_path / "out")
    assert trees[0] == trees[1]


@pytest.mark.parametrize("refresh", ["always", "never"])
def test_a_killed_run_goes_on_at_the_missing_parts(shop: OwnDatabase, tmp_path: Path, refresh: str) -> None:
    """What was read before the kill is not read again: rows deleted since then are still there, and no row comes twice."""
    write_settings(tmp_path, shop.address, f"{{rows_per_part: 1, refresh: {refresh}}}")
    arguments = ["--source", "shop", "out", "--workers", "1"]
    run = subprocess.Popen(command("pipeline.stages.extract", arguments), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    records: list[Path] = []
    for _ in range(3000):
        records = [*tmp_path.glob(".out.partial-*/__work/extract-*.json")]
        if len(records) >= 5:
            break
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    num_done = len([*tmp_path.glob(".out.partial-*/__work/extract-*.json")])
    assert 5 <= num_done < 40
    shop.run("DELETE FROM posts WHERE id <= 5")
    assert extract(tmp_path).returncode == 0
    assert [int(text.split()[2]) for text in texts(tmp_path / "out")] == list(range(1, 41))


def test_never_reads_once(shop: OwnDatabase, tmp_path: Path) -> None:
    """With `never` the database may be gone: there is nothing to ask. Other settings of the source read it again."""
    write_settings(tmp_path, shop.address, "{refresh: never, password_env: UNUSED}")
    assert extract(tmp_path, env={"UNUSED": "x"}).returncode == 0
    shop.run("DROP TABLE posts")
    write_settings(tmp_path, shop.address, "{refresh: never}")
    assert extract(tmp_path).returncode == 0 and len(texts(tmp_path / "out")) == 40
    write_settings(tmp_path, shop.address, "{refresh: never, rows_per_part: 7}")
    assert extract(tmp_path).returncode == 2


def test_always_and_a_query(shop: OwnDatabase, tmp_path: Path) -> None:
    """`always` sees a change at the next run; a query only when its answer changes."""
    write_settings(tmp_path, shop.address, "{refresh: always}")
    assert extract(tmp_path).returncode == 0
    shop.run("UPDATE posts SET body = 'Post number 1 was edited.' WHERE id = 1")
    assert extract(tmp_path).returncode == 0 and texts(tmp_path / "out")[0] == "Post number 1 was edited."
    write_settings(tmp_path, shop.address, "{refresh: SELECT max(id) FROM posts}")
    assert extract(tmp_path).returncode == 0
    shop.run("UPDATE posts SET body = 'Post number 1 was edited again.' WHERE id = 1")
    assert extract(tmp_path).returncode == 0 and texts(tmp_path / "out")[0] == "Post number 1 was edited."
    shop.run("INSERT INTO posts VALUES (101, 'Post number 101 is new.')")
    assert extract(tmp_path).returncode == 0 and texts(tmp_path / "out")[0] == "Post number 1 was edited again."


def test_other_sources_of_a_dataset_stay(shop: OwnDatabase, tmp_path: Path) -> None:
    """A database that is read once is taken over unread when another source of the same dataset changes."""
    write_settings(tmp_path, shop.address, "{refresh: never, rows_per_part: 30}")
    with (tmp_path / "stages" / "extract.yaml").open("a") as file:
        file.write("  notes: {path: notes.md}\n")
    for number in (1, 2):
        (tmp_path / "notes.md").write_text(f"# Notes\n\nBread wants time more than it wants work, {number}.\n")
        assert run_module("pipeline.stages.extract", "--source", "shop", "--source", "notes", "out", cwd=tmp_path).returncode == 0
        found = texts(tmp_path / "out")
        assert len(found) == 41 and any(f"work, {number}." in text for text in found)
        shop.run("DROP TABLE IF EXISTS posts")


def test_make_plans_a_database(shop: OwnDatabase, tmp_path: Path) -> None:
    """The plan needs no file of such a source: stale when it was never read, up to date by its fingerprint, `always` every time."""
    for name in ("stages", "filters", "train"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)

    def explained() -> str:
        arguments = ["--state", "data/.plan", "--recipe", "smollm2-qlora", "--made", "none", "--model", "none", "--explain"]
        done = run_module("pipeline.plan", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    write_settings(tmp_path, shop.address, "{refresh: SELECT max(id) FROM posts}")
    assert "raw-shop: would run" in explained()
    assert run_module("pipeline.stages.extract", "--source", "shop", "data/raw/shop", cwd=tmp_path).returncode == 0
    assert "raw-shop: up to date" in explained()
    shop.run("INSERT INTO posts VALUES (101, 'Post number 101 is new.')")
    assert "shop/shop.sqlite has changed" in explained()
    write_settings(tmp_path, shop.address, "{refresh: always}")
    assert run_module("pipeline.stages.extract", "--source", "shop", "data/raw/shop", cwd=tmp_path).returncode == 0
    assert "raw-shop: would run" in explained()


def test_an_address_is_an_input(shop: OwnDatabase, tmp_path: Path) -> None:
    """Without settings an address on the command line is read, all its tables, by extract and by filter."""
    assert run_module("pipeline.stages.extract", shop.address, "out", cwd=tmp_path).returncode == 0
    assert len(texts(tmp_path / "out")) == 40
    assert run_module("pipeline.stages.filter", shop.address, "clean", cwd=tmp_path).returncode == 0
    assert (tmp_path / "clean" / "__manifest.json").is_file()
