"""Encoded sequences on disk: written once as Arrow files, found again through memory maps, read only into the rows they end up in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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
    num_sequences, pending, num_bytes = 0, list[pa.RecordBatch](), 0
    with writing(path) as file, pa.ipc.new_file(pa.PythonFile(file, mode="w"), ENCODED) as writer:
        for batch in batches:
            num_sequences += len(batch)
            num_bytes += batch.nbytes
            pending.append(batch)
            if num_bytes >= CHUNK_BYTES:
                writer.write_batch(pa.concat_batches(pending))
                pending, num_bytes = [], 0
        if any(map(len, pending)):
            writer.write_batch(pa.concat_batches(pending))
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
    return _reader(_mapped(path), path)


def _mapped(path: Path) -> Any:
    try:
        return pa.memory_map(str(path))
    except OSError as error:
        raise DatasetError(str(path), f"cannot be read ({error.strerror or error})", "run tokenize again") from None


def _reader(mapped: Any, path: Path) -> Any:
    try:
        return pa.ipc.open_file(mapped)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(str(path), f"cannot be read ({str(error).splitlines()[0][:120]})", "run tokenize again") from None


class Chunk:
    """A chunk: sequence ``r`` holds tokens ``offsets[r]`` to ``offsets[r + 1]`` and begins at token ``start[r]`` of ``document[r]``,
    which is of ``source[r]``.

    The columns of one value a sequence are views of the memory map. Tokens are read from the file: rows take sequences from everywhere, each
    touch maps 64 KB, and mapped pages count as this process's memory.
    """

    def __init__(self, file: IO[bytes], reader: Any, number: int, base: int) -> None:
        batch = reader.get_batch(number)
        ids, learned = batch.column("input_ids"), batch.column("learned")
        self.offsets: np.ndarray = ids.offsets.to_numpy()
        self.start: np.ndarray = batch.column("start").to_numpy()
        self.document: pa.StringArray = batch.column("id")
        self.source: pa.StringArray = batch.column("source")
        self._file = file
        self._ids_at, self._learned_at = (column.values.buffers()[1].address - base for column in (ids, learned))

    def read(self, first: int, ids: np.ndarray, learned: np.ndarray) -> None:
        """Fill ``ids`` (int32[n]) and ``learned`` (uint8[n]) with the tokens from ``first`` on; raises DatasetError."""
        for column, start in ((ids, self._ids_at + 4 * first), (learned, self._learned_at + first)):
            if os.preadv(self._file.fileno(), [column.data], start) != column.nbytes:
                raise DatasetError(self._file.name, "ends too early", "run tokenize again")


class Chunks:
    """The chunks at some places, each opened when it is first used."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._files: dict[Path, tuple[IO[bytes], Any, int]] = {}
        self._open: dict[int, Chunk] = {}

    def __getitem__(self, number: int) -> Chunk:
        chunk = self._open.get(number)
        if chunk is None:
            path, batch_number = self._places[number]
            if path not in self._files:
                mapped = _mapped(path)
                base = mapped.read_buffer(1).address
                self._files[path] = path.open("rb", buffering=0), _reader(mapped, path), base
            file, reader, base = self._files[path]
            chunk = self._open[number] = Chunk(file, reader, batch_number, base)
        return chunk
