"""Documents by their number, read again out of the files in which they lie in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dedup.compared import Compare, piece_words, pieces
from pipeline.dedup.similarity import Compared
from pipeline.text import Ragged, Rows, offsets_of


@dataclass(frozen=True)
class Stored:
    """A file of documents (``.arrow``: Arrow IPC file, else Parquet) and how many stand in each of its batches or row groups."""

    path: Path
    pieces: tuple[int, ...]

    @property
    def rows(self) -> int:
        """How many documents the file holds."""
        return sum(self.pieces)


def stored_parquet(path: Path) -> Stored:
    """A Parquet file as it lies there."""
    about = pq.read_metadata(path)
    return Stored(path, tuple(about.row_group(number).num_rows for number in range(about.num_row_groups)))


class Collection:
    """Documents numbered from 0 in the order of the files. Pieces of a file are read whole, but only the columns that are asked for."""

    def __init__(self, files: Sequence[Stored]) -> None:
        self._files = files
        self._starts = offsets_of(np.array([file.rows for file in files], np.int64))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def ids(self, rows: Rows) -> pa.StringArray:
        """The ids of ``rows``, in that order."""
        ascending, back = np.unique(rows, return_inverse=True)
        parts = [batch.column("id") for batch in self._read(ascending, ["id"])]
        found = pa.concat_arrays(parts) if parts else pa.array([], pa.string())
        return found.take(pa.array(back))

    def compared(self, rows: Rows, compare: Compare, compiled: bool = False) -> Compared:
        """The compared words of ``rows``, which must ascend."""
        values, lengths, answers = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for batch in self._read(rows, ["text", "messages"]):
            words, answered = piece_words(pieces(batch, compare), compiled)
            values.append(words.values)
            lengths.append(words.lengths)
            answers.append(answered)
        return Compared(Ragged(np.concatenate(values), offsets_of(np.concatenate(lengths))), np.concatenate(answers), compiled)

    def _read(self, rows: Rows, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """The ascending ``rows``, piece by piece."""
        cuts = np.searchsorted(rows, self._starts)
        for number in np.flatnonzero(np.diff(cuts)).tolist():
            file, local = self._files[number], rows[cuts[number] : cuts[number + 1]] - self._starts[number]
            starts = offsets_of(np.array(file.pieces, np.int64))
            inside = np.searchsorted(local, starts)
            with _opened(file.path, columns) as read:
                for piece in np.flatnonzero(np.diff(inside)).tolist():
                    wanted = local[inside[piece] : inside[piece + 1]] - starts[piece]
                    yield from read(piece).take(pa.array(wanted)).combine_chunks().to_batches()


@contextmanager
def _opened(path: Path, columns: list[str]) -> Iterator[Callable[[int], pa.Table]]:
    """What reads these columns of a piece of the file."""
    if path.suffix != ".arrow":
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield lambda number: file.read_row_group(number, columns=columns, use_threads=False)
        return
    with pa.OSFile(str(path)) as source:  # not mapped: mapped pages would count as memory of this process
        schema = pa.ipc.open_file(source).schema
        options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name) for name in columns])
        reader = pa.ipc.open_file(source, options=options)
        yield lambda number: pa.Table.from_batches([reader.get_batch(number)]).select(columns)
