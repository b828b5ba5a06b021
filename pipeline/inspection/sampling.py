"""A sample of documents that is the same for the same data and seed, spread over all sources."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from heapq import nsmallest
from pathlib import Path

import pyarrow as pa

from pipeline.datasets import read_batches
from pipeline.documents import SCHEMA, SCORES

Place = tuple[int, int]
"""File and row of a document."""


def sample(files: Sequence[Path], num_documents: int, seed: int) -> Iterator[pa.RecordBatch]:
    """At most ``num_documents`` documents of the Parquet ``files`` in batches, in the order they stand there.

    Each source gives the same number; what a small one lacks, the larger ones make up. Which of a source's is decided by a hash of seed and id.
    """
    chosen: dict[int, list[int]] = {}
    for file, row in _choose(files, num_documents, seed):
        chosen.setdefault(file, []).append(row)
    for number, rows in sorted(chosen.items()):
        first = 0
        for batch in read_batches(files[number], [*SCHEMA.names, SCORES]):
            here = [row - first for row in sorted(rows) if first <= row < first + len(batch)]
            first += len(batch)
            if here:
                yield batch.take(pa.array(here))


def _choose(files: Sequence[Path], num_documents: int, seed: int) -> list[Place]:
    best: dict[str, list[tuple[bytes, Place]]] = {}
    for number, file in enumerate(files):
        first = 0
        for batch in read_batches(file, ["id", "source"]):
            found: dict[str, list[tuple[bytes, Place]]] = {}
            for row, (name, source) in enumerate(zip(batch.column("id").to_pylist(), batch.column("source").to_pylist(), strict=True)):
                rank = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
                found.setdefault(source, []).append((rank, (number, first + row)))
            for source, ranked in found.items():
                best[source] = nsmallest(num_documents, best.get(source, []) + ranked)
            first += len(batch)
    places: list[Place] = []
    left = num_documents
    for place, ranked in enumerate(sorted(best.values(), key=len)):
        share = left // (len(best) - place)
        places += [where for _, where in ranked[:share]]
        left -= min(share, len(ranked))
    return places
