"""Chosen blocks of a page as Markdown: headings, nested lists, tables, fenced code with its language, quotes, emphasis, links and formulas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import urljoin

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import compiled
from pipeline.extractors.block_walk import KIND, MARKED, NODE, PARENT, TAG_NUMBER
from pipeline.extractors.blocks import Blocks, unescaped

_BOLD, _ITALIC, _CODE, _STRUCK = "**", "*", "`", "~~"
_MARKS = {
    **dict.fromkeys(("b", "strong"), _BOLD),
    **dict.fromkeys(("em", "i"), _ITALIC),
    **dict.fromkeys(("del", "s", "strike"), _STRUCK),
    **dict.fromkeys(("code", "kbd", "samp", "tt"), _CODE),
}
_HREF = re.compile(r'(?:^|\s)href="([^"]*+)"')
_ALT_TEXT = re.compile(r'(?:^|\s)alttext="([^"]*+)"')
_ALT = re.compile(r'(?:^|\s)alt="([^"]*+)"')
_FORMULA = re.compile(r'class="[^"]*(?:math|latex|tex\b)', re.I)
_LANGUAGE = re.compile(r"(?:\blang(?:uage)?-|\bhighlight-(?:source-|text-)?|\bbrush:\s*+|\bsourceCode\s++)([A-Za-z][\w+#.-]*+)")
_NO_LANGUAGE = frozenset(("none", "default", "plaintext", "plain", "text", "notranslate", "wrapper", "container", "line", "highlight"))
_RAISED = re.compile(r"[-+\u2212]?\w{1,4}")
_ANCHOR_SIGNS = frozenset(("#", "\u00b6", "\u00a7", "\U0001f517", "\uf0c1"))
"""Links of nothing else lead to the place where they stand."""
_MAX_OPEN_MARKS = 20
"""More open elements in one block lose their marks, not their text: each closing joins what stands inside it."""
_MAX_CELL_CHARS = 400
_MAX_QUOTES = 6
_MAX_PATH = 32
"""Of the lists and quotes around a block so many are kept: real pages nest 56 elements deep at most."""
_MAX_LISTS = 10

_LISTS = frozenset(TAG_NUMBER[tag] for tag in ("ul", "ol", "menu", "dir"))
_CELLS = frozenset(TAG_NUMBER[tag] for tag in ("td", "th"))
_HEADINGS = {TAG_NUMBER[f"h{level}"]: "#" * level + " " for level in range(1, 7)}
_OL, _LI, _PRE, _QUOTE, _TABLE, _ROW, _MEANING = (TAG_NUMBER[tag] for tag in ("ol", "li", "pre", "blockquote", "table", "tr", "dd"))

_, _, _IN_CELL, _IN_ROW, _IN_TABLE, _IN_LIST = range(6)


def _roles() -> NDArray[np.int64]:
    """Which of the six each tag begins, -1 for none."""
    roles = np.full(len(TAG_NUMBER), -1)
    for role, tags in enumerate((_HEADINGS, (_PRE,), _CELLS, (_ROW,), (_TABLE,), (*_LISTS, _LI, _QUOTE, _MEANING))):
        roles[list(tags)] = role
    return roles


_ROLES = _roles()


@compiled
def _places(elements: np.ndarray, roles: np.ndarray) -> np.ndarray:
    """The innermost heading, code, cell, row, table and list, item or quote around each element, or 0; cell and row inside the table."""
    out = np.zeros((len(elements), 6), np.int32)
    for node in range(1, len(elements)):
        above, role = elements[node, PARENT], roles[elements[node, KIND]]
        for k in range(6):
            out[node, k] = node if k == role else out[above, k]
        if role == _IN_TABLE:
            out[node, _IN_CELL] = out[node, _IN_ROW] = 0
    return out


@dataclass(slots=True)
class _Place:
    """A block and the elements around it that Markdown knows, outermost first; ``cell, row, table``: the innermost ones, or 0."""

    block: int
    path: tuple[int, ...]
    heading: int
    code: int
    cell: int
    row: int
    table: int


def markdown(blocks: Blocks, chosen: Sequence[int], links: bool = False, url: str = "") -> str:
    """The blocks of these numbers (ascending) as Markdown, ends stripped; ``links``: keep links, made absolute with ``url``."""
    writer = _Writer(blocks, links, url)
    for (table, code, _), group in groupby(writer.places(chosen), key=_whole):
        members = list(group)
        if table:
            writer.table(members)
        elif code:
            writer.code(members)
        else:
            writer.block(members[0])
    return "\n".join(line.rstrip() for line in "".join(writer.out).strip("\n").split("\n")).strip()


def _whole(place: _Place) -> tuple[int, int, int]:
    """What a block is written together with: its table, its code, or itself."""
    if place.table:
        return place.table, 0, 0
    return (0, place.code, 0) if place.code else (0, 0, place.block + 1)


class _Writer:
    def __init__(self, blocks: Blocks, links: bool, url: str) -> None:
        self.out: list[str] = []
        self._blocks = blocks
        self._links, self._url = links, url
        self._last: tuple[int, ...] = ()
        self._was_apart = False
        self._marked, self._marking = blocks.blocks[:, MARKED].tolist(), 3 if links else 1
        self._numbers: dict[int, int] = {}
        self._around = _places(blocks.elements, _ROLES)
        self._paths: dict[int, tuple[int, ...]] = {0: ()}

    def places(self, chosen: Sequence[int]) -> list[_Place]:
        """Where blocks stand."""
        around = self._around[self._blocks.blocks[np.array(chosen, np.int64), NODE]].tolist()
        return [
            _Place(block, self._path(listed), heading, code, cell, row, table if cell and row else 0)
            for block, (heading, code, cell, row, table, listed) in zip(chosen, around, strict=True)
        ]

    def _path(self, listed: int) -> tuple[int, ...]:
        """A list, item or quote and those around it, outermost first."""
        known = self._paths.get(listed)
        if known is None:
            path: list[int] = []
            parents, node = self._blocks.node_parents, listed
            while node and len(path) < _MAX_PATH:
                path.append(node)
                node = int(self._around[parents[node], _IN_LIST])
            known = self._paths[listed] = tuple(reversed(path))
        return known

    def block(self, place: _Place) -> None:
        """A paragraph, heading or item."""
        text = self.inline(place.block, one_line=bool(place.heading))
        if place.heading:
            text = _HEADINGS[self._blocks.node_tags[place.heading]] + text.replace(_BOLD, "")
        self._put(place, text)

    def code(self, places: Sequence[_Place]) -> None:
        """The blocks of one ``pre`` between fences."""
        text = "\n".join(self._raw(place.block) for place in places)
        fence = "```"
        while fence in text:
            fence += "`"
        self._put(places[0], f"{fence}{self._language(places[0])}\n{text}\n{fence}", apart=True)

    def table(self, places: Sequence[_Place]) -> None:
        """The blocks of one table: rows of cells, or paragraphs where it only lays out the page."""
        rows: dict[int, dict[int, list[_Place]]] = {}
        for place in places:
            rows.setdefault(place.row, {}).setdefault(place.cell, []).append(place)
        if not self._holds_data(rows):
            for code, group in groupby(places, key=lambda place: place.code):
                members = list(group)
                if code:
                    self.code(members)
                else:
                    for place in members:
                        self.block(place)
            return
        lines = [[self._cell(cell) for cell in cells.values()] for cells in rows.values()]
        width = max(map(len, lines))
        written = [f"| {' | '.join(line + [''] * (width - len(line)))} |" for line in lines]
        written.insert(1, f"|{'---|' * width}")
        self._put(places[0], "\n".join(written), apart=True)

    def _holds_data(self, rows: dict[int, dict[int, list[_Place]]]) -> bool:
        cells = [cell for row in rows.values() for cell in row.values()]
        if max(map(len, rows.values())) < 2 or len(rows) < 2:
            return False
        if any(place.heading or place.code or len(place.path) > len(cells[0][0].path) for cell in cells for place in cell):
            return False
        plain = self._blocks.plain
        chars = [sum(len(plain[place.block]) for place in cell) for cell in cells]
        return max(map(len, cells)) <= 8 and max(chars) <= 4 * _MAX_CELL_CHARS and sum(chars) / len(chars) <= _MAX_CELL_CHARS

    def _cell(self, places: Sequence[_Place]) -> str:
        return " ".join(self.inline(place.block, one_line=True) for place in places).replace("|", "\\|")

    def _put(self, place: _Place, text: str, apart: bool = False) -> None:
        """Write ``text`` with the marks of the lists and quotes around it, and as far from the last block as Markdown needs."""
        if not place.path and not self._last:
            self.out.append("\n\n" + text if self.out else text)
            self._was_apart = apart
            return
        tags = self._blocks.node_tags
        path, last = place.path, self._last
        common = 0
        while common < min(len(path), len(last)) and path[common] == last[common]:
            common += 1
        innermost = max((at for at, node in enumerate(path) if tags[node] == _LI), default=-1)
        lead, indent = "", ""
        lists = quotes = 0
        for at, node in enumerate(path):
            tag = tags[node]
            if tag == _QUOTE and quotes < _MAX_QUOTES:
                quotes += 1
                lead, indent = lead + "> ", indent + "> "
            elif tag == _LI:
                lists += 1
                mark = self._mark(node)
                new = at >= common
                room = " " * len(mark) if lists < _MAX_LISTS else ""
                lead, indent = lead + (mark if new else room), indent + room
                if new and at < innermost and room:
                    lead = lead[: -len(mark)] + room  # an item that only holds a list
        if self.out:
            if apart or self._was_apart or not any(tags[node] in _LISTS for node in path[:common]):
                gap = "\n" + indent.rstrip() * bool(quotes and common) + "\n"
            else:
                gap = "\n"
            self.out.append(gap)
        body = text.replace("\n", "\n" + indent) if indent else text
        self.out.append(lead + body)
        self._last, self._was_apart = path, apart

    def _mark(self, item: int) -> str:
        parents, tags = self._blocks.node_parents, self._blocks.node_tags
        around = parents[item]
        while around and tags[around] not in _LISTS:
            around = parents[around]
        if tags[around] != _OL:
            return "- "
        number = self._numbers.get(item)
        if number is None:
            number = self._numbers[item] = self._numbers.get(-around, 0) + 1
            self._numbers[-around] = number
        return f"{number}. "

    def _raw(self, block: int) -> str:
        """Text of code, blanks and all."""
        text = "".join(("\n" if name == "br" else "") + text for name, text in self._blocks.pieces(*self._blocks.span(block)))
        return unescaped(text).strip("\n").rstrip()

    def _language(self, place: _Place) -> str:
        """The language that the code's element, what stands in it, or what stands around it names."""
        blocks = self._blocks
        start, end = blocks.span(place.block)
        inside = [blocks.attributes(at) for at in range(start, min(end, start + 3))]
        around, node = [], place.code
        for _ in range(3):
            around.append(blocks.node_attributes(node))
            node = blocks.node_parents[node]
        for attributes in (*inside, *around):
            for found in _LANGUAGE.finditer(attributes):
                if found[1].lower() not in _NO_LANGUAGE:
                    return found[1].lower()
        return ""

    def inline(self, block: int, one_line: bool = False) -> str:
        """A block's text with emphasis, code, links and formulas marked, white space folded; a ``br`` parts lines."""
        plain = self._blocks.plain[block]
        if not self._marked[block] & self._marking and plain[0] not in _ANCHOR_SIGNS and plain[-1] not in _ANCHOR_SIGNS:
            return plain
        pieces = [piece for piece in self._signed(*self._blocks.span(block)) if piece]
        text = "".join(pieces)
        lines = [" ".join(line.split()) for line in text.split("\x00")]
        return (" " if one_line else "\n").join(line for line in lines if line)

    def _signed(self, start: int, end: int) -> list[str]:
        """The pieces of a text with the signs of Markdown, a NUL for each ``br``."""
        out: list[str] = []
        open_at: list[tuple[str, int, int]] = []  # element, where its text begins, its tag
        skip = ""
        for at, (name, text) in enumerate(self._blocks.pieces(start, end), start):
            if skip:
                if name == f"/{skip}":
                    skip = ""
                else:
                    continue
            elif name in _MARKS or name in ("a", "sup"):
                if len(open_at) < _MAX_OPEN_MARKS:
                    open_at.append((name, len(out), at))
            elif name == "br" and at > start:
                out.append("\x00")
            elif name == "math" and (found := _ALT_TEXT.search(self._blocks.attributes(at))):
                out.append(f"${unescaped(found[1])}$")
                skip = "math"
                continue
            elif name == "img" and _FORMULA.search(self._blocks.attributes(at)) and (found := _ALT.search(self._blocks.attributes(at))):
                out.append(f"${unescaped(found[1])}$")
            elif name[:1] == "/" and open_at and name[1:] == open_at[-1][0]:
                opened, since, tag = open_at.pop()
                inside = "".join(out[since:])
                del out[since:]
                out.append(self._wrapped(opened, inside, tag, "".join(out[-1:])))
            out.append(unescaped(text) if "&" in text else text)
        return out

    def _wrapped(self, name: str, inside: str, tag: int, before: str) -> str:
        text = inside.strip()
        if not text:
            return inside
        if name == "a":
            if text in _ANCHOR_SIGNS:
                return ""
            target = self._target(self._blocks.attributes(tag)) if self._links else ""
            marked = f"[{text}]({target})" if target else text
        elif name == "sup":
            marked = f"^{text}" if _RAISED.fullmatch(text) and before[-1:].isalnum() else text
        else:
            mark = _MARKS[name]
            marked = text if mark in text or "\x00" in text else f"{mark}{text}{mark}"
        head, tail = inside[: len(inside) - len(inside.lstrip())], inside[len(inside.rstrip()) :]
        return head + marked + tail

    def _target(self, attributes: str) -> str:
        found = _HREF.search(attributes)
        address = unescaped(found[1]).strip() if found else ""
        if self._url and address and not address.startswith("#"):
            try:
                address = urljoin(self._url, address)
            except ValueError:
                return ""
        return address.replace(" ", "%20") if address.startswith(("http://", "https://", "/", "#")) else ""


def data_tables(blocks: Blocks) -> Iterator[tuple[int, int]]:
    """The blocks (from, to) of each table that holds short cells and no other table: what belongs together."""
    tags, parents, plain = blocks.node_tags, blocks.node_parents, blocks.plain
    tables = [node for node, tag in enumerate(tags) if tag == _TABLE]
    outer = set()
    for table in tables:
        node = parents[table]
        while node and node not in outer:
            if tags[node] == _TABLE:
                outer.add(node)
            node = parents[node]
    for table in tables:
        start, end = blocks.node_first[table], blocks.node_last[table]
        if table not in outer and end > start and max(map(len, plain[start:end])) <= _MAX_CELL_CHARS:
            yield start, end
