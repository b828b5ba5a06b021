"""What deduplication needs to know of each document; a pure function of one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import documents, text
from pipeline.dedup.compared import piece_words, pieces, visible_chars
from pipeline.dedup.exact import Exact, digests
from pipeline.dedup.near import NUM_BANDS, WORDLESS, Near, sketch


@dataclass(frozen=True)
class ByScore:
    """Of a cluster the document with the highest score is kept, of equal ones the longest."""

    score: str
    """A column of ``scores``, which the section `score` makes or the input brings; a document without one comes last."""


Keeper = Literal["longest", "first"] | ByScore
"""Which document of a cluster is kept: the one with the most visible characters, or the first; of equal ones always the first."""


@dataclass(frozen=True)
class Looks:
    """What is looked for: exact duplicates, near-duplicates or both, and which one of a cluster is kept."""

    exact: Exact | None = None
    near: Near | None = None
    keeper: Keeper = "longest"
    compiled: bool = False
    """By compiled loops (``kernels``); the results are the same."""


@dataclass(frozen=True)
class Signatures:
    """The signatures of n documents.

    score   float64[n]            what the keeper is chosen by first: 0 unless a score was asked for
    length  int64[n]              visible characters, what it is chosen by next
    digest  uint64[n, 2]          of the text as ``exact`` folds it
    known   bool[n]               whether there is a digest: something is compared, and exact duplicates are asked for
    words   int64[n]              how many words are sketched
    bands   uint32[n, NUM_BANDS]  hashes of the MinHash's bands, ``WORDLESS`` where nothing is sketched
    """

    score: NDArray[np.float64]
    length: text.Rows
    digest: text.Hashes
    known: NDArray[np.bool_]
    words: text.Rows
    bands: NDArray[np.uint32]


def signatures(batch: pa.RecordBatch, looks: Looks) -> Signatures:
    """The signatures of a batch of documents (``documents.SCHEMA``)."""
    exact, near = looks.exact, looks.near
    wordless = text.Ragged(np.zeros(0, np.uint64), np.zeros(len(batch) + 1, np.int64))
    words = wordless
    digest, known = np.zeros((len(batch), 2), np.uint64), np.zeros(len(batch), np.bool_)
    bands = np.full((len(batch), NUM_BANDS), WORDLESS, np.uint32)
    if near:
        words, _ = piece_words(pieces(batch, near.compare), looks.compiled)
        bands = sketch(words, near, looks.compiled)
    if exact:
        compared = pieces(batch, exact.compare)
        if exact.fold != "words":
            digest, known = digests(compared, wordless, exact)
        else:
            shared = near is not None and near.compare == exact.compare
            digest, known = digests(compared, words if shared else piece_words(compared, looks.compiled)[0], exact)
    return Signatures(_scores(batch, looks.keeper), _lengths(batch, looks.compiled), digest, known, words.lengths, bands)


def _scores(batch: pa.RecordBatch, keeper: Keeper) -> NDArray[np.float64]:
    if not isinstance(keeper, ByScore) or documents.SCORES not in batch.schema.names:
        return np.zeros(len(batch))
    column = pc.fill_null(pc.struct_field(batch.column(documents.SCORES), keeper.score).cast(pa.float64()), -np.inf)
    scores: NDArray[np.float64] = np.array(column)
    scores[np.isnan(scores)] = -np.inf
    return scores


def _lengths(batch: pa.RecordBatch, compiled: bool) -> text.Rows:
    turns = documents.turns(batch)
    return np.bincount(turns.document, visible_chars(turns.content, compiled), len(batch)).astype(np.int64)
