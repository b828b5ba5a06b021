"""python -m pipeline tables SOURCE OUT: each table of a dump, a database, a CSV file or a spreadsheet as OUT/TABLE.parquet, all columns text.

SOURCE is a file, a folder of files (its dumps are one database, in the order of their names) or an address such as
postgresql://user@host/database. With --peek nothing is written: tables, columns, numbers of rows and the first rows are printed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import command
from pipeline.documents import Skipped, Superseded
from pipeline.errors import AccountingError, GristmillError, UsageError
from pipeline.extractors.batches import Release
from pipeline.extractors.databases_login import is_address
from pipeline.inspection import tables_write
from pipeline.inspection.shown import table as aligned
from pipeline.inspection.tables_read import Found, Piece, TablesSettings, read_tables
from pipeline.pandas_later import leave_pandas_out
from pipeline.settings import build, override, parse_yaml

PEEK_ROWS = 3
MAX_CELL_CHARS = 48
MAX_COLUMNS = 40
"""So much of a cell, and so many columns of a table, does ``--peek`` print."""


@dataclass
class Seen:
    """What was found of one table."""

    name: str
    origin: str
    columns: list[str]
    rows: int = 0
    first: list[dict[str, str | None]] = field(default_factory=list)
    file: str = ""

    def to_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {name: value for name, value in vars(self).items() if value not in ("", [])} | {"columns": self.columns, "rows": self.rows}


@dataclass
class Account:
    """What was read of a source: tables, rows that later statements took away, and what could not be read."""

    tables: list[Seen] = field(default_factory=list)
    superseded: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    first_error: str = ""
    read: int = 0

    def add(self, item: Skipped | Superseded) -> None:
        """Count what is no row of a table."""
        if isinstance(item, Superseded):
            self.read += item.units
            self.superseded += item.units
        else:
            self.read += 1
            self.quarantined[item.error.partition(":")[0]] += 1
            self.first_error = self.first_error or f"{item.locator}: {item.error}"

    def check(self, source: str) -> None:
        """Raise GristmillError when no table was found, AccountingError when the numbers do not add up."""
        if not self.tables:
            raise GristmillError(source, f"holds no table that can be read ({self.first_error or 'it is empty'})", "name another file")
        if self.read != sum(one.rows for one in self.tables) + self.superseded + self.quarantined.total():
            raise AccountingError(source, "rows read are not the rows written and quarantined", "this is a bug; please report it")

    def to_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "tables": [one.to_plain() for one in self.tables],
            "read": self.read,
            "superseded": self.superseded,
            "quarantined": dict(sorted(self.quarantined.items())),
        }


def main(given: Sequence[str]) -> int:
    """The command."""
    leave_pandas_out()
    parser = command.parser("python -m pipeline tables", __doc__ or "")
    parser.add_argument("source", metavar="SOURCE", help="a file, a folder, or the address of a database")
    parser.add_argument("out", nargs="?", type=Path, metavar="OUT", help="the folder to write")
    parser.add_argument("--peek", action="store_true", help="print what there is, with three rows of each table, and write nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help='how it is read: csv.delimiter=";"')
    arguments = parser.parse_args(given)
    if arguments.peek == (arguments.out is not None):
        raise UsageError("tables", "needs either OUT or --peek", "write: tables SOURCE OUT, or: tables SOURCE --peek")
    settings = build(TablesSettings, override(parse_yaml("", "--set"), arguments.assignments))
    source: str = arguments.source
    account = peek(source, settings) if arguments.peek else write(source, arguments.out, settings)
    if arguments.json:
        print(json.dumps(account.to_plain(), ensure_ascii=False, indent=1))
    elif not arguments.quiet:
        if arguments.peek:
            _print_peek(account)
        _print_account(account, arguments.out)
    return 0


def peek(source: str, settings: TablesSettings) -> Account:
    """What there is, with the first rows of each table."""
    account = Account()
    for seen, item in _counted(read_tables(source, settings, PEEK_ROWS), account):
        wanted = PEEK_ROWS - len(seen.first)
        if wanted > 0:
            columns = [column[:wanted].to_pylist() for column in item.batch.columns]
            seen.first += [dict(zip(seen.columns, cells, strict=True)) for cells in zip(*columns, strict=True)]
    account.check(_shown(source))
    return account


def write(source: str, out: Path, settings: TablesSettings) -> Account:
    """Each table as a Parquet file in ``out``, with a summary and what was quarantined."""
    account = Account()
    taken: set[str] = set()
    release = Release()
    with tables_write.whole(out) as folder, closing(tables_write.Quarantine(folder, _shown(source))) as quarantine:
        current: Seen | None = None
        file: tables_write.TableFile | None = None
        try:
            for seen, item in _counted(read_tables(source, settings, folder=folder), account, quarantine):
                if seen is not current or file is None:
                    if file is not None:
                        file.close()
                    current, seen.file = seen, f"{tables_write.file_name(seen.name, taken)}.parquet"
                    file = tables_write.TableFile(folder / seen.file, item.batch.schema)
                file.write(item.batch)
                release.after(item.batch.nbytes)
        finally:
            if file is not None:
                file.close()
        account.check(_shown(source))
        quarantine.close()
        tables_write.write_summary(folder, account.to_plain())
    return account


def _counted(found: Iterator[Found], account: Account, quarantine: tables_write.Quarantine | None = None) -> Iterator[tuple[Seen, Piece]]:
    """The pieces of tables, each with what was seen of its table; all are counted, and what is no piece is put away."""
    for item in found:
        if not isinstance(item, Piece):
            account.add(item)
            if isinstance(item, Skipped) and quarantine is not None:
                quarantine.add(item)
            continue
        last = account.tables[-1] if account.tables else None
        if last is None or (last.name, last.origin) != (item.name, item.origin):
            last = Seen(item.name, item.origin, item.batch.schema.names)
            account.tables.append(last)
            account.read += item.total or 0
            last.rows += item.total or 0
        if item.total is None:
            account.read += len(item.batch)
            last.rows += len(item.batch)
        yield last, item


def _shown(source: str) -> str:
    """The source's name in messages and files: never a login."""
    if not is_address(source):
        return Path(source).name or source
    from pipeline.extractors.databases_login import parse_address

    return str(parse_address(source))


def _print_peek(account: Account) -> None:
    for seen in account.tables:
        print(f"{seen.name} ({seen.origin}): {seen.rows:,} rows, {len(seen.columns):,} columns")
        lines = [[name, *(_cell(row[name]) for row in seen.first)] for name in seen.columns[:MAX_COLUMNS]]
        print("\n".join(f"  {line}" for line in _to_the_left(lines)))
        if len(seen.columns) > MAX_COLUMNS:
            print(f"  and {len(seen.columns) - MAX_COLUMNS:,} more columns")
        print()


def _cell(cell: str | None) -> str:
    if cell is None:
        return "null"
    text = json.dumps(cell, ensure_ascii=False) if not cell.isprintable() or not cell else cell
    return text if len(text) <= MAX_CELL_CHARS else f"{text[: MAX_CELL_CHARS - 3]}..."


def _to_the_left(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _print_account(account: Account, out: Path | None) -> None:
    if out is not None:
        head = ["table", "columns", "rows"]
        print("\n".join(aligned([head, *([one.name, f"{len(one.columns):,}", f"{one.rows:,}"] for one in account.tables)])))
    kept = sum(one.rows for one in account.tables)
    print(f"{account.read:,} read = {kept:,} rows + {account.superseded:,} superseded + {account.quarantined.total():,} quarantined")
    for reason, count in account.quarantined.most_common():
        print(f"  quarantined {count:,}: {reason}")
    if account.quarantined:
        print(f"  the first: {account.first_error[:300]}")
    for one in account.tables:
        if len(one.columns) == 1:
            print(f"  {one.name} has one column: if it should have more, tell the delimiter with --set csv.delimiter=...")
    if out is not None:
        print(f"written to {out}")
