"""Live databases: SQLite, PostgreSQL, MariaDB and MySQL. Each row of a table or query becomes a document.

A database is read in parts: ranges of a table's primary key, so that a run that was killed goes on at the ranges that are missing, and one
whose connection breaks goes on after the last row. A table without a key is one part.

Locators: ``shop#table=posts&key=9`` (the parts of a longer key with commas between them), ``rowid=9`` in a SQLite table whose primary
key may be empty, ``row=12`` in the order of the answer where there is no key at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import documents
from pipeline.documents import Document, Extracted, Removed
from pipeline.errors import SettingsError, UsageError, nearest
from pipeline.extractors import databases_stream as streams
from pipeline.extractors import databases_tables as relations
from pipeline.extractors import rows
from pipeline.extractors.batches import Rows, TableBatch
from pipeline.extractors.columns import DocumentBatch, is_columnar, one_by_one
from pipeline.extractors.databases_login import Address, DatabaseError, LostError, log_in, parse_address, told
from pipeline.extractors.databases_tables import QUERY, Key, Relation
from pipeline.extractors.rows import RowMapping
from pipeline.settings import at_least, digest

EXTRACTOR = "database"
"""What ``meta`` calls this reader."""

SAMPLE_ROWS = 200
"""So many rows of a table are looked at before it is decided what they become."""

MAX_KEY_CHARS = 200
"""Of a longer key the locator holds the digest."""


@dataclass(frozen=True)
class DatabaseSettings:
    """What is read of a live database or a SQLite file, how to log in, and when to read it again."""

    tables: tuple[str, ...] = ()
    """The tables and views to read, ``schema.table`` outside the default schema; empty means all tables of that schema."""
    query: str | None = None
    """A SELECT to read in place of tables; ``rows`` says what its rows become."""
    key: tuple[str, ...] = ()
    """The columns that tell the rows of ``query``, or of tables without a primary key, apart. Without it there is no resuming in the middle."""
    password_env: str | None = None
    """The environment variable that holds the password."""
    password_file: str | None = None
    """The file whose first line is the password."""
    refresh: str = "always"
    """When a live database is read again: ``always`` (by every run), ``never`` (once), or a SELECT: when its answer is another one."""
    rows_per_part: int = at_least(100_000, 1)
    """How many rows one part has: what a killed run reads again, and what one worker reads at a time."""

    def __post_init__(self) -> None:
        if self.query is not None and self.tables:
            raise ValueError("tables and query are both set; name one of them")
        if self.password_env and self.password_file:
            raise ValueError("password_env and password_file are both set; name one of them")
        if self.refresh not in ("always", "never") and not re.search(r"\s", self.refresh.strip()):
            raise ValueError(f"refresh is {self.refresh!r}; {nearest(self.refresh, ('always', 'never'))} Or write a SELECT")


@dataclass(frozen=True)
class Piece:
    """The rows of one table whose key is greater than ``after`` and not greater than ``upto``; None: no bound."""

    table: str
    after: Key | None = None
    upto: Key | None = None

    def to_plain(self) -> list[Any]:
        """The piece as JSON-able data."""
        return [self.table, *(None if key is None else [_plain(value) for value in key] for key in (self.after, self.upto))]

    @classmethod
    def of_plain(cls, plain: Sequence[Any]) -> Piece:
        """The piece that gave ``plain``."""
        table, *keys = plain
        return cls(table, *(None if key is None else tuple(bytes.fromhex(v["hex"]) if isinstance(v, dict) else v for v in key) for key in keys))


def _plain(value: object) -> object:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


@dataclass(frozen=True)
class Database:
    """A database as the source of a run. ``fingerprint`` tells its state as far as ``refresh`` asks for it."""

    address: Address
    settings: DatabaseSettings
    fingerprint: str

    @property
    def key(self) -> list[str]:
        """What decides, beside the settings, what is read."""
        return [self.address.server, self.address.place, self.fingerprint]


def open_database(address_text: str, settings: DatabaseSettings, previous: str = "") -> Database:
    """The database at an address such as ``postgresql://user@host/shop``. It is asked only when ``refresh`` is a query.

    ``previous`` is the key of the dataset that this run replaces: with ``refresh: always`` the fingerprint follows from it, so that every
    run but one that goes on after a kill has a new one. Raises UsageError for the address or the password, DatabaseError from the server.
    """
    address = log_in(parse_address(address_text), settings.password_env, settings.password_file)
    return Database(address, settings, _fingerprint(address, settings.refresh, previous))


def _fingerprint(address: Address, refresh: str, previous: str) -> str:
    if refresh in ("always", "never"):
        return digest([refresh, previous if refresh == "always" else ""])
    answer = hashlib.sha256(refresh.encode())
    with streams.Session(address) as session:
        relation = relations.relation_of_query(session.connection, address.server, refresh)
        for row in session.rows(*relation.select()):
            answer.update(json.dumps([_plain(value) for value in row]).encode())
    return answer.hexdigest()


def divide(database: Database, mapped: Sequence[str] = ()) -> list[Piece]:
    """The pieces of all that is to be read: ranges of ``rows_per_part`` rows of each table, the last one open.

    ``mapped`` are the tables that the settings speak of. Raises UsageError or SettingsError for a table or key that is not there.
    """
    address, settings = database.address, database.settings
    with streams.Session(address) as session:
        names = [QUERY] if settings.query is not None else _chosen(session, settings, mapped)
        pieces: list[Piece] = []
        for name in names:
            relation = _relation(session, settings, name)
            bounds = [None, *_boundaries(session, relation, settings.rows_per_part), None]
            pieces += [Piece(name, *pair) for pair in pairwise(bounds)]
    if not pieces:
        raise UsageError(str(address), "has no tables", "name a schema's tables in database.tables, or mend the address")
    return pieces


def _chosen(session: streams.Session, settings: DatabaseSettings, mapped: Sequence[str] = ()) -> list[str]:
    known = _tables(session)
    chosen = list(dict.fromkeys(settings.tables)) or known
    wrong = [name for name in mapped if name not in chosen]
    if wrong:
        raise SettingsError([f"tables.{name}: is no table that is read of {session.address}; {nearest(name, chosen)}" for name in wrong])
    return chosen


def _tables(session: streams.Session) -> list[str]:
    with told(session.address):
        return relations.list_tables(session.connection, session.address.server)


def _relation(session: streams.Session, settings: DatabaseSettings, name: str) -> Relation:
    server = session.address.server
    with told(session.address, name):
        if name == QUERY and settings.query is not None:
            return relations.relation_of_query(session.connection, server, settings.query, settings.key)
        return relations.relation_of_table(session.connection, server, name, settings.key)


def _boundaries(session: streams.Session, relation: Relation, num_rows: int) -> Iterator[Key]:
    after: Key | None = None
    while relation.key:
        found = list(session.rows(*relation.select_boundary(after, num_rows)))
        if not found:
            return
        after = tuple(found[0])
        streams.check_filled(relation, [after])
        yield after


def read(database: Database, piece: Piece, mapping: RowMapping | None = None, tables: Mapping[str, RowMapping] | None = None) -> Iterator[Extracted]:
    """One item a row of the piece, in the order of the key. ``mapping`` is for the rows of a query, ``tables`` for those of tables.

    Raises SettingsError for a mapping that names a column which its table does not have, DatabaseError from the server.
    """
    return one_by_one(read_batches(database, piece, mapping, tables))


def read_batches(
    database: Database, piece: Piece, mapping: RowMapping | None = None, tables: Mapping[str, RowMapping] | None = None
) -> Iterator[Extracted | DocumentBatch]:
    """The same, many rows at once where a table's plan allows it."""
    settings = database.settings
    chosen = (tables or {}).get(piece.table, mapping if piece.table == QUERY and settings.query is not None else None)
    return documents_of(database.address, settings, piece, chosen, database.address.name)


def documents_of(
    address: Address, settings: DatabaseSettings, piece: Piece, mapping: RowMapping | None, place: str
) -> Iterator[Extracted | DocumentBatch]:
    """One item a row of the piece, or many rows at once; ``place`` is what locators begin with. Raises as ``read`` does."""
    is_decided = mapping is not None and (mapping.is_told or mapping.gathered_as is not None)

    def look(session: streams.Session) -> tuple[Relation, list[dict[str, str | None]]]:
        relation = _relation(session, settings, piece.table)
        return relation, [] if is_decided else _sample(session, relation)

    relation, sample = streams.ask(address, look)
    start = documents.locator(place, table=piece.table)
    plan, numbers = None, count()
    for chunk in streams.stream(address, relation, piece.after, piece.upto):
        if plan is None:
            plan = rows.plan(chunk.batch.schema.names, mapping, piece.table, sample)
        named = _numbered(relation, chunk) if is_columnar(plan) else None
        if named is not None:
            name, keys = named
            yield DocumentBatch(Rows(chunk.batch, keys), plan, f"{start}&{name}=", EXTRACTOR, (("table", piece.table),))
            continue
        for row, end in zip(chunk.batch.to_pylist(), _ends(relation, chunk, numbers), strict=False):
            made = plan.document(f"{start}&{end}", row, EXTRACTOR)
            if isinstance(made, Document):
                made = _with_table(made, piece.table)
            elif isinstance(made, Removed):
                made = dataclasses.replace(made, document=_with_table(made.document, piece.table))
            yield made


def _sample(session: streams.Session, relation: Relation) -> list[dict[str, str | None]]:
    """The first rows of the table: the same for each of its pieces, so that all of them become the same kind of document."""
    sample: list[dict[str, str | None]] = []
    try:
        for chunk in session.chunks(relation, *relation.select(limit=SAMPLE_ROWS)):
            sample += chunk.batch.to_pylist()
    except LostError:
        raise
    except DatabaseError:
        pass  # a damaged file: the rows before the damage serve, and who reads the table tells of it
    return sample


def _numbered(relation: Relation, chunk: streams.Chunk) -> tuple[str, np.ndarray] | None:
    """How locators name the rows, and the number of each (int64[n]), where the key is one whole number in all of them."""
    if len(relation.key) != 1:
        return None
    texts = chunk.numbers if chunk.numbers is not None else chunk.batch.column(chunk.batch.schema.names.index(relation.key_names[0]))
    try:
        numbers = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid:
        return None
    is_plain = numbers.null_count == 0 and pc.all(pc.equal(pc.cast(numbers, pa.string()), texts)).as_py() is not False
    return ("key" if chunk.numbers is None else "rowid", numbers.to_numpy(zero_copy_only=False)) if is_plain else None


def _ends(relation: Relation, chunk: streams.Chunk, numbers: Iterator[int]) -> Iterator[str]:
    """The end of each row's locator."""
    if chunk.numbers is not None:
        yield from (f"rowid={number}" for number in chunk.numbers.to_pylist())
    elif relation.key:
        names = chunk.batch.schema.names
        for key in zip(*[chunk.batch.column(names.index(name)).to_pylist() for name in relation.key_names], strict=True):
            text = key[0] if len(key) == 1 else ",".join(quote(value, safe="-_.~") for value in key)
            yield f"key={quote(text, safe='-_.~')}" if len(text) <= MAX_KEY_CHARS else f"key-digest={digest(text)[:32]}"
    else:
        yield from (f"row={number}" for number, _ in zip(numbers, range(len(chunk.batch)), strict=False))


def _with_table(document: Document, table: str) -> Document:
    return dataclasses.replace(document, meta={**document.meta, "table": table})


def table_names(address: Address) -> list[str]:
    """The names of the tables of the default schema, sorted. Raises DatabaseError, UsageError or MissingPackageError."""
    with streams.Session(address) as session:
        return _tables(session)


def table_batches(address: Address, settings: DatabaseSettings | None = None, max_rows: int | None = None) -> Iterator[TableBatch]:
    """The rows of each table, or of the query, of the settings in batches of nullable strings, at least one for each, if with no row.

    ``max_rows`` of each table, or all. Raises DatabaseError, UsageError or MissingPackageError.
    """
    settings = settings or DatabaseSettings()
    with streams.Session(address) as session:
        found = [_relation(session, settings, name) for name in ([QUERY] if settings.query is not None else _chosen(session, settings))]
    for relation in found:
        key = () if relation.hidden_key else relation.key_names
        if max_rows is None:
            yield from (TableBatch(relation.name, chunk.batch, key) for chunk in streams.stream(address, relation))
            continue
        with streams.Session(address) as session:
            yield from (TableBatch(relation.name, chunk.batch, key) for chunk in session.chunks(relation, *relation.select(limit=max_rows)))


def count_rows(address: Address, settings: DatabaseSettings | None = None) -> dict[str, int]:
    """How many rows each table, or the query, of the settings has. Raises DatabaseError, UsageError or MissingPackageError."""
    settings = settings or DatabaseSettings()
    with streams.Session(address) as session:
        names = [QUERY] if settings.query is not None else _chosen(session, settings)
        found = [_relation(session, settings, name) for name in names]
        return {relation.name: int(next(iter(session.rows(f"SELECT count(*) FROM {relation.origin}")))[0]) for relation in found}
