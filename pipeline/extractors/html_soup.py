"""BeautifulSoup over lxml: what a site's own CSS rules select, and the text of a whole page when no main text is found."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from bs4 import BeautifulSoup
from bs4.element import CData, NavigableString, Tag

from pipeline.extractors.html_render import NOSCRIPT_MIN_CHARS, UNSHOWN, Renderer, is_hidden

if TYPE_CHECKING:
    from pipeline.extractors.html import SiteRules


def parse(markup: str) -> BeautifulSoup:
    """The page as a tree. Only ever lxml: html.parser is quadratic on floods of unclosed tags, html5lib on more than that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # guesses that the markup is XML or a file name; we know what we were given
        return BeautifulSoup(markup.encode("utf-8", "replace"), "lxml", from_encoding="utf-8")


def whole_text(markup: str, links: bool) -> str:
    """Everything a reader sees of the page, as simple Markdown."""
    soup = parse(markup)
    _remove_unseen(soup)
    return _render([soup], links)


class RuledPage:
    """A page under the rules of its site."""

    def __init__(self, markup: str, rules: SiteRules) -> None:
        self._soup = parse(markup)
        self._rules = rules
        self.meta = self._meta()
        for selector in rules.drop:
            for element in self._soup.select(selector):
                element.decompose()

    def text(self, links: bool) -> str:
        """What ``select`` names, in document order, as simple Markdown; empty when it names nothing here."""
        chosen = [element for selector in self._rules.select for element in self._soup.select(selector)]
        wanted = {id(element) for element in chosen}
        _remove_unseen(self._soup, spared=wanted.union(id(parent) for element in chosen for parent in element.parents))
        outermost = [e for e in self._soup.find_all(True) if id(e) in wanted and not any(id(p) in wanted for p in e.parents)]
        return _render(outermost, links)

    def posts(self, links: bool) -> list[tuple[str, str]]:
        """Author (empty when not named) and text of each post, in document order."""
        rules = self._rules
        found = []
        for post in self._soup.select(rules.post or ""):
            author = post.select_one(rules.post_author) if rules.post_author else None
            parts = post.select(rules.post_text) if rules.post_text else [post]
            found.append((" ".join(author.get_text(" ").split()) if author else "", _render(parts, links)))
        return found

    def markup(self) -> str:
        """The page without what ``drop`` names, for extractors that parse for themselves."""
        return str(self._soup)

    def _meta(self) -> dict[str, str]:
        rules = self._rules
        selectors = {"title": rules.title, "date": rules.date, "author": rules.author}
        found = {key: self._value(selector) for key, selector in selectors.items() if selector}
        return {key: value for key, value in found.items() if value}

    def _value(self, selector: str) -> str:
        element = self._soup.select_one(selector)
        if element is None:
            return ""
        given = element.get("datetime") or element.get("content")
        return " ".join(str(given or element.get_text(" ")).split())


def _remove_unseen(soup: BeautifulSoup, spared: Collection[int] = ()) -> None:
    """Take out what a reader does not see, but nothing that a rule asked for by name (``spared``: ids of elements)."""
    for element in soup.find_all(True):
        if element.decomposed or id(element) in spared:
            continue
        if element.name == "noscript" and len(" ".join(element.get_text().split())) >= NOSCRIPT_MIN_CHARS:
            element.name = "div"
        elif element.name in UNSHOWN or is_hidden(element.name, element.attrs):
            element.decompose()


def _render(roots: list[Any], links: bool) -> str:
    page = Renderer()
    for root in roots:
        page.start("div")
        _walk(root, page, links)
        page.end("div")
    return page.markdown()


def _walk(root: Tag, page: Renderer, links: bool) -> None:
    """Send the tree under ``root`` to ``page`` without recursion."""
    page.start(root.name)
    open_elements = [(root, iter(root.contents))]
    while open_elements:
        element, children = open_elements[-1]
        child = next(children, None)
        if child is None:
            open_elements.pop()
            _end(element, page, links)
        elif isinstance(child, Tag):
            page.start(child.name)
            if links and _target(child):
                page.text("[")
            open_elements.append((child, iter(child.contents)))
        elif type(child) in (NavigableString, CData):
            page.text(str(child))


def _end(element: Tag, page: Renderer, links: bool) -> None:
    if links and (target := _target(element)):
        page.text(f"]({target})")
    page.end(element.name)


def _target(element: Tag) -> str:
    """Where a link with text leads, else nothing."""
    if element.name != "a" or not element.get_text(strip=True):
        return ""
    target = str(element.get("href") or "").strip()
    return target if target.startswith(("http://", "https://", "/", "#")) else ""
