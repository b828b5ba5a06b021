"""Where a live database is and how to log in to it: the address, the password, and errors that never hold one."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from pipeline.errors import GristmillError, MissingPackageError, UsageError, nearest

if TYPE_CHECKING:
    from sqlalchemy import Engine

Server = Literal["postgresql", "mysql", "sqlite"]

SERVERS: dict[str, Server] = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
}
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "sqlite": "sqlite"}

CONNECT_SECONDS = 10
"""A server that does not answer within this time counts as one that is not there."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9]*)(?:\+[A-Za-z0-9]+)?://")


def is_address(path: str) -> bool:
    """Whether the path of a source is the address of a database (``postgresql://..``) and no path."""
    match = _ADDRESS.match(path)
    return match is not None and match.group(1).lower() in SERVERS


class DatabaseError(GristmillError):
    """A database cannot be reached or does not give what was asked of it; the message holds no password."""


class LostError(DatabaseError):
    """The connection is gone, or the server asks to try again: the same question may be answered by a new connection."""


@dataclass(frozen=True)
class Address:
    """A database and the login. Neither ``str`` nor ``repr`` holds the password or an option of the address.

    ``database`` is the path of the file where the server is SQLite.
    """

    server: Server
    database: str
    host: str | None = None
    port: int | None = None
    user: str | None = None
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        return f"{self.server}://{user}{self.place}"

    @property
    def place(self) -> str:
        """Host, port and database, which are all of the address that decides what is read."""
        return f"{self.host or ''}{f':{self.port}' if self.port else ''}/{self.database}"

    @property
    def name(self) -> str:
        """The name of the database, of a file its file name: what locators begin with."""
        return Path(self.database).name if self.server == "sqlite" else self.database


def parse_address(text: str) -> Address:
    """The address in ``text``; raises UsageError, whose message holds nothing of ``text`` but the name of the server."""
    match = _ADDRESS.match(text)
    scheme = match.group(1).lower() if match else ""
    if scheme not in SERVERS:
        raise UsageError(f"{scheme}://", "is no database that is read here", nearest(scheme, SERVERS))
    sqlalchemy = _sqlalchemy()
    try:
        url = sqlalchemy.make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise UsageError(f"{scheme}://", "the address cannot be read", f"write {scheme}://USER@HOST:PORT/DATABASE") from None
    if not url.database or url.database == ":memory:":
        todo = "write sqlite:///PATH, or sqlite:////PATH from the root" if scheme == "sqlite" else f"write {scheme}://USER@HOST/DATABASE"
        raise UsageError(f"{scheme}://", "the address names no database", todo)
    options = {key: value if isinstance(value, str) else value[-1] for key, value in url.query.items()}
    if url.password is not None or any("pass" in key.lower() for key in options):
        raise UsageError(f"{scheme}://", "the address holds a password", "take it out, and name password_env or password_file")
    return Address(SERVERS[scheme], url.database, url.host, url.port, url.username, tuple(sorted(options.items())))


def log_in(address: Address, password_env: str | None = None, password_file: str | None = None) -> Address:
    """The address with the password out of an environment variable or a file; raises UsageError when that is not there.

    Without either the password is the address's own, or none; the drivers know their own places too (``~/.pgpass``).
    """
    if password_env:
        if password_env not in os.environ:
            raise UsageError(str(address), f"the password is to come from ${password_env}, which is not set", f"set it: export {password_env}=...")
        return replace(address, password=os.environ[password_env])
    if password_file:
        try:
            text = Path(password_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise UsageError(password_file, f"the password of {address} cannot be read ({reason})", "mend password_file") from None
        return replace(address, password=text.split("\n", 1)[0].rstrip("\r"))
    return address


def engine_of(address: Address) -> Engine:
    """An engine that opens a new connection each time; raises MissingPackageError, or UsageError for a SQLite file that is not there."""
    sqlalchemy = _sqlalchemy()
    login = (address.user, address.password, address.host, address.port) if address.server != "sqlite" else (None,) * 4
    url = sqlalchemy.URL.create(_DRIVERS[address.server], *login, address.database, dict(address.options))
    settings: dict[str, Any] = {"poolclass": sqlalchemy.pool.NullPool, "hide_parameters": True}
    if address.server == "sqlite":
        path = Path(address.database)
        if not path.is_file():
            raise UsageError(str(path), "no such database file", "mend the path")
        settings["creator"] = lambda: open_sqlite(path)
    else:
        settings["connect_args"] = _connect_arguments(address)
    try:
        return sqlalchemy.create_engine(url, **settings)  # type: ignore[no-any-return]
    except ImportError as error:
        raise MissingPackageError(error.name or "the driver", f"reading {address.server}", "db") from None


def _connect_arguments(address: Address) -> Mapping[str, Any]:
    if address.server == "postgresql":
        return {"connect_timeout": CONNECT_SECONDS, "client_encoding": "utf8", "application_name": "gristmill"}
    encoders = import_module("pymysql.converters").encoders
    # Without decoders every value comes as the text that the server sent. A server must not ask for files of this machine.
    password = (address.password or "").encode()  # PyMySQL would make Latin-1 of text
    return {"connect_timeout": CONNECT_SECONDS, "charset": "utf8mb4", "conv": dict(encoders), "local_infile": False, "password": password}


def open_sqlite(path: Path) -> Any:
    """A connection that reads the file and cannot write to it, nor run what a hostile file would have it run.

    The file is read as it lies, without a lock, when no other program has changes under way beside it.
    """
    is_settled = not pending_changes(path)
    address = f"file:{quote(str(path.absolute()))}?mode=ro{'&immutable=1' if is_settled else ''}"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=CONNECT_SECONDS, check_same_thread=False)
    for pragma in ("query_only=ON", "trusted_schema=OFF", "cell_size_check=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def pending_changes(path: Path) -> str | None:
    """The name of the file beside a SQLite file that holds changes which are not in it yet."""
    sides = (path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))
    return next((side.name for side in sides if side.is_file() and side.stat().st_size), None)


@contextmanager
def told(address: Address, where: str = "") -> Iterator[None]:
    """Turns every error of a driver into DatabaseError or LostError: one line, without the password."""
    known: tuple[type[Exception], ...] = (_sqlalchemy().exc.SQLAlchemyError, *_driver_errors(address.server))
    try:
        yield
    except GristmillError:
        raise
    except known as error:
        kind = LostError if is_passing(address.server, getattr(error, "orig", None) or error) else DatabaseError
        raise kind(where or str(address), reason(error, address)) from None


def reason(error: BaseException, address: Address) -> str:
    """What the server or the driver says, in one line, the password blotted out should it stand there."""
    lines = [line.strip() for line in str(_innermost(error)).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    for secret in {address.password or "", quote(address.password or "", safe="")} - {""}:
        text = text.replace(secret, "***")
    return text[:300]


def _innermost(error: BaseException) -> object:
    inner = getattr(error, "orig", None) or error
    arguments: Any = getattr(inner, "args", ())
    return arguments[1] if len(arguments) > 1 and isinstance(arguments[1], str) and arguments[1] else inner  # MySQL: (1045, "Access denied")


_MYSQL_PASSING = {0, 1040, 1053, 1077, 1079, 1205, 1213, 1927, 2002, 2003, 2006, 2013, 2014, 2045, 2055, 4031}
"""Shutdown, lost or refused connections, deadlocks and lock timeouts, by the server's and the client's error numbers."""


def is_passing(server: Server, error: BaseException) -> bool:
    """Whether a new connection may do better: the old one is gone, the server is starting or stopping, a replica had to catch up."""
    if server == "sqlite":
        return "locked" in str(error)
    if server == "mysql":
        number = error.args[0] if error.args else None
        return number in _MYSQL_PASSING and "Access denied" not in str(error)
    state = getattr(error, "sqlstate", None)
    if state is None:  # the connection could not be made, or broke
        return type(error).__name__ in ("OperationalError", "InterfaceError") and "authentication failed" not in str(error)
    return state[:2] in ("08", "40") or state in ("57P01", "57P02", "57P03", "53300")


def _driver_errors(server: Server) -> tuple[type[Exception], ...]:
    if server == "postgresql":
        return (import_module("psycopg").Error, OSError)
    if server == "mysql":
        return (import_module("pymysql").Error, OSError, EOFError)
    return (sqlite3.Error,)


def _sqlalchemy() -> Any:
    try:
        import sqlalchemy
    except ImportError:
        raise MissingPackageError("sqlalchemy", "reading a database", "db") from None
    return sqlalchemy
