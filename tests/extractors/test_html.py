"""HTML pages."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.documents import Document, Removed, Skipped
from pipeline.errors import SettingsError
from pipeline.extractors import html_scan
from pipeline.extractors.files import SourceFile
from pipeline.extractors.html import HtmlPages, HtmlSettings, SiteRules, extract_page
from pipeline.settings import build, parse_yaml

GOLD = Path(__file__).resolve().parents[3] / "shared" / "gold"
STORY = "The ferry left the island before dawn, and nobody on the quay had expected it to carry the post as well as the choir. "
PLAIN = HtmlSettings()


def page(body: str, settings: HtmlSettings = PLAIN, head: str = "", name: str = "a.html") -> Document:
    """The document of a page that has one."""
    item = extract_page(f"<!doctype html><html><head>{head}</head><body>{body}</body></html>".encode(), name, settings)
    assert isinstance(item, Document)
    return item


def text(body: str, settings: HtmlSettings = PLAIN) -> str:
    """The text of a page that has one."""
    return page(body, settings).text or ""


def ruled(**rules: Any) -> HtmlSettings:
    """Settings with one set of site rules."""
    return HtmlSettings(sites=(SiteRules(**rules),))


def test_main_text_is_markdown() -> None:
    """Headings, lists, tables, code and emphasis stay; menus and footers go."""
    got = text(
        f"<nav><ul><li><a href=/>Start</a></li><li><a href=/b>Boats</a></li></ul></nav><article><h1>Ferries</h1><p>{STORY * 3}</p>"
        "<h2>Times</h2><ul><li>Monday</li><li>Friday</li></ul><table><tr><th>From</th><th>At</th></tr><tr><td>Quay</td><td>6:10</td></tr></table>"
        f"<pre><code>def sail(x):\n    return {{'x': x}}</code></pre><p>{STORY}</p></article><footer>Imprint and cookies</footer>"
    )
    assert "# Ferries" in got
    assert "## Times" in got
    assert "- Monday\n- Friday" in got
    assert "| From | At |\n|---|---|\n| Quay | 6:10 |" in got
    assert "    return {'x': x}" in got
    assert "Boats" not in got
    assert "Imprint" not in got
    assert page(f"<p>{STORY}</p>").meta["extractor"] == "html blocks"


def test_every_post_of_a_thread_stays() -> None:
    """Posts marked up as comments are the content of a forum."""
    posts = "".join(f"<div class=comment id=c{n}><span>user{n}</span><p>POST{n} {STORY}</p></div>" for n in range(12))
    got = text(f"<div id=comments>{posts}</div>")
    assert [n for n in range(12) if f"POST{n} " not in got] == []


def test_links_are_kept_only_when_asked_for() -> None:
    """links: true keeps Markdown links, in main text as in selected text."""
    body = f"<article><p>{STORY * 3} See <a href='https://example.org/x'>the guide to ferries</a> of the harbour.</p></article>"
    assert "https://" not in text(body)
    assert "[the guide to ferries](https://example.org/x)" in text(body, HtmlSettings(links=True))
    rules = HtmlSettings(links=True, sites=(SiteRules(select=("article",)),))
    assert "See [the guide to ferries](https://example.org/x) of the harbour." in text(body, rules)


@pytest.mark.parametrize("main_content", ["blocks", "trafilatura", "soup"])
@pytest.mark.parametrize("paragraphs", [1, 30])
def test_what_no_reader_sees_is_not_text(main_content: Any, paragraphs: int) -> None:
    """Scripts, styles, templates, hidden elements, comments and notices for readers without scripts never become text."""
    got = text(
        "<script>var SECRET1 = '<p>SECRET2</p>';</script><style>.SECRET3{}</style><template><p>SECRET4</p></template>"
        "<noscript>SECRET5: please enable JavaScript</noscript><p hidden>SECRET6</p><div style='color:red; display : none'>SECRET7</div>"
        "<!-- SECRET8 --><!--[if IE]><p>SECRET9</p><![endif]--><p style='visibility:hidden'>SECRET10</p><p style='font-size:0'>SECRET11</p>"
        f"<iframe>SECRET12</iframe><textarea>SECRET13</textarea><script type=application/json>{{\"SECRET14\": 1}}</script><p>{STORY * paragraphs}</p>",
        HtmlSettings(main_content=main_content),
    )
    assert "ferry left the island" in got
    assert "SECRET" not in got


def test_what_a_reader_opens_is_text() -> None:
    """Panels that a label opens, streamed segments and a whole page for readers without scripts are there to be read."""
    panels = (
        f"<h2 id=t>Tickets</h2><div style='display:none' aria-labelledby=t role=region><p>PANEL {STORY * 3}</p></div>"
        f"<div hidden id='S:1f'><p>SEGMENT {STORY * 3}</p></div>"
    )
    for main_content in ("blocks", "trafilatura", "soup"):
        got = text(f"{panels}<noscript><p>WHOLE {STORY * 5}</p></noscript>", HtmlSettings(main_content=main_content))
        assert "SEGMENT" in got
        assert "WHOLE" in got
    assert "PANEL" in text(panels, HtmlSettings(main_content="soup"))


def test_the_rules_of_a_site_come_first() -> None:
    """What select names is the text, drop takes parts out, the other selectors name meta data."""
    rules = SiteRules(
        match="example.org/*", select=("h1", "div.story"), drop=(".ad",), title="h1", date="time", author=".by"
    )
    body = (
        "<h1>A <i>quiet</i> harbour</h1><span class=by>Ada  Quay</span><time datetime='2024-03-01T08:00'>1 March</time>"
        f"<div class=story><p>First.</p><div class=ad>BUY</div><ol><li>one<ul><li>inner</li></ul><li>two</ol><pre>x\n  y</pre></div><p>{STORY * 9}</p>"
    )
    doc = page(body, HtmlSettings(sites=(rules,)), head="<link rel=canonical href=https://example.org/harbour>")
    assert doc.text == "# A quiet harbour\n\nFirst.\n\n1. one\n  - inner\n2. two\n\n```\nx\n  y\n```"
    assert doc.meta["extractor"] == "html rules"
    assert (doc.meta["title"], doc.meta["date"], doc.meta["author"]) == ("A quiet harbour", "2024-03-01", "Ada Quay")


@pytest.mark.parametrize(
    ("match", "applies"),
    [
        ("*", True),
        ("forum/*.html", True),
        ("https://example.org/*", True),
        ("example.org/t/*", True),
        ("*.htm", False),
        ("other.org/*", False),
        ("page.html", False),
    ],
)
def test_rules_match_the_name_or_the_address(match: str, applies: bool) -> None:
    """A pattern is held against the file's path in its source and the page's own address."""
    doc = page(f"<b>X</b><p>{STORY * 9}</p>", ruled(match=match, select=("b",)), "<meta property=og:url content=https://example.org/t/5>", "forum/page.html")
    assert (doc.text == "X") is applies


def test_rules_that_find_nothing_step_aside() -> None:
    """No match of select leaves the page to the next rules, then to the main text, without what drop names."""
    body = f"<article><p>{STORY * 5}</p><p class=ad>BUY {STORY}</p></article>"
    doc = page(body, ruled(select=(".missing",), drop=(".ad",)))
    assert doc.meta["extractor"] == "html blocks"
    assert "ferry" in (doc.text or "")
    assert "BUY" not in (doc.text or "")
    two = HtmlSettings(sites=(SiteRules(select=(".missing",)), SiteRules(select=(".ad",))))
    assert text(body, two).startswith("BUY")


def test_a_rule_may_ask_for_what_is_hidden() -> None:
    """What select names is taken, hidden or not, once, even if two selectors name it or its parent."""
    body = f"<noscript><p class=x>shown <b>to</b> few</p></noscript><p>{STORY}</p>"
    assert text(body, ruled(select=(".x", "noscript", "b"))) == "shown to few"


def test_a_wrong_selector_is_a_settings_error() -> None:
    """A selector that is none stops before anything runs, with its place."""
    raw = parse_yaml("sites:\n  - select: 'div['\n", "extract.yaml")
    with pytest.raises(SettingsError, match=r"extract\.yaml:\d sites.*no CSS selector"):
        build(HtmlSettings, raw)


def test_settings_have_ranges() -> None:
    """Limits out of range are refused, and a known page type is needed."""
    with pytest.raises(SettingsError, match="max_depth"):
        build(HtmlSettings, parse_yaml("max_depth: 5000", "x"))
    with pytest.raises(SettingsError, match="main_content"):
        build(HtmlSettings, parse_yaml("main_content: boilerpipe", "x"))


def test_meta_data() -> None:
    """Title, address, date, author, language and licence are read from where pages put them, clean and on one line."""
    head = (
        "<title>Harbour\n | Site</title><meta property=og:title content='A &amp; B'><meta property=article:published_time content='2023-11-05T10:00:00Z'>"
        "<meta name=author content='Ada Quay'><link rel=canonical href=https://example.org/a><meta name=og:locale content=en_GB>"
    )
    body = f"<p>{STORY}</p><a rel='license nofollow' href='/by/4.0'>licence</a>"
    assert page(body, head=head).meta == {
        "title": "A & B",
        "url": "https://example.org/a",
        "date": "2023-11-05",
        "author": "Ada Quay",
        "language": "en-GB",
        "license": "https://example.org/by/4.0",
        "extractor": "html blocks",
    }
    with_language = extract_page(f"<html lang=pt-BR><title>T</title><p>{STORY}".encode(), "a", PLAIN)
    assert isinstance(with_language, Document)
    assert (with_language.meta["language"], with_language.meta["title"]) == ("pt-BR", "T")


def test_json_ld() -> None:
    """JSON-LD is believed first; nodes about the site or its people are not about the page."""
    graph = [
        {"@type": "WebSite", "headline": "Site", "author": "Nobody"},
        {"@type": ["NewsArticle"], "headline": "Quay &amp; choir", "datePublished": "2022-1-9", "author": [{"name": "Ada"}, {"name": "Bo"}]},
    ]
    script = f"<script type='application/ld+json'>{json.dumps({'@graph': graph})}</script>"
    meta = page(f"<p>{STORY}</p>", head=f"<title>Old</title>{script}").meta
    assert (meta["title"], meta["date"], meta["author"]) == ("Quay & choir", "2022-01-09", "Ada, Bo")


@pytest.mark.parametrize("script", ["[" * 100_000, '{"a":' * 50_000, "1" * 9_000, "null", '{"@graph": 5, "author": {"name": {}}, "headline": []}', "{"])
def test_broken_json_ld_costs_nothing(script: str) -> None:
    """Deep, huge and wrong JSON is passed over."""
    meta = page(f"<p>{STORY}</p>", head=f"<title>T</title><script type=application/ld+json>{script}</script>").meta
    assert meta == {"title": "T", "extractor": "html blocks"}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "is empty"),
        (b" \n\t ", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "is a PNG image, not a page"),
        (b"%PDF-1.4 <html>", "is a PDF, not a page"),
        (bytes(range(256)) * 50, "is binary"),
        (b"<p>" + b"x" * 2000, "is larger than 2,000 bytes; raise max_bytes"),
    ],
)
def test_what_is_no_page_goes_to_quarantine(data: bytes, error: str) -> None:
    """Empty, binary and too large files are skipped with a reason and a piece of what they hold."""
    item = extract_page(data, "dir/a b.html", HtmlSettings(max_bytes=2_000 if error.startswith("is larger") else 20_000_000))
    assert isinstance(item, Skipped)
    assert item.error.startswith(error)
    assert item.locator == "dir/a%20b.html"
    assert data.startswith(item.raw)
    assert len(item.raw) <= 2048


@pytest.mark.parametrize(
    "markup",
    ["<!doctype html>", "<!-- x -->", "<script>alert(1)</script>", "<div id=root></div><noscript>Enable JavaScript.</noscript>", "<title>only</title>", "\ufeff"],
)
def test_a_page_without_text_is_removed(markup: str) -> None:
    """A page that holds nothing to read is counted as removed, not lost."""
    item = extract_page(markup.encode(), "a.html", PLAIN)
    assert isinstance(item, Removed)
    assert (item.rule, item.document.text, item.document.locator) == ("no_text", "", "a.html")


@pytest.mark.parametrize("tag", ["div", "b", "ul><li", "table><tr><td", "blockquote", "font"])
@pytest.mark.parametrize("depth", [90, 300, 3_000])
def test_nothing_is_too_deep_to_be_read(tag: str, depth: int) -> None:
    """Text below thousands of open elements, and after them, is found, though parsers stop at 256."""
    closing = "".join(f"</{name.strip('<>')}>" for name in reversed(tag.split("><")))
    got = text(f"<p>before</p>{f'<{tag}>' * depth}<p>{STORY}</p>{closing * depth}<p>after</p>")
    assert [word for word in ("before", "ferry left the island", "after") if word not in got] == []


def test_beyond_the_limits_the_whole_visible_text_is_taken() -> None:
    """Too deep, too many elements, too much text or too many attributes: headings, lists and hiding still count."""
    body = f"<h2>Head</h2><ul><li>one<li>two</ul><p hidden>SECRET<p>a &lt; b &amp;&#9999999999999; c<script>SECRET</script><div style=display:none><div>SECRET</div></div>{STORY}"
    expected = f"## Head\n\n- one\n- two\n\na < b &\ufffd c\n{STORY.strip()}"
    for limits in ({"max_depth": 2}, {"max_elements": 3}, {"max_chars": 10}):
        doc = page(body, HtmlSettings(main_content="trafilatura", **limits))
        assert (doc.text, doc.meta["extractor"]) == (expected, "html scan")
    attributes = " ".join(f"data-x{n}='<p>SECRET'" for n in range(30_000))
    assert text(f"<div {attributes}>{body}</div>") == expected


FLOODS = ["<", "<a ", "<!--", "</x>", "<p hidden>", "<svg>", "<div><p>", '<a b="', "<a ='x", "<b>x</b> ", "&#9", "<script>", "<!", "= ", "<ul><li>", "<select>"]


@pytest.mark.parametrize("unit", FLOODS)
def test_floods_are_linear(unit: str) -> None:
    """200 kB of one broken construct are read at once, and the text before them stays."""
    item = extract_page(f"<p>before</p>{unit * (200_000 // len(unit))}".encode(), "a.html", PLAIN)
    assert isinstance(item, Document)
    assert "before" in (item.text or "")


def test_a_scan_finds_what_a_tree_finds() -> None:
    """Both ways to the whole visible text agree on ordinary markup."""
    body = (
        f"<h1>A</h1><p>b <b>c</b>d<br>e</p><div>f<div>g</div>h</div><ol><li>i</li><li><p>j</p></li></ol><table><tr><th>k<td><p>l</p><td><td>m</tr></table>"
        f"<pre>m\n\n  n</pre><blockquote>{STORY}</blockquote><select><option>no</select><svg><text>no</text></svg>o<hr>p"
    )
    soup = text(body, HtmlSettings(main_content="soup"))
    assert html_scan.visible_text(f"<html><body>{body}</body></html>") == soup
    assert soup.startswith("# A\n\nb cd\ne\n\nf\ng\nh\n\n1. i\n2. j\n\nk | l | | m\n\n```\nm\n\n  n\n```\n\n")


def test_entities_are_not_expanded_and_nothing_is_read_from_disk(tmp_path: Path) -> None:
    """Declared entities stay as written: no file is read for them, and they do not multiply."""
    (tmp_path / "secret").write_text("SECRET")
    declared = f"<!DOCTYPE r [<!ENTITY x SYSTEM 'file://{tmp_path}/secret'><!ENTITY a 'AAAA'><!ENTITY b '&a;&a;&a;&a;'>]>"
    item = extract_page(f"<?xml version='1.0'?>{declared}<html><body><p>{STORY} &x; &b;</p></body></html>".encode(), "a", PLAIN)
    assert isinstance(item, Document)
    assert "SECRET" not in (item.text or "")
    assert "AAAA" not in (item.text or "")
    assert "&x; &b;" in (item.text or "")


def test_the_text_is_clean() -> None:
    """No control characters, not even by reference, and no blanks at the ends."""
    got = text(f"<p>  a\x00b &#1; &#x80; &#xD800; \x07 {STORY}</p>  ")
    assert got == got.strip()
    assert "ab" in got
    assert "€" in got
    assert not [c for c in got if ord(c) < 32 and c != "\n"]


def test_a_page_reads_the_same_whatever_came_before() -> None:
    """No page changes the next one: nothing is deduplicated across pages."""
    body = "".join(f"<p>{n} {STORY}</p>" for n in range(4))
    first = text(body)
    for _ in range(5):
        assert text(body) == first


def test_a_file_is_one_item(tmp_path: Path) -> None:
    """A compressed page is read like a plain one; a damaged file is skipped with its reason."""
    whole = gzip.compress(f"<p>{STORY}</p>".encode())
    (tmp_path / "a.html.gz").write_bytes(whole)
    (tmp_path / "b.html.gz").write_bytes(whole[:-9])
    pages = HtmlPages(PLAIN)
    (good,) = pages.read(SourceFile(tmp_path / "a.html.gz", "a.html.gz"))
    (bad,) = pages.read(SourceFile(tmp_path / "b.html.gz", "b.html.gz"))
    assert isinstance(good, Document)
    assert good.text == STORY.strip()
    assert isinstance(bad, Skipped)


def test_settings_come_without_parsers() -> None:
    """Reading settings loads no HTML library."""
    code = "import sys, pipeline.extractors.html as h; h.HtmlSettings(); print([m for m in ('bs4', 'lxml', 'trafilatura', 'selectolax') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


TAGS = ["p", "div", "b", "ul", "li", "table", "tr", "td", "a", "h1", "pre", "br", "script", "style", "noscript", "template", "svg", "select", "body", "head", "q", "details"]
SOUP = st.lists(
    st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS] + ["<p hidden>", "<!--", "-->", "<![CDATA[", "<a href='", "&amp", "<", ">", '"'])
    | st.text(st.characters(codec=None), max_size=8)
    | st.just(STORY),
    max_size=40,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(SOUP, st.sampled_from([PLAIN, HtmlSettings(main_content="soup"), HtmlSettings(main_content="trafilatura", max_depth=1), ruled(select=("p", "div"), drop=("b",))]))
def test_any_tag_soup_gives_one_of_three(markup: str, how: HtmlSettings) -> None:
    """Whatever the markup, there is a document with text, a removal without, or a reason; and the same one every time."""
    data = markup.encode("utf-8", "surrogatepass")
    item = extract_page(data, "a.html", how)
    assert item == extract_page(data, "a.html", how)
    if isinstance(item, Document):
        assert item.text
        assert item.text == item.text.strip()
        item.text.encode("utf-8")
        json.dumps(dict(item.meta)).encode("utf-8")
    else:
        assert isinstance(item, Removed | Skipped)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_one_of_three(data: bytes) -> None:
    """Random bytes never raise."""
    assert isinstance(extract_page(data, "a.html", PLAIN), Document | Removed | Skipped)


@pytest.mark.skipif(not (GOLD / "html" / "hard").is_dir(), reason="the gold pages are not beside the checkout")
def test_the_gold_pages_that_are_hard() -> None:
    """Every odd or hostile gold page gives what is expected of it."""
    folder = GOLD / "html" / "hard"
    failed = []
    for row in map(json.loads, (folder / "expectations.jsonl").read_text(encoding="utf-8").splitlines()):
        item = extract_page((folder / row["file"]).read_bytes(), row["file"], PLAIN)
        got = item.text or "" if isinstance(item, Document) else ""
        unwanted = [words for words in row["must_not_contain"] if words in got]
        missing = [words for words in row["must_contain"] if words not in got]
        if unwanted or missing or not (got or row["may_be_empty"]):
            failed.append((row["file"], missing, unwanted))
    assert failed == []
