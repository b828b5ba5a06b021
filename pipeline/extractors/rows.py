"""Columns become training data: a mapping says how, or what the columns look like decides, and one document comes of each row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.documents import RAW_CAP_BYTES, Document, Message, Removed, Skipped
from pipeline.errors import SettingsError, nearest
from pipeline.extractors import conversations, looks, templates
from pipeline.extractors.looks import Shape, Turn
from pipeline.extractors.templates import Row

CARRIED = ("id", "url", "title", "date", "language", "license", "score")
"""Columns that go into ``meta`` whenever a row has them; a gold tool and people find rows again by ``id``."""


@dataclass(frozen=True)
class TurnTemplate:
    """One turn made of a row: its role, and a template for its content."""

    role: str
    content: str
    when_empty: str | None = None
    """The template used instead of ``content`` when at least one column of ``content`` is empty in the row."""

    def __post_init__(self) -> None:
        if conversations.role_of(self.role) is None:
            raise ValueError(f"the role {self.role!r} is not one; {nearest(self.role, conversations.ROLES)}")
        templates.parse(self.content)
        templates.parse(self.when_empty or "")


@dataclass(frozen=True)
class RowMapping:
    """How the columns of a table become documents. Without ``text`` and ``turns`` the columns themselves decide.

    Templates: ``{column}`` is the cell, ``{{`` and ``}}`` are braces. A line whose columns are all empty in a row is left out there.
    """

    text: str | None = None
    """Template of a plain document: ``"{title}\\n\\n{body}"``."""
    turns: tuple[TurnTemplate, ...] = ()
    """Templates of a conversation's turns; a turn whose columns are all empty in a row is left out there."""
    group: str | None = None
    """The column whose value keeps rows on one side of a split."""
    meta: tuple[str, ...] = ()
    """Further columns to carry in ``meta``."""

    def __post_init__(self) -> None:
        if self.text is not None and self.turns:
            raise ValueError("text and turns are both set; a row becomes one or the other")
        templates.parse(self.text or "")


@dataclass(frozen=True)
class RowPlan:
    """What one table's rows become: their shape, the column of their group, and (column, key) of what ``meta`` carries."""

    shape: Shape
    group: str | None = None
    meta: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """What was chosen, in words: "alpaca columns as turns", "text from title, body"."""
        return self.shape.label

    def document(self, locator: str, row: Row, extractor: str = "") -> Document | Removed | Skipped:
        """The document of one row. Removed when it holds no text, Skipped when its conversation is malformed or text is no Unicode.

        ``extractor`` names the reader for ``meta["extractor"]``, which becomes ``extractor`` and the plan's label.
        """
        try:
            made = self._document(locator, row, extractor)
            _check_unicode(made)
        except conversations.MalformedError as error:
            return Skipped(locator, str(error), raw=_as_json(row).encode()[:RAW_CAP_BYTES])
        except UnicodeEncodeError:
            return Skipped(locator, "half a surrogate pair: text that no encoding can hold", raw=_as_json(row).encode()[:RAW_CAP_BYTES])
        return made

    def _document(self, locator: str, row: Row, extractor: str) -> Document | Removed:
        meta = {key: row[column] for column, key in self.meta if not templates.is_empty(row.get(column))}
        meta["extractor"] = f"{extractor} {self.label}".strip()
        group = templates.as_text(row.get(self.group)) or None if self.group else None
        messages = self._messages(row)
        if messages:
            return Document(locator, messages=messages, group=group, meta=meta)
        text = self.shape.text.render(row) if self.shape.text else ""
        if text.strip():
            return Document(locator, text=text, group=group, meta=meta)
        removed = Document(locator, text=_as_json(row), group=group, meta=meta)
        if self.shape.is_empty:
            return Removed(removed, "no_text_columns", "no column of this table holds text")
        return Removed(removed, "no_text", "the text columns of this row are empty")

    def _messages(self, row: Row) -> tuple[Message, ...]:
        shape = self.shape
        cell = row.get(shape.conversation) if shape.conversation else None
        if conversations.is_conversation(cell):
            messages = conversations.messages_of(cell)
        elif all(templates.is_empty(row.get(name)) for turn in shape.turns for name in turn.content.names):
            return ()
        else:
            messages = tuple(message for turn in shape.turns for message in _turn_messages(turn, row))
        system = templates.as_text(row.get(shape.system)) if shape.system else ""
        if messages and system.strip() and messages[0].role != "system":
            return (Message("system", system), *messages)
        return messages


def _turn_messages(turn: Turn, row: Row) -> tuple[Message, ...]:
    columns = turn.content.columns
    if len(columns) == 1 and conversations.is_list_of_turns(cell := row.get(columns[0].name)):
        return conversations.messages_of(cell)
    template = turn.content
    if turn.when_empty is not None and any(templates.is_empty(column.cell(row)) for column in columns):
        template = turn.when_empty
    content = template.render(row)
    return (Message(turn.role, content),) if content.strip() else ()


def plan(columns: Sequence[str], mapping: RowMapping | None = None, table: str = "", sample: Sequence[Row] = ()) -> RowPlan:
    """How the rows of a table with ``columns`` become documents.

    ``sample`` holds some rows of the table, from which columns that hold text are told from ids, dates and names; without any,
    only the columns' names decide.
    Raises SettingsError, naming ``table`` and the nearest column, when ``mapping`` names a column that is not there.
    """
    mapping = mapping or RowMapping()
    shape = _mapped(mapping) if mapping.text is not None or mapping.turns else looks.guess(columns, sample)
    _check_columns(shape, mapping, columns, table)
    return RowPlan(shape, mapping.group, _carried(columns, mapping.meta))


def _mapped(mapping: RowMapping) -> Shape:
    if mapping.text is not None:
        template = templates.parse(mapping.text)
        return Shape(f"text from {', '.join(template.names)}", text=template)
    turns = tuple(_turn(turn) for turn in mapping.turns)
    names = dict.fromkeys(name for turn in turns for name in turn.content.names)
    return Shape(f"turns from {', '.join(names)}", turns=turns)


def _turn(turn: TurnTemplate) -> Turn:
    when_empty = None if turn.when_empty is None else templates.parse(turn.when_empty)
    return Turn(conversations.role_of(turn.role) or turn.role, templates.parse(turn.content), when_empty)


def column_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Names for columns: those given, stripped; ``column_3`` where there is none, ``text_2`` where one stands twice."""
    names: dict[str, None] = {}
    for index, cell in enumerate(cells):
        name = plain = cell.strip() or f"column_{index}"
        count = 1
        while name in names:
            count += 1
            name = f"{plain}_{count}"
        names[name] = None
    return tuple(names)


def _carried(columns: Sequence[str], further: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Columns for ``meta`` as (column, key) pairs; the usual ones are known in any spelling of case."""
    usual = {column: column.lower() for column in reversed(columns) if column.lower() in CARRIED}
    return tuple(sorted((usual | {column: column for column in further}).items()))


def _check_columns(shape: Shape, mapping: RowMapping, columns: Sequence[str], table: str) -> None:
    if not columns:
        return
    named = list(shape.text.names) if shape.text else []
    named += [name for turn in shape.turns for t in (turn.content, turn.when_empty) if t for name in t.names]
    named += [*mapping.meta, *([mapping.group] if mapping.group else [])]
    missing = [name for name in dict.fromkeys(named) if name not in columns]
    if missing:
        raise SettingsError([f"{table or 'columns'}: has no column '{name}'; {nearest(name, columns)}" for name in missing])


def _check_unicode(made: Document | Removed) -> None:
    """Raises UnicodeEncodeError on half a surrogate pair (JSON can hold one), which no Arrow string can hold."""
    document = made.document if isinstance(made, Removed) else made
    texts = [document.text, document.group, *map(templates.as_text, document.meta.values())]
    texts += [piece for message in document.messages or () for piece in (message.content, message.extra)]
    for text in texts:
        if text and not text.isascii():
            text.encode()


def _as_json(row: Row) -> str:
    text = json.dumps(dict(row), ensure_ascii=False, default=lambda cell: f"{len(cell)} bytes" if isinstance(cell, bytes) else str(cell))
    return text.encode("utf-8", "backslashreplace").decode()


