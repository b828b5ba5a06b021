"""HTML pages: one file, one document.

The rules of the page's own site come first, then the main text (``main_content``), then the whole visible text; a page whose shape would
make those slow or lossy (see ``HtmlSettings``) gives its whole visible text in one linear pass. Decisions rest on sizes, depths and
counts, never on seconds. This module imports no parser: settings can be read without one.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from pipeline import decoding
from pipeline.documents import RAW_CAP_BYTES, Document, Extracted, Message, Removed, Skipped, locator
from pipeline.errors import MissingPackageError
from pipeline.settings import at_least, between

if TYPE_CHECKING:
    from pipeline.extractors.files import SourceFile
    from pipeline.extractors.html_metadata import Head
    from pipeline.extractors.html_tree import Shape

MAX_TAGS = 2_000_000
"""Pages with more tags than this are quarantined."""
MAX_TREE_TAGS = 300_000
"""Pages with more give their whole visible text: a tree and its blocks take about 2 kB a tag."""
MAX_TREE_CHARS = 16_000_000
"""Longer pages give their whole visible text: a tree and its blocks take about 25 bytes a character (measured)."""
FEW_TAGS = 20_000
"""Pages with fewer may nest as they like: lexbor, quadratic in the nesting, takes .5 CPU seconds for 20,000 open elements (measured)."""


@dataclass(frozen=True)
class SiteRules:
    """What to take from the pages of one site, by CSS selectors."""

    match: str = "*"
    """A shell pattern for the file's name in its source, the page's own address (with or without https://), or both."""
    select: tuple[str, ...] = ()
    """The text, in the order of the page; nothing: main text is looked for as usual, without what ``drop`` names."""
    drop: tuple[str, ...] = ()
    """Elements taken out first."""
    title: str | None = None
    """The page's title; the first element that matches, here and below."""
    date: str | None = None
    """When it was published."""
    author: str | None = None
    """Who wrote it."""
    post: str | None = None
    """Each post of a thread: the page becomes a conversation. Who wrote the first post is the user, all others are the assistant."""
    post_author: str | None = None
    """Inside a post, who wrote it."""
    post_text: str | None = None
    """Inside a post, its text; nothing: the whole post."""

    def __post_init__(self) -> None:
        named = (self.title, self.date, self.author, self.post, self.post_author, self.post_text)
        for selector in filter(None, (*self.select, *self.drop, *named)):
            _check_selector(selector)


@dataclass(frozen=True)
class HtmlSettings:
    """How HTML pages become text."""

    main_content: Literal["blocks", "trafilatura", "resiliparse", "soup"] = "blocks"
    """``blocks``: the model that comes along. ``resiliparse``: faster, coarser, to be installed. ``soup``: the whole visible text, menus included."""
    sites: tuple[SiteRules, ...] = ()
    """The first entry that matches and finds text wins."""
    links: bool = False
    """Keep links as Markdown links."""
    max_bytes: int = at_least(64_000_000, 1)
    """Larger files are quarantined."""
    max_depth: int = between(100, 1, 250)
    """Deeper nesting: whole text only, for trafilatura, which is quadratic in the depth of lists. Real pages have 56 levels at most."""
    max_elements: int = at_least(16_000, 1)
    """More elements: whole text only, for trafilatura, whose worst case takes 8 CPU seconds here. Real pages have 15,793 at most."""
    max_chars: int = at_least(2_000_000, 1)
    """More text: whole text only, for trafilatura."""


@dataclass(frozen=True)
class HtmlPages:
    """Reads HTML files."""

    settings: HtmlSettings = field(default_factory=HtmlSettings)
    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """The one document of ``file``, or why there is none."""
        from pipeline.extractors.files import SourceError

        try:
            data = file.peek(self.settings.max_bytes + 1)
        except SourceError as error:
            yield file.skipped(error.reason)
        else:
            yield extract_page(data, file.name, self.settings)


def extract_page(data: bytes, name: str, settings: HtmlSettings, where: str = "", charset: str | None = None) -> Document | Removed | Skipped:
    """The page's text (Markdown, ends stripped, no control characters) and what it says of itself; never raises on bad input.

    ``name`` is the file's path in its source, ``where`` its locator if that is another, ``charset`` what the server said.
    Skipped: empty, too large, binary, too many tags. Removed (rule ``no_text``): a page, but nothing to read on it.
    ``meta["extractor"]`` tells what made the text: ``html rules``, ``html thread``, ``html blocks``,
    ``html trafilatura``, ``html resiliparse``, ``html soup`` (whole visible text) or ``html scan`` (the same, beyond the limits for a tree).
    """
    where = where or locator(name)
    problem = _unreadable(data, settings)
    if problem:
        return Skipped(where, problem, raw=data[:RAW_CAP_BYTES])
    markup = decoding.decode(data, charset or decoding.html_charset(data))
    page = _in_utf8(markup, data)
    num_tags = page.count(b"<")
    if num_tags > MAX_TAGS:
        return Skipped(where, f"has more than {MAX_TAGS:,} tags", raw=data[:RAW_CAP_BYTES])
    text, meta = _read(markup.text, page, num_tags, name, settings)
    if not isinstance(text, str):
        return Document(where, messages=text, meta=meta)
    document = Document(where, text=decoding.strip_controls(text).strip(), meta=meta)
    return document if document.text else Removed(document, "no_text", "the page holds no text to read")


def _unreadable(data: bytes, settings: HtmlSettings) -> str | None:
    if len(data) > settings.max_bytes:
        return f"is larger than {settings.max_bytes:,} bytes; raise max_bytes to read it"
    if not data.strip():
        return "is empty"
    what = decoding.is_binary(data)
    return f"{what}, not a page" if what else None


def _in_utf8(markup: decoding.Decoded, data: bytes) -> bytes:
    """The text in UTF-8: the page's own bytes where it was read from these."""
    is_same = markup.encoding == "utf-8" and not markup.lossy and not data.startswith(BOM_UTF8)
    return data if is_same else markup.text.encode("utf-8", "replace")


def _read(markup: str, page: bytes, num_tags: int, name: str, settings: HtmlSettings) -> tuple[str | tuple[Message, ...], dict[str, Any]]:
    """Text (or a conversation) and meta of a decoded page (as text and in UTF-8), by the first way that finds text."""
    from pipeline.extractors import blocks, html_scan
    from pipeline.extractors.html_metadata import read_head

    large = len(markup) > MAX_TREE_CHARS or num_tags > MAX_TREE_TAGS
    if large or html_scan.has_monstrous_tag(markup, page) or (num_tags > FEW_TAGS and html_scan.deepest(markup) > FEW_TAGS):
        return html_scan.visible_text(decoding.strip_controls(markup)), {"extractor": "html scan"}
    tree = blocks.parse(page)
    head = read_head(tree)
    meta: dict[str, Any] = dict(head.meta)
    for rules in settings.sites:
        if _applies(rules, name, meta):
            found, how, ruled, markup = _by_rules(markup, rules, settings.links)
            meta |= ruled
            if found:
                return found, meta | {"extractor": how}
            tree = blocks.parse(markup)
    text = _main_text(tree, head, markup, settings)
    if text:
        return text, meta | {"extractor": f"html {settings.main_content}"}
    return _whole(markup, settings, meta)


def _main_text(tree: Any, head: Head, markup: str, settings: HtmlSettings) -> str:
    """The main text by the extractor of the settings; empty where it finds none, or must not be asked."""
    if settings.main_content == "blocks":
        from pipeline.extractors import main_content

        return main_content.main_text(tree, head, settings.links)
    if settings.main_content == "resiliparse":
        return _by_resiliparse(markup, settings.links)
    if settings.main_content == "trafilatura":
        from pipeline.extractors import html_tree

        page = html_tree.parse(markup)
        if page is not None and not _beyond(html_tree.shape(page), settings):
            return html_tree.main_text(page, settings.links, head.meta.get("url"))
    return ""


def _by_resiliparse(markup: str, links: bool) -> str:
    try:
        from resiliparse.extract.html2text import extract_plain_text
    except ImportError:
        raise MissingPackageError("resiliparse", "main_content: resiliparse", "resiliparse") from None
    return str(extract_plain_text(markup, main_content=True, links=links, alt_texts=False))


def _whole(markup: str, settings: HtmlSettings, meta: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The whole visible text: of a tree where its shape allows, else of the tags alone."""
    from pipeline.extractors import html_scan, html_soup, html_tree

    markup = decoding.strip_controls(markup)
    page = html_tree.parse(markup)
    if page is None or _beyond(html_tree.shape(page), settings):
        return html_scan.visible_text(markup), meta | {"extractor": "html scan"}
    return html_soup.whole_text(markup, settings.links), meta | {"extractor": "html soup"}


def _beyond(shape: Shape, settings: HtmlSettings) -> bool:
    return shape.depth > settings.max_depth or shape.elements > settings.max_elements or shape.chars > settings.max_chars


def _applies(rules: SiteRules, name: str, meta: Mapping[str, str]) -> bool:
    url = meta.get("url", "")
    return any(fnmatchcase(candidate, rules.match) for candidate in (name, url, url.partition("://")[2]) if candidate)


def _by_rules(markup: str, rules: SiteRules, links: bool) -> tuple[str | tuple[Message, ...], str, dict[str, str], str]:
    """What the rules select, by what name, the meta data they name, and the page without what they drop."""
    from pipeline.extractors.html_metadata import clean, day
    from pipeline.extractors.html_soup import RuledPage

    page = RuledPage(decoding.strip_controls(markup), rules)
    meta = {key: clean(value) for key, value in page.meta.items()}
    if "date" in meta:
        meta["date"] = day(meta["date"])
    rest = page.markup() if rules.drop else markup
    if rules.post:
        posts = [(author, decoding.strip_controls(text).strip()) for author, text in page.posts(links)]
        return _conversation([post for post in posts if post[1]]), "html thread", meta, rest
    return page.text(links) if rules.select else "", "html rules", meta, rest


def _conversation(posts: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
    """Posts (author, text) as turns: who began is the user, everyone else the assistant; posts of one side in a row are one turn."""
    if not posts:
        return ()
    turns: list[Message] = []
    first = posts[0][0]
    for number, (author, text) in enumerate(posts):
        role = "user" if number == 0 or (author and author == first) else "assistant"
        if turns and turns[-1].role == role:
            turns[-1] = replace(turns[-1], content=f"{turns[-1].content}\n\n{text}")
        else:
            turns.append(Message(role, text))
    return tuple(turns)


def _check_selector(selector: str) -> None:
    import soupsieve

    try:
        soupsieve.compile(selector)
    except (soupsieve.SelectorSyntaxError, ValueError) as error:
        raise ValueError(f"'{selector}' is no CSS selector ({str(error).splitlines()[0]}); mend it") from None
