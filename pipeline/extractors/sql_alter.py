"""What ALTER TABLE and CREATE UNIQUE INDEX make of a table's definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.extractors.sql_ddl import Column, Cursor, Definition, Item, after_table, column_of, key_of_constraint, split_list
from pipeline.extractors.sql_syntax import Dialect


@dataclass(frozen=True, slots=True)
class Altered:
    """A definition after an ALTER TABLE: ``renamed`` holds pairs of a column's old and new name, ``new_name`` the table's."""

    definition: Definition
    renamed: tuple[tuple[str, str], ...] = ()
    new_name: tuple[str, ...] = ()
    is_resolved: bool = True
    """Whether nothing else changed that rows depend on."""


def altered_table(items: Sequence[Item], dialect: Dialect) -> tuple[str, ...]:
    """The name of the table that an ALTER TABLE or a CREATE UNIQUE INDEX is about; () for others."""
    cursor = Cursor(items, dialect)
    if cursor.skip("CREATE", "UNIQUE"):
        while cursor.next < len(items) and not cursor.skip("ON"):
            cursor.next += 1
        cursor.skip("ONLY")
        return cursor.name()
    return after_table(items, dialect).name() if cursor.skip("ALTER", "TABLE") else ()


def altered(items: Sequence[Item], definition: Definition, dialect: Dialect) -> Altered:
    """What an ALTER TABLE or a CREATE UNIQUE INDEX makes of a definition."""
    if items[0].text == "CREATE":
        return Altered(_with_index(items, definition, dialect))
    cursor = after_table(items, dialect)
    cursor.name()
    found = Altered(definition)
    for action in split_list(items[cursor.next :]):
        found = _acted(found, Cursor(action, dialect))
    return found


def _with_index(items: Sequence[Item], definition: Definition, dialect: Dialect) -> Definition:
    cursor = Cursor(items, dialect)
    while cursor.next < len(items) and not cursor.skip("ON"):
        cursor.next += 1
    cursor.name()
    while cursor.peek() not in ("(", ""):
        cursor.next += 1
    names = cursor.names_in_brackets()
    return definition if cursor.peek() == "WHERE" or not names else replace(definition, unique=(*definition.unique, names))


def _acted(found: Altered, action: Cursor) -> Altered:
    definition = found.definition
    if action.skip("ADD"):
        if action.peek() in ("CONSTRAINT", "PRIMARY", "UNIQUE"):
            is_primary, names = key_of_constraint(action)
            if is_primary:
                return replace(found, definition=replace(definition, key=names))
            return replace(found, definition=replace(definition, unique=(*definition.unique, *([names] if names else []))))
        if action.peek() in ("KEY", "INDEX", "FULLTEXT", "SPATIAL", "FOREIGN", "CHECK", "PARTITION", "("):
            return found
        action.skip("COLUMN")
        action.skip("IF", "NOT", "EXISTS")
        name = action.name()
        return replace(found, definition=_with_column(definition, column_of(name[-1], action), action)) if name else found
    if action.skip("DROP", "COLUMN"):
        action.skip("IF", "EXISTS")
        name = action.name()
        return replace(found, definition=replace(definition, columns=tuple(c for c in definition.columns if c.name != name[-1]))) if name else found
    if action.skip("RENAME", "TO") or action.skip("RENAME", "AS"):
        return replace(found, new_name=action.name())
    if action.skip("RENAME", "COLUMN"):
        old, _, new = action.name(), action.skip("TO"), action.name()
        return _renamed(found, old[-1], new[-1]) if old and new else found
    if action.skip("CHANGE"):
        action.skip("COLUMN")
        old, new = action.name()[:1], action.name()[:1]
        return _renamed(found, old[0], new[0]) if old and new else found
    return found if action.peek() not in ("SWITCH", "EXCHANGE") else replace(found, is_resolved=False)


def _with_column(definition: Definition, column: Column, action: Cursor) -> Definition:
    """With the column at the end or, in MySQL, where FIRST and AFTER say."""
    columns = [known for known in definition.columns if known.name != column.name]
    texts = [item.text for item in action.items]
    at = len(columns)
    if texts[-1] == "FIRST":
        at = 0
    elif len(texts) > 1 and texts[-2] == "AFTER":
        named = action.items[-1].written or texts[-1]
        at = next((i + 1 for i, known in enumerate(columns) if known.name.casefold() == named.casefold()), at)
    return replace(definition, columns=(*columns[:at], column, *columns[at:]))


def _renamed(found: Altered, old: str, new: str) -> Altered:
    columns = tuple(replace(c, name=new) if c.name.casefold() == old.casefold() else c for c in found.definition.columns)
    return replace(found, definition=replace(found.definition, columns=columns), renamed=(*found.renamed, (old, new)))
