"""What a page says of itself: title, address, date, author, language and licence, read from one lxml tree.

Sources in order of trust: schema.org JSON-LD, OpenGraph and article tags, named meta tags (Dublin Core, Highwire), then the markup itself.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

from pipeline.decoding import strip_controls

MAX_VALUE_CHARS = 500
MAX_JSON_CHARS = 1_000_000
_MAX_NODES = 200

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


def read_metadata(tree: Any) -> dict[str, str]:
    """``title, url, date, author, language, license`` as far as the page gives them (lxml tree of a whole page; it is not changed).

    Dates that begin with year, month and day come as YYYY-MM-DD, others as they stand; addresses are absolute http(s) ones.
    """
    named = _meta_tags(tree)
    nodes = _json_nodes(tree)
    url = _url(tree, named)
    found = {
        "title": _title(tree, named, nodes),
        "url": url,
        "date": _date(tree, named, nodes),
        "author": _author(tree, named, nodes),
        "language": _language(tree, named),
        "license": _license(tree, named, nodes, url),
    }
    return {key: value for key, value in found.items() if value}


def clean(value: object) -> str:
    """One line without control characters, at most 500 characters; nothing for what is no text."""
    return " ".join(strip_controls(value[: 4 * MAX_VALUE_CHARS]).split())[:MAX_VALUE_CHARS].strip() if isinstance(value, str) else ""


def day(value: str) -> str:
    """``value`` as YYYY-MM-DD when it begins with a date written that way round, else unchanged."""
    match = _ISO_DAY.match(value)
    return f"{match[1]}-{int(match[2]):02d}-{int(match[3]):02d}" if match else value


def _meta_tags(tree: Any) -> dict[str, list[str]]:
    """Contents of ``meta`` by their name, property, itemprop or http-equiv in lower case, in document order."""
    named: dict[str, list[str]] = {}
    for element in tree.iter("meta"):
        name = element.get("property") or element.get("name") or element.get("itemprop") or element.get("http-equiv") or ""
        content = clean(element.get("content"))
        if name and content:
            named.setdefault(name.strip().lower(), []).append(content)
    return named


def _json_nodes(tree: Any) -> list[dict[str, Any]]:
    """The JSON-LD nodes that describe the page's own content, first the page's list, then what it is mainly about."""
    nodes: list[dict[str, Any]] = []
    for script in tree.iter("script"):
        if (script.get("type") or "").strip().lower() == "application/ld+json":
            nodes.extend(_described(_loads(script.text or "")))
    return nodes[:_MAX_NODES]


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


def _title(tree: Any, named: dict[str, list[str]], nodes: list[dict[str, Any]]) -> str:
    return (
        _of_nodes(nodes, "headline")
        or _of_names(named, _TITLE)
        or _first(_text(element) for element in tree.iter("title") if _inside_head(element))
        or _first(_text(element) for element in tree.iter("h1"))
    )


def _inside_head(element: Any) -> bool:
    return element.getparent() is None or element.getparent().tag != "svg"


def _text(element: Any) -> str:
    pieces, length = [], 0
    for piece in element.itertext():
        pieces.append(piece)
        length += len(piece)
        if length > 4 * MAX_VALUE_CHARS:
            break
    return clean(" ".join(pieces))


def _url(tree: Any, named: dict[str, list[str]]) -> str:
    canonical = (link.get("href") for link in tree.iter("link") if "canonical" in (link.get("rel") or "").lower().split())
    return _first(_web_address(clean(value)) for value in (*canonical, *named.get("og:url", ())))


def _web_address(value: str, base: str = "") -> str:
    """``value`` as an absolute http(s) address, or nothing."""
    try:
        address = urljoin(base, value)
        parts = urlsplit(address)
    except ValueError:
        return ""
    return address if parts.scheme in ("http", "https") and parts.netloc else ""


def _date(tree: Any, named: dict[str, list[str]], nodes: list[dict[str, Any]]) -> str:
    given = _of_nodes(nodes, "datePublished") or _of_names(named, _DATE) or _of_nodes(nodes, "dateCreated")
    if not given:
        marked = (
            clean(element.get("datetime") or element.get("content"))
            for element in tree.iter("time")
            if element.get("pubdate") is not None or "datepublished" in (element.get("itemprop") or "").lower().split()
        )
        given = _first(marked)
    return day(given)


def _author(tree: Any, named: dict[str, list[str]], nodes: list[dict[str, Any]]) -> str:
    people = [person for node in nodes for person in _listed(node.get("author"))]
    names = [_json_text(person.get("name") if isinstance(person, dict) else person) for person in people]
    names = [*filter(None, names)] or next((named[name] for name in _AUTHOR if name in named), [])
    if not names:
        names = [_text(link) for link in tree.iter("a") if "author" in (link.get("rel") or "").lower().split()][:1]
    unique = dict.fromkeys(name for name in names if name and not _web_address(name))
    return ", ".join(unique)[:MAX_VALUE_CHARS]


def _language(tree: Any, named: dict[str, list[str]]) -> str:
    root = tree.getroottree().getroot()
    candidates = (root.get("lang"), root.get("{http://www.w3.org/XML/1998/namespace}lang"), root.get("xml:lang"))
    given = [clean(value) for value in candidates] + named.get("content-language", []) + named.get("og:locale", [])
    codes = (value.split(",")[0].strip().replace("_", "-") for value in given)
    return _first(code for code in codes if _LANGUAGE.fullmatch(code))


def _license(tree: Any, named: dict[str, list[str]], nodes: list[dict[str, Any]], url: str) -> str:
    for element in tree.iter("link", "a"):
        if "license" in (element.get("rel") or "").lower().split():
            address = _web_address(clean(element.get("href")), url)
            if address:
                return address
    return _of_names(named, _LICENSE) or _of_nodes(nodes, "license")
