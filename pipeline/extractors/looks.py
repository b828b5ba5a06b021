"""What a table's columns look like: instruction data by their names, else the columns whose values read like text."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.extractors import templates
from pipeline.extractors.conversations import is_conversation
from pipeline.extractors.templates import Row, Template


@dataclass(frozen=True)
class Turn:
    """One turn of a row: its role, its template, and the template used when a column of the first is empty."""

    role: str
    content: Template
    when_empty: Template | None = None


@dataclass(frozen=True)
class Shape:
    """What rows hold; ``label`` says it in words. The first of conversation, turns and text that a row fills is taken."""

    label: str
    conversation: str | None = None
    system: str | None = None
    turns: tuple[Turn, ...] = ()
    text: Template | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no column was found to hold text or a conversation."""
        return not (self.conversation or self.turns or self.text)


_CONVERSATIONS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat")
_SYSTEM = ("system", "system_prompt")
_PAIRS = (
    *(("instruction", answer) for answer in ("output", "response", "answer", "completion")),
    *(("prompt", answer) for answer in ("completion", "response", "output", "answer")),
    *(("question", answer) for answer in ("answer", "response")),
    *(("query", answer) for answer in ("response", "answer")),
    ("input", "output"),
    ("problem", "solution"),
    ("user", "assistant"),
    ("human", "assistant"),
)
"""Columns that hold a request and its answer, the more telling pair first."""
_CONTEXT = ("input", "context")
_WHOLE = ("text", "content", "body", "article", "document", "markdown", "post", "comment", "message")
"""A column of such a name holds the document; a column of ``_TITLES`` is put before it, but for ``text``, which is whole already."""
_TITLES = ("title", "headline", "subject", "heading")


def guess(columns: Sequence[str], sample: Sequence[Row] = ()) -> Shape:
    """The shape of a table; without anything recognised an empty one, of which every row is removed as holding no text."""
    by_name = {column.lower(): column for column in reversed(columns)}
    rest = _pair(by_name) or _whole(columns, by_name, sample) or _text_like(columns, sample)
    conversation = _first(_CONVERSATIONS, by_name)
    if conversation is None or not _holds_conversations(conversation, sample):
        return rest or Shape("no text columns")
    system = _first(_SYSTEM, by_name)
    label = "sharegpt" if conversation.lower() == "conversations" else "messages"
    if rest is None:
        return Shape(label, conversation, system)
    return Shape(f"{label}, else {rest.label}", conversation, system, rest.turns, rest.text)


def _holds_conversations(column: str, sample: Sequence[Row]) -> bool:
    cells = [row.get(column) for row in sample if not templates.is_empty(row.get(column))]
    return not cells or any(is_conversation(cell) for cell in cells)


def _pair(by_name: dict[str, str]) -> Shape | None:
    pair = next((pair for pair in _PAIRS if set(pair) <= by_name.keys()), None)
    if pair is None:
        return None
    request, answer = by_name[pair[0]], by_name[pair[1]]
    context = next((by_name[name] for name in _CONTEXT if name in by_name and name not in pair), None)
    system = _first(_SYSTEM, by_name)
    parts = (("system", system), ("user", request, context), ("assistant", answer))
    turns = tuple(Turn(role, templates.joined(filter(None, names), accepts=(str, int, float))) for role, *names in parts if any(names))
    name = "alpaca" if pair[0] == "instruction" else f"{request}, {answer}"
    return Shape(f"{name} columns as turns", turns=turns)


def _whole(columns: Sequence[str], by_name: dict[str, str], sample: Sequence[Row]) -> Shape | None:
    column = _first(_WHOLE, by_name)
    if column is None or not _may_hold_text(column, sample):
        return None
    title = _first(_TITLES, by_name) if column.lower() != "text" else None
    return _text((title, column) if title else (column,))


def _may_hold_text(column: str, sample: Sequence[Row]) -> bool:
    """Whether no sampled value speaks against a column that its name says is text (``comment`` may be a number of comments)."""
    cells = [row.get(column) for row in sample if not templates.is_empty(row.get(column))]
    return not cells or any(isinstance(cell, str) and not _NO_TEXT.fullmatch(cell.strip()) for cell in cells)


def _text_like(columns: Sequence[str], sample: Sequence[Row]) -> Shape | None:
    chosen = [column for column in columns if reads_like_text([row.get(column) for row in sample])]
    if not chosen:
        return None
    titles = [column for column in columns if column.lower() in _TITLES and column not in chosen]
    chosen.sort(key=lambda column: column.lower() not in _TITLES)
    return _text((*titles, *chosen))


def _text(columns: tuple[str, ...]) -> Shape:
    return Shape(f"text from {', '.join(columns)}", text=templates.joined(columns, accepts=(str,)))


def _first(names: Iterable[str], by_name: dict[str, str]) -> str | None:
    return next((by_name[name] for name in names if name in by_name), None)


_NO_TEXT = re.compile(
    r"[-+\d.,:;/\s%$€£TZ()]*"  # numbers, dates, times, phone numbers, money
    r"|[A-Za-z][A-Za-z0-9+.-]*://\S+"  # addresses
    r"|[^\s@]+@[^\s@]+"  # e-mail
    r"|(0x|\\x)?[0-9A-Fa-f-]{8,}"  # hashes, UUIDs
    r"|[\w.-]*(/[\w.-]+)+/?",  # paths, media types
)
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f]")
"""Letters of scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana and Han."""

MIN_MEDIAN_WORDS = 3
MIN_MEAN_CHARS = 20
MIN_UNSPACED_CHARS = 10
MIN_DISTINCT = 0.1
"""Our own choices [j]: names and categories have one or two words; a column of which nine in ten values repeat is a category."""


def reads_like_text(cells: Sequence[object]) -> bool:
    """Whether the filled cells of a column are text: words with spaces, mostly distinct, and not numbers, dates, hashes or addresses."""
    values = [cell.strip()[:2000] for cell in cells if isinstance(cell, str) and cell.strip()]
    if not values or 2 * sum(_NO_TEXT.fullmatch(value) is not None for value in values) > len(values):
        return False
    if len(values) >= 20 and len(set(values)) < MIN_DISTINCT * len(values):
        return False
    unspaced = statistics.fmean(len(_UNSPACED.findall(value)) for value in values)
    if unspaced >= MIN_UNSPACED_CHARS:
        return True
    words = statistics.median(len(value.split()) for value in values)
    return words >= MIN_MEDIAN_WORDS and statistics.fmean(map(len, values)) >= MIN_MEAN_CHARS


