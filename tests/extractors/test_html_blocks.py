"""Main text by blocks: the walk, the model's evaluation, the choice, and the Markdown."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.documents import Document
from pipeline.errors import MissingPackageError
from pipeline.extractors import block_model, html_scan, main_content
from pipeline.extractors.block_features import Lexicon, features, name_words, text_words
from pipeline.extractors.block_markdown import markdown
from pipeline.extractors.block_measures import COLUMNS
from pipeline.extractors.block_model import LEAVES, Model, Trees
from pipeline.extractors.block_walk import TAGS
from pipeline.extractors.blocks import Blocks, parse, read_blocks, remove_unseen
from pipeline.extractors.html import HtmlSettings, SiteRules, extract_page
from pipeline.extractors.html_metadata import Head, read_head

HERE = Path(__file__).parent / "html"
STORY = "The ferry left the island before dawn, and nobody on the quay had expected it to carry the post as well as the choir."


def blocks_of(body: str) -> Blocks:
    """The blocks of a page with this body."""
    tree = parse(f"<!doctype html><html><body>{body}</body></html>")
    remove_unseen(tree)
    return read_blocks(tree.html or "")


def whole(body: str, links: bool = False, url: str = "") -> str:
    """All blocks of a page as Markdown."""
    blocks = blocks_of(body)
    return markdown(blocks, range(len(blocks.plain)), links, url)


def document(name: str) -> str:
    """The text of a golden page."""
    item = extract_page((HERE / name).read_bytes(), name, HtmlSettings())
    assert isinstance(item, Document)
    return item.text or ""


def test_a_page_of_documentation_keeps_its_structure() -> None:
    """Nested lists, tables, code with its language and blanks, quotes, emphasis and headings stay; menus go (golden file)."""
    assert document("documentation.html") + "\n" == (HERE / "documentation.md").read_text(encoding="utf-8")


def test_blocks_know_where_they_stand() -> None:
    """Text is parted by block elements and double breaks, not by emphasis; links are counted; elements know their blocks."""
    blocks = blocks_of(
        "<div class=a><p>one <b>bold</b> &amp; <a href=x>two</a></p>three<br><br>four<br>five</div><table><tr><td>six</td></tr></table>"
    )
    assert blocks.plain == ["one bold & two", "three", "four five", "six"]
    assert blocks.linked == [3, 0, 0, 0]
    assert [TAGS[blocks.node_tags[node]] for node in blocks.nodes] == ["p", "div", "div", "td"]
    div = blocks.nodes[1]
    assert (blocks.node_first[div], blocks.node_last[div]) == (0, 3)


def test_links_are_parted_by_blocks() -> None:
    """A link around several blocks counts in each of them."""
    blocks = blocks_of("<a href=x><div>first</div><div>second one</div></a><p>third</p>")
    assert list(zip(blocks.plain, blocks.linked, strict=True)) == [("first", 5), ("second one", 10), ("third", 0)]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<h2>A <b>b</b><a href=#x>¶</a></h2><p>c", "## A b\n\nc"),
        ("<ul><li>a<ol><li>b</li><li>c</li></ol></li><li>d</li></ul>", "- a\n  1. b\n  2. c\n- d"),
        ("<ul><li>a</ul><ol><li>b</ol>", "- a\n\n1. b"),
        ("<blockquote><p>a</p><p>b</p></blockquote><p>c", "> a\n>\n> b\n\nc"),
        ("<pre><code class='hljs language-rust'>fn f() {\n    1\n}\n</code></pre>", "```rust\nfn f() {\n    1\n}\n```"),
        ("<div class='highlight-source-shell'><pre>a ``` b</pre></div>", "````shell\na ``` b\n````"),
        ("<pre>a<br>  b</pre>", "```\na\n  b\n```"),
        ("<p>H<sub>2</sub>O, 10<sup>6</sup> m<sup>2</sup>", "H2O, 10^6 m^2"),
        ("<p>a<em> b </em>c <b></b><code>x*y</code> <s>d</s>", "a *b* c `x*y` ~~d~~"),
        ("<p>is <math alttext='x^2'><mi>x</mi><mn>2</mn></math> here", "is $x^2$ here"),
        ("<table><tr><th>a<th>b<tr><td>1|2<td><p>x<p>y</table>", "| a | b |\n|---|---|\n| 1\\|2 | x y |"),
        (f"<table><tr><td>{STORY * 20}<td><ul><li>a</ul></table>", f"{' '.join((STORY * 20).split())}\n\n- a"),
        ("<dl><dt>a<dd>b</dl>", "a\n\nb"),
        ("a<br>b<br><br>c", "a\nb\n\nc"),
    ],
)
def test_markdown(body: str, text: str) -> None:
    """Each construct is written as Markdown has it."""
    assert whole(body) == text


def test_links_are_absolute_when_asked_for() -> None:
    """Links come as Markdown links, made absolute; what is no address stays text."""
    body = "<p>See <a href='/a?b=1&amp;c=2'>this <b>one</b></a>, <a href='javascript:x()'>not that</a>, <a href=#n>here</a>."
    assert whole(body) == "See this **one**, not that, here."
    assert whole(body, True, "https://example.org/x/") == "See [this **one**](https://example.org/a?b=1&c=2), not that, [here](#n)."


def test_copies_elsewhere_on_the_page_are_left_out() -> None:
    """Text that stands in another part of the page again is taken once; code, short text and repetition in one place stay."""
    copy = f"<p>{STORY}</p><pre>same code here, twice</pre><p>ok</p>"
    blocks = blocks_of(f"<div>{copy}<p>{STORY}</p></div><section>{copy}</section>")
    assert main_content.select(blocks, np.ones(7), main_content.num_words(blocks)) == [0, 1, 2, 3, 5, 6]


@given(st.lists(st.tuples(st.floats(0.01, 1), st.integers(1, 50)), min_size=1, max_size=9))
def test_no_other_choice_has_a_greater_expected_score(given_blocks: list[tuple[float, int]]) -> None:
    """Of all sets of blocks, the chosen one is the best by 2 x expected / (taken + expected in all)."""
    blocks = blocks_of("".join(f"<p>{number}</p>" for number in range(len(given_blocks))))
    probability, words = (np.array(part, float) for part in zip(*given_blocks, strict=True))
    expected = float((probability * words).sum())

    def score(chosen: list[int]) -> float:
        return 2 * float((probability * words)[chosen].sum()) / (float(words[chosen].sum()) + expected)

    best = max(score([n for n in range(len(words)) if number >> n & 1]) for number in range(1, 1 << len(words)))
    assert score(main_content.select(blocks, probability, words)) >= best - 1e-9


def test_trees_find_the_leaf_that_a_walk_finds() -> None:
    """The evaluation by bit masks gives what going from split to split gives."""
    from pipeline.extractors.training_blocks import to_trees

    draw = random.Random(3)

    def grow(leaves: int) -> dict[str, object]:
        if leaves == 1:
            return {"leaf_value": draw.uniform(-1, 1)}
        left = draw.randint(1, leaves - 1)
        return {"split_feature": draw.randrange(5), "threshold": draw.uniform(-1, 1), "left_child": grow(left), "right_child": grow(leaves - left)}

    def walk(node: dict[str, object], row: np.ndarray) -> float:
        while "leaf_value" not in node:
            node = node["left_child" if row[node["split_feature"]] <= np.float32(node["threshold"]) else "right_child"]  # type: ignore
        return float(np.float32(node["leaf_value"]))  # type: ignore[arg-type]

    roots = [grow(draw.randint(2, LEAVES)) for _ in range(40)]

    class Booster:
        def dump_model(self) -> dict[str, object]:
            return {"tree_info": [{"tree_structure": root} for root in roots]}

    trees = to_trees(Booster())
    rows = np.random.default_rng(0).uniform(-1, 1, (1300, 5)).astype(np.float32)
    assert trees.odds(np.ascontiguousarray(rows.T)) == pytest.approx([sum(walk(root, row) for root in roots) for row in rows], abs=1e-5)


def test_a_model_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    """Saving rounds odds of words to a twentieth and keeps all else."""
    trees = Trees(np.full((1, 1), 7), np.ones((1, 1), np.float32), np.full((1, 1), 0xFFFE, np.uint16), np.ones((1, 2), np.float32))
    block_model.save(Model(Lexicon({"nav": -2.51}, {"häme": 0.7}, {"p": 1}), trees), tmp_path / "m.npz", "a note")
    loaded = block_model.load(tmp_path / "m.npz")
    assert loaded.lexicon == Lexicon({"nav": -2.5}, {"häme": 0.7}, {"p": 1})
    assert loaded.trees.feature.tolist() == [[7]]
    assert loaded.trees.mask.dtype == np.uint16


def test_the_model_asks_for_features_that_there_are() -> None:
    """Every column of the model that comes along is computed."""
    blocks = blocks_of(f"<p>{STORY}</p>")
    found = features(blocks, Lexicon(), Head())
    assert block_model.load().trees.feature.max() < len(found) == len(COLUMNS) == len(set(COLUMNS))
    assert np.isfinite(found).all()


def test_names_are_words() -> None:
    """Class, id, role and itemprop part at signs and at capitals."""
    elements = [' class="post-content mainBody" id="x1" data-class="no"', "", ' role="main_nav"']
    assert [name_words(element) for element in elements] == [["post", "content", "main", "body", "x"], [], ["main", "nav"]]
    assert [text_words(text) for text in ("A b_c!", "", "x" * 900, "\u0394\u03a3")] == [["a", "b", "c"], [], [], ["\u03b4\u03c3"]]


def test_what_the_page_says_of_itself() -> None:
    """Description and the texts of JSON-LD, without markup, each once."""
    data = {"@graph": [{"articleBody": f"<p>{STORY}</p>", "review": {"reviewBody": f"{STORY} Twice &amp; more."}}, {"text": STORY, "name": STORY}]}
    tree = parse(f"<meta name=description content='{STORY}'><script type=application/ld+json>{json.dumps(data)}</script>")
    assert read_head(tree).told == f"{STORY}\n{STORY} Twice & more."


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "<p>",
                "</p>",
                "<div>",
                "<table>",
                "<tr>",
                "<td>",
                "</td>",
                "<ul>",
                "<li>",
                "</ul>",
                "<pre>",
                "</pre>",
                "<a>",
                "</a>",
                "<b>",
                "</b>",
                "<br>",
                "<x-y>",
                "<template>",
                "<plaintext>",
                "<!--",
                "-->",
                "<math>",
            ]
        )
        | st.text(st.characters(codec="utf-8"), max_size=12)
        | st.just(STORY),
        max_size=40,
    )
)
def test_no_page_breaks_the_walk(pieces: list[str]) -> None:
    """Whatever the markup, elements hold the blocks inside them, and what is chosen can be written."""
    blocks = blocks_of("".join(pieces))
    count = len(blocks.plain)
    assert all(parent < node for node, parent in enumerate(blocks.node_parents) if node)
    assert all(0 <= first <= last <= count for first, last in zip(blocks.node_first, blocks.node_last, strict=True))
    for block, node in enumerate(blocks.nodes):
        assert blocks.node_first[node] <= block < blocks.node_last[node]
    chosen = main_content.choose(blocks, Head())
    assert chosen == sorted(set(chosen))
    assert bool(chosen) == bool(count)
    markdown(blocks, chosen)


def test_a_thread_becomes_a_conversation() -> None:
    """Posts come as turns: who began is the user, the others answer; posts of one side in a row are one turn."""
    posts = "".join(f"<div class=p><b class=w>{who}</b><div class=t><p>{text}</p></div></div>" for who, text in zip("ABCA", "qrst", strict=True))
    rules = SiteRules(post=".p", post_author=".w", post_text=".t")
    item = extract_page(f"<html><body>{posts}</body></html>".encode(), "a.html", HtmlSettings(sites=(rules,)))
    assert isinstance(item, Document)
    assert item.text is None
    assert [(m.role, m.content) for m in item.messages or ()] == [("user", "q"), ("assistant", "r\n\ns"), ("user", "t")]
    assert item.meta["extractor"] == "html thread"


def test_resiliparse_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting works where the package is installed, else one line tells what to install."""
    settings_ = HtmlSettings(main_content="resiliparse")
    data = f"<html><body><article>{f'<p>{STORY}</p>' * 5}</article></body></html>".encode()
    monkeypatch.setitem(__import__("sys").modules, "resiliparse.extract.html2text", None)
    with pytest.raises(MissingPackageError, match="resiliparse"):
        extract_page(data, "a.html", settings_)


def test_the_depth_of_a_page_is_bounded_from_above() -> None:
    """Elements that end by themselves do not count; the bound is that of the deepest place."""
    assert html_scan.deepest("<div><div><p>a<p>b<br></div></div><div>") == 2
    assert html_scan.deepest("<b>" * 50_000) == 50_000


def test_a_page_too_large_for_a_tree_is_read_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a length, a number of tags or a nesting the whole visible text is taken, without a tree."""
    data = f"<html><body>{'<div>' * 60}<p>{STORY}</p>".encode()
    for limits in ({"MAX_TREE_CHARS": 50}, {"MAX_TREE_TAGS": 5}, {"FEW_TAGS": 5}):
        with monkeypatch.context() as patch:
            for name, value in limits.items():
                patch.setattr(f"pipeline.extractors.html.{name}", value)
            item = extract_page(data, "a.html", HtmlSettings())
        assert isinstance(item, Document)
        assert (item.text, item.meta["extractor"]) == (STORY, "html scan")


@pytest.mark.parametrize("unit", ["<ul><li>x", "<blockquote>x", "<table><tr><td>x"])
def test_endless_nesting_is_written_too(unit: str) -> None:
    """Thousands of lists, quotes or tables in each other lose their depth, not their text."""
    assert sum(line.count("x") for line in whole(unit * 3000).split("\n")) == 3000
