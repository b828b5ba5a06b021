"""Events of a marked-up cell (an element begins, ends, text) to Markdown: emphasis, links, lists, code, and quotes as ``>``.

It keeps what it does not know as text, forgives ends without beginnings, and never looks back, so that broken or endlessly nested
cells pass in linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_QUOTE_DEPTH = 8
MAX_LIST_DEPTH = 8
"""Deeper levels are written like this one: each level costs characters on every line."""

MAX_OPEN = 200
"""So many elements may be open at once; what is opened beyond is not marked, its text stays."""

_MARKS = {"b": "**", "i": "*", "s": "~~"}
_BLANKS = re.compile(r"[ \t\r\f\v\u00a0]+")
_TITLE = re.compile(r"h[1-6]")


@dataclass(slots=True)
class _Open:
    """An element that has begun; ``opening`` is owed before its first text, ``mark`` after its last."""

    name: str
    mark: str = ""
    opening: str = ""


class Writer:
    """Collects events; ``markdown()`` gives the text. ``keep_lines``: a line feed in text is one in Markdown (BBCode), else a blank (HTML)."""

    def __init__(self, keep_lines: bool, keep_quotes: bool) -> None:
        self._keep_lines, self._keep_quotes = keep_lines, keep_quotes
        self._out: list[str] = []
        self._open: list[_Open] = []
        self._unwritten: list[_Open] = []  # the innermost of them whose beginnings are owed
        self._num_open: dict[str, int] = {}
        self._gap = 0  # line feeds owed before the next text
        self._space = False
        self._lead = ""  # list marker, heading marks or cell border owed before the next text
        self._quotes = 0
        self._gap_quotes = 0  # the least depth of quotes since the last text
        self._dropped = 0  # depth of quotes that are left out
        self._lists: list[int | None] = []

    def start(self, name: str, value: str = "") -> None:
        """An element begins: ``b``, ``i``, ``s``, ``p``, ``line``, ``item``, ``cell``, ``h1`` to ``h6``.

        With a value also ``quote`` (who is quoted), ``link`` (the address) and ``list`` (``1``: numbered).
        """
        if name == "quote":
            self._start_quote(value)
        elif name in ("p", "line"):
            self._block(2 if name == "p" else 1)
        elif name == "item":
            self._lead = ""
            self._block(1)
            self._lead = self._marker()
        elif name == "list":
            self._lead = ""
            self._block(1 if self._lists else 2)
            self._lists.append(1 if value == "1" else None)
        elif name == "cell":
            if self._gap == 0 and self._out:
                self._lead, self._space = "| ", True
        elif _TITLE.fullmatch(name):
            self._block(2)
            self._lead = "#" * int(name[1]) + " "
        elif len(self._open) < MAX_OPEN:
            mark = _MARKS.get(name, "")
            opening, end = (mark, mark) if name != "link" else ("[", f"]({value})" if value else "")
            self._open.append(_Open(name, end, opening if end else ""))
            self._unwritten.append(self._open[-1])
            self._num_open[name] = self._num_open.get(name, 0) + 1

    def end(self, name: str) -> None:
        """An element ends; an end without a beginning says nothing."""
        if name == "quote":
            self._end_quote()
        elif name in ("p", "line", "item") or _TITLE.fullmatch(name):
            self._lead = ""
            self._block(2 if name not in ("line", "item") else 1)
        elif name == "list":
            if self._lists:
                self._lists.pop()
            self._lead = ""
            self._block(1 if self._lists else 2)
        elif name == "cell":
            self._space = True
        elif self._num_open.get(name):
            self._close_to(name)

    def line_break(self) -> None:
        """A line ends; two in a row leave a line empty."""
        if not self._lead:
            self._gap, self._space = min(self._gap + 1, 2), False
            self._gap_quotes = min(self._gap_quotes, self._quotes)

    def text(self, data: str) -> None:
        """Text as a reader sees it."""
        if self._dropped or not data:
            return
        if not self._keep_lines:
            self._words(data.replace("\n", " "))
            return
        for number, line in enumerate(data.split("\n")):
            if number:
                self.line_break()
            self._words(line)

    def code(self, text: str) -> None:
        """Text that stays as it is: in a line when it is one, else fenced."""
        if self._dropped or not text.strip():
            return
        if "\n" not in text.strip("\n") and len(text) < 200 and "`" not in text and not self._gap:
            self._write(f"`{text.strip()}`")
            self._space = False
            return
        longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
        fence = "`" * max(3, longest + 1)
        self._block(2)
        for line in (fence, *text.strip("\r\n").replace("\r\n", "\n").split("\n"), fence):
            self._write(line, is_code=True)
            self._gap = 1
        self._gap = 2

    def markdown(self) -> str:
        """All text so far."""
        while self._open:
            self._close(self._open.pop())
        return "".join(self._out).strip()

    def _words(self, data: str) -> None:
        words = _BLANKS.sub(" ", data).strip(" ")
        if not words:
            self._space = self._space or bool(data)
            return
        self._space = self._space or data[0].isspace()
        self._write(words)
        self._space = data[-1].isspace()

    def _write(self, piece: str, is_code: bool = False) -> None:
        if self._gap and self._out:
            between = "> " * min(self._gap_quotes, self._quotes)
            self._out.append(f"\n{between}".rstrip(" ") * (self._gap - 1) + "\n" + "> " * self._quotes)
        elif not self._out:
            self._out.append("> " * self._quotes)
        elif self._space:
            self._out.append(" ")
        opening = "" if is_code else self._openings()
        self._out.append(self._lead + opening + piece)
        self._gap, self._space, self._lead, self._gap_quotes = 0, False, "", self._quotes

    def _openings(self) -> str:
        opening = "".join(element.opening for element in self._unwritten)
        self._unwritten.clear()
        return opening

    def _close_to(self, name: str) -> None:
        while True:
            element = self._open.pop()
            self._num_open[element.name] -= 1
            self._close(element)
            if element.name == name:
                return

    def _close(self, element: _Open) -> None:
        if self._unwritten:  # the last that was opened closes, so it is the last of these
            self._unwritten.pop()
        elif element.mark:
            self._out.append(element.mark)

    def _block(self, gap: int) -> None:
        if not self._lead:  # a marker and what it marks stay on one line
            self._gap, self._space = max(self._gap, gap), False
            self._gap_quotes = min(self._gap_quotes, self._quotes)

    def _marker(self) -> str:
        depth = min(max(len(self._lists), 1), MAX_LIST_DEPTH)
        number = self._lists[-1] if self._lists else None
        if number is None:
            return "  " * (depth - 1) + "- "
        self._lists[-1] = number + 1
        return "  " * (depth - 1) + f"{number}. "

    def _start_quote(self, author: str) -> None:
        if self._dropped or not self._keep_quotes:
            self._dropped += 1
            return
        self._lead = ""
        self._block(2)
        self._num_open["quote"] = self._num_open.get("quote", 0) + 1
        self._quotes = min(self._num_open["quote"], MAX_QUOTE_DEPTH)
        if author.strip():
            self._words(f"{' '.join(author.split())} wrote:")
            self._gap = 1

    def _end_quote(self) -> None:
        if self._dropped:
            self._dropped -= 1
            self._gap = max(self._gap, 2) if self._out else 0
        elif self._num_open.get("quote"):
            self._lead = ""
            self._num_open["quote"] -= 1
            self._quotes = min(self._num_open["quote"], MAX_QUOTE_DEPTH)
            self._gap, self._space = 2, False
            self._gap_quotes = min(self._gap_quotes, self._quotes)
