"""Servers that are restarted in the middle of a table: instances of the test's own, on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.extractors import databases_stream
from pipeline.extractors.databases import DatabaseSettings, table_batches
from pipeline.extractors.databases_login import DatabaseError, log_in, parse_address

ROWS = 20_000
AS_OTHER = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
"""Servers refuse to run as root."""


@dataclass
class Instance:
    """A server of the test's own."""

    address: str
    start: Callable[[], None]
    stop: Callable[[], None]


def run(*command: object, check: bool = True, text: str | None = None) -> None:
    """A command as a user who is not root; skips the test when it does not work here."""
    done = subprocess.run([*AS_OTHER, *map(str, command)], input=text, capture_output=True, text=True, timeout=120, check=False, cwd="/")
    if check and done.returncode:
        pytest.skip(f"{Path(str(command[0])).name} does not work here: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")


def needed(*names: str) -> list[str]:
    """The paths of programs; skips the test when one is missing."""
    found = [shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/lib/postgresql/15/bin") for name in names]
    if None in found or (AS_OTHER and not shutil.which("runuser")):
        pytest.skip(f"needs {', '.join(names)}")
    return [name for name in found if name]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of a user who is not root; pytest's own cannot be entered by one."""
    with tempfile.TemporaryDirectory(prefix="gristmill-server-", ignore_cleanup_errors=True) as name:
        if AS_OTHER:
            shutil.chown(name, "nobody")
        yield Path(name)


@pytest.fixture
def postgresql(folder: Path) -> Iterator[Instance]:
    """PostgreSQL with passwords, and a table of ROWS posts."""
    psycopg = pytest.importorskip("psycopg", reason="needs the extra db")
    initdb, pg_ctl = needed("initdb", "pg_ctl")
    port, data, secret = free_port(), folder / "data", folder / "secret"
    secret.write_text("s3cret-öf-shop\n", encoding="utf-8")
    secret.chmod(0o644)
    run(initdb, "-D", data, "-U", "shop", "--pwfile", secret, "-A", "scram-sha-256", "-E", "UTF8", "--no-sync")

    def start() -> None:
        run(pg_ctl, "-D", data, "-w", "-l", folder / "log", "-o", f"-p {port} -k {folder} -h 127.0.0.1 -F", "start")

    def stop() -> None:
        run(pg_ctl, "-D", data, "-m", "immediate", "stop", check=False)

    start()
    try:
        with psycopg.connect(host="127.0.0.1", port=port, user="shop", password="s3cret-öf-shop", dbname="postgres", autocommit=True) as admin:
            admin.execute(f"CREATE TABLE posts AS SELECT g AS id, repeat('x', 1000) AS body FROM generate_series(1, {ROWS}) g")
            admin.execute("ALTER TABLE posts ADD PRIMARY KEY (id)")
        yield Instance(f"postgresql://shop@127.0.0.1:{port}/postgres", start, stop)
    finally:
        stop()


@pytest.fixture
def mariadb(folder: Path) -> Iterator[Instance]:
    """MariaDB with a table of ROWS posts."""
    pymysql = pytest.importorskip("pymysql", reason="needs the extra db")
    install, mariadbd = needed("mariadb-install-db", "mariadbd")
    port, data = free_port(), folder / "data"
    run(install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db")
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        options = [f"--datadir={data}", f"--port={port}", f"--socket={folder}/s", "--bind-address=127.0.0.1", f"--pid-file={folder}/pid"]
        log = (folder / "log").open("ab")
        running.append(subprocess.Popen([*AS_OTHER, mariadbd, "--no-defaults", *options], stdout=log, stderr=log, cwd="/"))
        for _ in range(300):
            try:
                pymysql.connect(host="127.0.0.1", port=port, user="root").close()
                return
            except pymysql.Error:
                time.sleep(0.1)
        pytest.skip("mariadbd does not start here")

    def stop() -> None:
        pid = folder / "pid"
        if pid.exists():
            os.kill(int(pid.read_text()), 9)
            pid.unlink()
        while running:
            running.pop().wait()

    start()
    try:
        admin = pymysql.connect(host="127.0.0.1", port=port, user="root", autocommit=True)
        with admin.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop")
            cursor.execute("USE shop")
            cursor.execute("CREATE TABLE posts (id int PRIMARY KEY, body text)")
            cursor.execute(f"INSERT INTO posts SELECT seq, repeat('x', 1000) FROM seq_1_to_{ROWS}")
        admin.close()
        yield Instance(f"mysql://root@127.0.0.1:{port}/shop", start, stop)
    finally:
        stop()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_restarted_server_loses_nothing(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is killed in the middle of a table and comes back a moment later: every row comes once, in order."""
    instance: Instance = request.getfixturevalue(kind)
    monkeypatch.setenv("SHOP_PASSWORD", "s3cret-öf-shop")
    address = parse_address(instance.address)
    address = log_in(address, password_env="SHOP_PASSWORD") if kind == "postgresql" else address
    ids: list[int] = []
    back: threading.Thread | None = None
    for table in table_batches(address):
        ids += map(int, table.batch.column("id").to_pylist())
        if back is None:
            instance.stop()
            back = threading.Timer(1.0, instance.start)
            back.start()
    assert back is not None
    back.join()
    assert ids == list(range(1, ROWS + 1))


@pytest.mark.slow
def test_postgresql_never_repeats_a_password(postgresql: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong one is refused at once, and the error does not hold it; a server that stays away is told after some attempts."""
    monkeypatch.setenv("SHOP_PASSWORD", "wr0ng")
    address = log_in(parse_address(postgresql.address), password_env="SHOP_PASSWORD")
    with pytest.raises(DatabaseError, match="authentication failed") as caught:
        list(table_batches(address, DatabaseSettings()))
    assert "wr0ng" not in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.setattr(databases_stream, "PAUSES", (0.01, 0.01))
    postgresql.stop()
    with pytest.raises(DatabaseError):
        list(databases_stream.ask(address, lambda session: [1]))
