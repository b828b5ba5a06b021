"""What a page says of itself: title, address, date, author, language and licence, read from one lexbor tree.

Sources in order of trust: schema.org JSON-LD, OpenGraph and article tags, named meta tags (Dublin Core, Highwire), then the markup itself.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from pipeline.decoding import strip_controls

MAX_VALUE_CHARS = 500
MAX_JSON_CHARS = 1_000_000
_MAX_NODES = 200
_MAX_VALUES = 5_000
_TELLING = ("articleBody", "text", "description", "reviewBody")
_TOLD_MIN_CHARS = 40
_MARKUP = re.compile(r"<[^<>]*+>")

_TITLE = ("og:title", "twitter:title", "citation_title", "dc.title", "dcterms.title")
_DATE = (
    *("article:published_time", "og:article:published_time", "datepublished", "citation_publication_date", "citation_date"),
    *("dc.date.issued", "dcterms.created", "dcterms.date", "dc.date", "date", "pubdate", "publish-date", "publish_date"),
    *("parsely-pub-date", "sailthru.date"),
)
_AUTHOR = ("author", "article:author", "citation_author", "dc.creator", "dcterms.creator", "parsely-author", "sailthru.author")
_LICENSE = ("dcterms.license", "dc.rights.license")
_ISO_DAY = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?!\d)")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*+")
_NO_ARTICLE = frozenset(
    (
        *("WebSite", "Organization", "NewsMediaOrganization", "Corporation", "Person", "BreadcrumbList", "ImageObject"),
        *("SearchAction", "ListItem", "SiteNavigationElement", "WPHeader", "WPFooter", "Place", "LocalBusiness"),
    )
)


Elements = dict[str, list[Any]]
_SAYING = (
    'meta,title,h1,script[type*="ld+json" i],link[rel~="canonical" i],link[rel~="license" i],a[rel~="license" i],a[rel~="author" i],'
    'time[pubdate],time[itemprop]'
)


@dataclass(frozen=True)
class Head:
    """``meta`` for the record; ``title`` and ``kind`` (``og:type``) as the head has them.

    ``told``: its description and the texts of its JSON-LD, a line each.
    """

    meta: dict[str, str] = field(default_factory=dict)
    title: str = ""
    kind: str = ""
    told: str = ""


def read_head(tree: Any) -> Head:
    """What the page says of itself (lexbor tree of a whole page; it is not changed).

    ``meta`` has ``title, url, date, author, language, license`` as far as the page gives them. Dates that begin with year, month and day
    come as YYYY-MM-DD, others as they stand; addresses are absolute http(s) ones.
    """
    elements: Elements = {"root": [] if tree.root is None else [tree.root]}
    for element in tree.css(_SAYING):
        elements.setdefault(element.tag, []).append(element)
    named = _meta_tags(elements)
    data = [_loads(script.text()) for script in elements.get("script", ())]
    nodes = [node for one in data for node in _described(one)][:_MAX_NODES]
    url = _url(elements, named)
    found = {
        "title": _title(elements, named, nodes),
        "url": url,
        "date": _date(elements, named, nodes),
        "author": _author(elements, named, nodes),
        "language": _language(elements, named),
        "license": _license(elements, named, nodes, url),
    }
    meta = {key: value for key, value in found.items() if value}
    return Head(meta, _of_names(named, _TITLE) or found["title"], _of_names(named, ("og:type",)).lower(), _told([*_described_by(named), *data]))


def _described_by(named: dict[str, list[str]]) -> list[dict[str, str]]:
    return [{"description": value} for name in ("og:description", "description") for value in named.get(name, ())[:1]]


def _told(data: Iterable[Any]) -> str:
    """The texts of JSON-LD, each once, in their order."""
    texts: dict[str, None] = {}
    waiting = list(data)[::-1]
    for _ in range(_MAX_VALUES):
        if not waiting:
            break
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value[:_MAX_NODES][::-1])
        elif isinstance(value, dict):
            texts.update((text, None) for key in _TELLING if (text := _told_text(value.get(key))))
            waiting.extend(inner for inner in reversed(value.values()) if isinstance(inner, dict | list))
    return "\n".join(texts)


def _told_text(value: object) -> str:
    if not isinstance(value, str) or len(value) < _TOLD_MIN_CHARS:
        return ""
    text = html.unescape(value) if "&" in value else value
    return " ".join((_MARKUP.sub(" ", text) if "<" in text else text).split())


def clean(value: object) -> str:
    """One line without control characters, at most 500 characters; nothing for what is no text."""
    return " ".join(strip_controls(value[: 4 * MAX_VALUE_CHARS]).split())[:MAX_VALUE_CHARS].strip() if isinstance(value, str) else ""


def day(value: str) -> str:
    """``value`` as YYYY-MM-DD when it begins with a date written that way round, else unchanged."""
    match = _ISO_DAY.match(value)
    return f"{match[1]}-{int(match[2]):02d}-{int(match[3]):02d}" if match else value


def _relations(link: Any) -> list[str]:
    return (link.attributes.get("rel") or "").lower().split()


def _meta_tags(elements: Elements) -> dict[str, list[str]]:
    """Contents of ``meta`` by their name, property, itemprop or http-equiv in lower case, in document order."""
    named: dict[str, list[str]] = {}
    for element in elements.get("meta", ()):
        given = element.attributes
        name = given.get("property") or given.get("name") or given.get("itemprop") or given.get("http-equiv") or ""
        content = clean(given.get("content"))
        if name and content:
            named.setdefault(name.strip().lower(), []).append(content)
    return named


def _loads(text: str) -> Any:
    if len(text) > MAX_JSON_CHARS:
        return None
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _described(data: Any) -> Iterator[dict[str, Any]]:
    waiting = [data]
    for _ in range(_MAX_NODES):
        if not waiting:
            return
        node = waiting.pop(0)
        if isinstance(node, list):
            waiting.extend(node[:_MAX_NODES])
        elif isinstance(node, dict):
            if not _NO_ARTICLE.intersection(str(kind) for kind in _listed(node.get("@type"))):
                yield node
            waiting.extend(node[key] for key in ("@graph", "mainEntity") if key in node)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _first(values: Iterable[str]) -> str:
    return next((value for value in values if value), "")


def _of_names(named: dict[str, list[str]], names: Iterable[str]) -> str:
    return _first(named[name][0] for name in names if name in named)


def _of_nodes(nodes: Iterable[dict[str, Any]], key: str) -> str:
    return _first(_json_text(value) for node in nodes for value in _listed(node.get(key)))


def _json_text(value: Any) -> str:
    """A JSON-LD value as text; sites often escape it for HTML once more."""
    try:
        return clean(html.unescape(value)) if isinstance(value, str) else ""
    except ValueError:  # a reference of more than 4,300 digits is no number to Python
        return clean(value)


def _title(elements: Elements, named: dict[str, list[str]], nodes: list[dict[str, Any]]) -> str:
    return (
        _of_nodes(nodes, "headline")
        or _of_names(named, _TITLE)
        or _first(_text(element) for element in elements.get("title", ()) if _inside_head(element))
        or _first(_text(element) for element in elements.get("h1", ()))
    )


def _inside_head(element: Any) -> bool:
    return element.parent is None or element.parent.tag != "svg"


def _text(element: Any) -> str:
    return clean(element.text(separator=" "))


def _url(elements: Elements, named: dict[str, list[str]]) -> str:
    canonical = (link.attributes.get("href") for link in elements.get("link", ()) if "canonical" in _relations(link))
    return _first(_web_address(clean(value)) for value in (*canonical, *named.get("og:url", ())))


def _web_address(value: str, base: str = "") -> str:
    """``value`` as an absolute http(s) address, or nothing."""
    try:
        address = urljoin(base, value)
        parts = urlsplit(address)
    except ValueError:
        return ""
    return address if parts.scheme in ("http", "https") and parts.netloc else ""


def _date(elements: Elements, named: dict[str, list[str]], nodes: list[dict[str, Any]]) -> str:
    given = _of_nodes(nodes, "datePublished") or _of_names(named, _DATE) or _of_nodes(nodes, "dateCreated")
    if not given:
        marked = (
            clean(element.attributes.get("datetime") or element.attributes.get("content"))
            for element in elements.get("time", ())
            if "pubdate" in element.attributes or "datepublished" in (element.attributes.get("itemprop") or "").lower().split()
        )
        given = _first(marked)
    return day(given)


def _author(elements: Elements, named: dict[str, list[str]], nodes: list[dict[str, Any]]) -> str:
    people = [person for node in nodes for person in _listed(node.get("author"))]
    names = [_json_text(person.get("name") if isinstance(person, dict) else person) for person in people]
    names = [*filter(None, names)] or next((named[name] for name in _AUTHOR if name in named), [])
    if not names:
        names = [_text(link) for link in elements.get("a", ()) if "author" in _relations(link)][:1]
    unique = dict.fromkeys(name for name in names if name and not _web_address(name))
    return ", ".join(unique)[:MAX_VALUE_CHARS]


def _language(elements: Elements, named: dict[str, list[str]]) -> str:
    candidates = [root.attributes.get(name) for root in elements["root"] for name in ("lang", "xml:lang")]
    given = [clean(value) for value in candidates] + named.get("content-language", []) + named.get("og:locale", [])
    codes = (value.split(",")[0].strip().replace("_", "-") for value in given)
    return _first(code for code in codes if _LANGUAGE.fullmatch(code))


def _license(elements: Elements, named: dict[str, list[str]], nodes: list[dict[str, Any]], url: str) -> str:
    for element in (*elements.get("link", ()), *elements.get("a", ())):
        address = _web_address(clean(element.attributes.get("href")), url) if "license" in _relations(element) else ""
        if address:
            return address
    return _of_names(named, _LICENSE) or _of_nodes(nodes, "license")
