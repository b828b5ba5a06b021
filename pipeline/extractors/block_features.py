"""What the model looks at: a page's blocks as a matrix of numbers, each column computed over the whole page at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.extractors.blocks import TAG_NUMBER, TAGS, Blocks
from pipeline.extractors.html_metadata import Head

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_NAMES = re.compile(r' (?:class|id|role|itemprop)="([^"]*+)"')
_NAME_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|_")
_END, _BOUNDARY = "_", 1e9
_TEXT_WORD = re.compile(r"\w+")
SHORT_CHARS = 200
"""The words of longer blocks than this are not looked up."""

_FLAGS = ("nav", "footer", "aside", "header", "article", "main", "figure")
_HEADINGS = tuple(TAG_NUMBER[f"h{level}"] for level in range(1, 7))
_LEVELS = 5
_WINDOWS = (1, 2, 5, 12)

_LETTER, _DIGIT, _UPPER, _COMMA, _STOP, _WIDE, _BLANK, _MARK = 1, 2, 3, 4, 5, 6, 7, 8


def _character_classes() -> NDArray[np.uint8]:
    """A class for each code point below 0x10000; those above count as wide."""
    classes = np.zeros(0x10001, np.uint8)
    for code in range(0x3000):
        character = chr(code)
        if character.isdigit():
            classes[code] = _DIGIT
        elif character.isupper():
            classes[code] = _UPPER
        elif character.isalpha():
            classes[code] = _LETTER
        elif character.isspace():
            classes[code] = _BLANK
    classes[0x3000:0xA000] = classes[0xAC00:0xD7B0] = classes[0xF900:0xFB00] = classes[0x10000] = _WIDE
    classes[0xA000:0xAC00] = _LETTER
    classes[0xFF00:0xFFF0] = _MARK
    for character in ",;:،、，；：":
        classes[ord(character)] = _COMMA
    for character in ".!?。！？…؟।":
        classes[ord(character)] = _STOP
    for character in "|»›©®™•·→▶✓#@":
        classes[ord(character)] = _MARK
    return classes


_CLASSES = _character_classes()


@dataclass(frozen=True)
class Lexicon:
    """How much more often a word stands in main text than elsewhere, as natural logarithms of odds.

    ``names``: words of ``class, id, role, itemprop``. ``words``: words of short blocks. ``tags``: of the innermost element.
    """

    names: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def parting_names(self) -> dict[str, float]:
        """``names`` with the sign that ends an element's words."""
        return {**self.names, _END: _BOUNDARY}

    @cached_property
    def parting_words(self) -> dict[str, float]:
        """``words`` with the sign that ends a block's words."""
        return {**self.words, _END: _BOUNDARY}


def name_words(attributes: Sequence[str]) -> list[str]:
    """The words of the class, id, role and itemprop of many elements in lower case, a ``_`` after each element's."""
    joined = "\0".join(attributes).replace("_", " ").replace("\0", ' id="_"')
    given = " ".join(_NAMES.findall(joined))
    return [*map(str.lower, _NAME_WORD.findall(given)), _END]


def text_words(texts: Sequence[str]) -> list[str]:
    """The words of many texts in lower case, a ``_`` after each text's; none of a long one."""
    joined = "\n".join([text if len(text) <= SHORT_CHARS else "" for text in texts])
    return [*_TEXT_WORD.findall(joined.lower().replace("_", " ").replace("\n", " _ ")), _END]


def parted(words: Sequence[str]) -> list[list[str]]:
    """What ``name_words`` and ``text_words`` give as a list for each element or text."""
    out: list[list[str]] = [[]]
    for word in words:
        if word == _END:
            out.append([])
        else:
            out[-1].append(word)
    return out[:-1]


def _odds(words: Sequence[str], odds: Mapping[str, float]) -> tuple[Floats, Ints]:
    """Log-odds of the words, 0 for unknown ones and for the ``_`` that end each part, and where each part begins."""
    values = np.fromiter(map(odds.get, words, repeat(0.0)), float, len(words))
    ends = np.flatnonzero(values == _BOUNDARY)
    values[ends] = 0.0
    return values, np.concatenate([[0], ends[:-1] + 1])


class Features:
    """Collects named columns for the blocks of a page."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.columns: list[Any] = []

    def add(self, name: str, values: Any) -> None:
        """One column: a number a block."""
        self.names.append(name)
        self.columns.append(values)

    def matrix(self, num_blocks: int, names: Sequence[str] = ()) -> NDArray[np.float32]:
        """These columns (none named: all) as float32, blocks x columns."""
        chosen = [self.columns[self.names.index(name)] for name in names] if names else self.columns
        out = np.empty((num_blocks, len(chosen)), np.float32)
        for at, column in enumerate(chosen):
            out[:, at] = column
        return out


def _sums(values: Floats) -> Floats:
    out = np.zeros(len(values) + 1)
    np.cumsum(values, out=out[1:])
    return out


def features(blocks: Blocks, lexicon: Lexicon, head: Head) -> Features:
    """The columns for the blocks of a page (at least one)."""
    out = Features()
    n = len(blocks.plain)
    index = np.arange(n)
    node = np.array(blocks.nodes)
    parent = np.array(blocks.node_parents)
    tag = np.array(blocks.node_tags)
    first, last = np.array(blocks.node_first), np.array(blocks.node_last)
    linked = np.array(blocks.linked, float)

    # the text itself
    joined = "\n".join(blocks.plain) + "\n"
    codes = np.frombuffer(joined.encode("utf-32-le", "replace"), np.uint32)
    kinds = _CLASSES[np.minimum(codes, 0x10000)]
    lengths = np.array([len(text) for text in blocks.plain])
    starts = np.zeros(n, np.int64)
    np.cumsum(lengths[:-1] + 1, out=starts[1:])

    def count(kind: int) -> Floats:
        return np.add.reduceat((kinds == kind).astype(np.int32), starts).astype(float)

    wide = count(_WIDE)
    chars = lengths + wide * 2.0
    linked = linked * (chars / np.maximum(lengths, 1))
    words = count(_BLANK) + wide * 0.6
    digits, uppers = count(_DIGIT), count(_UPPER)
    density = linked / chars
    ends = kinds[starts + lengths - 1]
    full_stop = (ends == _STOP).astype(float)
    out.add("chars", np.log1p(chars))
    out.add("words", words)
    out.add("density", density)
    out.add("digits", digits / lengths)
    out.add("uppers", uppers / lengths)
    out.add("full_stop", full_stop)
    sentence = full_stop * (words >= 6) * (density < 0.5)
    prose = np.where((density < 0.34) & ((words >= 12) | (sentence > 0)), chars, 0.0)

    # where it stands
    before = _sums(chars)
    total = max(before[-1], 1.0)
    linked_sums, prose_sums, sentence_sums = _sums(linked), _sums(prose), _sums(sentence)
    out.add("at", index / n)
    out.add("index", np.minimum(index, 300))
    out.add("from_end", np.minimum(n - index, 300))
    out.add("text_before", before[:-1] / total)
    out.add("prose_before", prose_sums[:-1] / max(prose_sums[-1], 1.0))
    out.add("prose_left", np.log1p(prose_sums[-1] - prose_sums[:-1]))

    # tags around it
    tag_odds = np.array([lexicon.tags.get(name, 0.0) for name in TAGS])
    out.add("tag", tag_odds[tag[node]])
    heading = (tag[node] >= _HEADINGS[0]) & (tag[node] <= _HEADINGS[-1])
    level = np.where(heading, tag[node] - _HEADINGS[0] + 1, 0)
    out.add("level", level)
    bits = np.zeros(len(TAGS), np.int64)
    for at, name in enumerate(_FLAGS):
        bits[TAG_NUMBER[name]] = 1 << at
    tables = _inherited(bits[tag], parent)
    flags = tables[node]
    for at, name in enumerate(_FLAGS):
        out.add(f"in_{name}", (flags >> at) & 1)
    depth = _depths(parent)
    out.add("depth", depth[node])

    # headings
    h1 = np.flatnonzero(level == 1)
    spoken = text_words(blocks.plain)
    said, said_at = _odds(spoken, lexicon.parting_words)
    said_words = np.diff(np.append(said_at, len(said))) - 1
    likeness = _likeness(spoken, said_at, said_words, set(_TEXT_WORD.findall(head.title.lower())))
    out.add("like_title", likeness)
    title_at = int(np.argmax(likeness * (1 + 0.5 * (level > 0)) ))
    title_at = title_at if likeness[title_at] > 0.5 else (int(h1[0]) if len(h1) else -1)
    out.add("from_title", np.minimum(np.maximum(index - title_at, -100), 200) if title_at >= 0 else np.full(n, -200))
    out.add("chars_from_title", np.log1p(np.abs(before[:-1] - before[title_at])) * np.sign(index - title_at) if title_at >= 0 else np.full(n, -20))
    out.add("from_h1", np.minimum(np.maximum(index - h1[0], -100), 200) if len(h1) else np.full(n, -200))
    last_heading = np.maximum.accumulate(np.where(level > 0, index, -1))
    out.add("from_heading", np.where(last_heading >= 0, np.minimum(index - last_heading, 50), -1))
    out.add("heading_level", np.where(last_heading >= 0, level[last_heading], 7))
    out.add("told", _told(blocks.plain, lengths, head.told))
    out.add("page_told", np.full(n, np.log1p(len(head.told))))

    # elements and the share of the page's text that they hold
    inside = before[last] - before[first]
    inside_linked = linked_sums[last] - linked_sums[first]
    inside_prose = prose_sums[last] - prose_sums[first]
    inside_sentences = sentence_sums[last] - sentence_sums[first]
    inside_blocks = last - first
    all_prose = max(prose_sums[-1], 1.0)
    holder, up = node, _up(parent, first, last)
    kind, low, high = _names(blocks, lexicon.parting_names)
    each = np.maximum(inside_blocks, 1)
    held = {
        "share": inside / total,
        "prose": inside_prose / all_prose,
        "linked": inside_linked / np.maximum(inside, 1),
        "mean": np.log1p(inside / each),
        "sentences": inside_sentences / each,
        "holder_tag": tag_odds[tag],
    }
    for step in range(_LEVELS):
        for name, values in held.items():
            out.add(f"{name}{step}", values[holder])
        holder = up[holder]

    # names
    names_low, names_high = _running(low, parent, np.minimum), _running(high, parent, np.maximum)
    sums = _running(low + high, parent, np.add)
    out.add("own_low", low[node])
    out.add("own_high", high[node])
    out.add("names_low", names_low[node])
    out.add("names_high", names_high[node])
    out.add("names_sum", sums[node])
    near = node
    near_low, near_high = low[node], high[node]
    for _ in range(3):
        near = parent[near]
        near_low, near_high = near_low + low[near], near_high + high[near]
    out.add("near_low", near_low)
    out.add("near_high", near_high)
    word_scores = np.add.reduceat(said, said_at) / np.maximum(said_words, 1)
    out.add("said", word_scores)

    # the element with most prose of its own
    main = _main_node(prose, node, parent, inside_prose)
    out.add("in_core", (index >= first[main]) & (index < last[main]))
    out.add("to_core", np.where(index < first[main], index - first[main], np.where(index >= last[main], index - last[main] + 1, 0)).clip(-100, 100))
    out.add("core_share", np.full(n, inside_prose[main] / all_prose))
    out.add("core_depth", depth[node] - depth[main])

    # neighbours
    for width in _WINDOWS:
        low_edge, high_edge = np.maximum(index - width, 0), np.minimum(index + width + 1, n)
        there = np.maximum(before[high_edge] - before[low_edge], 1.0)
        if width < 5:
            out.add(f"prose_near{width}", np.log1p(prose_sums[high_edge] - prose_sums[low_edge]))
        if width > 1:
            out.add(f"linked_near{width}", (linked_sums[high_edge] - linked_sums[low_edge]) / there)
            out.add(f"sentences_near{width}", (sentence_sums[high_edge] - sentence_sums[low_edge]) / (high_edge - low_edge))
    for shift in (-1, 1, 2):
        other = np.minimum(np.maximum(index + shift, 0), n - 1)
        if shift < 2:
            out.add(f"tag{shift:+d}", tag_odds[tag[node[other]]])
        out.add(f"said{shift:+d}", word_scores[other])

    # repetition
    seen = Counter(blocks.plain)
    out.add("repeated", np.minimum([seen[text] for text in blocks.plain], 10))
    alike = _alike(kind, tag, parent)
    out.add("siblings", np.minimum(alike[node], 100))
    out.add("parent_siblings", np.minimum(alike[parent[node]], 100))

    # the page
    out.add("page_blocks", np.full(n, np.log1p(n)))
    out.add("page_chars", np.full(n, np.log1p(total)))
    out.add("page_linked", np.full(n, linked_sums[-1] / total))
    out.add("page_prose", np.full(n, prose_sums[-1] / total))
    out.add("page_sentences", np.full(n, np.log1p(sentence_sums[-1])))
    out.add("page_article", np.full(n, float(head.kind == "article") - float(head.kind in ("website", "product", "og:product"))))
    return out


def _inherited(bits: Ints, parent: Ints) -> Ints:
    """Bits of each element and all around it."""
    result: Ints = _running(bits, parent, np.bitwise_or)
    return result


def _running(values: Any, parent: Ints, combine: Any) -> Any:
    """``combine`` over each element and all elements around it, by doubling (elements come after their parents; the root is its own)."""
    if combine is np.add:
        values = values.copy()
        values[0] = 0
    up = parent
    while up.any():
        values = combine(values, values[up])
        up = up[up]
    return combine(values, values[up]) if combine is not np.add else values


def _depths(parent: Ints) -> Ints:
    ones = np.ones(len(parent), np.int64)
    result: Ints = _running(ones, parent, np.add)
    return result


def _up(parent: Ints, first: Ints, last: Ints) -> Ints:
    """The next element around each that holds more blocks than it does: wrappers of a single child say nothing new."""
    size = last - first
    up = parent
    for _ in range(6):
        same = (size[up] == size) & (up > 0)
        if not same.any():
            break
        up = np.where(same, parent[up], up)
    return up


def _likeness(words: Sequence[str], starts: Ints, counts: Ints, title: set[str]) -> Floats:
    """Share of words in common with the page's title (Dice's measure), of short blocks."""
    shared = np.add.reduceat(np.fromiter(map(title.__contains__, words), float, len(words)), starts)
    likeness: Floats = 2 * shared / np.maximum(counts + len(title), 1)
    return likeness


def _told(plain: Sequence[str], lengths: Ints, told: str) -> Floats:
    """1 for blocks whose beginning stands in what the page's data says of it, else 0; -1 for all when it says nothing."""
    if not told:
        return np.full(len(plain), -1.0)
    out = np.zeros(len(plain))
    for at in np.flatnonzero(lengths >= 12).tolist():
        out[at] = plain[at][:40] in told
    return out


def _main_node(prose: Floats, node: Ints, parent: Ints, inside_prose: Floats) -> int:
    """The element with the most prose near it: its own blocks' and half of its children's."""
    own = np.bincount(node, prose, len(parent))
    score = own + np.bincount(parent, own, len(parent)) + 0.5 * np.bincount(parent[parent], own, len(parent))
    score[0] = -1
    return int(np.argmax(score))


def _names(blocks: Blocks, odds: Mapping[str, float]) -> tuple[Ints, Floats, Floats]:
    """For each element a number for its attributes, and the least and greatest log-odds of its name words; 0 for those without text."""
    attributes, known = blocks.attributes, {"": 0}
    number = known.setdefault
    spans = zip(blocks.node_tokens, blocks.node_first, blocks.node_last, strict=True)
    kind = np.array([number(attributes[token], len(known)) if first < last else 0 for token, first, last in spans])
    kind[0] = 0
    values, starts = _odds(name_words(list(known)), odds)
    return kind, np.minimum.reduceat(values, starts)[kind], np.maximum.reduceat(values, starts)[kind]


def _alike(kind: Ints, tag: Ints, parent: Ints) -> Ints:
    """How many children of its parent have each element's tag and attributes."""
    _, places, counts = np.unique((parent * len(parent) + kind) * len(TAGS) + tag, return_inverse=True, return_counts=True)
    result: Ints = counts[places]
    return result
