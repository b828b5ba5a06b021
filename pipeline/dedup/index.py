"""The index on disk: what is known of each document, in files that a bucket of hashes can be read out of.

A file holds blocks of up to ``BLOCK_ROWS`` documents. In a block, ``score`` and ``length`` stand in the order of the documents; the digests
and each band's entries are sorted by their hash, so that the hashes of one range are a slice, found by bisection in a mapped file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.commits import writing
from pipeline.dedup.near import NUM_BANDS
from pipeline.dedup.signatures import Looks, Signatures
from pipeline.text import Hashes, Rows, offsets_of

ROW_BITS = 16
BLOCK_ROWS = 1 << ROW_BITS
MAX_OPEN_FILES = 128
NONE = np.uint64(0xFFFFFFFFFFFFFFFF)
"""Where an entry or a digest stands for nothing; it sorts behind all others."""

SCHEMA = pa.schema(
    [
        pa.field("score", pa.float64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("words", pa.int64(), nullable=False),
        pa.field("digest_high", pa.uint64(), nullable=False),
        pa.field("digest_low", pa.uint64(), nullable=False),
        pa.field("digest_row", pa.uint16(), nullable=False),
        *(pa.field(f"band_{number:02}", pa.uint64(), nullable=False) for number in range(NUM_BANDS)),
    ]
)
"""An entry of ``band_00`` and so on is the band's hash (32 bits), the upper half of the hash of the band before it, and the row in its
block (16 bits each). ``score``, ``length`` and ``words``: see ``signatures.Signatures``. What is not looked for has no columns."""


def schema_of(looks: Looks) -> pa.Schema:
    """The columns that a search needs."""
    return pa.schema(
        [
            field
            for field in SCHEMA
            if (looks.exact or not field.name.startswith("digest_")) and (looks.near or not field.name.startswith("band_"))
        ]
    )


class IndexWriter:
    """Gathers signatures and writes them block by block."""

    def __init__(self, sink: Any, looks: Looks) -> None:
        self._schema = schema_of(looks)
        self._file = pa.ipc.new_file(sink, self._schema)
        self._pending: list[Signatures] = []
        self._rows = 0

    def write(self, signed: Signatures) -> None:
        """Add the signatures of a batch of at most ``BLOCK_ROWS`` documents."""
        if self._rows + len(signed.length) > BLOCK_ROWS:
            self._flush()
        self._pending.append(signed)
        self._rows += len(signed.length)

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._rows:
            names = ("score", "length", "words", "digest", "known", "bands")
            columns = {name: np.concatenate([getattr(signed, name) for signed in self._pending]) for name in names}
            digest, known, bands = (columns.pop(name) for name in ("digest", "known", "bands"))
            if "digest_row" in self._schema.names:
                columns |= _digest_columns(digest, known)
            if "band_00" in self._schema.names:
                columns |= _band_columns(bands)
            self._file.write_batch(pa.RecordBatch.from_arrays([pa.array(columns[name]) for name in self._schema.names], schema=self._schema))
        self._pending, self._rows = [], 0


@contextmanager
def index_writer(path: Path, looks: Looks) -> Iterator[IndexWriter]:
    """A writer whose file appears at ``path`` when all is written."""
    with writing(path) as sink:
        writer = IndexWriter(sink, looks)
        yield writer
        writer.close()


def _digest_columns(digest: Hashes, known: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    high, low = np.where(known, digest[:, 0], NONE), digest[:, 1]
    order = np.lexsort((low, high))
    return {"digest_high": high[order], "digest_low": low[order], "digest_row": order.astype(np.uint16)}


def _band_columns(bands: NDArray[np.uint32]) -> dict[str, NDArray[Any]]:
    columns = {}
    rows = np.arange(len(bands), dtype=np.uint64)
    hashes = bands.T.astype(np.uint64)
    for number in range(NUM_BANDS):
        entries = hashes[number] << np.uint64(32) | hashes[number - 1] & np.uint64(0xFFFF0000) | rows
        entries.sort()
        columns[f"band_{number:02}"] = entries
    return columns


class Index:
    """The index files of all documents, which are numbered from 0 in the order of the files. Only what is asked for is read."""

    def __init__(self, files: Sequence[Path]) -> None:
        """``files``: what ``index_writer`` wrote, in dataset order. Raises ValueError beyond 2^32 documents."""
        self._open = lru_cache(MAX_OPEN_FILES)(_open)
        self._blocks = [(path, number) for path in files for number in range(self._open(path).num_record_batches)]
        self._starts = offsets_of(np.array([self._block(number).num_rows for number in range(len(self._blocks))], np.int64))
        if len(self) >= 1 << 32:
            raise ValueError(f"{len(self):,} documents are more than one search for duplicates can number; filter them in two runs")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def values(self, name: str, rows: Rows) -> NDArray[Any]:
        """The column ``score``, ``length`` or ``words`` at ``rows``."""
        found = np.zeros(len(rows), np.float64 if name == "score" else np.int64)
        order = np.argsort(rows, kind="stable")
        cuts = np.searchsorted(rows[order], self._starts)
        for number in np.flatnonzero(np.diff(cuts)).tolist():
            places = order[cuts[number] : cuts[number + 1]]
            found[places] = self._block(number).column(name).to_numpy()[rows[places] - self._starts[number]]
        return found

    def digests(self, start: int, stop: int) -> tuple[Hashes, Hashes, Rows]:
        """Both halves and the row of each digest whose first half is in ``start`` <= high < ``stop``."""
        highs, lows, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for number, first_row in enumerate(self._starts[:-1].tolist()):
            block = self._block(number)
            high = block.column("digest_high").to_numpy()
            first, last = np.searchsorted(high, np.array([start, stop], np.uint64))
            highs.append(high[first:last].copy())
            lows.append(block.column("digest_low").to_numpy()[first:last].copy())
            rows.append(block.column("digest_row").to_numpy()[first:last] + np.int64(first_row))
        return np.concatenate(highs), np.concatenate(lows), np.concatenate(rows)

    def entries(self, band: int, start: int, stop: int) -> tuple[Hashes, Rows]:
        """Of the band's hashes in ``start`` <= hash < ``stop``: uint64[n] hash (32 bits) and half of the hash before (16); and int64[n] the rows."""
        keys, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for number, first_row in enumerate(self._starts[:-1].tolist()):
            entries = self._block(number).column(f"band_{band:02}").to_numpy()
            first, last = np.searchsorted(entries, np.array([start << 32, stop << 32], np.uint64))
            keys.append(entries[first:last] >> np.uint64(ROW_BITS))
            rows.append((entries[first:last] & np.uint64(BLOCK_ROWS - 1)).astype(np.int64) + first_row)
        return np.concatenate(keys), np.concatenate(rows)

    def _block(self, number: int) -> Any:
        path, position = self._blocks[number]
        return self._open(path).get_batch(position)


def _open(path: Path) -> Any:
    return pa.ipc.open_file(pa.memory_map(str(path)))
