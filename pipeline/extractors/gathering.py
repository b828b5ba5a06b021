"""Rows that become documents only together: tables are joined, and the posts of a thread become conversations.

It stands above every reader of tables (dumps, databases, CSV, JSON lines, Parquet): readers give such rows as ``Gathered``, and what they
become comes when all are read. Rows of one key may lie anywhere, so they are divided by a hash of the key into files (``spills``) of which
each fits into memory. Documents come in the order in which their first rows were read.

Every row is accounted for: of the rows of a thread one is kept and the others are merged into it; a row of a joined table is merged where
it was put beside another row, superseded where a later one with its key was asked for (``latest``), else removed.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.documents import RAW_CAP_BYTES, Document, Extracted, Gathered, Merged, Superseded
from pipeline.errors import SettingsError, nearest
from pipeline.extractors import rows, templates, thread_documents, threads
from pipeline.extractors.rows import Join, RowMapping, RowPlan
from pipeline.extractors.spills import Bucket, Record, Spill, hash_of, in_order, size_of
from pipeline.extractors.templates import Row
from pipeline.extractors.threads import ThreadSettings

T = TypeVar("T")  # what a reader gives beside items: whole batches

MAX_THREAD_BYTES = 64 * 2**20
"""The posts of a thread that hold more than this are quarantined: a conversation is no archive."""


def resolved(mappings: Mapping[str, RowMapping]) -> dict[str, RowMapping]:
    """The mappings of all tables that are read, those joined included; rows that wait for others are marked.

    Raises SettingsError for a table that is joined twice or is joined and has a mapping of its own.
    """
    found = {table: dataclasses.replace(mapping, gathered_as=table) if mapping.waits else mapping for table, mapping in mappings.items()}
    for table, mapping in mappings.items():
        for joined in mapping.join:
            if joined in found:
                own = "has a mapping of its own" if joined in mappings else "is joined by another one"
                raise SettingsError([f"tables.{table}.join.{joined}: the table {joined} {own}; a row can become part of one thing only"])
            found[joined] = RowMapping(gathered_as=joined)
    return found


def gathered(
    items: Iterable[Extracted | T], mappings: Mapping[str, RowMapping], folder: Path, known_tables: Callable[[], Sequence[str]] = tuple
) -> Iterator[Extracted | T]:
    """``items`` without what waits, and at the end what that became. ``mappings`` as the settings have them.

    ``folder`` is for files, and gone afterwards. ``known_tables`` is asked when a table was not met.
    Raises SettingsError, naming table or column, when a mapping names one that is nowhere.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield from _gathered(items, mappings, folder, known_tables)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _gathered(
    items: Iterable[Extracted | T], mappings: Mapping[str, RowMapping], folder: Path, known_tables: Callable[[], Sequence[str]]
) -> Iterator[Extracted | T]:
    gatherings = [Gathering(table, mapping, folder / str(number)) for number, (table, mapping) in enumerate(mappings.items()) if mapping.waits]
    takers = {name: gathering for gathering in gatherings for name in (gathering.table, *gathering.mapping.join)}
    for item in items:
        if isinstance(item, Gathered):
            takers[item.table].take(item)
        else:
            yield item
    missing = [table for gathering in gatherings for table in gathering.missing if table]
    if missing:
        known = known_tables()
        wrong = [table for table in missing if table not in known]  # an empty table is one
        if wrong:
            raise SettingsError([f"tables: no table '{table}' was found; {nearest(table, known)}" for table in wrong])
    for gathering in gatherings:
        yield from gathering.finish()


@dataclass
class _Side:
    """The waiting rows of one table, by a hash of the key that they are joined or grouped by."""

    spill: Spill
    columns: dict[str, None] = field(default_factory=dict)
    kinds: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    num_rows: int = 0

    def add(self, number: int, item: Gathered) -> None:
        names = tuple(item.row)
        known = self.kinds.get(names)
        if known is None:
            known = self.kinds[names] = names  # the same object for all rows, so that a file holds it once a piece
            self.columns.update(dict.fromkeys((*item.columns, *names)))
        cells = tuple(item.row.values())
        self.spill.add(number, (self.num_rows, item.locator, item.extractor, known, cells), size_of(cells))
        self.num_rows += 1


class Gathering:
    """The rows of one table, those of the tables joined to it, and what they become."""

    def __init__(self, table: str, mapping: RowMapping, folder: Path) -> None:
        self.table, self.mapping, self._folder = table, mapping, folder
        self._rows = _Side(Spill(folder / "rows"))
        self._partners = {name: _Side(Spill(folder / f"partners {index}")) for index, name in enumerate(mapping.join)}
        self._named = _named(mapping)
        self._wanted_of: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}

    @property
    def missing(self) -> list[str]:
        """Tables of which no row came."""
        sides = {self.table: self._rows, **self._partners}
        return [name for name, side in sides.items() if not side.columns]

    def take(self, item: Gathered) -> None:
        """Let one row wait."""
        side = self._rows if item.table == self.table else self._partners[item.table]
        if side.num_rows == 0:
            side.columns.update(dict.fromkeys(item.columns or item.row))
            self._check(is_whole=False)
        if side is self._rows:
            side.add(hash_of(self._first_key(item.row, side.num_rows)), item)
        else:
            join = self.mapping.join[item.table]
            row = {name: item.row[name] for name in self._wanted(item.table, join, tuple(item.row))}
            narrow = Gathered(item.locator, item.table, row, item.columns, item.extractor)
            side.add(hash_of(templates.text_at(item.row, join.key)), narrow)

    def finish(self) -> Iterator[Extracted]:
        """What all rows became."""
        self._check(is_whole=True)
        plan = self._plan()
        spill = self._rows.spill
        joins = list(self.mapping.join.items())
        for index, (name, join) in enumerate(joins):
            following = joins[index + 1][1] if index + 1 < len(joins) else None
            out = Spill(self._folder / f"joined {index}")
            yield from self._join(spill, name, join, following, out)
            spill = out
        made = in_order(self._folder / "made", spill.size, self._rows.num_rows)
        for bucket in spill.small_buckets():
            self._make(bucket, plan, made)
        for bucket in made.buckets:
            for _, _, items in sorted(bucket.records(), key=lambda record: record[0]):
                yield from items
            bucket.drop()

    # What rows are divided by

    def _first_key(self, row: Row, number: int) -> str:
        joins = list(self.mapping.join.values())
        return _lookup(row, joins[0]) if joins else self._last_key(row, number)

    def _last_key(self, row: Row, number: int) -> str:
        settings = self.mapping.threads
        return (thread_documents.thread_of(row, settings, self.mapping) if settings else "") or f"\0{number}"

    # Columns

    def _wanted(self, table: str, join: Join, names: tuple[str, ...]) -> tuple[str, ...]:
        """The columns of a joined row that the mapping names, bare or with the table before them."""
        if (table, names) not in self._wanted_of:
            named = {start for name in self._named for start in (name, *rows.starts(name))} | {join.key, join.latest}
            self._wanted_of[table, names] = tuple(name for name in names if name in named or f"{table}.{name}" in named)
        return self._wanted_of[table, names]

    def _columns(self) -> tuple[str, ...]:
        joined = (spelled for name, side in self._partners.items() for column in side.columns for spelled in (column, f"{name}.{column}"))
        return tuple(dict.fromkeys((*self._rows.columns, *joined)))

    def _plan(self) -> RowPlan:
        return rows.plan(self._columns(), dataclasses.replace(self.mapping, gathered_as=None), self.table)

    def _check(self, is_whole: bool) -> None:
        """Raise SettingsError for a column that is nowhere, as soon as every table has shown its columns."""
        sides = (self._rows, *self._partners.values())
        if not self._rows.columns or not (is_whole or all(side.columns for side in sides)):
            return
        for name, join in self.mapping.join.items():
            if self._partners[name].columns:
                rows.check_columns([column for column in (join.key, join.latest) if column], tuple(self._partners[name].columns), name)
        if all(side.columns for side in sides):  # nothing is known of a joined table without rows
            rows.check_columns(self._named, self._columns(), self.table)

    # Joins

    def _join(self, left: Spill, name: str, join: Join, following: Join | None, out: Spill) -> Iterator[Extracted]:
        """Put the columns of one table beside all rows; gives what became of that table's own rows."""
        for bucket, partners in _pairs(left, self._partners[name].spill):
            yield from self._join_bucket(bucket, partners, name, join, following, out)
            bucket.drop()
            partners.drop()

    def _join_bucket(self, left: Bucket, right: Bucket, name: str, join: Join, following: Join | None, out: Spill) -> Iterator[Extracted]:
        partners = _partners(right, join)
        used: set[str] = set()
        kinds: dict[tuple[str, ...], tuple[str, ...]] = {}
        for _, _, number, locator, extractor, names, cells in left.records():
            row = dict(zip(names, cells, strict=True))
            key = _lookup(row, join)
            if key in partners:
                used.add(key)
                row = _beside(row, name, partners[key][1])
            elif join.required:
                yield rows.removed(locator, row, "not_joined", f"no row of {name} has the {join.key} that this row names")
                continue
            place = _lookup(row, following) if following else self._last_key(row, number)
            wide = tuple(row)
            out.add(hash_of(place), (number, locator, extractor, kinds.setdefault(wide, wide), tuple(row.values())), size_of(row.values()))
        yield from self._unused(right, name, join, partners, used)

    def _unused(self, right: Bucket, name: str, join: Join, partners: Mapping[str, _Partner], used: set[str]) -> Iterator[Extracted]:
        """What became of the rows of a joined table."""
        num_superseded = 0
        for _, _, number, locator, _, names, cells in right.records():
            row = dict(zip(names, cells, strict=True))
            key = templates.text_at(row, join.key)
            is_partner = key in partners and partners[key][0] == number
            if not is_partner and key in partners and join.latest:
                num_superseded += 1
            elif not is_partner:
                yield rows.removed(locator, row, "not_joined", f"another row of {name} has the same {join.key}, or this one has none")
            elif key not in used:
                yield rows.removed(locator, row, "not_joined", f"no row of {self.table} names it")
        if used:
            yield Merged(len(used))
        if num_superseded:
            yield Superseded(num_superseded)

    # Documents

    def _make(self, bucket: Bucket, plan: RowPlan, made: Spill) -> None:
        settings = self.mapping.threads
        if settings is None:
            for _, size, number, locator, extractor, names, cells in bucket.records():
                item = plan.document(locator, dict(zip(names, cells, strict=True)), extractor)
                made.add(number, ([self._with_table(item)],), size)
        elif bucket.num_bytes > MAX_THREAD_BYTES:  # it could not be divided: one thread
            for _, size, number, locator, _, names, cells in bucket.records():
                error = f"thread too long: its {bucket.num_records:,} posts hold more than {MAX_THREAD_BYTES // 2**20} MB"
                made.add(number, ([rows.skipped(locator, error, dict(zip(names, cells, strict=True)))],), min(size, RAW_CAP_BYTES))
        else:
            self._make_threads(bucket, settings, plan, made)

    def _with_table(self, item: Extracted) -> Extracted:
        if not isinstance(item, Document) or not self.table:
            return item
        return dataclasses.replace(item, meta={**item.meta, "table": self.table})

    def _make_threads(self, bucket: Bucket, settings: ThreadSettings, plan: RowPlan, made: Spill) -> None:
        by_thread: dict[str, list[Record]] = {}
        sizes: dict[str, int] = {}
        for _, size, *record in bucket.records():
            key = thread_documents.thread_of(dict(zip(record[3], record[4], strict=True)), settings, self.mapping)
            by_thread.setdefault(key, []).append(tuple(record))
            sizes[key] = sizes.get(key, 0) + size
        for key, records in by_thread.items():
            records.sort(key=lambda record: int(record[0]))
            made.add(records[0][0], (list(thread_documents.thread_items(key, self.table, settings, plan, records)),), sizes[key])


_Partner = tuple[int, dict[str, Any]]
"""A row of a joined table, and its number in that table."""


def _pairs(left: Spill, right: Spill) -> Iterator[tuple[Bucket, Bucket]]:
    """The buckets of two tables that hold the same keys; divided until those of ``right`` can be loaded."""
    for rows_of_key, partners in zip(left.buckets, right.buckets, strict=True):
        if partners.is_large and partners.can_divide:
            yield from _pairs(rows_of_key.divided(), partners.divided())
        else:
            yield rows_of_key, partners


def _partners(bucket: Bucket, join: Join) -> dict[str, _Partner]:
    """For each key the row that is put beside others: the latest, or the first."""
    chosen: dict[str, _Partner] = {}
    for _, _, number, _, _, names, cells in bucket.records():
        row = dict(zip(names, cells, strict=True))
        key = templates.text_at(row, join.key)
        if key and (key not in chosen or (join.latest and _is_later(row, chosen[key][1], join.latest))):
            chosen[key] = (number, row)
    return chosen


def _is_later(row: Row, other: Row, column: str) -> bool:
    return threads.order_of(templates.text_at(row, column)) > threads.order_of(templates.text_at(other, column))


def _beside(row: dict[str, Any], table: str, partner: Row) -> dict[str, Any]:
    """The row with a partner's columns, bare where there is none of that name yet, and with the table before them."""
    bare = {column: cell for column, cell in partner.items() if column not in row}
    return {**row, **bare, **{f"{table}.{column}": cell for column, cell in partner.items()}}


def _lookup(row: Row, join: Join) -> str:
    """What a row is joined by."""
    return templates.text_at(row, join.on or join.key).removeprefix(join.strip)


def _named(mapping: RowMapping) -> tuple[str, ...]:
    """All columns that a mapping names, its own and those of joined tables."""
    text = templates.parse(mapping.text or "").names
    turns = (name for turn in mapping.turns for part in (turn.content, turn.when_empty) if part for name in templates.parse(part).names)
    told = (mapping.messages, mapping.group, mapping.id, *mapping.meta, *mapping.formats, *mapping.where, *mapping.needs)
    threads_told = mapping.threads.columns if mapping.threads else ()
    joined = (join.on or join.key for join in mapping.join.values())
    return tuple(dict.fromkeys(name for name in (*text, *turns, *told, *threads_told, *joined) if name))
