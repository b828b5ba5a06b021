"""Cells of HTML, BBCode and wiki markup become Markdown."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extractors.cells import Format, to_markdown

BBCODE = [
    ("[b]bold[/b], [i]slanted[/i], [s]gone[/s], [color=red]red[/color] and [url=http://x.org]a link[/url]", "**bold**, *slanted*, ~~gone~~, red and a link"),
    ("[quote=&quot;Ann &amp; Co&quot;:1a2b3c4d]old[/quote:1a2b3c4d]\nnew", "> Ann & Co wrote:\n> old\n\nnew"),
    ("[quote author=Joe link=topic=1.msg2#msg2 date=12]old[/quote]new", "> Joe wrote:\n> old\n\nnew"),
    ("[quote='Eve' pid='7' dateline='9']old[/quote]new", "> Eve wrote:\n> old\n\nnew"),
    ('[quote="Zoe, post: 4, member: 2"]old[/quote]new', "> Zoe wrote:\n> old\n\nnew"),
    ("[quote=Max;812]old[/quote]new", "> Max wrote:\n> old\n\nnew"),
    ('[quote="[KT]Bob"]old[/quote]new', "> [KT]Bob wrote:\n> old\n\nnew"),
    ("[quote][quote=A]inner[/quote]outer[/quote]me", "> > A wrote:\n> > inner\n>\n> outer\n\nme"),
    ("[code:1a2b3c4d]if (a[i] &lt; b)\n  [b]x[/b];[/code:1a2b3c4d]", "```\nif (a[i] < b)\n  [b]x[/b];\n```"),
    ("see [code]ls -l[/code] there", "see `ls -l` there"),
    ("for (i) a[i] = v[b]; // [1]", "for (i) a[i] = v[b]; // [1]"),
    ("[b:1a2b3c4d]x[/b:1a2b3c4d] means [b]bold[/b]", "**x** means [b]bold[/b]"),
    ("[list:1a2b3c4d][*:1a2b3c4d]one[/*:m:1a2b3c4d][*:1a2b3c4d]two[/*:m:1a2b3c4d][/list:u:1a2b3c4d]", "- one\n- two"),
    ("[list=1]\n[*]one\n[*]two\n[/list]end", "1. one\n2. two\n\nend"),
    ('fine <!-- s:) --><img src="{SMILIES_PATH}/a.gif" alt=":)" title="Smile" /><!-- s:) -->!', "fine :)!"),
    ('<!-- m --><a class="postlink" href="http://x.org/a">http://x.org/a</a><!-- m -->', "http://x.org/a"),
    ("std::vector<int> v; a < b", "std::vector<int> v; a < b"),
    ("one<br />\ntwo<br />three\nfour", "one\ntwo\nthree\nfour"),
    ("a [img]http://x.org/p.png[/img] b [youtube]abc[/youtube]c", "a b c"),
    ("no end [quote] here, and [/b] no beginning", "no end [quote] here, and no beginning"),
    ("[noparse][b]x[/b][/noparse]", "[b]x[/b]"),
    ("<t>Plain &lt;text&gt;<br/>\nline two</t>", "Plain <text>\nline two"),
    ('<r><B><s>[b]</s>x<e>[/b]</e></B> <E>:)</E> <URL url="http://x.org"><s>[url]</s>http://x.org<e>[/url]</e></URL></r>', "**x** :) http://x.org"),
    ('<r><QUOTE author="Bob" post_id="3"><s>[quote="Bob"]</s>old<e>[/quote]</e></QUOTE>\n\nnew</r>', "> Bob wrote:\n> old\n\nnew"),
    ("<r><CODE><s>[code]</s><i>\n</i>a &lt; b\n  c<e>[/code]</e></CODE></r>", "```\na < b\n  c\n```"),
    ('<r><LIST type="decimal"><s>[list=1]</s><LI><s>[*]</s>one</LI><LI><s>[*]</s>two</LI><e>[/list]</e></LIST></r>', "1. one\n2. two"),
]


@pytest.mark.parametrize(("cell", "expected"), BBCODE)
def test_bbcode(cell: str, expected: str) -> None:
    """BBCode as phpBB 3.0, phpBB 3.2, SMF, MyBB, vBulletin and XenForo store it becomes Markdown."""
    assert to_markdown(cell, "bbcode") == expected


HTML = [
    ("<p>Hello <b>big </b>world</p><p>Next</p>", "Hello **big** world\n\nNext"),
    ("<blockquote><p>one</p><p>two</p></blockquote>mine", "> one\n>\n> two\n\nmine"),
    ("<ul><li>a<ul><li>b</ul><li>c</ul>end", "- a\n  - b\n- c\n\nend"),
    ("<pre>x\n  &lt;y&gt;</pre>", "```\nx\n  <y>\n```"),
    ("a < b, x<y and AT&amp;T", "a < b, x<y and AT&T"),
    ("seen<script>alert('<b>no</b>')</script><style>p{}</style> too", "seen too"),
    ("a script that never ends <script>alert(1)", "a script that never ends alert(1)"),
    ("<!-- hidden -->shown", "shown"),
    ("<h2>Title</h2>text<br>more", "## Title\n\ntext\nmore"),
    ("plain\n text  here", "plain text here"),
]


@pytest.mark.parametrize(("cell", "expected"), HTML)
def test_html(cell: str, expected: str) -> None:
    """A fragment of HTML becomes Markdown; scripts and styles are left out, text that only looks like a tag stays."""
    assert to_markdown(cell, "html") == expected


WIKI = [
    ("'''Rye bread''' is a [[bread|loaf]] of [[rye]]s.", "**Rye bread** is a loaf of ryes."),
    ("== Making ==\n* flour\n** rye\n# one\n# two\ntext", "## Making\n- flour\n  - rye\n1. one\n2. two\ntext"),
    ("a {{box|x={{y}}|z=[[b]]}} b<ref name=a>see</ref><ref name=b />", "a b"),
    ("{|\n|cell\n|}\nafter [[Category:Food]][[File:a.png|thumb|A [[nice]] one]]", "after"),
    ("[https://x.org The site], [https://y.org] and <nowiki>[[x]] ''y''</nowiki>", "The site, and [[x]] ''y''"),
    ("a }} b ]] c {{ d [[ e", "a }} b ]] c {{ d [[ e"),
    ("<strong>Done</strong><br>and ''dusted''", "**Done**\nand *dusted*"),
    ("#REDIRECT [[Bread]]", ""),
    ("<syntaxhighlight lang=c>\n# x\n  y\n</syntaxhighlight>", "```\n# x\n  y\n```"),
]


@pytest.mark.parametrize(("cell", "expected"), WIKI)
def test_wiki(cell: str, expected: str) -> None:
    """MediaWiki's markup is reduced to Markdown; templates, tables, references, files and categories go, a redirect is empty."""
    assert to_markdown(cell, "mediawiki") == expected


def test_quotes_and_links_by_setting() -> None:
    """Quotes can be left out and addresses of links kept, in every format that has them; no address but one of a page or mailbox is."""
    assert to_markdown("[quote=A]x [quote]y[/quote][/quote]\nmine", "bbcode", keep_quotes=False) == "mine"
    assert to_markdown("<blockquote>x</blockquote>mine", "html", keep_quotes=False) == "mine"
    assert to_markdown("> x\nmine", "markdown", keep_quotes=False) == "mine"
    assert to_markdown("<a href='http://x.org/a'>here</a> <a href='javascript:x()'>no</a>", "html", links=True) == "[here](http://x.org/a) no"
    assert to_markdown("[url=http://x.org]here[/url]", "bbcode", links=True) == "[here](http://x.org)"


PIECES = (
    *("[b]", "[/b]", "[quote]", "[/quote]", "[quote=A]", "[code]", "[/code]", "[list]", "[*]", "[/list]", "[img]", "[url=http://x.org]", "[i", '[quote="', "[quote=&quot;"),
    *("<b>", "</b>", "<a '\"", '<a href="', "<!--", "-->", "<pre>", "</pre>", "<ul>", "<li>", "<blockquote>", "</blockquote>", "<t>", "<r>", "</r>", "<QUOTE>", "<CODE>", "<s>"),
    *("{{", "}}", "{|", "|}", "[[", "]]", "'''", "''", "== a ==", "<ref>", "\n", "\n* ", "&amp;", "&#55296;", "word", " ", ":1a2b3c4d]"),
)
FORMATS: tuple[Format, ...] = ("text", "markdown", "html", "bbcode", "mediawiki", "mediawiki_title")


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=20), st.sampled_from(FORMATS), st.booleans(), st.booleans())
def test_any_cell_becomes_text(pieces: list[str], kind: Format, keep_quotes: bool, links: bool) -> None:
    """Whatever a cell holds, Markdown comes out, no longer than a small multiple of the cell."""
    cell = "".join(pieces)
    assert len(to_markdown(cell, kind, keep_quotes, links)) <= 40 * len(cell) + 100


@given(st.lists(st.sampled_from(("bread", "salt,", "and", "ünd", "3.", "x)")), max_size=12), st.sampled_from(("html", "bbcode", "mediawiki")))
def test_plain_words_stay(words: list[str], kind: Format) -> None:
    """Text without any markup comes out as it went in."""
    text = " ".join(words)
    assert to_markdown(text, kind) == text


def lines_run(cell: str, kind: Format) -> int:
    """How many lines of Python run for a cell."""
    count = Counter[str]()

    def trace(frame: object, event: str, argument: object) -> object:
        count[event] += 1
        return trace

    sys.settrace(trace)
    try:
        to_markdown(cell, kind)
    finally:
        sys.settrace(None)
    return count["line"]


@pytest.mark.parametrize("kind", ["html", "bbcode", "mediawiki"])
@pytest.mark.parametrize("piece", ["[b]", "[quote]", "[quote=A]x", "[list][*]", "<b>x", "<blockquote>x", "<!--", "{{x", "[[x", "{|", "[code]", "<pre>", "<ul><li>x"])
def test_work_grows_with_the_length(kind: Format, piece: str) -> None:
    """Twice the hostile cell takes at most little more than twice the steps, however deep it nests."""
    small, large = lines_run(piece * 400, kind), lines_run(piece * 800, kind)
    assert large <= 2.2 * small + 200
