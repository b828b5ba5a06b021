"""The main text of a page: its blocks, the model's probability for each, and the set of blocks with the greatest expected F1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.extractors import block_model
from pipeline.extractors.block_features import features
from pipeline.extractors.block_markdown import data_tables, markdown
from pipeline.extractors.block_walk import BLANKS, TAG_NUMBER, WIDE
from pipeline.extractors.blocks import Blocks, read_blocks, remove_unseen
from pipeline.extractors.html_metadata import Head

Floats = NDArray[np.float64]

CAUTION = 1.25
"""The power that probabilities are raised to: the blocks of a page are right or wrong together (worth .003 of F1 in cross-validation)."""
REPEATED_MIN_CHARS = 16
"""A text that stands on the page again, elsewhere, is taken once (worth .006 of F1); not so in code and tables, or when it is short."""
_KEPT_AGAIN = frozenset(TAG_NUMBER[tag] for tag in ("pre", "td", "th"))
_TABLE_CELLS = 4


def main_text(tree: Any, head: Head, links: bool = False) -> str:
    """The main text as Markdown, empty when the page shows none. ``tree``, a lexbor tree, is used up."""
    remove_unseen(tree)
    blocks = read_blocks(tree.html or "")
    return markdown(blocks, choose(blocks, head), links, head.meta.get("url", ""))


def choose(blocks: Blocks, head: Head) -> list[int]:
    """The numbers of the blocks that are main text, ascending."""
    if not blocks.plain:
        return []
    model = block_model.load()
    odds = model.trees.odds(features(blocks, model.lexicon, head))
    return select(blocks, (1 + np.exp(-odds)) ** -CAUTION, num_words(blocks))


def num_words(blocks: Blocks) -> Floats:
    """Words of each block: pieces between blanks, and the characters of scripts that write none."""
    return (blocks.blocks[:, BLANKS] + blocks.blocks[:, WIDE] + 1).astype(float)


def select(blocks: Blocks, probability: Floats, words: Floats) -> list[int]:
    """The blocks with the greatest expected word F1, given each one's probability of being main text, ascending.

    For blocks taken in the order of their probability, expected F1 is about 2 x expected words found / (words taken + words expected).
    """
    probability = _evened(blocks, probability, words)
    order = np.argsort(-probability, kind="stable")
    found = np.cumsum((probability * words)[order])
    scores = 2 * found / (np.cumsum(words[order]) + found[-1])
    taken = np.sort(order[: int(np.argmax(scores)) + 1]).tolist()
    return list(_once(blocks, taken))


def _evened(blocks: Blocks, probability: Floats, words: Floats) -> Floats:
    """A table is main text as a whole or not at all."""
    out = probability.copy()
    for start, end in data_tables(blocks):
        if end - start >= _TABLE_CELLS:
            out[start:end] = np.average(probability[start:end], weights=words[start:end])
    return out


def _once(blocks: Blocks, taken: Iterable[int]) -> Iterable[int]:
    """Without what stands again in another part of the page (a copy for small screens, a carousel)."""
    seen: dict[str, int] = {}
    for block in taken:
        text, node = blocks.plain[block], blocks.nodes[block]
        if len(text) >= REPEATED_MIN_CHARS and blocks.node_tags[node] not in _KEPT_AGAIN:
            around = blocks.node_parents[node]
            if seen.setdefault(text, around) != around:
                continue
        yield block
