"""What the model looks at: the words it knows, and a page's blocks as a matrix of numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.extractors.block_measures import COLUMNS, SHORT_CHARS, measure
from pipeline.extractors.block_walk import CLASSES, LOWER, TAG_NUMBER, TAGS, Table
from pipeline.extractors.blocks import Blocks
from pipeline.extractors.html_metadata import Head

_NAMES = re.compile(r'(?:^|\s)(?:class|id|role|itemprop)="([^"]*+)"')
_NAME_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_TEXT_WORD = re.compile("[^\\W_\U00010000-\U0010ffff]+")
_SMALL = {code: small for code, small in enumerate(LOWER.tolist()) if small != code}
_TOLD_CHARS, _TOLD_MIN_CHARS = 40, 12
_NO_ARTICLES = ("website", "product", "og:product")


@dataclass(frozen=True)
class Lexicon:
    """How much more often a word stands in main text than elsewhere, as natural logarithms of odds.

    ``names``: words of ``class, id, role, itemprop``. ``words``: words of short blocks. ``tags``: of the innermost element.
    """

    names: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def tables(self) -> tuple[Table, Table, NDArray[np.float64]]:
        """``names`` and ``words`` as tables, ``tags`` by number."""
        tags = np.zeros(len(TAG_NUMBER))
        tags[: len(TAGS)] = [self.tags.get(name, 0.0) for name in TAGS]
        return Table(dict(self.names)), Table(dict(self.words)), tags


def name_words(attributes: str) -> list[str]:
    """The words of an element's class, id, role and itemprop in lower case."""
    return [word.lower() for value in _NAMES.findall(attributes) for word in _NAME_WORD.findall(value)]


def text_words(text: str) -> list[str]:
    """The words of a text in lower case, letter by letter; none of a long one."""
    return _TEXT_WORD.findall(text.translate(_SMALL)) if len(text) <= SHORT_CHARS else []


def features(blocks: Blocks, lexicon: Lexicon, head: Head) -> NDArray[np.float32]:
    """The columns (``COLUMNS`` x blocks) of a page with at least one block."""
    names, words, tags = lexicon.tables
    title = set(text_words(head.title[:SHORT_CHARS]))
    article = float(head.kind == "article") - float(head.kind in _NO_ARTICLES)
    out = np.empty((len(COLUMNS), len(blocks.plain)), np.float32)
    measure(
        np.frombuffer(blocks.markup, np.uint8), blocks.tokens, blocks.blocks, blocks.elements, np.frombuffer(blocks.text, np.uint8), CLASSES, LOWER,
        names.keys, names.values, words.keys, words.values, tags,
        Table(dict.fromkeys(title, 1.0)).keys, len(title), _told(blocks.plain, head.told), len(head.told), article, out,
    )  # fmt: skip
    return out


def _told(plain: Sequence[str], told: str) -> NDArray[np.int8]:
    """1 for blocks whose beginning stands in what the page's data says of it, else 0; -1 for all when it says nothing."""
    if not told:
        return np.full(len(plain), -1, np.int8)
    return np.array([len(text) >= _TOLD_MIN_CHARS and text[:_TOLD_CHARS] in told for text in plain], np.int8)
