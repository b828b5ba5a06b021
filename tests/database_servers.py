"""Databases for tests: one of its own in each server that answers on this machine, dropped at the end; a SQLite file needs no server."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

KINDS = ("postgresql", "mysql", "sqlite")
NAME = f"gristmill_test_{os.getpid()}"


@dataclass(frozen=True)
class OwnDatabase:
    """A database that a test may fill: its kind, its address without a password, and how its owner talks to it."""

    kind: str
    address: str
    path: Path | None = None

    def run(self, *statements: str, rows: list[tuple[Any, ...]] | None = None) -> list[tuple[Any, ...]]:
        """Run statements as the owner, the last one for each of ``rows`` if given; what the last one answers."""
        connection = self._connect()
        try:
            cursor = connection.cursor()
            for number, statement in enumerate(statements, 1):
                if rows is not None and number == len(statements):
                    cursor.executemany(statement.replace("?", "%s") if self.kind != "sqlite" else statement, rows)
                    break
                cursor.execute(statement)
            answer = list(cursor.fetchall()) if cursor.description else []
            connection.commit()
        finally:
            connection.close()
        return answer

    def cut(self) -> int:
        """End every other connection to this database, as an administrator would; gives their number."""
        if self.kind == "postgresql":
            me = "datname = current_database() AND pid <> pg_backend_pid()"
            return len(self.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {me}"))
        found = self.run("SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()")
        self.run(*(f"KILL CONNECTION {number}" for (number,) in found)) if found else None
        return len(found)

    def _connect(self) -> Any:
        if self.path is not None:
            return sqlite3.connect(self.path)
        return _admin(self.kind, NAME)


def _admin(kind: str, database: str | None = None) -> Any:
    """A connection of an administrator; skips the test, saying why, where no server lets one in."""
    host = os.environ.get(f"GRISTMILL_TEST_{kind.upper()}", "127.0.0.1")
    driver = pytest.importorskip("psycopg" if kind == "postgresql" else "pymysql", reason="needs the extra db")
    try:
        if kind == "postgresql":
            return driver.connect(host=host, user="postgres", dbname=database or "postgres", autocommit=True, connect_timeout=3)
        return driver.connect(host=host, user="root", database=database, autocommit=True, connect_timeout=3)
    except driver.Error:
        pytest.skip(f"no {kind} on {host} lets its administrator in without a password")


@contextmanager
def own_database(kind: str, folder: Path) -> Iterator[OwnDatabase]:
    """A new, empty database of a kind."""
    pytest.importorskip("sqlalchemy", reason="needs the extra db")
    if kind == "sqlite":
        path = folder / "shop.sqlite"
        sqlite3.connect(path).close()
        path.touch()
        yield OwnDatabase(kind, f"sqlite:///{path}", path)
        return
    admin = _admin(kind)
    user, drop = ("postgres", " WITH (FORCE)") if kind == "postgresql" else ("root", "")
    cursor = admin.cursor()
    cursor.execute(f"CREATE DATABASE {NAME}")
    try:
        host = os.environ.get(f"GRISTMILL_TEST_{kind.upper()}", "127.0.0.1")
        yield OwnDatabase(kind, f"{kind}://{user}@{host}/{NAME}")
    finally:
        cursor.execute(f"DROP DATABASE {NAME}{drop}")
        admin.close()


