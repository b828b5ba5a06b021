"""A stretch of text in its surroundings, for people: in colour on a terminal, between marks elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONTEXT_CHARS = 60
MARKED_CHARS = 240
"""So much is shown on either side of a stretch, and of the stretch itself."""


@dataclass(frozen=True)
class Stretch:
    """``marked`` between what stands ``before`` and ``after`` it; ``put`` is what took its place, None where nothing was cut."""

    before: str
    marked: str
    after: str
    put: str | None = None

    def to_plain(self) -> dict[str, str]:
        """As JSON-able data."""
        return {name: value for name, value in vars(self).items() if value is not None}


def stretch(text: str, start: int | None, end: int | None, put: str | None = None) -> Stretch:
    """Characters ``start`` to ``end`` of ``text`` in their surroundings; the beginning of the text where there is no span."""
    if start is None or end is None:
        return Stretch("", "", text[:MARKED_CHARS] + ("..." if len(text) > MARKED_CHARS else ""))
    before = ("..." if start > CONTEXT_CHARS else "") + text[max(0, start - CONTEXT_CHARS) : start]
    after = text[end : end + CONTEXT_CHARS] + ("..." if end + CONTEXT_CHARS < len(text) else "")
    marked = text[start:end]
    if len(marked) > MARKED_CHARS:
        marked = f"{marked[: MARKED_CHARS // 2]} ... {marked[-MARKED_CHARS // 2 :]}"
    return Stretch(before, marked, after, put)


def piece(document: Mapping[str, Any], message: int | None) -> str:
    """The text of a document's turn ``message`` (-1: the plain text), all of it where there is no such turn."""
    if document["text"] is not None:
        return str(document["text"])
    turns: Sequence[Mapping[str, Any]] = document["messages"] or ()
    if message is not None and 0 <= message < len(turns):
        return str(turns[message]["content"] or "")
    return "\n".join(f"{turn['role']}: {turn['content'] or ''}" for turn in turns)


def cuts_in_context(document: Mapping[str, Any], cuts: Iterable[Mapping[str, Any]]) -> list[Stretch]:
    """Each cut of a document, in order, in the text as it stood at that moment; ``document`` is as it was after the last."""
    texts: dict[int, str] = {}
    shown: list[Stretch] = []
    for cut in reversed(list(cuts)):
        message, start = cut["message"], cut["start"]
        old, new = cut["before"] or "", cut["after"] or ""
        after = texts.get(message, piece(document, message))
        texts[message] = after[:start] + old + after[start + len(new) :]
        shown.append(stretch(texts[message], start, start + len(old), new))
    return shown[::-1]


class Page:
    """Prints lines for people on standard output."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)

    def line(self, text: str = "", style: str = "") -> None:
        """One line."""
        self._console.print(_visible(text), style=style or None)

    def stretch(self, item: Stretch, indent: str = "      ") -> None:
        """A stretch in its surroundings: ``[[...]]``, or ``[-cut-]{+put+}``."""
        from rich.text import Text

        parts: list[tuple[str, str]] = [(indent, ""), (_flat(item.before), "dim")]
        if item.put is None:
            parts += [(f"[[{_flat(item.marked)}]]", "bold red")] if item.marked else []
        else:
            parts += [(f"[-{_flat(item.marked)}-]", "red")] if item.marked else []
            parts += [(f"{{+{_flat(item.put)}+}}", "green")] if item.put else []
        self._console.print(Text.assemble(*parts, (_flat(item.after), "dim")))

    def flush(self) -> None:
        """All of it is on its way."""
        sys.stdout.flush()


def _flat(text: str) -> str:
    """Text on one line, without what a terminal would obey."""
    return _visible(text.replace("\r\n", "\n").replace("\n", "\u21b5").replace("\t", " "))


def _visible(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned lines, the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]) for row in rows]
