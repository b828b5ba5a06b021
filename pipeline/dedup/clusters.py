"""Clusters of duplicates, and the one document of each that is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.text import Rows

Ranks = Callable[[Rows], tuple[NDArray[np.float64], Rows]]
"""Score and length of rows, by which the keeper is chosen."""


@dataclass(frozen=True)
class Edges:
    """Pairs of rows that are duplicates: int64[n] ``left`` < ``right``, and float64[n] ``score``, their similarity."""

    left: Rows
    right: Rows
    score: NDArray[np.float64]

    def where(self, chosen: NDArray[np.bool_]) -> Edges:
        """The edges that are chosen."""
        return Edges(self.left[chosen], self.right[chosen], self.score[chosen])


@dataclass(frozen=True)
class Twins:
    """Exact duplicates: int64[n] ``row``, and ``keeper``, the row that stands for it."""

    row: Rows
    keeper: Rows


@dataclass(frozen=True)
class Verdicts:
    """What becomes of the duplicates among n documents.

    rows      int64[removed]    ascending
    keepers   int64[removed]    the row each is a duplicate of: kept, or from n on of another dataset
    exactly   bool[removed]     whether the two fold to the same text
    scores    float64[removed]  1 for an exact duplicate. Else the similarity with the keeper where the two were compared and are close; where
              they are joined through others of their cluster only, the greatest similarity with one of those
    """

    rows: Rows
    keepers: Rows
    exactly: NDArray[np.bool_]
    scores: NDArray[np.float64]


def verdicts(num_documents: int, twins: Twins, edges: Callable[[], Iterable[Edges]], ranks: Ranks, ids: Callable[[Rows], pa.StringArray]) -> Verdicts:
    """What is removed, given the exact duplicates and the near ones among those that stand for them.

    ``edges`` gives them in pieces, as often as it is asked; all edges of a left row are in one piece. A document near one of another
    dataset (a row from ``num_documents`` on) goes because of that one and joins no cluster: what is like it but not like the other stays.
    Memory: 24 bytes a document, 25 a removed one, and a piece of the edges.
    """
    stands_for = np.arange(num_documents, dtype=np.uint32)
    ours = twins.row < num_documents
    stands_for[twins.row[ours]] = twins.keeper[ours]
    final, score = np.arange(num_documents, dtype=np.uint32), np.zeros(num_documents)
    for piece in edges():
        _go_for_others(piece.where(piece.right >= num_documents), final, score, ids)
    elsewhere = final >= num_documents

    def inner() -> Iterable[Edges]:
        for piece in edges():
            within = piece.where(piece.right < num_documents)
            yield within.where(~elsewhere[within.left] & ~elsewhere[within.right])

    parent = np.arange(num_documents, dtype=np.uint32)
    for piece in inner():
        join(parent, piece.left, piece.right)
    _choose(parent, final, ranks)
    for piece in inner():
        np.maximum.at(score, piece.left, piece.score)
        np.maximum.at(score, piece.right, piece.score)
    for piece in inner():
        for one, other in ((piece.left, piece.right), (piece.right, piece.left)):
            direct = final[one] == other
            score[one[direct]] = piece.score[direct]
    return _resolved(stands_for, final, score)


def join(parent: NDArray[np.uint32], left: Rows, right: Rows) -> None:
    """Unite the components of the edges' ends. ``parent`` names for each row another one of its component, for the component's smallest itself."""
    ends = np.concatenate([_root(parent, left), _root(parent, right)])
    roots, local = np.unique(ends, return_inverse=True)
    label = components(len(roots), local[: len(left)], local[len(left) :])
    parent[roots] = roots[label]


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


def _root(parent: NDArray[np.uint32], rows: Rows) -> Rows:
    """The smallest row of the component of each of ``rows``, which are led there directly from now on."""
    root = parent[rows]
    while not np.array_equal(root, above := parent[root]):
        root = above
    parent[rows] = root
    return root.astype(np.int64)


def best_first(rows: Rows, group: NDArray[np.integer], score: NDArray[np.float64], length: Rows) -> Rows:
    """int64[n]: the order by group, then highest score, then longest, then first."""
    order: Rows = np.lexsort((rows, -length, -score, group))
    return order


def _go_for_others(edges: Edges, final: NDArray[np.uint32], score: NDArray[np.float64], ids: Callable[[Rows], pa.StringArray]) -> None:
    """Each left row goes for the right one that is most alike, of equal ones the one whose id comes first, whatever the order of the datasets."""
    names = np.unique(ids(edges.right).to_numpy(zero_copy_only=False).astype(str), return_inverse=True)[1] if len(edges.left) else edges.left
    order = np.lexsort((names, -edges.score, edges.left))
    left, first = np.unique(edges.left[order], return_index=True)
    final[left] = edges.right[order][first]
    score[left] = edges.score[order][first]


def _choose(parent: NDArray[np.uint32], final: NDArray[np.uint32], ranks: Ranks) -> None:
    """Write the keeper of each component of two or more rows into ``final``."""
    label = _root(parent, np.arange(len(parent)))
    members = np.flatnonzero(np.bincount(label, minlength=len(label))[label] > 1)
    label = label[members]
    order = best_first(members, label, *ranks(members))
    chosen, first = np.unique(label[order], return_index=True)
    final[members] = members[order][first][np.searchsorted(chosen, label)]


def _resolved(stands_for: NDArray[np.uint32], final: NDArray[np.uint32], score: NDArray[np.float64]) -> Verdicts:
    """An exact duplicate of what is itself removed is reported as what that is: a near-duplicate of the kept document."""
    num_documents = len(final)
    kept = stands_for.copy()
    here = stands_for < num_documents
    kept[here] = final[stands_for[here]]
    rows = np.flatnonzero(kept != np.arange(num_documents))
    keepers, stand_in = kept[rows].astype(np.int64), stands_for[rows].astype(np.int64)
    exactly = keepers == stand_in
    return Verdicts(rows, keepers, exactly, np.where(exactly, 1.0, score[np.minimum(stand_in, num_documents - 1)]))
