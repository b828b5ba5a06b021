"""Fragments of HTML in a cell, tag by tag, and what phpBB 3.2 and Flarum make of a post (XML of s9e's TextFormatter)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from pipeline.extractors.cell_markdown import Writer

# A value in quotes ends before the next tag begins, so that no place is looked at more than a few times.
TAG = re.compile(r"<(?P<close>/?)(?P<name>[A-Za-z][A-Za-z0-9_]*+)(?P<inside>(?:\"[^\"<]*+\"|'[^'<]*+'|[^<>])*+)>")
_ATTRIBUTE = re.compile(r"([^\s/>=\"']++)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>]*+)))?+")
_ADDRESS = re.compile(r"(?:https?|ftp)://\S+|mailto:\S+", re.I)

_EMPHASIS = {"b": "b", "strong": "b", "i": "i", "em": "i", "s": "s", "strike": "s", "del": "s"}
_BLOCKS = {
    **dict.fromkeys(("p", "table", "h1", "h2", "h3", "h4", "h5", "h6", "dl", "figure", "section", "article"), "p"),
    **dict.fromkeys(("div", "tr", "dt", "dd", "center", "caption", "figcaption"), "line"),
    **{f"h{level}": f"h{level}" for level in range(1, 7)},
    "li": "item",
    "td": "cell",
    "th": "cell",
}
_UNSEEN = frozenset(("script", "style", "iframe", "object", "select", "textarea", "template", "noscript", "head", "svg", "button"))
_CODE = frozenset(("pre", "code", "kbd", "samp", "tt"))
_PLAIN = ("span", "u", "font", "small", "big", "sub", "sup", "abbr", "ins", "mark", "html", "body", "label", "cite", "q", "video")
_OTHER = ("tbody", "thead", "tfoot", "a", "br", "hr", "img", "blockquote", "ul", "ol", "wbr", "details", "summary")
KNOWN = frozenset((*_EMPHASIS, *_BLOCKS, *_UNSEEN, *_CODE, *_PLAIN, *_OTHER))
"""The elements that are told from text such as ``vector<int>``."""


def attributes(inside: str) -> dict[str, str]:
    """The attributes of a tag; the first of a name counts."""
    found: dict[str, str] = {}
    for name, *values in _ATTRIBUTE.findall(inside):
        found.setdefault(name.lower(), html.unescape(next(filter(None, values), "")))
    return found


class Ends:
    """Looks for the ends of elements whose content is taken as it is; what was looked for in vain once is not looked for again."""

    def __init__(self, text: str, pattern: Callable[[str], str]) -> None:
        self._text, self._pattern = text, pattern
        self._missing: set[str] = set()

    def find(self, name: str, start: int) -> re.Match[str] | None:
        """The end of ``name`` after ``start``."""
        if name in self._missing:
            return None
        match = re.compile(self._pattern(re.escape(name)), re.I).search(self._text, start)
        if match is None:
            self._missing.add(name)
        return match


def html_ends(text: str) -> Ends:
    """The ends of HTML elements."""
    return Ends(text, lambda name: f"</{name}\\s*>")


class Tags:
    """Writes HTML tags; ``text`` and the rest go to the writer directly."""

    def __init__(self, writer: Writer, links: bool) -> None:
        self.writer, self.links = writer, links

    def tag(self, name: str, closes: bool, inside: str) -> None:
        """One tag of a known element, but for those whose content is taken as it is."""
        writer = self.writer
        if name == "br":
            writer.line_break()
        elif name == "hr":
            writer.start("p")
        elif name == "img":
            writer.text(attributes(inside).get("alt", ""))
        elif name in _EMPHASIS:
            (writer.end if closes else writer.start)(_EMPHASIS[name])
        elif name == "a":
            if closes:
                writer.end("link")
            else:
                writer.start("link", self.address(attributes(inside).get("href", "")))
        elif name == "blockquote":
            if closes:
                writer.end("quote")
            else:
                writer.start("quote", attributes(inside).get("data-author", ""))
        elif name in ("ul", "ol"):
            (writer.end if closes else writer.start)("list", *(() if closes or name == "ul" else ("1",)))
        elif name in _BLOCKS:
            (writer.end if closes else writer.start)(_BLOCKS[name])
        elif name in ("details", "summary"):
            writer.start("line")

    def address(self, url: str) -> str:
        """The address of a link where links are kept, and it is one of a page or a mailbox."""
        return url.strip().replace(")", "%29") if self.links and _ADDRESS.fullmatch(url.strip()) else ""


def html_markdown(cell: str, keep_quotes: bool, links: bool) -> str:
    """The Markdown of a fragment of HTML."""
    if "<" not in cell and "&" not in cell:
        return " ".join(cell.split())
    writer = Writer(keep_lines=False, keep_quotes=keep_quotes)
    tags, ends = Tags(writer, links), html_ends(cell)
    at, no_comment_end = 0, False
    while at < len(cell):
        opening = cell.find("<", at)
        writer.text(html.unescape(cell[at : opening if opening >= 0 else len(cell)]))
        if opening < 0:
            break
        if cell.startswith("<!", opening):
            is_comment = cell.startswith("<!--", opening)
            end = -1 if no_comment_end else cell.find("-->" if is_comment else ">", opening)
            no_comment_end = no_comment_end or end < 0
            at = opening + 2 if end < 0 else end + (3 if is_comment else 1)
            continue
        tag = TAG.match(cell, opening)
        if tag is None or not (tag["name"].lower() in KNOWN or "<" not in cell[at:opening]):
            writer.text("<")
            at = opening + 1
            continue
        at = tag.end() if tag["close"] else content(tag, ends, writer, cell)
        if at == tag.end():
            tags.tag(tag["name"].lower(), bool(tag["close"]), tag["inside"])
    return writer.markdown()


def content(tag: re.Match[str], ends: Ends, writer: Writer, cell: str) -> int:
    """Where to read on after a tag begins: past the end of code, which is written, and of what is not seen; else right after the tag."""
    name = tag["name"].lower()
    if (name not in _CODE and name not in _UNSEEN) or tag["inside"].endswith("/"):
        return tag.end()
    end = ends.find(name, tag.end())
    if end is None:
        return tag.end()
    if name in _CODE:
        writer.code(plain(cell[tag.end() : end.start()]))
    return end.end()


def plain(markup: str) -> str:
    """The text of a piece of HTML whose line feeds stand."""
    text = re.sub(r"<br\s*+/?+>\n?", "\n", markup, flags=re.I)
    return html.unescape(TAG.sub(lambda tag: "" if tag["name"].lower() in KNOWN else tag[0], text))


_S9E = re.compile(r"\s*<(r|t|rt)(?:\s[^<>]*)?>.*</\1>\s*", re.S)
_WHOLE = ("s", "e", "i", "CODE", "C", "IMG", "ATTACHMENT", "FLASH")
"""Elements of s9e's XML that are taken whole: the first three hold the marks of the original (``[b]``), which are no text."""
_S9E_NAMES = {"strong": "b", "em": "i", "del": "s", "code": "pre", "c": "code", "url": "a", "quote": "blockquote"}


def is_s9e(cell: str) -> bool:
    """Whether a cell is a post as s9e's TextFormatter stores it: ``<t>plain</t>`` or ``<r>rich</r>``."""
    return cell.lstrip()[:3] in ("<t>", "<r>", "<rt") and _S9E.fullmatch(cell) is not None


def s9e_markdown(cell: str, keep_quotes: bool, links: bool) -> str:
    """The Markdown of s9e's XML; a name in capitals is an element, the small ``s``, ``e`` and ``i`` hold marks that are left out."""
    writer = Writer(keep_lines=False, keep_quotes=keep_quotes)
    tags = Tags(writer, links)
    ends = Ends(cell, lambda name: f"(?-i:</{name}>)")
    at = 0
    while at < len(cell):
        opening = cell.find("<", at)
        writer.text(html.unescape(cell[at : opening if opening >= 0 else len(cell)]))
        if opening < 0:
            break
        tag = TAG.match(cell, opening)
        if tag is None:
            writer.text("<")
            at = opening + 1
            continue
        at = tag.end()
        name, closes = tag["name"], bool(tag["close"])
        is_whole = name in _WHOLE and not closes and not tag["inside"].endswith("/")
        end = ends.find(name, at) if is_whole else None
        if end is None:
            _s9e_tag(name, closes, tag["inside"], tags)
        else:
            if name in ("CODE", "C"):
                writer.code(plain(_without_marks(cell[at : end.start()])))
            at = end.end()
    return writer.markdown()


def _s9e_tag(name: str, closes: bool, inside: str, tags: Tags) -> None:
    small = name.lower()
    if name == small and name not in ("br", "p", "hr"):
        return
    found = attributes(inside)
    if small == "quote" and not closes:
        tags.writer.start("quote", found.get("author", ""))
    elif small == "url" and not closes:
        tags.writer.start("link", tags.address(found.get("url", "")))
    elif small == "list":
        (tags.writer.end if closes else tags.writer.start)("list", *(() if closes or not found.get("type", "").startswith(("dec", "1")) else ("1",)))
    else:
        tags.tag(_S9E_NAMES.get(small, small), closes, inside)


_MARKS = re.compile(r"<([sei])>[^<]*+</\1>")


def _without_marks(markup: str) -> str:
    return _MARKS.sub("", markup)
