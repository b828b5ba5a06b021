"""A page too deep, too large or too broken for a tree: all its visible text, in one linear pass over the tags.

Every pattern here is possessive, so none can backtrack; what was looked for in vain once is not looked for again.
"""

from __future__ import annotations

import html
import re

from pipeline.extractors.html_render import UNSHOWN, VOID, Renderer, is_hidden

_INSIDE = r"(?:=\s*+(?:\"[^\"]*+\"|'[^']*+')|[^>=]++|=)*+"
_TAG = re.compile(r"<(?P<close>/?)(?P<name>[A-Za-z][^\s/>]*+)(?P<inside>" + _INSIDE + ")>")
_ATTRIBUTE = re.compile(r"(?P<name>[^\s/>=]++)(?:\s*+=\s*+(?:\"(?P<double>[^\"]*+)\"|'(?P<single>[^']*+)'|(?P<bare>[^\s>]*+)))?+")
_MAY_HIDE = re.compile(r"hidden|style", re.I)
_NAMED = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*+)")
_ANY_TAG = re.compile(r"<[A-Za-z]" + _INSIDE)
_QUOTED_VALUE = re.compile(r"=\s*+(?:\"[^\"]*+\"|'[^']*+')")
_SEPARATOR = re.compile(r"[\s/=]++")

_RAW = frozenset(("script", "style", "noscript", "noframes", "noembed", "iframe", "title", "textarea"))
"""Elements in which a browser sees no tags: without an end tag they reach to the end of the page."""
_SELF_ENDING = frozenset(("p", "li", "dt", "dd", "td", "th", "tr", "option"))

_LONG_TAG_CHARS = 8_000
MAX_ATTRIBUTES = 4_000
"""lxml 6.1 takes .5 s for 20,000 attributes on one element and 15 s for 100,000 (measured)."""


FEW_SEPARATORS = 45_000
"""Pages with fewer signs that can part attributes are not looked at: lexbor takes 4 s for so many on one element (measured)."""


def has_monstrous_tag(markup: str, page: bytes) -> bool:
    """Whether one tag holds so many attributes that a tree parser, quadratic in them, must not see it; ``page``: the same in UTF-8."""
    from pipeline.extractors.block_walk import separators

    if len(page) < 2 * FEW_SEPARATORS or separators(page) < FEW_SEPARATORS:
        return False
    for tag in _ANY_TAG.finditer(markup):
        if tag.end() - tag.start() > _LONG_TAG_CHARS:
            bare = _QUOTED_VALUE.sub(" ", tag[0])
            if sum(1 for _ in _SEPARATOR.finditer(bare)) > MAX_ATTRIBUTES:
                return True
    return False


def deepest(markup: str) -> int:
    """How many elements may be open at once at most, in one linear pass; elements that end by themselves count too."""
    depth = most = 0
    for close, name in _NAMED.findall(markup):
        if close:
            depth -= 1
        elif name.lower() not in VOID and name.lower() not in _SELF_ENDING:
            depth += 1
            most = max(most, depth)
    return most


def visible_text(markup: str) -> str:
    """All text of the page that a reader sees, as simple Markdown; linear in ``len(markup)``, whatever stands in it."""
    page = Renderer()
    unclosed: set[str] = set()
    hidden_by, hidden_depth = "", 0
    at = 0
    while at < len(markup):
        opening = markup.find("<", at)
        end = opening if opening >= 0 else len(markup)
        if end > at and not hidden_by:
            page.text(_unescape(markup[at:end]))
        if opening < 0:
            break
        tag = _TAG.match(markup, opening)
        if tag is None:
            at = _after_no_tag(markup, opening, page, bool(hidden_by))
            continue
        name, closes, at = tag["name"].lower(), bool(tag["close"]), tag.end()
        if hidden_by == name and not closes and name in _SELF_ENDING:
            hidden_by = ""
        if name in UNSHOWN and not closes:
            at = _after_element(markup, name, at, unclosed)
        elif hidden_by:
            hidden_depth += (-1 if closes else 1) if name == hidden_by else 0
            hidden_by = hidden_by if hidden_depth > 0 else ""
        elif closes:
            page.end(name)
        elif name not in VOID and _MAY_HIDE.search(tag["inside"]) and is_hidden(name, _attributes(tag["inside"])):
            hidden_by, hidden_depth = name, 1
            page.end(name)  # nothing to read, but what stands around it stays apart
        else:
            page.start(name)
    return page.markdown()


def _after_no_tag(markup: str, at: int, page: Renderer, hidden: bool) -> int:
    """Where to go on after a ``<`` that begins no whole tag: a comment, a declaration, a tag cut off by the end, or just a sign."""
    if markup.startswith("<!--", at):
        return _found_or_end(markup, markup.find("-->", at + 2), 3)
    if markup.startswith(("<!", "<?", "</"), at):
        return _found_or_end(markup, markup.find(">", at), 1)
    if markup[at + 1 : at + 2].isalpha() and markup[at + 1].isascii():
        return len(markup)
    if not hidden:
        page.text("<")
    return at + 1


def _after_element(markup: str, name: str, at: int, unclosed: set[str]) -> int:
    """Where the content of an unseen element ends; ``unclosed`` remembers the names that have no end tag any more."""
    end = None if name in unclosed else re.compile(rf"</{name}(?=[\s/>])", re.I).search(markup, at)
    if end is None:
        unclosed.add(name)
        return len(markup) if name in _RAW else at
    return _found_or_end(markup, markup.find(">", end.end()), 1)


def _found_or_end(markup: str, found: int, length: int) -> int:
    return found + length if found >= 0 else len(markup)


def _attributes(inside: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(inside):
        found.setdefault(match["name"].lower(), match["double"] or match["single"] or match["bare"] or "")
    return found


def _unescape(text: str) -> str:
    try:
        return html.unescape(text) if "&" in text else text
    except ValueError:  # a reference of more than 4,300 digits is no number to Python
        return text
