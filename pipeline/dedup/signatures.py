"""What deduplication needs to know of each document; a pure function of one batch."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline import documents, text
from pipeline.dedup.compared import piece_words, pieces
from pipeline.dedup.exact import DIGEST, Exact, digests
from pipeline.dedup.near import NUM_BANDS, Near, sketch

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("visible_chars", pa.int64(), nullable=False),
        ("digest", DIGEST),
        pa.field("num_words", pa.int64(), nullable=False),
        pa.field("answer_words", pa.int64(), nullable=False),
        pa.field("words", pa.list_(pa.uint64()), nullable=False),
        *(pa.field(f"band_{number:02}", pa.uint64(), nullable=False) for number in range(NUM_BANDS)),
    ]
)
"""One row a document, in the batch's order.

``visible_chars`` is the length by which the keeper is chosen; ``digest`` is null where nothing is compared or no exact duplicates
are asked for; ``words`` are the 64-bit hashes of the compared words in order, the answers' (``answer_words`` of them, -1: a plain
document) last; ``band_00`` and so on are hashes of the MinHash's bands. Without near-duplicates ``words`` is empty, the bands are 0.
"""


def signatures(batch: pa.RecordBatch, exact: Exact | None, near: Near | None) -> pa.RecordBatch:
    """The signatures (``SCHEMA``) of a batch of documents (``documents.SCHEMA``)."""
    wordless = text.Ragged(np.zeros(0, np.uint64), np.zeros(len(batch) + 1, np.int64))
    words, answer_words = wordless, np.full(len(batch), -1)
    digest, bands = pa.nulls(len(batch), DIGEST), np.zeros((len(batch), NUM_BANDS), np.uint64)
    if near:
        words, answer_words = piece_words(pieces(batch, near.compare))
        bands = sketch(words, near)
    if exact:
        compared = pieces(batch, exact.compare)
        if exact.fold != "words":
            digest = digests(compared, wordless, exact)
        else:
            digest = digests(compared, words if near and near.compare == exact.compare else piece_words(compared)[0], exact)
    columns = [
        batch.column("id"),
        pa.array(_visible_chars(batch)),
        digest,
        pa.array(words.lengths),
        pa.array(answer_words),
        pa.ListArray.from_arrays(pa.array(words.offsets, pa.int32()), pa.array(words.values)),
        *(pa.array(np.ascontiguousarray(band)) for band in bands.T),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _visible_chars(batch: pa.RecordBatch) -> text.Rows:
    turns = documents.turns(batch)
    seen = np.zeros(len(batch), np.int64)
    np.add.at(seen, turns.document, text.visible_chars(turns.content))
    return seen
