"""Encoded sequences on disk: written once as Arrow files, found again through memory maps, copied only into the rows they end up in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.commits import writing
from pipeline.errors import DatasetError

ENCODED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split_hash", pa.uint64(), nullable=False),
        pa.field("start", pa.int32(), nullable=False),
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("learned", pa.list_(pa.uint8()), nullable=False),
    ]
)
"""One row a sequence: a document, or a piece of one that was split.

``split_hash``: hash of the document's group (else id); ``start``: which token of its document is the first; ``learned``: 1 where the
token is to be predicted, 0 where it is given. A sequence has between 2 tokens and the row's length, and one after its first is learned.
"""

CHUNK_BYTES = 16 * 2**20
"""Sequences are written in chunks of about this size: few enough to open all, small enough to hold one."""

Place = tuple[Path, int]
"""A chunk: a file of encoded sequences, and the number of a record batch in it."""


@dataclass(frozen=True)
class SequenceIndex:
    """Where all encoded sequences lie.

    chunks      the files' record batches
    chunk, row  int32[n]   the chunk of each sequence, and its row there
    length      int32[n]   number of tokens
    split_hash  uint64[n]
    source      int32[n]   index into ``sources``, which are sorted
    """

    chunks: tuple[Place, ...]
    chunk: np.ndarray
    row: np.ndarray
    length: np.ndarray
    split_hash: np.ndarray
    source: np.ndarray
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.length)


def write_encoded(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """Write encoded sequences (schema ENCODED) as an Arrow file that can be memory-mapped; gives the number of sequences."""
    num_sequences, pending = 0, pa.RecordBatch.from_pylist([], schema=ENCODED)
    with writing(path) as file, pa.ipc.new_file(pa.PythonFile(file, mode="w"), ENCODED) as writer:
        for batch in batches:
            num_sequences += len(batch)
            pending = pa.concat_batches([pending, batch])
            if pending.nbytes >= CHUNK_BYTES:
                writer.write_batch(pending)
                pending = pending.slice(0, 0)
        if len(pending):
            writer.write_batch(pending)
    return num_sequences


def index_sequences(paths: Sequence[Path]) -> SequenceIndex:
    """Find the sequences of all encoded files, in the order of ``paths``; raises DatasetError for a damaged file."""
    chunks: list[Place] = []
    known: dict[str, int] = {}
    lengths, hashes = [np.empty(0, np.int32)], [np.empty(0, np.uint64)]
    codes = [np.empty(0, np.int32)]
    for path in paths:
        with open_encoded(path) as reader:
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                chunks.append((path, number))
                lengths.append(np.diff(batch.column("input_ids").offsets.to_numpy()))
                hashes.append(batch.column("split_hash").to_numpy().copy())
                named = batch.column("source").dictionary_encode()
                code = np.array([known.setdefault(name, len(known)) for name in named.dictionary.to_pylist()], np.int32)
                codes.append(code[named.indices.to_numpy()])
    sizes = [len(one) for one in lengths[1:]]
    rows = np.concatenate([np.empty(0, np.int32), *(np.arange(size, dtype=np.int32) for size in sizes)])
    chunk = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    names = sorted(known)
    rank = np.array([names.index(name) for name in known], np.int32)
    source = rank[np.concatenate(codes)]
    return SequenceIndex(tuple(chunks), chunk, rows, np.concatenate(lengths), np.concatenate(hashes), source, tuple(names))


def open_encoded(path: Path) -> Any:
    """The reader of an encoded file over its memory map; raises DatasetError."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(str(path), f"cannot be read ({str(error).splitlines()[0][:120]})", "run tokenize again") from None


@dataclass(frozen=True)
class Chunk:
    """The columns of a chunk as views of its memory map: sequence ``r`` holds ``ids[offsets[r]:offsets[r + 1]]``."""

    offsets: np.ndarray
    ids: np.ndarray
    learned: np.ndarray
    start: np.ndarray
    document: pa.StringArray


class Chunks:
    """The chunks at some places, each opened when it is first used."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._readers: dict[Path, Any] = {}
        self._open: dict[int, Chunk] = {}

    def __getitem__(self, number: int) -> Chunk:
        chunk = self._open.get(number)
        if chunk is None:
            path, batch_number = self._places[number]
            if path not in self._readers:
                self._readers[path] = open_encoded(path)
            batch = self._readers[path].get_batch(batch_number)
            ids, learned = batch.column("input_ids"), batch.column("learned")
            views = (ids.offsets.to_numpy(), ids.values.to_numpy(), learned.values.to_numpy(), batch.column("start").to_numpy())
            chunk = self._open[number] = Chunk(*views, batch.column("id"))
        return chunk
