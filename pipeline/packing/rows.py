"""From encoded sequences to rows: plan who shares a row, give out the shards, gather and write the rows of one.

Arrow to train (memory-mapped), JSON lines to exchange, Parquet to look at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commits import writing
from pipeline.errors import UsageError
from pipeline.models import IGNORED, TokenizerInfo
from pipeline.packing import mix
from pipeline.packing.plan import PACKERS, Plan, counted, shuffled
from pipeline.packing.sequences import Chunks, Place, SequenceIndex
from pipeline.packing.settings import TokenizeSettings
from pipeline.packing.split import SPLITS, TRAIN, assign

PIECE = pa.struct([("id", pa.string()), ("source", pa.string()), ("start", pa.int32()), ("end", pa.int32())])

ROWS = pa.schema(
    [
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("labels", pa.list_(pa.int32()), nullable=False),
        pa.field("position_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("sequence_lengths", pa.list_(pa.int32()), nullable=False),
        pa.field("pieces", pa.list_(PIECE), nullable=False),
    ]
)
"""One row of training. The first three lists are of one length, the row's number of tokens.

``labels``: the token itself where it is learned, else -100, and always -100 at the first token of a sequence, which would else be
predicted from the sequence before it; they are not shifted. ``position_ids`` begin at 0 in each sequence. ``sequence_lengths`` add up
to the row's length. ``pieces``: for each sequence the document, its source, and which of its tokens these are. Padding is a sequence of
its own (nothing of it is learned, nothing else attends to it) with a null ``id`` and ``source``.
"""

LEFT_OUT = pa.schema([("id", pa.string()), ("source", pa.string()), ("start", pa.int32()), ("end", pa.int32())])
"""Tokens ``start`` to ``end`` of a document that no training row holds, because its source is to be mixed in less often than once."""

ROW_COUNTS = ("rows", "sequences", "tokens", "learned", "padding", "tokens_unlearned")
_PAD = -1
_TOKENS_A_BATCH = 1_000_000


@dataclass(frozen=True)
class Padding:
    """Rows are filled up to ``length`` tokens with ``token`` on one side.

    A new token is one that the tokenizer lacks: the first id after its own.
    """

    token: int
    side: str
    length: int
    is_new: bool = False


@dataclass(frozen=True)
class ShardTask:
    """What a worker needs to write one shard.

    chunks         the chunks it reads
    num_sequences  int64[rows]       how many sequences each row holds
    pad_token      the token that padding is made of
    chunk, row     int32[sequences]  where each lies: index into ``chunks`` (-1: padding), row there
    start, length  int32[sequences]  its first token that stands here, and number of tokens
    """

    chunks: tuple[Place, ...]
    num_sequences: np.ndarray
    pad_token: int
    chunk: np.ndarray
    row: np.ndarray
    start: np.ndarray
    length: np.ndarray


def padding_for(info: TokenizerInfo, length: int, settings: TokenizeSettings) -> Padding | None:
    """How rows are padded: not at all when documents share them.

    With the token of the settings, else the tokenizer's own unless it also ends texts, else the unknown token, else a new one.
    Raises UsageError when the settings name a token that is not in the vocabulary.
    """
    if settings.pack != "none":
        return None
    if settings.pad_token is not None:
        token = info.id_of(settings.pad_token)
        if token is None:
            raise UsageError("pad_token", f"{settings.pad_token!r} is not in the vocabulary of {info.where}", "name a token that is")
        return Padding(token, settings.padding_side, length)
    for known in (info.pad_id, info.unk_id):
        if known is not None and known != info.eos_id:
            return Padding(known, settings.padding_side, length)
    after_all = max(info.tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    return Padding(after_all, settings.padding_side, length, is_new=True)


@dataclass(frozen=True)
class Mix:
    """What the mixing of sources does: how often the training sequences of each source stand in the rows (``times``), and which are left out.

    left_out  int64[]  indices of the sequences that no row holds
    repeated  tokens of each source beyond its first copies
    """

    times: dict[str, float]
    left_out: np.ndarray
    repeated: dict[str, int]


def plan_splits(index: SequenceIndex, length: int, settings: TokenizeSettings) -> tuple[dict[str, Plan], Mix]:
    """For each of SPLITS the rows of at most ``length`` tokens, in their final order, and what mixing did to the training split.

    The plans' sequences are those of the index. Raises UsageError when ``epochs`` or ``ratio`` do not fit the sources.
    """
    split_of = assign(index.split_hash, index.source, {"validation": settings.validation_share, "test": settings.test_share})
    copies, mixed = _mix(index, np.flatnonzero(split_of == TRAIN), settings)
    plans = {}
    for split, name in enumerate(SPLITS):
        chosen = np.repeat(np.arange(len(index)), np.where(split_of == split, copies, 0))
        plan = PACKERS[settings.pack](index.length[chosen], length).of(chosen)
        plans[name] = shuffled(plan, settings.seed)
    return plans, mixed


def _mix(index: SequenceIndex, train: np.ndarray, settings: TokenizeSettings) -> tuple[np.ndarray, Mix]:
    """How often each sequence is taken (int64[n]); those of the other splits once."""
    copies, sizes = np.ones(len(index), np.int64), index.length[train].astype(np.int64)
    tokens = np.bincount(index.source[train], sizes, len(index.sources)).astype(np.int64)
    often = mix.times(index.sources, tokens, settings.epochs, settings.ratio)
    copies[train] = mix.copies(index.split_hash[train], index.source[train], often, settings.seed)
    more = np.bincount(index.source[train], sizes * np.maximum(copies[train] - 1, 0), len(index.sources)).astype(np.int64)
    named = (dict(zip(index.sources, values, strict=True)) for values in (often.round(6).tolist(), more.tolist()))
    return copies, Mix(next(named), train[copies[train] == 0], next(named))


def shard_tasks(index: SequenceIndex, plan: Plan, rows_per_shard: int, padding: Padding | None) -> Iterator[ShardTask]:
    """The work of each shard of a split, in order."""
    for start in range(0, len(plan), rows_per_shard):
        part = plan.rows(start, start + rows_per_shard)
        used, chunk = np.unique(index.chunk[part.sequences], return_inverse=True)
        places = tuple(index.chunks[one] for one in used.tolist())
        task = ShardTask(places, np.diff(part.offsets), 0, chunk.astype(np.int32), index.row[part.sequences], part.start, part.size)
        yield _padded(task, padding) if padding else task


def gather(task: ShardTask) -> Iterator[pa.RecordBatch]:
    """The rows of a shard in batches (schema ROWS) of about a million tokens."""
    chunks = Chunks(task.chunks)
    first = np.concatenate([[0], np.cumsum(task.num_sequences)])
    tokens = np.concatenate([[0], np.cumsum(task.length, dtype=np.int64)])[first]
    start = 0
    while start < len(task.num_sequences):
        stop = max(start + 1, int(np.searchsorted(tokens, tokens[start] + _TOKENS_A_BATCH, side="right")) - 1)
        part = slice(first[start], first[stop])
        columns = (column[part] for column in (task.chunk, task.row, task.start, task.length))
        yield _rows(chunks, ShardTask((), task.num_sequences[start:stop], task.pad_token, *columns))
        start = stop


def left_out(index: SequenceIndex, sequences: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Which documents, or pieces of them, the given sequences (int64[], ascending) are, in batches (schema LEFT_OUT)."""
    chunks = Chunks(index.chunks)
    chunk_of = index.chunk[sequences]
    for number in np.unique(chunk_of).tolist():
        mine = sequences[chunk_of == number]
        rows = pa.array(index.row[mine])
        start, size = chunks[number].start[index.row[mine]], index.length[mine]
        source = pa.array(index.sources, pa.string()).take(pa.array(index.source[mine]))
        yield pa.RecordBatch.from_arrays([chunks[number].document.take(rows), source, pa.array(start), pa.array(start + size)], schema=LEFT_OUT)


def write_rows(path: Path, batches: Iterable[pa.RecordBatch], format: str) -> dict[str, int]:
    """Write rows (schema ROWS) as one shard, whole or not at all; gives ROW_COUNTS.

    ``arrow`` is Arrow's stream format, which ``datasets.Dataset.from_file`` reads; ``parquet`` has page checksums. ``learned`` counts
    labels, so it lacks the first token of each sequence; ``tokens`` lacks the padding. A row of which nothing would be learned, as
    ``wrapped`` can make of a long question, is left out; ``tokens_unlearned`` says how much that was.
    """
    counts = dict.fromkeys(ROW_COUNTS, 0)
    with writing(path) as file:
        writer = _WRITERS[format](file)
        for batch in batches:
            teaches = _teaches(batch)
            if not teaches.all():
                counts["tokens_unlearned"] += count_rows(batch.filter(pa.array(~teaches)))["tokens"]
                batch = batch.filter(pa.array(teaches))
            writer.write_batch(batch)
            for name, number in count_rows(batch).items():
                counts[name] += number
        writer.close()
    return counts


def _teaches(batch: pa.RecordBatch) -> np.ndarray:
    """bool[rows]: whether something of each row is learned."""
    labels = batch.column("labels")
    learned = counted(labels.values.to_numpy() != IGNORED)
    teaches: np.ndarray = np.diff(learned[labels.offsets.to_numpy()]) > 0
    return teaches


def count_rows(batch: pa.RecordBatch) -> dict[str, int]:
    """ROW_COUNTS of a batch of rows."""
    is_padding = batch.column("pieces").flatten().field("id").is_null().to_numpy(zero_copy_only=False)
    sizes = batch.column("sequence_lengths").flatten().to_numpy().astype(np.int64)
    labels = batch.column("labels").flatten().to_numpy()
    return {
        "rows": len(batch),
        "sequences": int((~is_padding).sum()),
        "tokens": int(sizes[~is_padding].sum()),
        "learned": int(np.count_nonzero(labels != IGNORED)),
        "padding": int(sizes[is_padding].sum()),
    }


def _padded(task: ShardTask, padding: Padding) -> ShardTask:
    """The task with a sequence of padding before or after each sequence that is shorter than its row."""
    columns = [
        np.stack([task.chunk, np.full_like(task.chunk, _PAD)], axis=1),
        np.stack([task.row, np.zeros_like(task.row)], axis=1),
        np.stack([task.start, np.zeros_like(task.start)], axis=1),
        np.stack([task.length, padding.length - task.length], axis=1),
    ]
    if padding.side == "left":
        columns = [column[:, ::-1] for column in columns]
    there = columns[-1] > 0
    return ShardTask(task.chunks, there.sum(axis=1), padding.token, *(column[there] for column in columns))


def _rows(chunks: Chunks, task: ShardTask) -> pa.RecordBatch:
    ends = np.cumsum(task.length, dtype=np.int64)
    begins = ends - task.length
    total = int(ends[-1])
    ids, learned = np.full(total, task.pad_token, dtype=np.int32), np.zeros(total, dtype=np.uint8)
    starts = np.zeros(len(begins), dtype=np.int32)
    places = zip(task.chunk.tolist(), task.row.tolist(), task.start.tolist(), begins.tolist(), ends.tolist(), strict=True)
    for number, (one, row, first, begin, end) in enumerate(places):
        if one != _PAD:
            chunk = chunks[one]
            offset = int(chunk.offsets[row]) + first
            chunk.read(offset, ids[begin:end], learned[begin:end])
            starts[number] = chunk.start[row] + first
    labels = np.where(learned, ids, np.int32(IGNORED))
    labels[begins] = IGNORED
    positions = np.arange(total, dtype=np.int32) - np.repeat(begins.astype(np.int32), task.length)
    of_row = np.concatenate([[0], np.cumsum(task.num_sequences)])
    by_token, by_sequence = np.concatenate([[0], ends])[of_row].astype(np.int32), of_row.astype(np.int32)
    names = (_names(chunks, task, column) for column in ("document", "source"))
    pieces = pa.StructArray.from_arrays([*names, pa.array(starts), pa.array(starts + task.length)], fields=list(PIECE))
    columns = [pa.ListArray.from_arrays(by_token, pa.array(values)) for values in (ids, labels, positions)]
    columns += [pa.ListArray.from_arrays(by_sequence, values) for values in (pa.array(task.length), pieces)]
    return pa.RecordBatch.from_arrays(columns, schema=ROWS)


def _names(chunks: Chunks, task: ShardTask, column: str) -> pa.StringArray:
    """The ``document`` or ``source`` of each sequence, null for padding."""
    taken, order = [], np.argsort(task.chunk, kind="stable")
    numbers, firsts = np.unique(task.chunk[order], return_index=True)
    for number, rows in zip(numbers.tolist(), np.split(task.row[order], firsts[1:]), strict=True):
        taken.append(pa.nulls(len(rows), pa.string()) if number == _PAD else getattr(chunks[number], column).take(pa.array(rows)))
    return pa.concat_arrays(taken).take(pa.array(np.argsort(order, kind="stable")))


class _JsonLines:
    """Writes each row as one line of JSON."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write the rows of a batch."""
        for row in batch.to_pylist():
            self._file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Nothing is left to write."""


def _arrow(file: IO[bytes]) -> Any:
    return pa.ipc.new_stream(pa.PythonFile(file, mode="w"), ROWS)


def _parquet(file: IO[bytes]) -> Any:
    return pq.ParquetWriter(pa.PythonFile(file, mode="w"), ROWS, compression="zstd", write_page_checksum=True)


_WRITERS = {"arrow": _arrow, "jsonl": _JsonLines, "parquet": _parquet}
