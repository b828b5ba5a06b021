"""Clusters of duplicates over a whole dataset, and the one document of each that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.dedup import exact as exactly
from pipeline.dedup.exact import Exact
from pipeline.dedup.index import Index
from pipeline.dedup.near import Edges, Near, candidates, verify
from pipeline.text import Rows

REMOVED = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("duplicate_of", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
    ]
)
"""One row a removed document, in dataset order.

``row`` counts from 0 over all signature files; ``duplicate_of`` is the id of a kept document. ``rule`` is ``exact`` where both fold
to the same text, and then ``score`` is 1; else it is ``near``. A near-duplicate's ``score`` is its similarity with the kept
document; where that is below the threshold, because the two are joined only through others of their cluster, it is the greatest
similarity with one of those.
"""

GROUPS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
    ]
)
"""One row a kept document that has duplicates, in dataset order; ``group`` names its cluster: the document's own id."""


@dataclass(frozen=True)
class Duplicates:
    """What is removed (``REMOVED``), which kept documents lead a cluster (``GROUPS``), and what happened on the way.

    ``num_candidates`` pairs were compared. ``num_hot_buckets`` buckets of the index held so many documents that not all their pairs were.
    """

    removed: pa.Table
    groups: pa.Table
    num_candidates: int = 0
    num_hot_buckets: int = 0


def duplicates(signature_files: Sequence[Path], exact: Exact | None, near: Near | None) -> Duplicates:
    """The duplicates of the dataset whose ``signatures`` lie in these Arrow IPC files, given in dataset order.

    Exact duplicates go first; near-duplicates are sought among what is left. Of each cluster the document with the most visible
    characters is kept, of equally long ones the first. How the rows are cut into files and batches does not matter. Memory: about
    150 bytes a document, 24 a candidate pair, and one block of words.
    """
    index = Index(signature_files)
    same = exactly.keepers(*index.digests(), index.visible_chars) if exact else np.arange(len(index))
    if near is None:
        return _result(index, same, same, np.ones(len(index)))
    left, right, num_hot = candidates(index, np.flatnonzero((same == np.arange(len(index))) & (index.num_words > 0)))
    edges = verify(index, left, right, near)
    keeper = _longest(components(len(index), edges.left, edges.right), index.visible_chars)
    return _result(index, same, keeper, _scores(index, keeper, edges, near), len(left), num_hot)


def components(num_rows: int, left: Rows, right: Rows) -> Rows:
    """int64[num_rows]: the smallest row of each row's connected component, given the edges' ends."""
    label = np.arange(num_rows)
    while True:
        smaller = np.minimum(label[left], label[right])
        hooked = label.copy()
        np.minimum.at(hooked, label[left], smaller)
        np.minimum.at(hooked, label[right], smaller)
        while not np.array_equal(hooked, jumped := hooked[hooked]):
            hooked = jumped
        if np.array_equal(hooked, label):
            return label
        label = hooked


def _longest(label: Rows, length: Rows) -> Rows:
    """int64[n]: for each row the longest row of its component, of equally long ones the first."""
    order = np.lexsort((np.arange(len(label)), -length, label))
    chosen, first = np.unique(label[order], return_index=True)
    keeper = np.empty_like(label)
    keeper[chosen] = order[first]
    return keeper[label]


def _scores(index: Index, keeper: Rows, edges: Edges, near: Near) -> NDArray[np.float64]:
    """float64[n]: the similarity with the keeper where it reaches the threshold, else the greatest of the row's edges; 1 for a keeper."""
    score = np.ones(len(index))
    rows = np.flatnonzero(keeper != np.arange(len(index)))
    score[rows] = 0.0
    np.maximum.at(score, edges.left, edges.score)
    np.maximum.at(score, edges.right, edges.score)
    direct = verify(index, rows, keeper[rows], near)
    score[direct.left] = direct.score
    return score


def _result(index: Index, same: Rows, keeper: Rows, score: NDArray[np.float64], num_candidates: int = 0, num_hot_buckets: int = 0) -> Duplicates:
    """What ``duplicates`` returns, from each row's exact twin that is kept and each such twin's keeper.

    An exact duplicate whose twin is itself removed is reported as what that twin is: a near-duplicate of the kept document.
    """
    kept = keeper[same]
    rows = np.flatnonzero(kept != np.arange(len(index)))
    exactly_so = same[rows] == kept[rows]
    removed = [
        pa.array(rows),
        index.ids(rows),
        index.ids(kept[rows]),
        pa.array(np.where(exactly_so, "exact", "near").tolist(), pa.string()),
        pa.array(np.where(exactly_so, 1.0, score[same[rows]])),
    ]
    leaders = np.unique(kept[rows])
    groups = [pa.array(leaders), index.ids(leaders), index.ids(leaders)]
    return Duplicates(pa.table(removed, schema=REMOVED), pa.table(groups, schema=GROUPS), num_candidates, num_hot_buckets)
