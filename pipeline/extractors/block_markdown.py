"""Chosen blocks of a page as Markdown: headings, nested lists, tables, fenced code with its language, quotes, emphasis, links and formulas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import urljoin

from pipeline.extractors.blocks import TAG_NUMBER, Blocks, unescaped

_BOLD, _ITALIC, _CODE, _STRUCK = "**", "*", "`", "~~"
_MARKS = {
    **dict.fromkeys(("b", "strong"), _BOLD),
    **dict.fromkeys(("em", "i"), _ITALIC),
    **dict.fromkeys(("del", "s", "strike"), _STRUCK),
    **dict.fromkeys(("code", "kbd", "samp", "tt"), _CODE),
}
_MARKING = frozenset((*_MARKS, "sup", "br", "math", "img"))
"""What changes the text of a line; without any of these its words are all there is."""
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
_MAX_CLIMB = 150
_MAX_PATH = 32
"""Of the elements around a block so many are looked at, and so many lists and quotes among them kept: real pages nest 56 deep at most."""
_MAX_LISTS = 10

_LISTS = frozenset(TAG_NUMBER[tag] for tag in ("ul", "ol", "menu", "dir"))
_CELLS = frozenset(TAG_NUMBER[tag] for tag in ("td", "th"))
_HEADINGS = {TAG_NUMBER[f"h{level}"]: "#" * level + " " for level in range(1, 7)}
_OL, _LI, _PRE, _QUOTE, _TABLE, _ROW, _HEAD_CELL, _TERM, _MEANING, _ITEMS = (
    TAG_NUMBER[tag] for tag in ("ol", "li", "pre", "blockquote", "table", "tr", "th", "dt", "dd", "dl")
)
_KNOWN = frozenset((*_HEADINGS, *_LISTS, *_CELLS, _LI, _PRE, _QUOTE, _TABLE, _ROW, _MEANING))


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
    places = [writer.place(block) for block in chosen]
    for (table, code, _), group in groupby(places, key=_whole):
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
        self._marking = _MARKING | {"a"} if links else _MARKING
        self._numbers: dict[int, int] = {}
        self._paths: dict[int, _Place] = {}

    def place(self, block: int) -> _Place:
        """Where a block stands."""
        node = self._blocks.nodes[block]
        known = self._paths.get(node)
        if known is None:
            known = self._paths[node] = self._of_node(node, block)
        if known.block == block:
            return known
        return _Place(block, known.path, known.heading, known.code, known.cell, known.row, known.table)

    def _of_node(self, node: int, block: int) -> _Place:
        tags, parents = self._blocks.node_tags, self._blocks.node_parents
        path: list[int] = []
        heading = code = cell = row = table = 0
        for _ in range(_MAX_CLIMB):
            tag = tags[node]
            if not node:
                break
            if tag not in _KNOWN:
                pass
            elif tag in _HEADINGS:
                heading = heading or node
            elif tag == _PRE:
                code = code or node
            elif tag in _CELLS and not table:
                cell = cell or node
            elif tag == _ROW and not table:
                row = row or node
            elif tag == _TABLE:
                table = table or node
            elif tag in _LISTS or tag in (_LI, _QUOTE, _MEANING):
                path.append(node)
            node = parents[node]
        if not cell or not row:
            table = 0
        return _Place(block, tuple(reversed(path[:_MAX_PATH])), heading, code, cell, row, table)

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
        names, texts = self._blocks.names, self._blocks.texts
        span = range(self._blocks.starts[block], self._blocks.ends[block])
        text = "".join(("\n" if names[at] == "br" else "") + texts[at] for at in span)
        return unescaped(text).strip("\n").rstrip()

    def _language(self, place: _Place) -> str:
        """The language that the code's element, what stands in it, or what stands around it names."""
        blocks = self._blocks
        inside = [blocks.attributes[at] for at in range(blocks.starts[place.block], min(blocks.ends[place.block], blocks.starts[place.block] + 3))]
        around, node = [], place.code
        for _ in range(3):
            around.append(blocks.attributes[blocks.node_tokens[node]])
            node = blocks.node_parents[node]
        for attributes in (*inside, *around):
            for found in _LANGUAGE.finditer(attributes):
                if found[1].lower() not in _NO_LANGUAGE:
                    return found[1].lower()
        return ""

    def inline(self, block: int, one_line: bool = False) -> str:
        """A block's text with emphasis, code, links and formulas marked, white space folded; a ``br`` parts lines."""
        start, end = self._blocks.starts[block], self._blocks.ends[block]
        plain = self._blocks.plain[block]
        marked = self._marking.intersection(self._blocks.names[start + 1 : end])
        if end - start == 1 or not (marked or _ANCHOR_SIGNS.intersection((plain[0], plain[-1]))):
            return plain
        pieces = [piece for piece in self._marked(start, end) if piece]
        text = "".join(pieces)
        lines = [" ".join(line.split()) for line in text.split("\x00")]
        return (" " if one_line else "\n").join(line for line in lines if line)

    def _marked(self, start: int, end: int) -> list[str]:
        names, attributes, texts = self._blocks.names, self._blocks.attributes, self._blocks.texts
        out: list[str] = []
        open_at: list[tuple[str, int, int]] = []  # element, where its text begins, its tag
        skip = ""
        for at in range(start, end):
            name = names[at]
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
            elif name == "math" and (found := _ALT_TEXT.search(attributes[at])):
                out.append(f"${unescaped(found[1])}$")
                skip = "math"
                continue
            elif name == "img" and _FORMULA.search(attributes[at]) and (found := _ALT.search(attributes[at])):
                out.append(f"${unescaped(found[1])}$")
            elif name[:1] == "/" and open_at and name[1:] == open_at[-1][0]:
                opened, since, tag = open_at.pop()
                inside = "".join(out[since:])
                del out[since:]
                out.append(self._wrapped(opened, inside, attributes[tag], "".join(out[-1:])))
            out.append(unescaped(texts[at]) if "&" in texts[at] else texts[at])
        return out

    def _wrapped(self, name: str, inside: str, attributes: str, before: str) -> str:
        text = inside.strip()
        if not text:
            return inside
        if name == "a":
            if text in _ANCHOR_SIGNS:
                return ""
            target = self._target(attributes) if self._links else ""
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
