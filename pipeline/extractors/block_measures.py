"""The compiled features: a column of numbers for each name in ``COLUMNS``, over all blocks of a page."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from pipeline.compiled import compiled
from pipeline.extractors.block_walk import (
    ATTRIBUTES,
    BEHIND,
    BLANKS,
    CHARS,
    DIGITS,
    FIRST,
    GT,
    KIND,
    LAST,
    LINKED,
    NODE,
    OFFSET,
    PARENT,
    SEED,
    STOP,
    TAG_NUMBER,
    TOKEN,
    UPPERS,
    WIDE,
    WORD,
    mixed,
    place,
    point,
    width_of,
)

SHORT_CHARS: Final = 200
"""The words of longer blocks than this are not looked up."""
LEVELS: Final = 5
FLAGS = ("nav", "footer", "aside", "header", "article", "main", "figure")
_HELD = ("share", "prose", "linked", "mean", "sentences", "holder_tag")
COLUMNS = (
    *("chars", "words", "density", "digits", "uppers", "full_stop"),
    *("at", "index", "from_end", "text_before", "prose_before", "prose_left"),
    *("tag", "level", *(f"in_{name}" for name in FLAGS), "depth"),
    *("like_title", "from_title", "chars_from_title", "from_h1", "from_heading", "heading_level", "told", "page_told"),
    *(f"{name}{step}" for step in range(LEVELS) for name in _HELD),
    *("own_low", "own_high", "names_low", "names_high", "names_sum", "near_low", "near_high", "said"),
    *("in_core", "to_core", "core_share", "core_depth"),
    *("prose_near1", "prose_near2", "linked_near2", "sentences_near2", "linked_near5", "sentences_near5", "linked_near12", "sentences_near12"),
    *("tag-1", "said-1", "tag+1", "said+1", "said+2", "repeated", "siblings", "parent_siblings"),
    *("page_blocks", "page_chars", "page_linked", "page_prose", "page_sentences", "page_article"),
)
"""What is known of each block; docs/html.md says it in words."""
_TEXT, _PLACE, _TAG, _TITLE, _TOLD, _HOLDER, _NAMES, _SAID, _CORE, _NEAR, _AROUND, _PAGE = (
    COLUMNS.index(first)
    for first in ("chars", "at", "tag", "like_title", "told", "share0", "own_low", "said", "in_core", "prose_near1", "tag-1", "page_blocks")
)
_H1, _H6 = TAG_NUMBER["h1"], TAG_NUMBER["h6"]
_FLAG_BITS = np.zeros(len(TAG_NUMBER), np.int64)
for _bit, _name in enumerate(FLAGS):
    _FLAG_BITS[TAG_NUMBER[_name]] = 1 << _bit

T_CHARS, T_WORDS, T_LINKED, T_PROSE, T_SENTENCE = range(5)
S_CHARS, S_LINKED, S_PROSE, S_SENTENCE = range(4)


@compiled
def _say(
    text: np.ndarray, start: int, end: int, classes: np.ndarray, lower: np.ndarray,
    keys: np.ndarray, odds: np.ndarray, title: np.ndarray,
) -> tuple[int, float, int]:  # fmt: skip
    """Number of words from ``start`` to ``end``, the sum of their log-odds, and how many of them stand in ``title`` (a table)."""
    count = shared = 0
    total = 0.0
    hashed, at = SEED, start
    while at <= end:
        code: Any = 32
        width = 1
        if at < end:
            code = np.int64(text[at])
            if code >= 0x80:
                width = width_of(text[at])
                code = point(text, at, width)
        at += width
        if classes[code] & WORD:
            hashed = mixed(hashed, lower[code] if code < len(lower) else code)
        elif hashed != SEED:
            count += 1
            total += odds[place(keys, hashed)]
            shared += title[place(title, hashed)] != 0
            hashed = SEED
    return count, total, shared


@compiled
def _is_name(data: np.ndarray, start: int, end: int) -> bool:
    """Whether this attribute's name is ``class``, ``id``, ``role`` or ``itemprop``."""
    length = end - start
    if length == 2:
        return bool(data[start] == 105 and data[start + 1] == 100)
    if length == 4:
        return bool(data[start] == 114 and data[start + 1] == 111 and data[start + 2] == 108 and data[start + 3] == 101)
    if length == 5:
        return bool(data[start] == 99 and data[start + 1] == 108 and data[start + 2] == 97 and data[start + 3] == 115 and data[start + 4] == 115)
    return bool(
        length == 8 and data[start] == 105 and data[start + 1] == 116 and data[start + 2] == 101 and data[start + 3] == 109
        and data[start + 4] == 112 and data[start + 5] == 114 and data[start + 6] == 111 and data[start + 7] == 112
    )  # fmt: skip


@compiled
def _name_odds(data: np.ndarray, at: int, end: int, keys: np.ndarray, odds: np.ndarray) -> tuple[float, float]:
    """The least and the greatest log-odds (0 among them) of the words of a value: runs of ASCII letters, parted where a capital begins one."""
    low = high = 0.0
    while at < end:
        if not 97 <= data[at] | 32 <= 122:
            at += 1
            continue
        capitals = data[at] <= 90 and at + 1 < end and 65 <= data[at + 1] <= 90
        hashed = mixed(SEED, data[at] | 32)
        at += 1
        while at < end and ((65 <= data[at] <= 90) if capitals else (97 <= data[at] <= 122)):
            hashed = mixed(hashed, data[at] | 32)
            at += 1
        value = odds[place(keys, hashed)]
        low, high = min(low, value), max(high, value)
    return low, high


@compiled
def _tag_odds(data: np.ndarray, at: int, end: int, keys: np.ndarray, odds: np.ndarray) -> tuple[float, float]:
    """The least and the greatest log-odds (0 among them) of the words in a tag's class, id, role and itemprop."""
    low = high = 0.0
    while at < end:
        while at < end and data[at] <= 32:
            at += 1
        name = at
        while at < end and data[at] != 61 and data[at] > 32:
            at += 1
        if at + 1 >= end or data[at] != 61 or data[at + 1] != 34:
            at += at < end and data[at] == 61
            continue
        start = at + 2
        stop = start
        while stop < end and data[stop] != 34:
            stop += 1
        if _is_name(data, name, at):
            one, other = _name_odds(data, start, stop, keys, odds)
            low, high = min(low, one), max(high, other)
        at = stop + 1
    return low, high


@compiled
def _count_alike(keys: np.ndarray, counts: np.ndarray) -> None:
    """How often each key (none is 0) is there."""
    size = 16
    while size < 2 * len(keys):
        size *= 2
    table, seen = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    for at in range(len(keys)):
        where = place(table, keys[at])
        table[where] = keys[at]
        seen[where] += 1
    for at in range(len(keys)):
        counts[at] = seen[place(table, keys[at])]


@compiled
def _hash_bytes(data: np.ndarray, at: int, end: int, hashed: np.uint64) -> np.uint64:
    for k in range(at, end):
        hashed = mixed(hashed, data[k])
    return hashed | np.uint64(1)


@compiled
def _measure_text(blocks: np.ndarray, totals: np.ndarray, sums: np.ndarray, out: np.ndarray) -> None:
    """Columns of each block's own text; ``totals`` (blocks x T_) and their running ``sums`` (blocks + 1 x S_)."""
    for k in range(sums.shape[1]):
        sums[0, k] = 0.0
    for i in range(len(blocks)):
        block = blocks[i]
        length, wide = float(block[CHARS]), float(block[WIDE])
        chars = length + 2.0 * wide
        words = block[BLANKS] + 1 + 0.6 * wide
        linked = block[LINKED] * (chars / length)
        density = linked / chars
        full_stop = 1.0 if block[LAST] == STOP else 0.0
        sentence = full_stop if words >= 6 and density < 0.5 else 0.0
        prose = chars if density < 0.34 and (words >= 12 or sentence > 0) else 0.0
        totals[i, T_CHARS], totals[i, T_WORDS], totals[i, T_LINKED] = chars, words, linked
        totals[i, T_PROSE], totals[i, T_SENTENCE] = prose, sentence
        sums[i + 1, S_CHARS], sums[i + 1, S_LINKED] = sums[i, S_CHARS] + chars, sums[i, S_LINKED] + linked
        sums[i + 1, S_PROSE], sums[i + 1, S_SENTENCE] = sums[i, S_PROSE] + prose, sums[i, S_SENTENCE] + sentence
        out[_TEXT, i], out[_TEXT + 1, i], out[_TEXT + 2, i] = math.log1p(chars), words, density
        out[_TEXT + 3, i], out[_TEXT + 4, i], out[_TEXT + 5, i] = block[DIGITS] / length, block[UPPERS] / length, full_stop


@compiled
def _measure_place(sums: np.ndarray, out: np.ndarray) -> None:
    n = out.shape[1]
    total, prose = max(sums[n, S_CHARS], 1.0), sums[n, S_PROSE]
    for i in range(n):
        out[_PLACE, i], out[_PLACE + 1, i], out[_PLACE + 2, i] = i / n, min(i, 300), min(n - i, 300)
        out[_PLACE + 3, i], out[_PLACE + 4, i] = sums[i, S_CHARS] / total, sums[i, S_PROSE] / max(prose, 1.0)
        out[_PLACE + 5, i] = math.log1p(prose - sums[i, S_PROSE])


@compiled
def _measure_headings(level: np.ndarray, likeness: np.ndarray, sums: np.ndarray, out: np.ndarray) -> None:
    """Columns of the distance from the title, the first h1 and the last heading."""
    n = len(level)
    title, h1, best = -1, -1, 0.0
    for i in range(n):
        score = likeness[i] * (1.5 if level[i] > 0 else 1.0)
        if score > best:
            title, best = i, score
        if level[i] == 1 and h1 < 0:
            h1 = i
    if title < 0 or likeness[title] <= 0.5:
        title = h1
    last = -1
    for i in range(n):
        if level[i] > 0:
            last = i
        away = i - title
        out[_TITLE, i] = likeness[i]
        out[_TITLE + 1, i] = min(max(away, -100), 200) if title >= 0 else -200
        sign = (away > 0) - (away < 0)
        out[_TITLE + 2, i] = math.log1p(abs(sums[i, S_CHARS] - sums[title, S_CHARS])) * sign if title >= 0 else -20
        out[_TITLE + 3, i] = min(max(i - h1, -100), 200) if h1 >= 0 else -200
        out[_TITLE + 4, i] = min(i - last, 50) if last >= 0 else -1
        out[_TITLE + 5, i] = level[last] if last >= 0 else 7


@compiled
def _measure_holders(nodes: np.ndarray, blocks: np.ndarray, tag_odds: np.ndarray, sums: np.ndarray, out: np.ndarray) -> None:
    """Columns of the elements around each block: those that hold more blocks than the one inside them, and what share of the page they hold."""
    n, m = len(blocks), len(nodes)
    up, held = np.zeros(m, np.int64), np.zeros((m, 6))
    total, all_prose = max(sums[n, S_CHARS], 1.0), max(sums[n, S_PROSE], 1.0)
    for node in range(m):
        first, behind = nodes[node, FIRST], nodes[node, BEHIND]
        if first == behind:
            continue
        above = nodes[node, PARENT]
        for _ in range(6):
            if above == 0 or nodes[above, BEHIND] - nodes[above, FIRST] != behind - first:
                break
            above = nodes[above, PARENT]
        up[node] = above
        inside = sums[behind, S_CHARS] - sums[first, S_CHARS]
        held[node, 0] = inside / total
        held[node, 1] = (sums[behind, S_PROSE] - sums[first, S_PROSE]) / all_prose
        held[node, 2] = (sums[behind, S_LINKED] - sums[first, S_LINKED]) / max(inside, 1.0)
        held[node, 3] = math.log1p(inside / (behind - first))
        held[node, 4] = (sums[behind, S_SENTENCE] - sums[first, S_SENTENCE]) / (behind - first)
        held[node, 5] = tag_odds[nodes[node, KIND]]
    for i in range(n):
        holder = blocks[i, NODE]
        for step in range(LEVELS):
            for k in range(6):
                out[_HOLDER + 6 * step + k, i] = held[holder, k]
            holder = up[holder]


@compiled
def _measure_nodes(
    data: np.ndarray, tokens: np.ndarray, nodes: np.ndarray, blocks: np.ndarray,
    keys: np.ndarray, odds: np.ndarray, depth: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """Columns of the elements around each block: flags, depth, the log-odds of their names, and how many siblings are like them."""
    m = len(nodes)
    own, around, flags = np.zeros((m, 2)), np.zeros((m, 3)), np.zeros(m, np.int64)
    like, alike = np.empty(m, np.uint64), np.empty(m, np.int64)
    for node in range(m):
        above = nodes[node, PARENT]
        kind = SEED
        if nodes[node, FIRST] < nodes[node, BEHIND] and node:
            start, end = tokens[nodes[node, TOKEN], ATTRIBUTES], tokens[nodes[node, TOKEN], GT] - 1
            if start < end:
                own[node, 0], own[node, 1] = _tag_odds(data, start, end, keys, odds)
                kind = _hash_bytes(data, start, end, kind)
        like[node] = mixed(mixed(kind, above), nodes[node, KIND]) | np.uint64(1)
        flags[node] = flags[above] | _FLAG_BITS[nodes[node, KIND]]
        depth[node] = depth[above] + 1 if node else 0
        around[node, 0], around[node, 1] = min(around[above, 0], own[node, 0]), max(around[above, 1], own[node, 1])
        around[node, 2] = around[above, 2] + (own[node, 0] + own[node, 1])
    _count_alike(like, alike)
    for i in range(len(blocks)):
        node = blocks[i, NODE]
        for bit in range(len(FLAGS)):
            out[_TAG + 2 + bit, i] = (flags[node] >> bit) & 1
        out[_TAG + 2 + len(FLAGS), i] = depth[node]
        low, high, near = own[node, 0], own[node, 1], node
        for _ in range(3):
            near = nodes[near, PARENT]
            low, high = low + own[near, 0], high + own[near, 1]
        out[_NAMES, i], out[_NAMES + 1, i] = own[node, 0], own[node, 1]
        out[_NAMES + 2, i], out[_NAMES + 3, i], out[_NAMES + 4, i] = around[node, 0], around[node, 1], around[node, 2]
        out[_NAMES + 5, i], out[_NAMES + 6, i] = low, high
        out[_AROUND + 6, i] = min(alike[node], 100)
        out[_AROUND + 7, i] = min(alike[nodes[node, PARENT]], 100)


@compiled
def _measure_core(blocks: np.ndarray, nodes: np.ndarray, totals: np.ndarray, sums: np.ndarray, depth: np.ndarray, out: np.ndarray) -> None:
    """Columns of the core: the element with most prose near it, its own blocks' and half of its grandchildren's."""
    n, m = len(blocks), len(nodes)
    own, score = np.zeros(m), np.zeros(m)
    for i in range(n):
        own[blocks[i, NODE]] += totals[i, T_PROSE]
    for node in range(m):
        above = nodes[node, PARENT]
        score[node] += own[node]
        score[above] += own[node]
        score[nodes[above, PARENT]] += 0.5 * own[node]
    score[0] = -1
    core = 0
    for node in range(1, m):
        if score[node] > score[core]:
            core = node
    first, behind = nodes[core, FIRST], nodes[core, BEHIND]
    share = (sums[behind, S_PROSE] - sums[first, S_PROSE]) / max(sums[n, S_PROSE], 1.0)
    for i in range(n):
        away = i - first if i < first else (i - behind + 1 if i >= behind else 0)
        out[_CORE, i], out[_CORE + 1, i] = first <= i < behind, min(max(away, -100), 100)
        out[_CORE + 2, i], out[_CORE + 3, i] = share, depth[blocks[i, NODE]] - depth[core]


@compiled
def _measure_neighbours(sums: np.ndarray, said: np.ndarray, tags: np.ndarray, out: np.ndarray) -> None:
    n = len(said)
    for i in range(n):
        for k, width in enumerate((1, 2, 5, 12)):
            low, high = max(i - width, 0), min(i + width + 1, n)
            chars = max(sums[high, S_CHARS] - sums[low, S_CHARS], 1.0)
            if k < 2:
                out[_NEAR + k, i] = math.log1p(sums[high, S_PROSE] - sums[low, S_PROSE])
            if k > 0:
                out[_NEAR + 2 * k, i] = (sums[high, S_LINKED] - sums[low, S_LINKED]) / chars
                out[_NEAR + 2 * k + 1, i] = (sums[high, S_SENTENCE] - sums[low, S_SENTENCE]) / (high - low)
        last, following, second = max(i - 1, 0), min(i + 1, n - 1), min(i + 2, n - 1)
        out[_SAID, i] = said[i]
        out[_AROUND, i], out[_AROUND + 1, i] = tags[last], said[last]
        out[_AROUND + 2, i], out[_AROUND + 3, i], out[_AROUND + 4, i] = tags[following], said[following], said[second]


@compiled
def _measure_page(sums: np.ndarray, told_chars: int, article: float, out: np.ndarray) -> None:
    n = out.shape[1]
    total, sentences = max(sums[n, S_CHARS], 1.0), sums[n, S_SENTENCE]
    for i in range(n):
        out[_TOLD + 1, i] = math.log1p(told_chars)
        out[_PAGE, i], out[_PAGE + 1, i] = math.log1p(n), math.log1p(total)
        out[_PAGE + 2, i], out[_PAGE + 3, i] = sums[n, S_LINKED] / total, sums[n, S_PROSE] / total
        out[_PAGE + 4, i], out[_PAGE + 5, i] = math.log1p(sentences), article


@compiled
def measure(
    data: np.ndarray, tokens: np.ndarray, blocks: np.ndarray, nodes: np.ndarray, text: np.ndarray, classes: np.ndarray, lower: np.ndarray,
    name_keys: np.ndarray, names: np.ndarray, word_keys: np.ndarray, words: np.ndarray, tag_odds: np.ndarray,
    title: np.ndarray, title_words: int, told: np.ndarray, told_chars: int, article: float, out: np.ndarray,
) -> None:  # fmt: skip
    """All columns of a page with blocks.

    data, text: uint8, the page and its blocks; classes, lower: of characters; names, words: float64, log-odds at the places of their
    ``keys``; tag_odds: float64 by number; title: keys of the title's words; told: int8[blocks]; out: float32[len(COLUMNS), blocks]
    """
    n = len(blocks)
    totals, sums = np.empty((n, 5)), np.empty((n + 1, 4))
    level, said, likeness, tags = np.zeros(n, np.int64), np.zeros(n), np.zeros(n), np.zeros(n)
    same, repeated = np.empty(n, np.uint64), np.empty(n, np.int64)
    depth = np.zeros(len(nodes), np.int64)
    for i in range(n):
        kind = nodes[blocks[i, NODE], KIND]
        tags[i] = tag_odds[kind]
        level[i] = kind - _H1 + 1 if _H1 <= kind <= _H6 else 0
        out[_TAG, i], out[_TAG + 1, i] = tags[i], level[i]
        start, end = blocks[i, OFFSET], (blocks[i + 1, OFFSET] if i + 1 < n else len(text)) - 1
        same[i] = _hash_bytes(text, start, end, SEED)
        if blocks[i, CHARS] <= SHORT_CHARS:
            count, total, shared = _say(text, start, end, classes, lower, word_keys, words, title)
            said[i] = total / max(count, 1)
            likeness[i] = 2 * shared / max(count + title_words, 1)
        out[_TOLD, i] = told[i]
    _count_alike(same, repeated)
    for i in range(n):
        out[_AROUND + 5, i] = min(repeated[i], 10)
    _measure_text(blocks, totals, sums, out)
    _measure_place(sums, out)
    _measure_headings(level, likeness, sums, out)
    _measure_holders(nodes, blocks, tag_odds, sums, out)
    _measure_nodes(data, tokens, nodes, blocks, name_keys, names, depth, out)
    _measure_core(blocks, nodes, totals, sums, depth, out)
    _measure_neighbours(sums, said, tags, out)
    _measure_page(sums, told_chars, article, out)
