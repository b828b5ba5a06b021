"""The compiled pass over a page: balanced markup in UTF-8 becomes tags, blocks of text and elements, as rows of numbers."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import compiled

TAGS = (
    *("?", "html", "body", "div", "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "dl", "dt", "dd", "table", "thead", "tbody"),
    *("tfoot", "tr", "td", "th", "caption", "pre", "blockquote", "article", "section", "main", "header", "footer", "nav", "aside", "form"),
    *("fieldset", "figure", "figcaption", "address", "details", "summary", "center", "menu", "dir", "legend", "hgroup", "search", "dialog"),
    *("button", "label", "noscript", "math", "custom"),
)
"""The tags that part blocks, by number; ``?`` stands for none and ``custom`` for all with a hyphen in their names."""
MARKS = ("b", "strong", "em", "i", "del", "s", "strike", "code", "kbd", "samp", "tt", "sup", "img")
"""Tags inside lines that Markdown has signs for (``img``: pictures of formulas)."""
NAMES = (*TAGS, *MARKS, "a", "br", "hr")
"""All tags that are told apart, by number; 0 stands for the others."""
TAG_NUMBER = {tag: number for number, tag in enumerate(NAMES)}
CLOSING: Final = 128
"""Added to the number of an end tag."""

_INLINE, _OPEN, _CLOSE, _RULE, _LINK, _LINK_END, _BREAK = range(7)

LT, ATTRIBUTES, GT, TAG, NUM_TOKEN_FIELDS = range(5)
"""Of each tag: where it begins, where its attributes begin, where its text begins, and its number. The text reaches to the next tag."""
START, END, NODE, OFFSET, CHARS, LINKED, WIDE, BLANKS, DIGITS, UPPERS, LAST, MARKED, GAP, NUM_BLOCK_FIELDS = range(14)
"""Of each block: its tags (from, to), the element around it, where its text begins in the text of the page, how many characters it has,
how many of them are inside links, wide, blank, digits and capitals, the class of its last one, and whether it holds marks (1) or links (2).
``GAP`` is of no meaning afterwards.
"""
KIND, PARENT, TOKEN, FIRST, BEHIND, NUM_NODE_FIELDS = range(6)
"""Of each element: the number of its tag, its parent, its tag in the page, and the blocks (from, to) inside it."""

DIGIT, UPPER, LETTER, STOP, WIDE_LETTER, BLANK, MARK = 2, 3, 1, 5, 6, 7, 8
"""Classes of characters; letters, commas and all else need not be told apart."""
WORD: Final = 16
"""Added to the class of a character that words are made of (``\\w`` without ``_``)."""
CLASS: Final = 15

_SPACE, _EQUALS, _SLASH = np.uint8(32), np.uint8(61), np.uint8(47)
_PRIME: Final = np.uint64(0x100000001B3)
SEED: Final = np.uint64(0xCBF29CE484222325)
"""FNV-1a over code points: its 64-bit constants."""


def _character_classes() -> NDArray[np.uint8]:
    """A class for each code point below 0x10000; those above count as wide."""
    classes = np.zeros(0x10001, np.uint8)
    for code in range(0x3000):
        character = chr(code)
        if character.isdigit():
            classes[code] = DIGIT
        elif character.isupper():
            classes[code] = UPPER
        elif character.isalpha():
            classes[code] = LETTER
        elif character.isspace():
            classes[code] = BLANK
    classes[0x3000:0xA000] = classes[0xAC00:0xD7B0] = classes[0xF900:0xFB00] = classes[0x10000] = WIDE_LETTER
    classes[0x3000] = BLANK
    for character in ",;:،、，；：":
        classes[ord(character)] = 0
    for character in ".!?。！？…؟।":
        classes[ord(character)] = STOP
    for letters in re.finditer(r"[^\W_]+", "".join(map(chr, range(0x10000)))):
        classes[letters.start() : letters.end()] |= WORD
    return classes


def _lower_case() -> NDArray[np.uint16]:
    """The small letter for each code point below 0x3000, where that is a single one."""
    lower = [chr(code).lower() for code in range(0x3000)]
    return np.array([ord(small) if len(small) == 1 else code for code, small in enumerate(lower)], np.uint16)


CLASSES, LOWER = _character_classes(), _lower_case()


@compiled
def mixed(hashed: np.uint64, code: int) -> np.uint64:
    """A hash with one more code point or number in it."""
    return (hashed ^ np.uint64(code)) * _PRIME


@compiled
def place(keys: np.ndarray, hashed: np.uint64) -> Any:
    """Where a hash stands in a table of hashes (a power of two of them, 0: free), or the free place where it belongs."""
    mask = len(keys) - 1
    at: Any = np.int64((hashed >> np.uint64(17)) & np.uint64(mask))
    while keys[at] != 0 and keys[at] != hashed:
        at = (at + 1) & mask
    return at


@compiled
def _fill(codes: np.ndarray, starts: np.ndarray, keys: np.ndarray) -> np.ndarray:
    places = np.empty(len(starts) - 1, np.int64)
    for word in range(len(places)):
        hashed = SEED
        for at in range(starts[word], starts[word + 1]):
            hashed = mixed(hashed, codes[at])
        places[word] = place(keys, hashed)
        keys[places[word]] = hashed
    return places


class Table:
    """Words and a number for each as arrays for compiled functions: ``keys`` (uint64) and ``values`` (float64), a power of two of them."""

    def __init__(self, words: dict[str, float]) -> None:
        size = 1 << (2 * len(words) + 7).bit_length()
        self.keys, self.values = np.zeros(size, np.uint64), np.zeros(size)
        codes = np.frombuffer("".join(words).encode("utf-32-le", "replace"), np.uint32)
        starts = np.cumsum([0, *map(len, words)])
        self.values[_fill(codes, starts, self.keys)] = list(words.values())


def _kinds() -> NDArray[np.uint8]:
    """What each tag means for blocks."""
    kinds = np.full(256, _INLINE, np.uint8)
    for tag in TAGS[2:]:
        if tag != "math":
            kinds[TAG_NUMBER[tag]], kinds[TAG_NUMBER[tag] + CLOSING] = _OPEN, _CLOSE
    kinds[TAG_NUMBER["a"]], kinds[TAG_NUMBER["a"] + CLOSING] = _LINK, _LINK_END
    kinds[TAG_NUMBER["br"]], kinds[TAG_NUMBER["hr"]] = _BREAK, _RULE
    return kinds


def _marked() -> NDArray[np.uint8]:
    flags = np.zeros(256, np.uint8)
    flags[[TAG_NUMBER[tag] for tag in (*MARKS, "math", "br")]] = 1
    flags[TAG_NUMBER["a"]] = 2
    return flags


_KINDS, _MARKED = _kinds(), _marked()
_TABLE = Table({tag: float(number) for tag, number in TAG_NUMBER.items() if tag not in ("?", "custom")})
_CUSTOM: Final = TAG_NUMBER["custom"]


@compiled
def _next_tag(data: np.ndarray, at: int) -> int:
    """Where the next tag, comment or declaration may begin, or the end."""
    while at + 1 < len(data):
        if data[at] == 60:
            byte = data[at + 1]
            if 97 <= byte <= 122 or byte == 33 or byte == 63 or (byte == 47 and at + 2 < len(data) and 97 <= data[at + 2] <= 122):
                return at
        at += 1
    return len(data)


@compiled
def _comment_end(data: np.ndarray, at: int) -> int:
    """Behind a comment or declaration that begins there; 0 when nothing ends it."""
    size = len(data)
    if at + 3 < size and data[at + 1] == 33 and data[at + 2] == 45 and data[at + 3] == 45:
        for end in range(at + 6, size):
            if data[end] == 62 and data[end - 1] == 45 and data[end - 2] == 45:
                return end + 1
        return 0
    for end in range(at + 2, size):
        if data[end] == 62:
            return end + 1
    return 0


@compiled
def _tag_end(data: np.ndarray, at: int) -> int:
    """Behind the tag whose attributes begin there; 0 when nothing ends it. A quotation mark opens a value only after a ``=``."""
    size = len(data)
    while at < size:
        byte = data[at]
        at += 1
        if byte == 62:
            return at
        if byte == 34 and data[at - 2] == 61:
            while at < size and data[at] != 34:
                at += 1
            at += 1
    return 0


@compiled
def _separators(data: np.ndarray) -> int:
    count = np.int32(0)
    for at in range(len(data)):
        byte = data[at]
        count += np.int32((byte <= _SPACE) | (byte == _EQUALS) | (byte == _SLASH))
    return int(count)


def separators(data: bytes) -> int:
    """How many bytes of a page can part attributes: white space (all control characters), ``=`` and ``/``."""
    return int(_separators(np.frombuffer(data, np.uint8)))


@compiled
def width_of(byte: int) -> int:
    """How many bytes the character has that begins with this one."""
    return 1 if byte < 0x80 else 2 + (byte >= 0xE0) + (byte >= 0xF0)


@compiled
def point(data: np.ndarray, at: int, width: int) -> Any:
    """The code point of the character of so many bytes, at most 0x10000."""
    if width == 1:
        return int(data[at])
    code: Any = np.int64(data[at] & (0x7F >> width))
    for k in range(1, width):
        code = code << 6 | (data[at + k] & 0x3F)
    return min(code, 0x10000)


@compiled
def _reference(data: np.ndarray, at: int, end: int) -> tuple[int, int]:
    """The character (32: a blank) that a reference as lexbor writes it stands for, and its bytes; of all else the ``&`` itself."""
    if at + 4 <= end and data[at + 2] == 116 and data[at + 3] == 59:
        if data[at + 1] == 108:
            return 60, 4
        if data[at + 1] == 103:
            return 62, 4
    if at + 5 <= end and data[at + 1] == 97 and data[at + 2] == 109 and data[at + 3] == 112 and data[at + 4] == 59:
        return 38, 5
    if at + 6 <= end and data[at + 5] == 59:
        if data[at + 1] == 110 and data[at + 2] == 98 and data[at + 3] == 115 and data[at + 4] == 112:
            return 32, 6
        if data[at + 1] == 113 and data[at + 2] == 117 and data[at + 3] == 111 and data[at + 4] == 116:
            return 34, 6
    return 38, 1


@compiled
def _fold(data: np.ndarray, at: int, end: int, classes: np.ndarray, text: np.ndarray, size: int, block: np.ndarray, linked: int) -> int:
    """Add the text between two tags to a block, white space folded and references resolved; gives the new size of ``text``."""
    gap, kind, begun = block[GAP], block[LAST], block[CHARS] > 0
    chars = blanks = in_links = wide = digits = uppers = 0
    while at < end:
        byte = data[at]
        taken, width = 1, 1
        code: Any = np.int64(byte)
        if byte == 38:
            code, taken = _reference(data, at, end)
        elif byte >= 0x80:
            taken = width = width_of(byte)
            code = point(data, at, width)
        now = classes[code] & CLASS
        if now == BLANK:
            gap = 1
            at += taken
            continue
        if gap and begun:
            text[size] = 32
            size += 1
            blanks += 1
            in_links += chars > 0
        gap, kind, begun = 0, now, True
        if width == 1:
            text[size] = code
        else:
            for k in range(width):
                text[size + k] = data[at + k]
        size += width
        at += taken
        chars += 1
        wide += now == WIDE_LETTER
        digits += now == DIGIT
        uppers += now == UPPER
    block[GAP], block[LAST] = gap, kind
    block[CHARS] += chars + blanks
    block[BLANKS] += blanks
    block[LINKED] += linked * (chars + in_links)
    block[WIDE] += wide
    block[DIGITS] += digits
    block[UPPERS] += uppers
    return size


@compiled
def _tag(data: np.ndarray, at: int, keys: np.ndarray, numbers: np.ndarray) -> tuple[int, int, int]:
    """The number of the tag (0: another, a comment, a declaration), where its attributes begin, and what follows it, 0 when nothing ends it."""
    name = at + 1
    if data[name] == 33 or data[name] == 63:
        end = _comment_end(data, at)
        return 0, end, end
    closes = data[name] == 47
    name += closes
    hashed, custom = SEED, False
    while name < len(data) and not (data[name] == 62 or data[name] == 47 or data[name] == 32 or 9 <= data[name] <= 13):
        hashed = mixed(hashed, data[name])
        custom |= data[name] == 45
        name += 1
    number = _CUSTOM if custom else int(numbers[place(keys, hashed)])
    if closes and number:
        number += CLOSING
    return number, name, _tag_end(data, name)


@compiled
def _walk(
    data: np.ndarray, keys: np.ndarray, numbers: np.ndarray, kinds: np.ndarray, marked: np.ndarray, classes: np.ndarray,
    tokens: np.ndarray, blocks: np.ndarray, nodes: np.ndarray, text: np.ndarray,
) -> tuple[int, int, int, int]:  # fmt: skip
    num_tokens = num_blocks = size = node = linked = 0
    num_nodes, broken = 1, -1
    for k in range(NUM_NODE_FIELDS):
        nodes[0, k] = 0
    for k in range(NUM_BLOCK_FIELDS):
        blocks[0, k] = 0
    at = _next_tag(data, 0)
    while at < len(data):
        number, attributes, behind = _tag(data, at, keys, numbers)
        if behind == 0:  # text as it stands, up to the end
            size = _fold(data, at, len(data), classes, text, size, blocks[num_blocks], linked)
            break
        tokens[num_tokens, LT], tokens[num_tokens, ATTRIBUTES] = at, attributes
        tokens[num_tokens, GT], tokens[num_tokens, TAG] = behind, number
        block = blocks[num_blocks]
        kind = kinds[number]
        block[MARKED] |= marked[number]
        parts = kind in (_OPEN, _CLOSE, _RULE)
        if kind == _LINK:
            linked = 1
        elif kind == _LINK_END:
            linked = 0
        elif kind == _BREAK:
            parts = broken == block[CHARS]
            broken = block[CHARS]
            block[GAP] = 1
        if parts:
            if block[CHARS]:
                block[END], block[NODE] = num_tokens, node
                text[size] = 10
                size += 1
                num_blocks += 1
                block = blocks[num_blocks]
            for k in range(NUM_BLOCK_FIELDS):
                block[k] = 0
            block[START], block[OFFSET] = num_tokens, size
            broken = -1
        if kind == _OPEN:
            nodes[num_nodes, KIND], nodes[num_nodes, PARENT] = number, node
            nodes[num_nodes, TOKEN], nodes[num_nodes, FIRST], nodes[num_nodes, BEHIND] = num_tokens, num_blocks, 0
            node = num_nodes
            num_nodes += 1
        elif kind == _CLOSE and node:
            nodes[node, BEHIND] = num_blocks
            node = nodes[node, PARENT]
        num_tokens += 1
        at = _next_tag(data, behind)
        size = _fold(data, behind, at, classes, text, size, blocks[num_blocks], linked)
    block = blocks[num_blocks]
    if block[CHARS]:
        block[END], block[NODE] = num_tokens, node
        text[size] = 10
        size += 1
        num_blocks += 1
    while node:
        nodes[node, BEHIND] = num_blocks
        node = nodes[node, PARENT]
    nodes[0, BEHIND] = num_blocks
    return num_tokens, num_blocks, num_nodes, size


def walk(markup: bytes) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], bytes]:
    """The tags, blocks and elements of markup as lexbor writes it (rows of the fields above), and the text of all blocks, a line each.

    The text before the first tag is left out. An element or block that nothing ends reaches to the end.
    """
    data = np.frombuffer(markup, np.uint8)
    room = markup.count(b"<") + 2
    tokens = np.empty((room, NUM_TOKEN_FIELDS), np.int32)
    blocks = np.empty((room, NUM_BLOCK_FIELDS), np.int32)
    nodes = np.empty((room, NUM_NODE_FIELDS), np.int32)
    text = np.empty(len(data) + 2, np.uint8)
    counts = _walk(data, _TABLE.keys, _TABLE.values, _KINDS, _MARKED, CLASSES, tokens, blocks, nodes, text)
    return tokens[: counts[0]], blocks[: counts[1]], nodes[: counts[2]], text[: counts[3]].tobytes()
