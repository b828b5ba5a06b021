"""HTML that cannot be broken out of: text is escaped when it becomes part of an element, markup is a type of its own."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_EMPTY = frozenset({"meta", "rect", "line", "path", "polyline", "circle"})
"""Elements without an end tag of their own here."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | int | Markup | None | Iterable["Child"]


def tag(name: str, /, *children: Child, **attributes: str | int | float | None) -> Markup:
    """An element; children are escaped unless they are Markup, an attribute that is None is left out, ``class_`` is ``class``, ``_`` is ``-``."""
    said = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items() if value is not None)
    inside = joined(children)
    return Markup(f"<{name}{said}/>" if name in _EMPTY and not inside else f"<{name}{said}>{inside}</{name}>")


def joined(children: Child) -> Markup:
    """Children one after the other."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int):
        return Markup(escape(visible(str(children))))
    return Markup("".join(joined(child) for child in children))


def visible(text: str) -> str:
    """Text without characters that HTML forbids or that turn the reading around: they are spelled out."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)
