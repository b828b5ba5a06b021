"""HTML pages: one file, one document.

The rules of the page's own site come first, then trafilatura's main text, then the whole visible text; a page whose shape would
make those slow or lossy (see ``HtmlSettings``) gives its whole visible text in one linear pass. Decisions rest on sizes, depths and
counts, never on seconds. This module imports no parser: settings can be read without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline import decoding
from pipeline.documents import RAW_CAP_BYTES, Document, Extracted, Removed, Skipped, locator
from pipeline.settings import at_least, between

if TYPE_CHECKING:
    from pipeline.extractors.files import SourceFile
    from pipeline.extractors.html_tree import Shape

MAX_TAGS = 1_000_000
"""Pages with more tags than this are quarantined: lxml would need more than 300 MB for them (measured)."""


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
    date: str | None = None
    author: str | None = None

    def __post_init__(self) -> None:
        for selector in filter(None, (*self.select, *self.drop, self.title, self.date, self.author)):
            _check_selector(selector)


@dataclass(frozen=True)
class HtmlSettings:
    """How HTML pages become text."""

    main_content: Literal["trafilatura", "soup"] = "trafilatura"
    """``soup``: the whole visible text of each page, menus included."""
    sites: tuple[SiteRules, ...] = ()
    """The first entry that matches and finds text wins."""
    links: bool = False
    """Keep links as Markdown links."""
    max_bytes: int = at_least(20_000_000, 1)
    """Larger files are quarantined."""
    max_depth: int = between(100, 1, 250)
    """Deeper nesting: whole text only. The deepest of 1,505 real pages has 56 levels; trafilatura is quadratic in the depth of lists."""
    max_elements: int = at_least(16_000, 1)
    """More elements: whole text only. Of 1,505 real pages the largest has 15,793; trafilatura's worst case takes 8 CPU seconds here."""
    max_chars: int = at_least(2_000_000, 1)
    """More text: whole text only."""


@dataclass(frozen=True)
class HtmlPages:
    """Reads HTML files."""

    settings: HtmlSettings = field(default_factory=HtmlSettings)
    version: ClassVar[int] = 1

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """The one document of ``file``, or why there is none."""
        from pipeline.extractors.files import SourceError

        try:
            data = file.peek(self.settings.max_bytes + 1)
        except SourceError as error:
            yield file.skipped(error.reason)
        else:
            yield extract_page(data, file.name, self.settings)


def extract_page(data: bytes, name: str, settings: HtmlSettings) -> Document | Removed | Skipped:
    """The page's text (Markdown, ends stripped, no control characters) and what it says of itself; never raises on bad input.

    ``name`` is the file's path in its source. Skipped: empty, too large, binary, too many tags. Removed (rule ``no_text``): a page, but
    nothing to read on it. ``meta["extractor"]`` tells what made the text: ``html rules``, ``html trafilatura``, ``html soup`` (whole
    visible text) or ``html scan`` (the same, of a page beyond the limits for a tree).
    """
    where = locator(name)
    problem = _unreadable(data, settings)
    if problem:
        return Skipped(where, problem, raw=data[:RAW_CAP_BYTES])
    markup = decoding.strip_controls(decoding.decode(data, decoding.html_charset(data)).text)
    if markup.count("<") > MAX_TAGS:
        return Skipped(where, f"has more than {MAX_TAGS:,} tags", raw=data[:RAW_CAP_BYTES])
    text, meta = _read(markup, name, settings)
    document = Document(where, text=decoding.strip_controls(text).strip(), meta=meta)
    return document if document.text else Removed(document, "no_text", "the page holds no text to read")


def _unreadable(data: bytes, settings: HtmlSettings) -> str | None:
    if len(data) > settings.max_bytes:
        return f"is larger than {settings.max_bytes:,} bytes; raise max_bytes to read it"
    if not data.strip():
        return "is empty"
    what = decoding.is_binary(data)
    return f"{what}, not a page" if what else None


def _read(markup: str, name: str, settings: HtmlSettings) -> tuple[str, dict[str, Any]]:
    """Text and meta of a decoded page, by the first way that finds text."""
    from pipeline.extractors import html_scan, html_tree
    from pipeline.extractors.html_metadata import read_metadata

    tree = None if html_scan.has_monstrous_tag(markup) else html_tree.parse(markup)
    meta: dict[str, Any] = {} if tree is None else read_metadata(tree)
    if tree is None or _beyond(html_tree.shape(tree), settings):
        return html_scan.visible_text(markup), meta | {"extractor": "html scan"}
    for rules in settings.sites:
        if _applies(rules, name, meta):
            text, ruled, markup = _by_rules(markup, rules, settings.links)
            meta |= ruled
            if text:
                return text, meta | {"extractor": "html rules"}
            tree = html_tree.parse(markup)
    if settings.main_content == "trafilatura" and tree is not None:
        text = html_tree.main_text(tree, settings.links, meta.get("url"))
        if text:
            return text, meta | {"extractor": "html trafilatura"}
    from pipeline.extractors import html_soup

    return html_soup.whole_text(markup, settings.links), meta | {"extractor": "html soup"}


def _beyond(shape: Shape, settings: HtmlSettings) -> bool:
    return shape.depth > settings.max_depth or shape.elements > settings.max_elements or shape.chars > settings.max_chars


def _applies(rules: SiteRules, name: str, meta: Mapping[str, str]) -> bool:
    url = meta.get("url", "")
    return any(fnmatchcase(candidate, rules.match) for candidate in (name, url, url.partition("://")[2]) if candidate)


def _by_rules(markup: str, rules: SiteRules, links: bool) -> tuple[str, dict[str, str], str]:
    """The selected text, the meta data the rules name, and the page without what they drop."""
    from pipeline.extractors.html_metadata import clean, day
    from pipeline.extractors.html_soup import RuledPage

    page = RuledPage(markup, rules)
    meta = {key: clean(value) for key, value in page.meta.items()}
    if "date" in meta:
        meta["date"] = day(meta["date"])
    rest = page.markup() if rules.drop else markup
    return page.text(links) if rules.select else "", meta, rest


def _check_selector(selector: str) -> None:
    import soupsieve

    try:
        soupsieve.compile(selector)
    except (soupsieve.SelectorSyntaxError, ValueError) as error:
        raise ValueError(f"'{selector}' is no CSS selector ({str(error).splitlines()[0]}); mend it") from None
