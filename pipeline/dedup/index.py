"""The signatures of a whole dataset, read from memory-mapped Arrow files column by column."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.text import Hashes, Ragged, Rows, offsets_of

MAX_OPEN_FILES = 128


class Index:
    """All rows of the signature files, numbered from 0 in the order of the files.

    A column is read whole (8 bytes a row, 16 for the digest); the words, which are most of the bytes, only for the rows that are asked for.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """``files``: Arrow IPC files (the file format) that hold what ``signatures`` gave, in dataset order."""
        self._open = lru_cache(MAX_OPEN_FILES)(_open)
        self._batches = [(path, number) for path in files for number in range(self._open(path).num_record_batches)]
        self._starts = offsets_of(np.array([self._batch(number).num_rows for number in range(len(self._batches))], np.int64))

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def visible_chars(self) -> Rows:
        """int64[n]: length of each document, see ``text.visible_chars``."""
        return self._numbers("visible_chars", np.int64)

    @cached_property
    def answer_words(self) -> Rows:
        """int64[n]: how many of a conversation's words, at the end, are its answers'; -1 for a plain document."""
        return self._numbers("answer_words", np.int64)

    @cached_property
    def num_words(self) -> Rows:
        """int64[n]: how many words of each document are compared."""
        return self._numbers("num_words", np.int64)

    def band(self, number: int) -> Hashes:
        """uint64[n]: one band of the sketches."""
        return self._numbers(f"band_{number:02}", np.uint64)

    def digests(self) -> tuple[Hashes, Hashes, NDArray[np.bool_]]:
        """Both halves of each document's digest, uint64[n] each, and bool[n] whether there is one."""
        halves, known = [np.zeros((0, 2), np.uint64)], [np.zeros(0, np.bool_)]
        for number in range(len(self._batches)):
            column = self._batch(number).column("digest")
            whole = column.fill_null(bytes(16))
            data = np.frombuffer(whole.buffers()[1] or b"", "<u8")
            halves.append(data[2 * whole.offset : 2 * (whole.offset + len(whole))].reshape(-1, 2))
            known.append(column.is_valid().to_numpy(zero_copy_only=False))
        both = np.concatenate(halves)
        return both[:, 0], both[:, 1], np.concatenate(known)

    def ids(self, rows: Rows) -> pa.StringArray:
        """The ids of ``rows``, in that order."""
        ascending, back = np.unique(rows, return_inverse=True)
        parts = [self._batch(number).column("id").take(pa.array(local)) for number, local in self._by_batch(ascending)]
        found = pa.concat_arrays(parts) if parts else pa.array([], pa.string())
        return found.take(pa.array(back))

    def words(self, rows: Rows) -> Ragged:
        """The word hashes of ``rows``, which must ascend."""
        values, lengths = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for number, local in self._by_batch(rows):
            taken = self._batch(number).column("words").take(pa.array(local))
            values.append(taken.flatten().to_numpy(zero_copy_only=False))
            lengths.append(taken.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64))
        return Ragged(np.concatenate(values), offsets_of(np.concatenate(lengths)))

    def _batch(self, number: int) -> Any:
        path, position = self._batches[number]
        return self._open(path).get_batch(position)

    def _by_batch(self, rows: Rows) -> list[tuple[int, Rows]]:
        """Ascending rows by batch, counted from the batch's first row."""
        cuts = np.searchsorted(rows, self._starts)
        holding = np.flatnonzero(np.diff(cuts))
        return [(int(number), rows[cuts[number] : cuts[number + 1]] - self._starts[number]) for number in holding]

    def _numbers(self, name: str, kind: type) -> NDArray[Any]:
        columns = (self._batch(number).column(name).to_numpy(zero_copy_only=False) for number in range(len(self._batches)))
        return np.concatenate([np.zeros(0, kind), *columns])


def _open(path: Path) -> Any:
    return pa.ipc.open_file(pa.memory_map(str(path)))
