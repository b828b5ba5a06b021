"""Figures of a token set for its manifest: lengths of documents by source, and what share of the rows is what."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

Histogram = dict[str, int]
"""Lower bound of a bin, a power of two, as text (JSON has no other keys): how many lengths lie from it up to, not including, its double."""


def histogram(lengths: np.ndarray) -> Histogram:
    """How many of ``lengths`` (int[n], each 1 or more) lie in each log2 bin, ascending, without empty bins."""
    bins, counts = np.unique(np.floor(np.log2(np.maximum(lengths, 1))).astype(np.int64), return_counts=True)
    return {str(2**exponent): count for exponent, count in zip(bins.tolist(), counts.tolist(), strict=True)}


def document_lengths(sequences: pa.RecordBatch) -> dict[str, Histogram]:
    """For each source the histogram of its documents' lengths, in tokens, from whole documents as encoded sequences (schema ENCODED).

    The pieces of a document stand one after the other, so its length is where the last of them ends: context that a piece repeats counts
    once, and what was cut off does not count.
    """
    if not len(sequences):
        return {}
    ids = sequences.column("id").dictionary_encode().indices.to_numpy(zero_copy_only=False)
    last = np.flatnonzero(np.concatenate([ids[1:] != ids[:-1], [True]]))
    sizes = np.diff(sequences.column("input_ids").offsets.to_numpy())
    ends = (sequences.column("start").to_numpy() + sizes)[last]
    sources = sequences.column("source").take(pa.array(last)).dictionary_encode()
    codes = sources.indices.to_numpy(zero_copy_only=False)
    return {name: histogram(ends[codes == code]) for code, name in enumerate(sources.dictionary.to_pylist())}


def in_order(histograms: Mapping[str, Mapping[str, int]]) -> dict[str, Histogram]:
    """Histograms that were added up, by source, their bins ascending."""
    return {source: dict(sorted(bins.items(), key=lambda item: int(item[0]))) for source, bins in sorted(histograms.items())}


def shares(figures: Mapping[str, int], length: int) -> dict[str, float]:
    """Of a split's figures (ROW_COUNTS): the shares, from 0 to 1, of the rows' room that tokens fill, of what is padding, of tokens learned.

    ``utilisation``: tokens, without padding, in rows times ``length``. ``padding_share``: padding among all that the rows hold.
    ``learned_share``: labels among the tokens.
    """
    return {
        "utilisation": round(figures["tokens"] / max(1, figures["rows"] * length), 6),
        "padding_share": round(figures["padding"] / max(1, figures["tokens"] + figures["padding"]), 6),
        "learned_share": round(figures["learned"] / max(1, figures["tokens"]), 6),
    }
