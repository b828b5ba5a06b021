"""A page as blocks of text: one parse with lexbor, one compiled pass over the balanced markup it gives back.

A block is the text between two tags that part lines (``p``, ``div``, ``li``, ``td`` ...); emphasis and links stay inside. Work is linear in
the page once it is parsed; lexbor itself is quadratic in the nesting, so ask ``html_scan.deepest`` first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.extractors import block_walk as walk
from pipeline.extractors.html_render import NOSCRIPT_MIN_CHARS, UNSHOWN, is_hidden

_TAG_NAMES = ["" if name == "?" else name for name in walk.NAMES]
_TAG_NAMES = [*_TAG_NAMES, *[""] * (walk.CLOSING - len(_TAG_NAMES)), *[f"/{name}" if name else "" for name in _TAG_NAMES]]
"""Names of tags by number, those of end tags with a slash; nothing for tags that need not be told apart."""
_STRIPPED = UNSHOWN - {"noscript", "title", "map"} | {"rp"}
_SUSPECT = ",".join([*sorted(_STRIPPED), "noscript", "[hidden]", *(f'[style*="{word}" i]' for word in ("none", "hidden", "font-size"))])


@dataclass(frozen=True)
class Blocks:
    """A page's blocks and the elements around them, in document order.

    ``markup``: what lexbor writes, in UTF-8. ``tokens, blocks, elements``: rows of the fields that ``block_walk`` names. ``text``: the
    blocks' texts in UTF-8, white space folded, a line each. The lists have an entry a block or, where named ``node_*``, an element.
    """

    markup: bytes
    tokens: NDArray[np.int32]
    blocks: NDArray[np.int32]
    elements: NDArray[np.int32]
    text: bytes

    @cached_property
    def plain(self) -> list[str]:
        """The text of each block."""
        return self.text.decode().split("\n")[:-1]

    @cached_property
    def nodes(self) -> list[int]:
        """The innermost element around each block."""
        return _column(self.blocks, walk.NODE)

    @cached_property
    def linked(self) -> list[int]:
        """The characters of each block that are inside links."""
        return _column(self.blocks, walk.LINKED)

    @cached_property
    def node_tags(self) -> list[int]:
        """The number of each element's tag."""
        return _column(self.elements, walk.KIND)

    @cached_property
    def node_parents(self) -> list[int]:
        """The element around each element; 0, the page, is its own."""
        return _column(self.elements, walk.PARENT)

    @cached_property
    def node_first(self) -> list[int]:
        """The first block inside each element."""
        return _column(self.elements, walk.FIRST)

    @cached_property
    def node_last(self) -> list[int]:
        """The first block behind each element."""
        return _column(self.elements, walk.BEHIND)

    def span(self, block: int) -> tuple[int, int]:
        """The tags (from, to) whose texts are the block's."""
        start, end = self._spans[block]
        return start, end

    @cached_property
    def _spans(self) -> list[list[int]]:
        spans: list[list[int]] = self.blocks[:, [walk.START, walk.END]].tolist()
        return spans

    def attributes(self, token: int) -> str:
        """What stands between a tag's name and its end."""
        row = self.tokens[token]
        return self.markup[row[walk.ATTRIBUTES] : max(row[walk.ATTRIBUTES], row[walk.GT] - 1)].decode()

    def node_attributes(self, node: int) -> str:
        """The same of an element's tag; nothing for the page."""
        return self.attributes(int(self.elements[node, walk.TOKEN])) if node else ""

    def pieces(self, start: int, end: int) -> list[tuple[str, str]]:
        """The name of each tag (see ``_TAG_NAMES``) and the text up to the next one, as lexbor writes it."""
        rows = self.tokens[start : end + 1].tolist()
        bounds = [*(row[walk.LT] for row in rows[1:]), len(self.markup)]
        markup = self.markup
        return [(_TAG_NAMES[row[walk.TAG]], markup[row[walk.GT] : bound].decode()) for row, bound in zip(rows[: end - start], bounds, strict=False)]


def _column(rows: NDArray[np.int32], field: int) -> list[int]:
    values: list[int] = rows[:, field].tolist()
    return values


def parse(markup: str | bytes) -> Any:
    """The page (text, or the same in UTF-8) as a lexbor tree."""
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
    data = markup.encode("utf-8", "replace")
    return Blocks(data, *walk.walk(data))


def unescaped(text: str) -> str:
    """Text or an attribute's value as lexbor writes it, character references resolved."""
    return text.replace("&nbsp;", " ").replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
