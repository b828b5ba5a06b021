"""For ``datasets.load_from_disk``: documents or rows of tokens as a DatasetDict on disk, written here so that its bytes are the same every time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from pipeline.commits import writing
from pipeline.datasets import Dataset, read_batches
from pipeline.errors import DatasetError, MissingPackageError
from pipeline.packing.reading import read_rows
from pipeline.packing.rows import ROWS
from pipeline.packing.split import SPLITS

DICT = "dataset_dict.json"
FILE_BYTES = 500 * 2**20
"""A file is closed at this size; ``save_to_disk`` takes 500 MB too."""


class SplitWriter:
    """The record batches of one split as Arrow streams ``SPLIT/data-00000.arrow``, ..., with the two files of JSON that say so.

    ``close`` gives the files, relative to ``folder``. Each appears under its name only when it is whole.
    """

    def __init__(self, folder: Path, split: str, schema: pa.Schema, fingerprint: str) -> None:
        self._folder, self._split, self._fingerprint = folder, split, fingerprint
        self._schema = schema.remove_metadata()
        self._open: tuple[Any, IO[bytes], Any] | None = None
        self._bytes = 0
        self.files: list[str] = []
        self.rows = 0
        (folder / split).mkdir(exist_ok=True)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        if not len(batch):
            return
        if self._open is None:
            self._start()
        assert self._open is not None
        self._open[2].write_batch(batch.replace_schema_metadata(None))
        self._bytes += batch.nbytes
        self.rows += len(batch)
        if self._bytes >= FILE_BYTES:
            self._finish()

    def close(self) -> list[str]:
        """Finish the last file and write what describes them."""
        if self._open is not None or not self.files:
            if self._open is None:
                self._start()
            self._finish()
        names = [Path(file).name for file in self.files]
        described = {"dataset_info.json": _info(self._schema), "state.json": _state(names, self._split, self._fingerprint)}
        for name, content in described.items():
            with writing(self._folder / self._split / name) as file:
                file.write((json.dumps(content, indent=2, sort_keys=True) + "\n").encode())
            self.files.append(f"{self._split}/{name}")
        return self.files

    def abort(self) -> None:
        """Leave no half-written file."""
        if self._open is not None:
            manager, self._open = self._open[0], None
            manager.__exit__(RuntimeError, RuntimeError("aborted"), None)

    def _start(self) -> None:
        name = f"{self._split}/data-{len(self.files):05d}.arrow"
        self.files.append(name)
        manager = writing(self._folder / name)
        file = manager.__enter__()
        self._open = (manager, file, pa.ipc.new_stream(pa.PythonFile(file, mode="w"), self._schema))

    def _finish(self) -> None:
        assert self._open is not None
        manager, _, stream = self._open
        stream.close()
        self._open, self._bytes = None, 0
        manager.__exit__(None, None, None)


def check_library() -> None:
    """Raises MissingPackageError when ``datasets``, whose own words describe the columns, is not installed."""
    try:
        import datasets  # noqa: F401
    except ImportError:
        raise MissingPackageError("datasets", "export data --to hf-dataset", "train") from None


def write_dict(folder: Path, splits: Iterable[str]) -> str:
    """The file that makes the folders of splits one DatasetDict; gives its name."""
    with writing(folder / DICT) as file:
        file.write((json.dumps({"splits": list(splits)}) + "\n").encode())
    return DICT


def token_batches(dataset: Dataset, split: str) -> Iterator[pa.RecordBatch]:
    """The packed rows of a split (schema ROWS), whatever their format, every byte checked first."""
    for path in dataset.checked_files(split):
        yield from read_rows(path)


def token_schema() -> pa.Schema:
    """The columns of packed rows."""
    return ROWS


def document_batches(dataset: Dataset, split_of: np.ndarray) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The documents with the split of each part of a batch; ``split_of`` (int8[n]) in the order of the shards."""
    first = 0
    for path in dataset.files():
        for batch in read_batches(path, max_rows=512):
            mine = split_of[first : first + len(batch)]
            first += len(batch)
            for split in np.unique(mine).tolist():
                yield SPLITS[split], batch.filter(pa.array(mine == split))


def document_schema(dataset: Dataset) -> pa.Schema:
    """The columns of a dataset of documents, scores among them where it has any; raises DatasetError."""
    import pyarrow.parquet as pq

    files = dataset.files()
    if not files:
        raise DatasetError(str(dataset.folder), "has no shard", "build it again")
    return pq.read_schema(files[0])


def _info(schema: pa.Schema) -> dict[str, Any]:
    from datasets import Features

    return {"citation": "", "description": "", "features": Features.from_arrow_schema(schema).to_dict(), "homepage": "", "license": ""}


def _state(names: list[str], split: str, fingerprint: str) -> dict[str, Any]:
    return {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }
