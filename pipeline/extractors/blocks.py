"""A page as blocks of text: one parse with lexbor, one pass over the tags of the balanced markup it gives back.

A block is the text between two tags that part lines (``p``, ``div``, ``li``, ``td`` ...); emphasis and links stay inside. Work is linear in
the page once it is parsed; lexbor itself is quadratic in the nesting, so ask ``depth_bound`` first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pipeline.extractors.html_render import NOSCRIPT_MIN_CHARS, UNSHOWN, is_hidden

TAGS = (
    *("?", "html", "body", "div", "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "dl", "dt", "dd", "table", "thead", "tbody"),
    *("tfoot", "tr", "td", "th", "caption", "pre", "blockquote", "article", "section", "main", "header", "footer", "nav", "aside", "form"),
    *("fieldset", "figure", "figcaption", "address", "details", "summary", "center", "menu", "dir", "legend", "hgroup", "search", "dialog"),
    *("button", "label", "noscript", "math", "custom"),
)
"""The tags that part blocks, by number; ``?`` stands for none and ``custom`` for all with a hyphen in their names."""

TAG_NUMBER = {tag: number for number, tag in enumerate(TAGS)}
_INLINE, _OPEN, _CLOSE, _RULE, _LINK, _LINK_END, _BREAK = range(7)


class _Kinds(dict[str, int]):
    """What each tag means for blocks; elements with a hyphen in their names are containers, other unknown ones stand inside lines."""

    def __missing__(self, name: str) -> int:
        if "-" not in name:
            return _INLINE
        return _CLOSE if name.startswith("/") else _OPEN


_IN_LINES = (
    *("span", "img", "b", "i", "u", "em", "strong", "small", "big", "sub", "sup", "code", "kbd", "font", "time"),
    *("picture", "source", "input", "path", "svg", "use"),
)
"""The commonest tags that stand inside lines: others are looked up one by one."""

_KINDS = _Kinds(
    {
        **dict.fromkeys(TAGS[1:], _OPEN),
        **{f"/{tag}": _CLOSE for tag in TAGS[1:]},
        **dict.fromkeys(("", "?", "html", "/html", "custom", "/custom", "math", "/math"), _INLINE),
        **{slash + tag: _INLINE for tag in _IN_LINES for slash in ("", "/")},
        "a": _LINK,
        "/a": _LINK_END,
        "br": _BREAK,
        "hr": _RULE,
    }
)

_TOKEN = re.compile(r'<(?:(/?[a-z][^\s/>]*+)([^">]*+(?:"[^"]*+"[^">]*+)*+)>|!--(?s:.*?)-->|[!?][^>]*+>)')
"""Tags parted by this pattern give one flat list: tuples would wake the garbage collector."""
_STRIPPED = UNSHOWN - {"noscript", "title", "map"} | {"rp"}
_SUSPECT = ",".join([*sorted(_STRIPPED), "noscript", "[hidden]", *(f'[style*="{word}" i]' for word in ("none", "hidden", "font-size"))])


@dataclass(frozen=True, slots=True)
class Blocks:
    """A page's blocks and the elements around them, in document order, as lists of equal length.

    ``names, attributes, texts``: the tags of the page, each with the text up to the next one (character references as lexbor writes them).
    ``starts, ends``: the tags (from, to) whose texts are the block's. ``plain``: the block's text, white space folded. ``nodes``: the
    innermost element around it. ``linked``: its characters inside links. ``node_*``: each element's tag (number in ``TAGS``), parent,
    tag in the page, and the blocks (from, to) inside it.
    """

    names: list[str]
    attributes: list[str]
    texts: list[str]
    starts: list[int]
    ends: list[int]
    plain: list[str]
    nodes: list[int]
    linked: list[int]
    node_tags: list[int]
    node_parents: list[int]
    node_tokens: list[int]
    node_first: list[int]
    node_last: list[int]


def parse(markup: str) -> Any:
    """The page as a lexbor tree."""
    from selectolax.lexbor import LexborHTMLParser

    return LexborHTMLParser(markup)


def remove_unseen(tree: Any) -> None:
    """Take out of a lexbor tree what a reader does not see."""
    for node in reversed(tree.css(_SUSPECT)):  # inner elements first: an element goes with all that it holds
        if _is_unseen(node, node.tag):
            node.decompose()


def _is_unseen(node: Any, tag: str) -> bool:
    if tag in _STRIPPED:
        return True
    if tag == "noscript" and len(" ".join(node.text().split())) < NOSCRIPT_MIN_CHARS:
        return True
    return tag not in ("html", "body") and is_hidden(tag, {key: value or "" for key, value in node.attributes.items()})


def read_blocks(markup: str) -> Blocks:
    """The blocks of balanced markup as lexbor writes it."""
    tokens = _TOKEN.split(markup)
    names, attributes, texts = tokens[1::3], tokens[2::3], tokens[3::3]
    if None in names:  # comments
        names, attributes = [name or "" for name in names], [given or "" for given in attributes]
    starts: list[int] = []
    ends: list[int] = []
    plain: list[str] = []
    nodes: list[int] = []
    linked: list[int] = []
    number, custom = TAG_NUMBER.get, TAG_NUMBER["custom"]
    node_tags, node_parents, node_tokens, node_first, node_last = [0], [0], [0], [0], [0]
    kinds = list(map(_KINDS.__getitem__, names))
    node = start = link_chars = breaks = 0
    link = -1
    for at in [at for at, kind in enumerate(kinds) if kind]:
        kind = kinds[at]
        if kind > _RULE:
            if kind == _LINK:
                link = at
                continue
            if kind == _LINK_END:
                if link >= 0:
                    link_chars += _length(texts, link, at)
                    link = -1
                continue
            breaks = breaks + 1 if breaks and not texts[at - 1].strip() else 1
            if breaks < 2:
                continue
        text = texts[start] if start + 1 == at else (" " if breaks else "").join(texts[start:at])
        if text and not text.isspace():
            if link >= 0:
                link_chars += _length(texts, link, at)
            text = " ".join((unescaped(text) if "&" in text else text).split())
            if text:
                starts.append(start)
                ends.append(at)
                plain.append(text)
                nodes.append(node)
                linked.append(min(link_chars, len(text)))
        if link >= 0:
            link = at
        start = at
        breaks = link_chars = 0
        if kind == _OPEN:
            node_tags.append(number(names[at], custom))
            node_parents.append(node)
            node_tokens.append(at)
            node_first.append(len(plain))
            node_last.append(0)
            node = len(node_tags) - 1
        elif kind == _CLOSE and node:
            node_last[node] = len(plain)
            node = node_parents[node]
    while node:
        node_last[node] = len(plain)
        node = node_parents[node]
    node_last[0] = len(plain)
    return Blocks(names, attributes, texts, starts, ends, plain, nodes, linked, node_tags, node_parents, node_tokens, node_first, node_last)


def _length(texts: list[str], start: int, end: int) -> int:
    if start + 1 == end:
        return len(texts[start].strip())
    return len("".join(texts[start:end]).strip())


def unescaped(text: str) -> str:
    """Text or an attribute's value as lexbor writes it, character references resolved."""
    return text.replace("&nbsp;", " ").replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
