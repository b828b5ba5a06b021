"""The tables of a live database: their names, columns and keys, and the SQL that reads a range of one in the order of its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError, nearest
from pipeline.extractors.databases_login import Server

if TYPE_CHECKING:
    from sqlalchemy import Connection

QUERY = "query"
"""What the rows of a query go by where tables have their names."""

KeyValue = str | int | float | bytes
Key = tuple[KeyValue, ...]
"""The key of one row, as the driver takes it."""

_MARK = {"postgresql": "%s", "mysql": "%s", "sqlite": "?"}

_DECIMAL_CODES = (0, 246)
_WHOLE_CODES = (1, 2, 3, 8, 9, 13)
_INEXACT_CODES = (4, 5, 16, 245, 255)
"""MySQL's numbers of types: what a key of DECIMAL, of whole numbers and of FLOAT, DOUBLE, BIT, JSON and GEOMETRY is."""


@dataclass(frozen=True)
class KeyColumn:
    """One column of a key; ``kind`` says how its values are given back to MySQL: "whole", "decimal" or as they are ("")."""

    expression: str
    kind: str = ""

    def bind(self, value: KeyValue) -> KeyValue:
        """The value as the driver takes it: MySQL compares a number with text as two floats, so numbers go back as numbers."""
        return int(value) if self.kind == "whole" else value

    def mark(self, server: Server) -> str:
        """The placeholder of a value."""
        return "CAST(%s AS DECIMAL(65,30))" if self.kind == "decimal" else _MARK[server]


@dataclass(frozen=True)
class Relation:
    """What is read as one table. ``origin`` is what stands after FROM.

    ``hidden_key`` says that ``key`` is SQLite's row number, which is no column of the table and comes after the others.
    """

    server: Server
    name: str
    origin: str
    columns: tuple[str, ...] | None
    """The names of the columns; None for a query, which names them itself."""
    expressions: tuple[str, ...]
    key_names: tuple[str, ...] = ()
    key: tuple[KeyColumn, ...] = ()
    hidden_key: bool = False
    single_floats: tuple[str, ...] = ()
    """The columns of single precision, whose values come as doubles."""
    is_key_proved: bool = True
    """Whether the database sees to it that no two rows have the same key, and none has an empty one."""

    def select(self, after: Key | None = None, upto: Key | None = None, limit: int | None = None) -> tuple[str, tuple[KeyValue, ...]]:
        """SQL and its values for the rows whose key is greater than ``after`` and not greater than ``upto``, in the order of the key."""
        listed = [*self.expressions, *([column.expression for column in self.key] if self.hidden_key else [])]
        return self._ordered(", ".join(listed), after, upto, f" LIMIT {limit}" if limit is not None else "")

    def select_boundary(self, after: Key | None, num_rows: int) -> tuple[str, tuple[KeyValue, ...]]:
        """SQL for the key of the row that stands ``num_rows`` rows after ``after``; nothing comes when there is none."""
        keys = ", ".join(column.expression for column in self.key)
        return self._ordered(keys, after, None, f" LIMIT 1 OFFSET {num_rows - 1}")

    def _ordered(self, listed: str, after: Key | None, upto: Key | None, end: str) -> tuple[str, tuple[KeyValue, ...]]:
        tests, values = [], []
        if after is not None:
            test, bound = self._compare(after, ">", ">")
            tests.append(test)
            values += bound
        if upto is not None:
            test, bound = self._compare(upto, "<", "<=")
            if after is None and not self.is_key_proved:  # rows without a key come too, and are found there
                test = f"({test} OR {' OR '.join(f'{column.expression} IS NULL' for column in self.key)})"
            tests.append(test)
            values += bound
        where = f" WHERE {' AND '.join(tests)}" if tests else ""
        order = f" ORDER BY {', '.join(column.expression for column in self.key)}" if self.key else ""
        return f"SELECT {listed} FROM {self.origin}{where}{order}{end}", tuple(values)

    def _compare(self, key: Key, strict: str, last: str) -> tuple[str, list[KeyValue]]:
        """``(a, b) > (x, y)`` written out, led by ``a >= x``: in that form all three servers find the place by their index."""
        column, value = self.key[0], self.key[0].bind(key[0])
        name, mark = column.expression, column.mark(self.server)
        if len(key) == 1:
            return f"{name} {last} {mark}", [value]
        rest, values = replace(self, key=self.key[1:])._compare(key[1:], strict, last)
        return f"({name} {strict}= {mark} AND ({name} {strict} {mark} OR {rest}))", [value, value, *values]


def list_tables(connection: Connection, server: Server) -> list[str]:
    """The names of the tables, sorted: of the default schema, in SQLite without its own books.

    Of a table in partitions the whole stands for its parts.
    """
    from sqlalchemy import inspect, text

    if server == "sqlite":
        # Shadow tables are how a virtual table keeps its rows.
        books = "name NOT LIKE 'sqlite#_%' ESCAPE '#'"
        names = connection.execute(text(f"SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual') AND {books}"))
        return sorted(str(row[0]) for row in names)
    found = set(inspect(connection).get_table_names())
    if server == "postgresql":
        parts = "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relispartition AND nspname = current_schema()"
        found -= {str(row[0]) for row in connection.execute(text(parts))}
    return sorted(found)


def relation_of_query(connection: Connection, server: Server, query: str, key: Sequence[str] = ()) -> Relation:
    """A query as a table, in the order of ``key`` when it is given."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    origin = f"({escaped(query.strip().rstrip(';'), server)}\n) AS gristmill_query"
    columns = tuple(KeyColumn(quote(name)) for name in key)
    relation = Relation(server, QUERY, origin, None, ("*",), tuple(key), columns, is_key_proved=False)
    return _with_kinds(connection, relation) if key else relation


def relation_of_table(connection: Connection, server: Server, name: str, stated_key: Sequence[str] = ()) -> Relation:
    """A table or view, in the order of its primary key or, where it has none that serves, of ``stated_key``.

    Raises UsageError when there is no such table, or ``stated_key`` names a column that is not there.
    """
    from sqlalchemy import inspect
    from sqlalchemy.exc import NoSuchTableError

    schema, _, table = name.rpartition(".")
    inspector = inspect(connection)
    if not schema or inspector.has_table(name):
        schema, table = "", name
    try:
        columns = inspector.get_columns(table, schema=schema or None)
        primary = inspector.get_pk_constraint(table, schema=schema or None)["constrained_columns"]
    except NoSuchTableError:
        raise UsageError(name, "the database has no such table", nearest(name, list_tables(connection, server))) from None
    if server == "mysql":  # SQLAlchemy leaves a backtick in a name doubled, as SHOW CREATE TABLE spells it
        columns = [{**column, "name": column["name"].replace("``", "`")} for column in columns]
        primary = [column.replace("``", "`") for column in primary]
    quoted = connection.dialect.identifier_preparer.quote_identifier
    names = tuple(str(column["name"]) for column in columns)
    origin = f"{quoted(schema)}.{quoted(table)}" if schema else quoted(table)
    if server == "postgresql" and _has_own_rows(connection, schema, table):
        origin = f"ONLY {origin}"
    types = {str(column["name"]): column["type"] for column in columns}
    expressions, singles = _expressions(server, types, quoted)
    plain = Relation(server, name, origin, names, expressions, single_floats=singles)
    if server == "sqlite":
        return _in_order_of_sqlite(connection, plain, columns, primary, quoted)
    if primary and all(_may_be_key(server, types[column]) for column in primary):
        return _with_kinds(connection, _keyed(plain, primary, quoted))
    missing = [column for column in stated_key if column not in names]
    if missing:
        raise UsageError(name, f"has no column '{missing[0]}', which its key names", nearest(missing[0], names))
    return _with_kinds(connection, _keyed(plain, stated_key, quoted, is_proved=False)) if stated_key else plain


def _keyed(relation: Relation, names: Sequence[str], quoted: Any, is_proved: bool = True) -> Relation:
    return replace(relation, key_names=tuple(names), key=tuple(KeyColumn(quoted(name)) for name in names), is_key_proved=is_proved)


def _expressions(server: Server, types: Mapping[str, Any], quoted: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is asked for each column. MySQL writes FLOAT with six digits and BIT as bytes, so they are asked for as numbers."""
    if server != "mysql":
        return tuple(map(quoted, types)), ()
    kinds = {name: type(kind).__name__ for name, kind in types.items()}
    singles = tuple(name for name, kind in kinds.items() if kind == "FLOAT")
    forms = {"FLOAT": "{} * 1e0", "BIT": "{} + 0"}
    return tuple(forms.get(kind, "{}").format(quoted(name)) for name, kind in kinds.items()), singles


def _may_be_key(server: Server, kind: Any) -> bool:
    """Whether the values of a type, given back as text, are where they were: MySQL sorts ENUM by number but compares it as text."""
    return server == "postgresql" or type(kind).__name__ not in ("ENUM", "SET", "FLOAT", "DOUBLE", "REAL", "BIT", "JSON", "NullType")


def _with_kinds(connection: Connection, relation: Relation) -> Relation:
    if relation.server != "mysql":
        return relation
    cursor = connection.connection.cursor()
    cursor.execute(f"SELECT {', '.join(column.expression for column in relation.key)} FROM {relation.origin} LIMIT 0", ())
    codes = [column[1] for column in cursor.description]
    cursor.close()
    if any(code in _INEXACT_CODES for code in codes):
        raise UsageError(relation.name, f"the type of its key {', '.join(relation.key_names)} has no order to go by", "name another key, or none")
    kinds = ["whole" if code in _WHOLE_CODES else "decimal" if code in _DECIMAL_CODES else "" for code in codes]
    return replace(relation, key=tuple(replace(column, kind=kind) for column, kind in zip(relation.key, kinds, strict=True)))


def _in_order_of_sqlite(connection: Connection, relation: Relation, columns: Sequence[Any], primary: Sequence[str], quoted: Any) -> Relation:
    """SQLite lets a primary key be empty and of any type; where it may be, and where there is none, the row number serves."""
    from sqlalchemy.exc import SQLAlchemyError

    facts = {str(column["name"]): column for column in columns}
    is_number = len(primary) == 1 and str(facts[primary[0]]["type"]).upper() == "INTEGER"
    is_filled = all(not facts[name]["nullable"] and _is_plain(str(facts[name]["type"]).upper()) for name in primary)
    if primary and (is_number or is_filled):
        return _keyed(relation, primary, quoted)
    taken = {name.lower() for name in facts}
    number = next((name for name in ("rowid", "oid", "_rowid_") if name not in taken), None)
    try:
        if number is None:
            return relation
        connection.exec_driver_sql(f"SELECT {number} FROM {relation.origin} LIMIT 0")
    except SQLAlchemyError:  # a view, or a table without row numbers
        return relation
    return replace(relation, key_names=("rowid",), key=(KeyColumn(number),), hidden_key=True)


def _is_plain(declared: str) -> bool:
    return any(word in declared for word in ("INT", "CHAR", "TEXT", "CLOB"))


def _has_own_rows(connection: Connection, schema: str, table: str) -> bool:
    """Whether this is an ordinary table: the rows of tables that inherit from it are theirs, and come with them."""
    from sqlalchemy import text

    where = "relname = :table AND nspname = coalesce(nullif(:schema, ''), current_schema())"
    found = connection.execute(
        text(f"SELECT relkind FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE {where}"), {"table": table, "schema": schema}
    ).scalar()
    return found in ("r", b"r")


def escaped(sql: str, server: Server) -> str:
    """SQL in which ``%`` is no placeholder."""
    return sql if server == "sqlite" else sql.replace("%", "%%")
