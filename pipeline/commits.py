"""Writing a dataset whole or not at all, so that a killed run resumes and a reader never sees half of one.

A build writes into ``.<name>.partial-<key>/`` beside its target. Every file is written under a temporary name, synced and renamed; each
finished task leaves a record, so that the next run does only what is missing. The manifest is written last; then the folder takes the
target's place in one exchange of names.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets import FORMAT, MANIFEST, RUN, Dataset, Shard, committed, file_sha256, json_bytes, open_dataset, rows_digest, sealed
from pipeline.errors import DatasetError, UsageError
from pipeline.lock import lock, unlock

WORK = "__work"
CARD = ".huggingface.yaml"
ROW_GROUP_BYTES = 16 * 2**20
ROW_GROUP_ROWS = 10_000
SHARD_BYTES = 256 * 2**20
"""A row group and a shard are closed at these sizes in memory (not on disk), so that peak memory does not grow with the input."""


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when it is complete and on disk. Errors of the system carry the file's name."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def copy(source: Path, target: Path) -> None:
    """A file copied whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as original, writing(target) as file:
        shutil.copyfileobj(original, file)


def write_json(path: Path, data: Any) -> None:
    """Canonical JSON in a file, written whole or not at all."""
    with writing(path) as file:
        file.write(json_bytes(data))


class _HashedFile:
    """What Arrow writes to: passes bytes on, counts and hashes them."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        self._file.write(view)
        self._sha256.update(view)
        self.bytes += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self.bytes

    def close(self) -> None:
        self._file.flush()

    def sha256(self) -> str:
        return self._sha256.hexdigest()


class ShardWriter:
    """Writes record batches of one schema into Parquet shards ``<stem>-000.parquet``, ... of bounded size under ``folder/part``.

    Nothing is written when no batch came, unless ``always`` is true (a dataset needs one file to carry its schema).
    """

    def __init__(self, folder: Path, part: str, stem: str, schema: pa.Schema, always: bool = False) -> None:
        self._folder, self._part, self._stem, self._schema, self._always = folder, part, stem, schema, always
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = self._shard_bytes = self._shard_rows = 0
        self._open: Any = None
        self.shards: list[Shard] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        for start in range(0, len(batch), ROW_GROUP_ROWS):
            piece = batch.slice(start, ROW_GROUP_ROWS)
            self._pending.append(piece)
            self._pending_rows += len(piece)
            self._pending_bytes += piece.get_total_buffer_size() if len(piece) == len(batch) else piece.nbytes
            if self._pending_rows >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
                self._flush()

    def close(self) -> list[Shard]:
        """Finish the last shard and return all of them, in order."""
        self._flush()
        if self._open is None and not self.shards and self._always:
            self._start()
        if self._open is not None:
            self._finish()
        return self.shards

    def abort(self) -> None:
        """Leave no half-written shard behind."""
        if self._open is not None:
            manager, _, _ = self._open
            self._open = None
            manager.__exit__(RuntimeError, RuntimeError("aborted"), None)

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._open is None:
            self._start()
        table = pa.Table.from_batches(self._pending, self._schema)
        self._open[2].write_table(table, row_group_size=max(1, table.num_rows))
        self._shard_bytes += self._pending_bytes
        self._shard_rows += table.num_rows
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        if self._shard_bytes >= SHARD_BYTES:
            self._finish()

    def _start(self) -> None:
        path = self._folder / self._part / f"{self._stem}-{len(self.shards):03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        manager = writing(path)
        hashed = _HashedFile(manager.__enter__())
        writer = pq.ParquetWriter(pa.PythonFile(hashed, mode="w"), self._schema, compression="zstd", write_page_checksum=True)
        self._open = (manager, hashed, writer)

    def _finish(self) -> None:
        manager, hashed, writer = self._open
        self._open = None
        try:
            writer.close()
        except BaseException as error:
            manager.__exit__(type(error), error, error.__traceback__)
            raise
        manager.__exit__(None, None, None)
        name = f"{self._part}/" if self._part else ""
        self.shards.append(Shard(f"{name}{self._stem}-{len(self.shards):03d}.parquet", self._shard_rows, hashed.bytes, hashed.sha256()))
        self._shard_bytes = self._shard_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def number_shards(shards: Sequence[Shard], name: str = "part") -> list[Shard]:
    """The shards, in the given order, under the names that a commit gives them: ``part-00000``, ``part-00001``, ... in each part."""
    numbers: dict[str, int] = {}
    numbered = []
    for shard in shards:
        number = numbers.get(shard.part, 0)
        numbers[shard.part] = number + 1
        folder = f"{shard.part}/" if shard.part else ""
        path = f"{folder}{name}-{number:05d}.{shard.path.rpartition('.')[2]}"
        numbered.append(Shard(path, shard.rows, shard.bytes, shard.sha256))
    return numbered


def _card(kept: Sequence[Shard]) -> str:
    """Which files ``datasets.load_dataset`` reads: else it would count the manifest among the data when there are few shards."""
    patterns = sorted({(shard.part or "train", f"{shard.part}/" if shard.part else "", shard.path.rpartition(".")[2]) for shard in kept})
    splits = [f'      - {{split: {split}, path: "{folder}part-*.{suffix}"}}' for split, folder, suffix in patterns]
    return "\n".join(["configs:", "  - config_name: default", "    data_files:", *splits, ""])


class Build:
    """A dataset being written beside its target; use it as a context manager.

    ``key`` is the digest of everything that goes in. ``folder`` is where tasks write. ``ready`` is the dataset already at the target when it
    was built from the same key: then there is nothing to do.
    """

    def __init__(self, target: Path, key: str) -> None:
        self.target, self.key = target.resolve() if target.is_symlink() else target, key
        self.folder = self.target.parent / f".{self.target.name}.partial-{key[:16]}"
        self.previous: Dataset | None = None
        self.ready: Dataset | None = None
        self._lock: IO[str] | None = None
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(str(self.target), f"cannot be made ({error.strerror})", "name another folder") from None
        self._lock = lock(self.target)
        try:
            self._recover()
            self._refuse_foreign_target()
            self.previous = committed(self.target)
            if self.previous is not None and self.previous.key == self.key:
                self.ready = self.previous
                self._sweep(keep=None)
                return self
            self._sweep(keep=self.folder)
            finished = committed(self.folder)
            if finished is not None and finished.key == self.key:
                self.ready = self._exchange()
                return self
            if self.folder.exists() and not self.work.is_dir():
                shutil.rmtree(self.folder)  # a dataset that was replaced, by a run that died before it had deleted it
            self.work.mkdir(parents=True, exist_ok=True)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None and self.work.is_dir() and not any(self.work.iterdir()) and not (self.folder / MANIFEST).is_file():
            shutil.rmtree(self.folder, ignore_errors=True)  # nothing was done, so there is nothing to resume
        if self._lock is not None:
            unlock(self._lock)
            self._lock = None

    @property
    def work(self) -> Path:
        """A folder for intermediate files, gone after the commit."""
        return self.folder / WORK

    def record(self, task: str) -> Any:
        """What a finished task left, or None when it has yet to run."""
        path = self.work / f"{task}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # torn by a loss of power: the task runs again
            return None

    def finish(self, task: str, record: Any) -> Any:
        """Note that a task is done; its files must be complete by now. Returns the record as it will be read back."""
        write_json(self.work / f"{task}.json", record)
        return self.record(task)

    def take(self, folder: Path, old: Shard, stem: str, number: int) -> Shard:
        """Take over a shard of another dataset, unread, under a new name; gives the shard as it is named here."""
        part = f"{old.part}/" if old.part else ""
        new = Shard(f"{part}{stem}-{number:03d}.parquet", old.rows, old.bytes, old.sha256)
        path = self.folder / new.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            os.link(folder / old.path, path)
        except OSError:
            copy(folder / old.path, path)
        return new

    def commit(
        self, shards: Sequence[Shard], about: Mapping[str, Any], run: Mapping[str, Any], name: str = "part", files: Sequence[str] = ()
    ) -> Dataset:
        """Number the shards, write the manifest and put the dataset in its place.

        ``shards`` in their final order; ``about`` goes into the manifest (no time, host or absolute path), ``run`` into ``__run.json``;
        ``files`` are further files of the dataset (relative paths), which the manifest names by digest.
        """
        numbered = number_shards(shards, name)
        self._rename(shards, numbered)
        numbered.sort(key=lambda shard: (shard.part.startswith("__"), shard.path))
        kept = [shard for shard in numbered if not shard.part.startswith("__")]
        if not kept and not files:
            raise DatasetError(str(self.target), "nothing was written", "this is a bug; please report it")
        if kept:
            with writing(self.folder / CARD) as card:
                card.write(_card(kept).encode())
            files = [*files, CARD]
        manifest = {
            **about,
            "format": FORMAT,
            "key": self.key,
            "digest": rows_digest(numbered),
            "rows": sum(shard.rows for shard in kept),
            "files": {file: file_sha256(self.folder / file) for file in files},
            "shards": [vars(shard) for shard in numbered],
        }
        seconds = time.monotonic() - self._started  # a clock that is set meanwhile does not count
        write_json(self.folder / RUN, sealed({**run, "seconds": round(seconds, 3), "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")}))
        for folder in sorted({(self.folder / shard.path).parent for shard in numbered}):
            _sync_folder(folder)
        write_json(self.folder / MANIFEST, sealed(manifest))
        _sync_folder(self.folder)
        return self._exchange()

    def _rename(self, shards: Sequence[Shard], names: Sequence[Shard]) -> None:
        """Give the shards their final names; what a killed run renamed already is left."""
        for shard, final in zip(shards, names, strict=True):
            if shard.path != final.path and (self.folder / shard.path).exists():
                (self.folder / shard.path).replace(self.folder / final.path)
                (self.folder / shard.path).unlink(missing_ok=True)  # renaming one of two links to a file leaves both

    def _exchange(self) -> Dataset:
        shutil.rmtree(self.work, ignore_errors=True)
        if not self.target.exists():
            self.folder.rename(self.target)
        elif not _rename_exchange(self.folder, self.target):
            old = self._old()
            self.target.rename(old)
            self.folder.rename(self.target)
        shutil.rmtree(self.target / WORK, ignore_errors=True)  # a dying worker may have written between; under the new name it cannot
        _sync_folder(self.target.parent)
        self._sweep(keep=None)
        return open_dataset(self.target)

    def _old(self) -> Path:
        return self.target.parent / f".{self.target.name}.old"

    def _recover(self) -> None:
        """Undo the gap between two renames, where the system cannot exchange names in one."""
        if self._old().exists() and not self.target.exists():
            self._old().rename(self.target)

    def _refuse_foreign_target(self) -> None:
        if not self.target.exists():
            return
        if not self.target.is_dir():
            raise UsageError(str(self.target), "is a file", "name a folder to write to")
        if any(self.target.iterdir()) and not (self.target / MANIFEST).is_file():
            raise UsageError(str(self.target), "holds files that are not a dataset of ours", "name an empty or a new folder")

    def _sweep(self, keep: Path | None) -> None:
        for leftover in [self._old(), *self.target.parent.glob(f".{_glob_escape(self.target.name)}.partial-*")]:
            if leftover != keep and leftover.exists():
                shutil.rmtree(leftover, ignore_errors=True)


def _glob_escape(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename_exchange(one: Path, two: Path) -> bool:
    """Exchange two names in one step (Linux renameat2 with RENAME_EXCHANGE); False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    at_cwd, exchange = -100, 2
    return rename(at_cwd, os.fsencode(one), at_cwd, os.fsencode(two), exchange) == 0
