"""The compiled passes over a page against plain ones: the walk over its tags, the words, and every feature."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.extractors import block_walk as walk
from pipeline.extractors.block_features import Lexicon, features, name_words, text_words
from pipeline.extractors.block_measures import COLUMNS, FLAGS, LEVELS, SHORT_CHARS
from pipeline.extractors.blocks import Blocks, parse, read_blocks, remove_unseen, unescaped
from pipeline.extractors.html_metadata import Head

STORY = "The ferry left before dawn, and nobody on the quay had expected it to carry the post as well."
LEXICON = Lexicon(
    {"post": 1.5, "content": 0.5, "nav": -2.0, "menu": -0.75, "main": 1.25},
    {"the": 0.25, "menu": -1.0, "ferry": 2.0, "öl": -0.5, "λόγος": 1.0, "文章": 3.0},
    {"p": 0.5, "li": -0.25, "td": -0.5},
)
_TOKEN = re.compile(r'<(?:(/?[a-z][^\s/>]*+)([^">]*+(?:"[^"]*+"[^">]*+)*+)>|!--(?s:.*?)-->|[!?][^>]*+>)')
_PARTS = frozenset(walk.TAGS[2:]) - {"math", "custom"}

MARKUP = st.lists(
    st.sampled_from([
        *("<p>", "</p>", '<div class="postContent nav_menu">', '<div id="main" role="x">', "</div>", "<h1>", "</h1>", "<h2>", "</h2>", "<ul>", "<li>", "</ul>"),
        *('<a href="/x?a=1&b=2">', "</a>", "<br>", "<b>", "</b>", "<hr>", "<x-y>", "</x-y>", "<math>", "</math>", "<nav>", "</nav>", "<article>", "</article>"),
        *("<table>", "<tr>", "<td>", "</table>", "<!-- <p> -->", '<img alt="a>b" class="HTMLPage">', "&amp;", "&nbsp;", "&lt;p&gt;", "&quot", "  \n ", STORY, "menu", "ferry"),
        *("Öl", "ΛΌΓΟΣ", "文章。", "\u3000", "\u00a0", "😀", "١٢", "a_b", "x" * 250),
    ])
    | st.text(st.characters(codec="utf-8"), max_size=8),
    max_size=60,
)  # fmt: skip


def blocks_of(body: str) -> Blocks:
    """The blocks of a page with this body."""
    tree = parse(f"<!doctype html><html><body>{body}</body></html>")
    remove_unseen(tree)
    return read_blocks(tree.html or "")


def plain_walk(markup: str) -> tuple[list[tuple[str, int, int, int, int]], list[list[int]]]:
    """Blocks (text, characters in links, element, tags from and to) and elements (tag, parent, tag in the page, blocks from and to)."""
    pieces = _TOKEN.split(markup)
    blocks: list[tuple[str, int, int, int, int]] = []
    elements = [[0, 0, 0, 0, 0]]
    text, linked, node, start, in_link, gap, broken = "", 0, 0, 0, False, False, -1
    for token, (name, words) in enumerate(zip(pieces[1::3], pieces[3::3], strict=True)):
        tag = (name or "").removeprefix("/")
        opens = bool(name) and not name.startswith("/")
        container = tag in _PARTS or "-" in tag
        double = False
        if tag == "a":
            in_link = opens
        elif tag == "br" and opens:
            double, broken, gap = broken == len(text), len(text), True
        if container or double or (tag == "hr" and opens):
            if text:
                blocks.append((text, linked, node, start, token))
            text, linked, start, gap, broken = "", 0, token, False, -1
        if container and opens:
            elements.append([walk.TAG_NUMBER["custom"] if "-" in tag else walk.TAG_NUMBER[tag], node, token, len(blocks), -1])
            node = len(elements) - 1
        elif container and node:
            elements[node][4], node = len(blocks), elements[node][1]
        inside = False
        for character in re.split(r"(&(?:amp|lt|gt|quot|nbsp);|(?s:.))", words)[1::2]:
            if unescaped(character).isspace():
                gap = True
                continue
            if gap and text:
                text += " "
                linked += in_link and inside
            text, gap, inside = text + unescaped(character), False, True
            linked += in_link
    while node:
        elements[node][4], node = len(blocks), elements[node][1]
    elements[0][4] = len(blocks)
    return blocks, elements


@settings(max_examples=120, deadline=None)
@given(MARKUP)
@example(['<p a"b="x">', STORY])
def test_the_walk_gives_what_a_plain_one_gives(pieces: list[str]) -> None:
    """Texts, links, elements and counts of characters are those that Python's own strings and a pattern for tags give."""
    tree = parse(f"<!doctype html><html><body>{''.join(pieces)}</body></html>")
    remove_unseen(tree)
    markup = tree.html or ""
    found = read_blocks(markup)
    if re.search(r"<[^>]*[^=]\"[^>]*>", re.sub(r'="[^"]*"', "", markup)):
        return  # quotation marks in names: the plain pattern loses its way
    blocks, elements = plain_walk(markup)
    assert list(zip(found.plain, found.linked, found.nodes, *found.blocks[:, [walk.START, walk.END]].T.tolist(), strict=True)) == blocks
    assert found.elements.tolist() == elements
    for row, text in zip(found.blocks, found.plain, strict=True):
        small = [character for character in text if character < "\u3000"]
        assert row[walk.CHARS] == len(text)
        assert row[walk.BLANKS] == text.count(" ")
        assert row[walk.DIGITS] == sum(map(str.isdigit, small))
        assert row[walk.UPPERS] == sum(character.isupper() and not character.isdigit() for character in small)


def test_what_nothing_ends_reaches_to_the_end() -> None:
    """Markup that no tree gives back: open elements, comments and tags are read without fail."""
    assert read_blocks("lost<div>kept<p>two").plain == ["kept", "two"]
    assert read_blocks("<div>one</div>two<b").plain == ["one", "two<b"]
    assert read_blocks('<div>one<p title="two').plain == ['one<p title="two']
    assert read_blocks("<div>one<!-- two").plain == ["one<!-- two"]
    assert read_blocks("no tag").plain == read_blocks("").plain == read_blocks("<").plain == []


def test_a_quotation_mark_in_a_name_opens_no_value() -> None:
    """The tree gives such names back as they stand: the tag ends where it does."""
    assert blocks_of("""<p a"b='x"y'>one</p><p>two</p>""").plain == ["one", "two"]


def plain_columns(blocks: Blocks, head: Head) -> dict[str, list[float]]:
    """Every feature, block by block, as docs/html.md describes it."""
    plain, node_of, parent = blocks.plain, blocks.nodes, blocks.node_parents
    n, tag = len(plain), blocks.node_tags
    spans = list(zip(blocks.node_first, blocks.node_last, strict=True))
    wide = blocks.blocks[:, walk.WIDE].tolist()
    classes = [walk.CLASSES[min(ord(text[-1]), 0x10000)] & walk.CLASS for text in plain]
    chars = [len(text) + 2.0 * more for text, more in zip(plain, wide, strict=True)]
    words = [text.count(" ") + 1 + 0.6 * more for text, more in zip(plain, wide, strict=True)]
    linked = [count * all_ / len(text) for count, all_, text in zip(blocks.linked, chars, plain, strict=True)]
    density = [some / all_ for some, all_ in zip(linked, chars, strict=True)]
    stop = [float(one == walk.STOP) for one in classes]
    sentence = [float(stop[i] and words[i] >= 6 and density[i] < 0.5) for i in range(n)]
    prose = [chars[i] if density[i] < 0.34 and (words[i] >= 12 or sentence[i]) else 0.0 for i in range(n)]
    total, all_prose = max(sum(chars), 1.0), max(sum(prose), 1.0)

    def around(node: int) -> list[int]:
        """The element and all around it, without the page."""
        found = []
        while node:
            found.append(node)
            node = parent[node]
        return found

    def above(node: int) -> int:
        """The next element around it that holds more blocks."""
        size, up = spans[node][1] - spans[node][0], parent[node]
        for _ in range(6):
            if up and spans[up][1] - spans[up][0] == size:
                up = parent[up]
        return up

    def odds_of(node: int) -> tuple[float, float]:
        has_text = node and spans[node][0] < spans[node][1]
        known = [0.0, *(LEXICON.names.get(word, 0.0) for word in name_words(blocks.node_attributes(node)))] if has_text else [0.0]
        return min(known), max(known)

    tag_odds = [LEXICON.tags.get(walk.TAGS[number], 0.0) for number in tag]
    names = [odds_of(node) for node in range(len(tag))]
    title = set(text_words(head.title))
    spoken = [text_words(text) for text in plain]
    said = [sum(LEXICON.words.get(word, 0.0) for word in some) / max(len(some), 1) for some in spoken]
    like = [
        2 * sum(word in title for word in some) / max(len(some) + len(title), 1) if len(text) <= SHORT_CHARS else 0.0
        for some, text in zip(spoken, plain, strict=True)
    ]
    level = [tag[node] - walk.TAG_NUMBER["h1"] + 1 if walk.TAG_NUMBER["h1"] <= tag[node] <= walk.TAG_NUMBER["h6"] else 0 for node in node_of]
    h1 = level.index(1) if 1 in level else -1
    best = max(range(n), key=lambda i: (like[i] * (1.5 if level[i] else 1.0), -i))
    title_at = best if like[best] > 0.5 else h1
    attributes = [blocks.node_attributes(node) if first < last else "" for node, (first, last) in enumerate(spans)]
    alike = Counter((parent[node], tag[node], attributes[node]) for node in range(len(tag)))
    siblings = [alike[parent[node], tag[node], attributes[node]] for node in range(len(tag))]
    own = [sum(prose[i] for i in range(n) if node_of[i] == node) for node in range(len(tag))]
    score = own.copy()
    for node, amount in enumerate(own):
        score[parent[node]] += amount
        score[parent[parent[node]]] += 0.5 * amount
    score[0] = -1
    core = score.index(max(score))
    first, last = spans[core]
    seen = Counter(plain)
    article = (head.kind == "article") - (head.kind in ("website", "product", "og:product"))

    def inside(values: list[float], node: int) -> float:
        return sum(values[slice(*spans[node])])

    columns: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for i, node in enumerate(node_of):
        before, so_far = sum(chars[:i]), sum(prose[:i])
        heading = max((k for k in range(i + 1) if level[k]), default=-1)
        row: dict[str, float] = {
            "chars": math.log1p(chars[i]), "words": words[i], "density": density[i], "full_stop": stop[i],
            "digits": blocks.blocks[i, walk.DIGITS] / len(plain[i]), "uppers": blocks.blocks[i, walk.UPPERS] / len(plain[i]),
            "at": i / n, "index": min(i, 300), "from_end": min(n - i, 300), "text_before": before / total, "prose_before": so_far / all_prose,
            "prose_left": math.log1p(sum(prose) - so_far), "tag": tag_odds[node], "level": level[i], "depth": len(around(node)),
            "like_title": like[i], "from_title": min(max(i - title_at, -100), 200) if title_at >= 0 else -200,
            "chars_from_title": math.copysign(math.log1p(abs(before - sum(chars[:title_at]))), i - title_at) if title_at >= 0 else -20,
            "from_h1": min(max(i - h1, -100), 200) if h1 >= 0 else -200,
            "from_heading": min(i - heading, 50) if heading >= 0 else -1, "heading_level": level[heading] if heading >= 0 else 7,
            "told": (len(plain[i]) >= 12 and plain[i][:40] in head.told) if head.told else -1, "page_told": math.log1p(len(head.told)),
            "own_low": names[node][0], "own_high": names[node][1], "said": said[i],
            "names_low": min([0.0, *(names[k][0] for k in around(node))]), "names_high": max([0.0, *(names[k][1] for k in around(node))]),
            "names_sum": sum(sum(names[k]) for k in around(node)),
            "near_low": sum(names[k][0] for k in around(node)[:4]), "near_high": sum(names[k][1] for k in around(node)[:4]),
            "in_core": first <= i < last, "to_core": max(min(i - first if i < first else max(i - last + 1, 0), 100), -100),
            "core_share": inside(prose, core) / all_prose, "core_depth": len(around(node)) - len(around(core)),
            "repeated": min(seen[plain[i]], 10), "siblings": min(siblings[node], 100), "parent_siblings": min(siblings[parent[node]], 100),
            "page_blocks": math.log1p(n), "page_chars": math.log1p(total), "page_linked": sum(linked) / total, "page_prose": sum(prose) / total,
            "page_sentences": math.log1p(sum(sentence)), "page_article": article,
        }  # fmt: skip
        for name in FLAGS:
            row[f"in_{name}"] = any(walk.TAGS[tag[k]] == name for k in around(node))
        holder = node
        for step in range(LEVELS):
            held = max(spans[holder][1] - spans[holder][0], 1)
            row |= {f"share{step}": inside(chars, holder) / total, f"prose{step}": inside(prose, holder) / all_prose}
            row |= {f"linked{step}": inside(linked, holder) / max(inside(chars, holder), 1), f"mean{step}": math.log1p(inside(chars, holder) / held)}
            row |= {f"sentences{step}": inside(sentence, holder) / held, f"holder_tag{step}": tag_odds[holder]}
            holder = above(holder)
        for width in (1, 2, 5, 12):
            near = slice(max(i - width, 0), i + width + 1)
            row[f"prose_near{width}"] = math.log1p(sum(prose[near]))
            row[f"linked_near{width}"] = sum(linked[near]) / max(sum(chars[near]), 1)
            row[f"sentences_near{width}"] = sum(sentence[near]) / len(sentence[near])
        for shift in (-1, 1, 2):
            other = min(max(i + shift, 0), n - 1)
            row |= {f"tag{shift:+d}": tag_odds[node_of[other]], f"said{shift:+d}": said[other]}
        for name in COLUMNS:
            columns[name].append(float(row[name]))
    return columns


@settings(max_examples=120, deadline=None)
@given(
    MARKUP,
    st.sampled_from(["", "The ferry left", "Öl λόγος menu_menu"]),
    st.sampled_from(["", "article", "website"]),
    st.sampled_from(["", f"x {STORY}"]),
)
def test_features_are_those_of_a_plain_computation(pieces: list[str], title: str, kind: str, told: str) -> None:
    """Every column equals what plain Python gives for it, block by block."""
    blocks = blocks_of("".join(pieces))
    if not blocks.plain:
        return
    head = Head(title=title, kind=kind, told=told)
    found = features(blocks, LEXICON, head)
    for name, values in plain_columns(blocks, head).items():
        assert found[COLUMNS.index(name)].tolist() == pytest.approx(values, rel=1e-5, abs=1e-5), name


def test_a_table_finds_its_words() -> None:
    """Each word is found at its place, and no other word has a number."""
    words = {f"word{number}": float(number + 1) for number in range(3000)}
    table = walk.Table(words)
    assert sorted(table.values[table.values > 0].tolist()) == list(words.values())
    assert np.count_nonzero(table.keys) == len(words)
    assert 2 * len(words) <= len(table.keys)
