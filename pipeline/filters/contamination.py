"""Removes documents in which items of an evaluation stand, so that a model is not tested on what it learned."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from pipeline.documents import turns
from pipeline.filters.evaluations import Evaluations, places, read_evaluations
from pipeline.filters.verdicts import Find, verdicts
from pipeline.settings import at_least, between, internal
from pipeline.text import Rows, word_hashes


@dataclass(frozen=True)
class Contamination:
    """Remove documents that share runs of words with items of evaluation files; all turns of a conversation are looked at.

    Words are compared without case, white space and punctuation. The length of a run, 13 words, and the shortest text that is compared, 8
    words, are those of Brown et al. 2020 (GPT-3), appendix C. A text of an item with fewer than ``ngram`` words must be met as a whole.
    """

    against: tuple[str, ...] = ()
    """Evaluation files: JSON lines, JSON, Parquet, or text with empty lines between the items."""
    fields: tuple[str, ...] = ()
    """The fields of an item that are compared; without any, all that hold text."""
    ngram: int = between(13, 2, 64)
    """Words of a run."""
    min_words: int = at_least(8, 1)
    """Texts of an item with fewer words are not compared: a one-word answer stands everywhere."""
    min_hits: int = at_least(1, 1)
    """So many runs of one item must stand in the document, or all where it has fewer ..."""
    min_share: float = between(0.0, 0.0, 1.0)
    """... and at least this share of the item's runs."""
    found: tuple[Evaluations, ...] = internal(())
    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """The same filter with the table of n-grams read in; raises SettingsError when a file is missing or unreadable."""
        paths = {name: find(name) for name in self.against}
        return replace(self, found=(read_evaluations(paths, self.fields, self.ngram, self.min_words),))

    def judge(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Verdicts: the item with the largest share, the first run of words that stands in it, and its share of the runs as score."""
        found = [entry for table in self.found if len(table.hashes) for entry in self._judge(batch, table)]
        return verdicts(len(batch), found)

    def _judge(self, batch: pa.RecordBatch, table: Evaluations) -> Iterator[tuple[int, dict[str, object]]]:
        """Row and verdict of each contaminated document."""
        view = turns(batch)
        sequences = word_hashes(view.content)
        hits = [_hits(table, places(sequences, size), size) for size in table.sizes]
        hash_row, piece, start, size = (np.concatenate(column) for column in zip(*hits, strict=True))
        document, item = view.document[piece], table.owner[hash_row].astype(np.int64)
        for row, best, share in self._items(table, document, item, hash_row):
            own = np.flatnonzero((document == row) & (item == best))
            place = own[np.lexsort((start[own], piece[own]))]
            first, last = _run(piece[place], start[place], size[place])
            text = view.content[int(piece[place[0]])].as_py()
            begin, end = word_span(text, first, last)
            reason = f"holds words of {table.name(best)}"
            where = {"message": int(view.message[piece[place[0]]]), "start": begin, "end": end}
            yield row, {"reason": reason, **where, "score": share}

    def _items(self, table: Evaluations, document: Rows, item: Rows, hash_row: Rows) -> Iterator[tuple[int, int, float]]:
        """Contaminated documents, the item with the largest share in each (of equals the first), and the share."""
        seen = np.unique(np.stack([document, item, hash_row]), axis=1)
        pairs, counts = np.unique(seen[:2], axis=1, return_counts=True)
        totals = table.totals[pairs[1]]
        shares = counts / totals
        enough = np.flatnonzero((counts >= np.minimum(self.min_hits, totals)) & (shares >= self.min_share))
        order = enough[np.lexsort((pairs[1][enough], -shares[enough], pairs[0][enough]))]
        rows, firsts = np.unique(pairs[0][order], return_index=True)
        for row, k in zip(rows, order[firsts], strict=True):
            yield int(row), int(pairs[1][k]), float(shares[k])


def _hits(table: Evaluations, grams: tuple[np.ndarray, Rows, Rows], size: int) -> tuple[Rows, Rows, Rows, Rows]:
    """Row of the table, piece, first word and length of each n-gram that the table holds, once for each item."""
    hashes, piece, start = grams
    held, low, many = table.held(hashes)
    piece, start = piece[held], start[held]
    each = np.repeat(np.arange(len(held)), many)
    nth = np.arange(len(each)) - np.repeat(np.cumsum(many) - many, many)
    return low[each] + nth, piece[each], start[each], np.full(len(each), size)


def _run(piece: Rows, start: Rows, size: Rows) -> tuple[int, int]:
    """First and last word of the run that begins with the first n-gram; n-grams that follow it word by word belong to it."""
    last = int(start[0] + size[0] - 1)
    for other, at, length in zip(piece, start, size, strict=True):
        if other != piece[0] or at > last:
            break
        last = max(last, int(at + length - 1))
    return int(start[0]), last


_TOKEN, _WORD = re.compile(r"\S+"), re.compile(r"\w+")


def word_span(text: str, first: int, last: int) -> tuple[int, int]:
    """Where words ``first`` to ``last`` of ``pipeline.text.words`` stand in the text itself.

    Exact for ASCII; in other scripts to the blank before and after, since a character may become several, or letters one, when folded.
    """
    begin = end = seen = 0
    for token in _TOKEN.finditer(text):
        raw = token.group()
        if raw.isalpha() and raw.isascii():
            inside = [(0, len(raw))]
        else:
            inside = [match.span() for match in _WORD.finditer(raw if raw.isascii() else unicodedata.normalize("NFKC", raw).lower())]
        if seen <= first < seen + len(inside):
            begin = token.start() + (inside[first - seen][0] if raw.isascii() else 0)
        if seen <= last < seen + len(inside):
            end = token.start() + inside[last - seen][1] if raw.isascii() else token.end()
            break
        seen += len(inside)
    return begin, end
