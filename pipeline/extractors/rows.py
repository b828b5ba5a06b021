"""Columns become training data: a mapping says how, or what the columns look like decides, and one document comes of each row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from pipeline.documents import RAW_CAP_BYTES, Document, Gathered, Message, Removed, Skipped
from pipeline.errors import SettingsError, nearest
from pipeline.extractors import cells, conversations, looks, templates
from pipeline.extractors.conversations import Spelling
from pipeline.extractors.looks import Shape, Turn
from pipeline.extractors.templates import Row
from pipeline.extractors.threads import ThreadSettings
from pipeline.settings import internal

CARRIED = ("id", "url", "title", "date", "language", "license", "score")
"""Columns that go into ``meta`` whenever a row has them; a gold tool and people find rows again by ``id``."""


NO_UNICODE = "half a surrogate pair: text that no encoding can hold"

MAX_ID_CHARS = 200
"""A longer id stays out of the locator."""


@dataclass(frozen=True)
class TurnTemplate:
    """One turn made of a row: its role, and a template for its content."""

    role: str
    """``system``, ``user``, ``assistant`` or another name of one of these, as conversations have it."""
    content: str
    """Template of what is said."""
    when_empty: str | None = None
    """The template used instead of ``content`` when at least one column of ``content`` is empty in the row."""

    def __post_init__(self) -> None:
        if conversations.role_of(self.role) is None:
            raise ValueError(f"the role {self.role!r} is not one; {nearest(self.role, conversations.ROLES)}")
        templates.parse(self.content)
        templates.parse(self.when_empty or "")


@dataclass(frozen=True)
class Join:
    """Columns of another table of the same source, put beside a row: those of the row whose ``key`` is the row's own ``on``."""

    key: str
    """The column of the joined table that rows are looked up by."""
    on: str | None = None
    """The column of this table, or of one joined before it; left out: the one of the same name as ``key``."""
    latest: str | None = None
    """Where several rows have the key: the one whose cell of this column is the greatest. Left out: the first."""
    strip: str = ""
    """A beginning of the cells of ``on`` that is taken off before they are looked up (MediaWiki's ``tt:``)."""
    required: bool = False
    """Whether a row without a partner is removed."""


@dataclass(frozen=True)
class RowMapping:
    """How the columns of a table become documents. Without ``text``, ``turns`` and ``messages`` the columns themselves decide.

    Templates: ``{column}`` is the cell, ``{column.field.0}`` what stands inside a cell of JSON, ``{{`` and ``}}`` are braces.
    A line whose columns are all empty in a row is left out there.
    """

    text: str | None = None
    """Template of a plain document: ``"{title}\\n\\n{body}"``."""
    turns: tuple[TurnTemplate, ...] = ()
    """Templates of a conversation's turns; a turn whose columns are all empty in a row is left out there."""
    messages: str | None = None
    """The column that holds a whole conversation, or the path to it inside a cell of JSON: ``payload.chat.messages``."""
    role_key: str | None = None
    """The key of a turn's role in ``messages``; left out: ``role``, ``from`` or ``speaker``."""
    content_key: str | None = None
    """The key of a turn's text in ``messages``; left out: ``content``, ``value`` or ``text``."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """What names of roles mean, beside the usual ones: ``{customer: user, agent: assistant}``."""
    group: str | None = None
    """The column whose value keeps rows on one side of a split."""
    id: str | None = None
    """The column that names a row: it goes into ``meta`` as ``id`` and into the locator."""
    meta: tuple[str, ...] = ()
    """Further columns to carry in ``meta``."""
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The rows that are wanted, by the cells that a column may have: ``{post_visibility: 1}``; the others are removed."""
    needs: tuple[str, ...] = ()
    """Columns without which a row is no document, though others of its template are filled."""
    formats: Mapping[str, cells.Format] = field(default_factory=dict)
    """What columns hold beside plain text: ``{post_text: bbcode}``; they become Markdown."""
    quotes: Literal["keep", "drop"] = "keep"
    """Whether quoted posts in columns of ``formats`` stay, as lines that begin with ``>``."""
    links: bool = False
    """Whether the addresses of links in columns of ``formats`` stay."""
    join: Mapping[str, Join] = field(default_factory=dict)
    """Tables whose columns are put beside a row, by name, one after another."""
    threads: ThreadSettings | None = None
    """Rows are posts, and those of one thread become a conversation; ``text`` is the template of a post."""
    gathered_as: str | None = internal(None)
    """The table's name where rows wait for others. Set when the settings are resolved."""

    def __post_init__(self) -> None:
        chosen = [name for name in ("text", "turns", "messages") if getattr(self, name) not in (None, ())]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} are both set; a row becomes one or the other")
        if self.threads is not None and self.text is None:
            raise ValueError('threads needs text, the template of one post: write for example text: "{body}"')
        if self.threads is not None and self.id is None and (self.threads.parent or self.threads.accepted_id):
            raise ValueError("threads with parent or accepted_id needs id, the column that names a post")
        templates.parse(self.text or "")
        for name, role in self.roles.items():
            if role not in conversations.ROLES:
                raise ValueError(f"roles.{name} is {role!r}, which is no role; {nearest(role, conversations.ROLES)}")

    @property
    def spelling(self) -> Spelling:
        """How conversations in cells are spelled."""
        return Spelling(self.role_key, self.content_key, self.roles)

    @property
    def waits(self) -> bool:
        """Whether a row becomes a document only together with others."""
        return self.threads is not None or bool(self.join)

    @property
    def is_told(self) -> bool:
        """Whether the settings say what a row becomes."""
        return self.text is not None or bool(self.turns) or self.messages is not None


@dataclass(frozen=True)
class RowPlan:
    """What one table's rows become: their shape, (column, key) of what ``meta`` carries, and the mapping that they follow."""

    shape: Shape
    meta: tuple[tuple[str, str], ...] = ()
    mapping: RowMapping = RowMapping()
    columns: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What was chosen, in words: "alpaca columns as turns", "text from title, body"."""
        return self.shape.label

    @property
    def without_text(self) -> tuple[str, str]:
        """The rule that removes a row without text, and why."""
        if self.shape.is_empty:
            return "no_text_columns", "no column of this table holds text"
        return "no_text", "the text columns of this row are empty"

    def document(self, locator: str, row: Row, extractor: str = "") -> Document | Removed | Skipped | Gathered:
        """The document of one row. Removed when it holds no text, Skipped when its conversation is malformed or text is no Unicode.

        Gathered, as it stands, when it waits for other rows.
        ``extractor`` names the reader for ``meta["extractor"]``, which becomes ``extractor`` and the plan's label.
        """
        if self.mapping.gathered_as is not None:
            return Gathered(locator, self.mapping.gathered_as, row, self.columns, extractor)
        try:
            made = self._document(locator, row, extractor)
            check_unicode(made)
        except conversations.MalformedError as error:
            return skipped(locator, str(error), row)
        except UnicodeEncodeError:
            return skipped(locator, NO_UNICODE, row)
        return made

    def _document(self, locator: str, row: Row, extractor: str) -> Document | Removed:
        if reason := self.unwanted(row):
            return removed(locator, row, "where", reason)
        raw, row = row, self.converted(row)
        meta, group = self.meta_of(row), self.group_of(row)
        meta["extractor"] = f"{extractor} {self.label}".strip()
        locator = self._with_id(locator, row)
        messages = self._messages(row) if self._has_all(row) else ()
        if messages:
            return Document(locator, messages=messages, group=group, meta=meta)
        text = self.text_of(row)
        if text.strip():
            return Document(locator, text=text, group=group, meta=meta)
        without = Document(locator, text=as_json(raw), group=group, meta=meta)
        return Removed(without, *self.without_text)

    def unwanted(self, row: Row) -> str:
        """Why a row is not one of those that ``where`` asks for; nothing when it is."""
        cells_of = ((name, wanted, templates.text_at(row, name)) for name, wanted in self.mapping.where.items())
        return next((f"{name} is {cell[:80]!r}" for name, wanted, cell in cells_of if cell not in wanted), "")

    def converted(self, row: Row) -> Row:
        """The row with the cells of ``formats`` as Markdown."""
        formats = self.mapping.formats
        if not formats:
            return row
        made = ((name, kind, row.get(name)) for name, kind in formats.items())
        keep_quotes, links = self.mapping.quotes == "keep", self.mapping.links
        return {**row, **{name: cells.to_markdown(cell, kind, keep_quotes, links) for name, kind, cell in made if isinstance(cell, str)}}

    def text_of(self, row: Row) -> str:
        """The text of a converted row; nothing where there is none, or a column of ``needs`` is empty."""
        return self.shape.text.render(row) if self.shape.text and self._has_all(row) else ""

    def _has_all(self, row: Row) -> bool:
        return not any(templates.is_empty(templates.cell_at(row, name)) for name in self.mapping.needs)

    def meta_of(self, row: Row) -> dict[str, object]:
        """What ``meta`` carries of a row."""
        carried = ((key, templates.cell_at(row, column)) for column, key in self.meta)
        return {key: cell for key, cell in carried if not templates.is_empty(cell)}

    def group_of(self, row: Row) -> str | None:
        """The group of a row, None where its column is empty."""
        return templates.as_text(templates.cell_at(row, self.mapping.group)) or None if self.mapping.group else None

    def _with_id(self, locator: str, row: Row) -> str:
        """The locator with the row's id: beside the row's number, since a column may promise to be unique and not be it."""
        cell = templates.as_text(templates.cell_at(row, self.mapping.id)) if self.mapping.id else ""
        return f"{locator}{'&' if '#' in locator else '#'}id={quote(cell, safe='-_.~')}" if 0 < len(cell) <= MAX_ID_CHARS else locator

    def _messages(self, row: Row) -> tuple[Message, ...]:
        shape = self.shape
        cell = templates.cell_at(row, shape.conversation) if shape.conversation else None
        if conversations.is_conversation(cell) or (self.mapping.messages is not None and not templates.is_empty(cell)):
            messages = conversations.messages_of(cell, self.mapping.spelling)
        elif all(templates.is_empty(templates.cell_at(row, name)) for turn in shape.turns for name in turn.content.names):
            return ()
        else:
            messages = tuple(message for turn in shape.turns for message in self._turn_messages(turn, row))
        system = templates.as_text(row.get(shape.system)) if shape.system else ""
        if messages and system.strip() and messages[0].role != "system":
            return (Message("system", system), *messages)
        return messages

    def _turn_messages(self, turn: Turn, row: Row) -> tuple[Message, ...]:
        columns = turn.content.columns
        if len(columns) == 1 and conversations.is_list_of_turns(cell := templates.cell_at(row, columns[0].name)):
            return conversations.messages_of(cell, self.mapping.spelling)
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
    if mapping.gathered_as is not None:
        return RowPlan(Shape(f"rows of {mapping.gathered_as or 'this table'}"), mapping=mapping, columns=tuple(columns))
    shape = _mapped(mapping) if mapping.is_told else looks.guess(columns, sample)
    check_columns(names_in(shape, mapping), columns, table)
    return RowPlan(shape, _carried(columns, mapping), mapping, tuple(columns))


def _mapped(mapping: RowMapping) -> Shape:
    if mapping.messages is not None:
        return Shape(f"messages from {mapping.messages}", conversation=mapping.messages)
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
    """Names for columns: those given, stripped; ``col_3`` where there is none, ``text_2`` where one stands twice."""
    return numbered(cell.strip() or f"col_{index}" for index, cell in enumerate(cells))


def numbered(names: Iterable[str]) -> tuple[str, ...]:
    """The names, all different: the second ``text`` is ``text_2``."""
    different: dict[str, None] = {}
    for plain in names:
        name, count = plain, 1
        while name in different:
            count += 1
            name = f"{plain}_{count}"
        different[name] = None
    return tuple(different)


def _carried(columns: Sequence[str], mapping: RowMapping) -> tuple[tuple[str, str], ...]:
    """Columns for ``meta`` as (column, key) pairs; the usual ones are known in any spelling of case."""
    usual = {column: column.lower() for column in reversed(columns) if column.lower() in CARRIED}
    if mapping.id is not None:
        usual = {column: key for column, key in usual.items() if key != "id"} | {mapping.id: "id"}
    return tuple(sorted(({column: column for column in mapping.meta} | usual).items()))


def names_in(shape: Shape, mapping: RowMapping) -> list[str]:
    """The columns (or paths into them) that a shape and its mapping name."""
    named = list(shape.text.names) if shape.text else []
    named += [name for turn in shape.turns for t in (turn.content, turn.when_empty) if t for name in t.names]
    told = [shape.conversation, mapping.group, mapping.id, *mapping.meta, *mapping.formats, *mapping.where, *mapping.needs]
    return list(dict.fromkeys([*named, *(name for name in told if name)]))


def check_columns(named: Sequence[str], columns: Sequence[str], table: str) -> None:
    """Raise SettingsError, a line for each name that is no column and no path into one; nothing is known of a table without columns."""
    missing = [name for name in named if name not in columns and not any(start in columns for start in starts(name))]
    if missing and columns:
        raise SettingsError([f"{table or 'columns'}: has no column '{name}'; {nearest(name, columns)}" for name in missing])


def starts(path: str) -> Iterator[str]:
    """The columns in which ``path`` may stand: ``a`` and ``a.b`` of ``a.b.c``."""
    parts = path.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts)))


def check_unicode(made: Document | Removed) -> None:
    """Raises UnicodeEncodeError on half a surrogate pair (JSON can hold one), which no Arrow string can hold."""
    document = made.document if isinstance(made, Removed) else made
    texts = [document.text, document.group, *map(templates.as_text, document.meta.values())]
    texts += [piece for message in document.messages or () for piece in (message.content, message.extra)]
    for text in texts:
        if text and not text.isascii():
            text.encode()


def removed(locator: str, row: Row, rule: str, reason: str) -> Removed:
    """A row that is no part of any document, whole."""
    return Removed(Document(locator, text=as_json(row)), rule, reason)


def skipped(locator: str, error: str, row: Row) -> Skipped:
    """A row that cannot be used."""
    return Skipped(locator, error, raw=as_json(row).encode()[:RAW_CAP_BYTES])


def as_json(row: Row) -> str:
    """A row as JSON, for what is removed or quarantined."""
    text = json.dumps(dict(row), ensure_ascii=False, default=lambda cell: f"{len(cell)} bytes" if isinstance(cell, bytes) else str(cell))
    return text.encode("utf-8", "backslashreplace").decode()
