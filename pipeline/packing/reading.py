"""Packed rows read back from any of the three file formats, batch by batch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DatasetError
from pipeline.packing.rows import ROWS

_JSON_ROWS = 64
"""So many lines of JSON become one batch; a row has thousands of tokens."""

_PARQUET_ROWS = 256


def read_rows(path: Path, columns: Sequence[str] = tuple(ROWS.names)) -> Iterator[pa.RecordBatch]:
    """The rows of one shard (those ``columns`` of ROWS, in that order), its format taken from its name; raises DatasetError when it is damaged."""
    schema = pa.schema([ROWS.field(name) for name in columns])
    try:
        for batch in _READERS[path.suffix](path, schema):
            yield pa.RecordBatch.from_arrays([batch.column(name).cast(ROWS.field(name).type) for name in columns], schema=schema)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise DatasetError(str(path), f"is damaged ({why})", "delete the dataset and build it again") from None


def _arrow(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        yield from stream


def _parquet(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        yield from file.iter_batches(_PARQUET_ROWS, columns=schema.names, use_threads=False)


def _json_lines(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with path.open(encoding="utf-8") as lines:
        pending = []
        for line in lines:
            row = json.loads(line)
            pending.append({name: row[name] for name in schema.names})
            if len(pending) == _JSON_ROWS:
                yield pa.RecordBatch.from_pylist(pending, schema=schema)
                pending = []
        if pending:
            yield pa.RecordBatch.from_pylist(pending, schema=schema)


_READERS = {".arrow": _arrow, ".parquet": _parquet, ".jsonl": _json_lines}
