"""HTML events (start tag, end tag, text) to plain Markdown: headings, lists, table rows, code blocks and paragraphs stay apart.

It is used where no main text is looked for: for what a site's own rules select, and for whole pages. It keeps all text it is given, never
looks back, and needs no tree, so that broken or endlessly nested pages pass in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

UNSHOWN = frozenset(
    (
        *("head", "title", "script", "style", "noscript", "template", "noframes", "noembed", "iframe", "object", "applet"),
        *("svg", "canvas", "audio", "video", "map", "select", "datalist", "textarea", "annotation", "annotation-xml"),
    )
)
"""Elements whose text a reader of the page does not see, or sees as a control and not as text."""

VOID = frozenset(("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"))

_PARAGRAPHS = frozenset(
    (
        *("p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "blockquote", "article", "section", "main", "header", "footer"),
        *("nav", "aside", "dl", "figure", "fieldset", "form", "hr", "address", "details"),
    )
)
_LINES = frozenset(("div", "tr", "dt", "dd", "figcaption", "caption", "center", "summary", "legend", "option", "body", "li"))
_LISTS = frozenset(("ul", "ol", "menu", "dir"))
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_MAX_LIST_INDENT = 10

_UNSEEN_STYLE = re.compile(
    r"(?:^|[;\s])(?:display\s*+:\s*+none|visibility\s*+:\s*+hidden|font-size\s*+:\s*+0++(?:px|em|pt|%)?+\s*+(?:;|!|$))", re.I
)
_PANEL_ROLES = frozenset(("", "group", "region", "tabpanel"))
_STREAMED = re.compile(r"S:[0-9a-f]++")

NOSCRIPT_MIN_CHARS = 500
"""A ``noscript`` this long holds the page for readers without scripts (Discourse, Flarum); shorter ones ask to switch scripts on."""


def is_hidden(tag: str, attributes: Mapping[str, Any]) -> bool:
    """Whether an element's own attributes (``hidden``, inline style) hide it for good.

    Not hidden for good are the body as a whole, text that a search in the page opens (``until-found``), panels that a label opens
    (accordions, tabs), and what React streams into hidden ``S:`` segments and then moves into place. On 150 gold pages these exceptions
    are worth .009 of F1.
    """
    if ("hidden" not in attributes and "style" not in attributes) or tag in ("html", "body"):
        return False
    unseen = "hidden" in attributes and str(attributes["hidden"]).lower() != "until-found"
    if not unseen and not _UNSEEN_STYLE.search(str(attributes.get("style", ""))):
        return False
    opens = "aria-labelledby" in attributes and str(attributes.get("role", "")) in _PANEL_ROLES
    return not opens and not _STREAMED.fullmatch(str(attributes.get("id", "")))


class Renderer:
    """Collects events in document order; ``markdown()`` gives the text."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._gap = 0  # newlines owed before the next text
        self._space = False
        self._lead = ""  # list marker, heading marks or cell border owed before the next text
        self._lists: list[int | None] = []  # next number of each open list, None: bullets
        self._row_started = False
        self._code: list[str] | None = None

    def start(self, tag: str) -> None:
        """An element begins."""
        if tag == "br":
            self._line_break()
        elif tag == "pre":
            self._end_code()
            self._code = []
        elif tag in _LISTS:
            self._block(1 if self._lists else 2)
            self._lists.append(1 if tag == "ol" else None)
        elif tag in ("td", "th"):
            self._begin_cell()
        else:
            if tag in ("li", "tr"):
                self._lead = ""
            self._block(2 if tag in _PARAGRAPHS else 1 if tag in _LINES else 0)
            if tag == "li":
                self._lead = self._marker()
            elif tag == "tr":
                self._row_started = False
            elif tag in _HEADINGS:
                self._lead += _HEADINGS[tag]

    def end(self, tag: str) -> None:
        """An element ends."""
        if tag == "pre":
            self._end_code()
        elif tag in _LISTS:
            if self._lists:
                self._lists.pop()
            self._lead = ""
            self._block(1 if self._lists else 2)
        elif tag in ("td", "th"):
            self._space = True
        else:
            if tag in _HEADINGS or tag in ("li", "tr"):
                self._lead = ""
            self._block(2 if tag in _PARAGRAPHS else 1 if tag in _LINES else 0)

    def text(self, data: str) -> None:
        """Text as it stands in the page, character references resolved."""
        if self._code is not None:
            self._code.append(data)
            return
        words = data.split()
        if not data or not words:
            self._space = self._space or bool(data)
            return
        self._space = self._space or data[0].isspace()
        self._write(" ".join(words))
        self._space = data[-1].isspace()

    def markdown(self) -> str:
        """All text so far, ends stripped."""
        self._end_code()
        return "".join(self._out).strip()

    def _write(self, piece: str) -> None:
        if self._gap:
            self._out.append("\n" * self._gap if self._out else "")
        elif self._space and self._out:
            self._out.append(" ")
        self._out.append(self._lead + piece)
        self._gap, self._space, self._lead, self._row_started = 0, False, "", True

    def _block(self, gap: int) -> None:
        if gap and self._code is None and not self._lead:  # a marker and what it marks stay on one line
            self._gap, self._space = max(self._gap, gap), False

    def _line_break(self) -> None:
        if self._code is not None:
            self._code.append("\n")
        else:
            self._gap, self._space = min(self._gap + 1, 2), False

    def _begin_cell(self) -> None:
        if self._row_started:
            self._lead += "| "
            self._gap, self._space = 0, True

    def _marker(self) -> str:
        depth = min(max(len(self._lists), 1), _MAX_LIST_INDENT)
        number = self._lists[-1] if self._lists else None
        if number is None:
            return "  " * (depth - 1) + "- "
        self._lists[-1] = number + 1
        return "  " * (depth - 1) + f"{number}. "

    def _end_code(self) -> None:
        code, self._code = "".join(self._code or ()).strip("\n"), None
        if not code.strip():
            return
        fence = "```"
        while fence in code:
            fence += "`"
        self._block(2)
        self._write(f"{fence}\n{code.rstrip()}\n{fence}")
        self._block(2)
