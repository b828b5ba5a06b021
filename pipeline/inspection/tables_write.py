"""Tables as Parquet files in a folder that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commits import write_json
from pipeline.documents import QUARANTINE, Skipped
from pipeline.errors import UsageError

SUMMARY = "__tables.json"
ROW_GROUP_BYTES = 16 * 2**20
MAX_NAME_BYTES = 120


class TableFile:
    """One table's Parquet file, closed by ``close``; all batches have the schema of the first."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)
        self._schema = schema
        self._pending: list[pa.RecordBatch] = []
        self._num_bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        self._pending.append(batch)
        self._num_bytes += batch.nbytes
        if self._num_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if table := pa.Table.from_batches(self._pending, self._schema):
            self._writer.write_table(table, row_group_size=max(1, len(table)))
        self._pending, self._num_bytes = [], 0

    def close(self) -> None:
        """Write what waits, and the file's end."""
        self._flush()
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if failure[0] is None:
            self.close()
        else:
            self._writer.close()


class Quarantine:
    """Rows and files that could not be read, in ``__quarantine/part-00000.parquet``; no file where there are none."""

    def __init__(self, folder: Path, source: str) -> None:
        self._path, self._source = folder / "__quarantine" / "part-00000.parquet", source
        self._file: TableFile | None = None

    def add(self, item: Skipped) -> None:
        """One more."""
        if self._file is None:
            self._path.parent.mkdir()
            self._file = TableFile(self._path, QUARANTINE)
        row = {"source": self._source, "locator": item.locator, "error": item.error, "offset": item.offset, "raw": item.raw or None}
        self._file.write(pa.RecordBatch.from_pylist([row], schema=QUARANTINE))

    def close(self) -> None:
        """Write the file's end."""
        if self._file is not None:
            self._file.close()


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of ``target`` at the end, unless something is raised.

    Raises UsageError when ``target`` holds anything that an earlier call did not write.
    """
    target = target.absolute()
    if target.exists() and not target.is_dir():
        raise UsageError(str(target), "is a file", "name a folder to write to")
    if target.is_dir() and any(target.iterdir()) and not (target / SUMMARY).is_file():
        raise UsageError(str(target), "holds files that are not tables of an earlier run", "name a new or empty folder")
    partial, old = (target.with_name(f".{target.name}.{end}") for end in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise UsageError(str(target), f"cannot be made ({error.strerror})", "name another folder") from None
    try:
        yield partial
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        partial.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """The summary of a run, beside its tables."""
    write_json(folder / SUMMARY, json.loads(json.dumps(summary)))


def file_name(table: str, taken: set[str]) -> str:
    """A name for a table's file that no file system minds, without its suffix, and that is not ``taken`` in any spelling of case.

    Separators, control characters, ``%`` and a beginning that would hide the file are percent-encoded.
    """
    plain = [letter.isprintable() and letter not in "/\\%:*?<>|" for letter in table]
    safe = "".join(letter if is_plain else quote(letter, safe="", errors="surrogatepass") for letter, is_plain in zip(table, plain, strict=True))
    if not safe or safe.startswith((".", "__", " ", "~")):
        safe = "".join(f"%{byte:02X}" for byte in safe[:1].encode()) + safe[1:] if safe else "table"
    if len(safe.encode()) > MAX_NAME_BYTES:
        digest = hashlib.sha256(table.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        safe = f"{safe.encode()[:MAX_NAME_BYTES].decode('utf-8', 'ignore')}-{digest}"
    name, count = safe, 1
    while name.casefold() in taken:
        count += 1
        name = f"{safe}_{count}"
    taken.add(name.casefold())
    return name
