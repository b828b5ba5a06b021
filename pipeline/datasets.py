"""Reading committed datasets: the manifest says what is there, and nothing else is trusted.

A dataset is a folder that holds ``__manifest.json``; ``pipeline.commits`` writes one whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DatasetError

MANIFEST = "__manifest.json"
RUN = "__run.json"
FORMAT = 1
SEAL = "sha256"
"""The value of a manifest, and of ``__run.json``, that is the digest of all its others."""
KEPT = ""
"""The part of a dataset that holds its rows; the other parts are ``__removed``, ``__edited`` and ``__quarantine``."""


@dataclass(frozen=True)
class Shard:
    """One file of a dataset; ``path`` is relative to the dataset's folder, with ``/``."""

    path: str
    rows: int
    bytes: int
    sha256: str

    @property
    def part(self) -> str:
        """The folder the shard lies in: empty for the dataset's own rows."""
        return self.path.rpartition("/")[0]


@dataclass(frozen=True)
class Dataset:
    """A committed dataset: its folder and what its manifest says."""

    folder: Path
    manifest: dict[str, Any]
    shards: tuple[Shard, ...]

    @property
    def key(self) -> str:
        """Digest of all that went in: stage, version, settings and inputs."""
        return str(self.manifest["key"])

    @property
    def digest(self) -> str:
        """Digest of the rows that came out: what a later stage depends on."""
        return str(self.manifest["digest"])

    def files(self, part: str = KEPT) -> list[Path]:
        """The shard files of one part, checked for presence and size; raises DatasetError."""
        paths = []
        for shard in self.shards:
            if shard.part != part:
                continue
            path = self.folder / shard.path
            if not path.is_file() or path.stat().st_size != shard.bytes:
                state = "is missing" if not path.exists() else f"has {path.stat().st_size:,} bytes instead of {shard.bytes:,}"
                raise DatasetError(str(path), state, "build the dataset again")
            paths.append(path)
        return paths

    def checked_files(self, part: str) -> list[Path]:
        """The shard files of one part, every byte of them as it was written (Arrow and JSONL carry no checksums of their own)."""
        paths = self.files(part)
        for path, shard in zip(paths, (s for s in self.shards if s.part == part), strict=True):
            if file_sha256(path) != shard.sha256:
                raise DatasetError(str(path), "its bytes are not those that were written", "delete the dataset and build it again")
        return paths

    def rows(self, part: str = KEPT) -> int:
        """Number of rows of one part."""
        return sum(shard.rows for shard in self.shards if shard.part == part)


def is_dataset(folder: Path) -> bool:
    """Whether a folder holds a manifest."""
    return os.path.isfile(folder / MANIFEST)  # noqa: PTH113 (false, not an error, where the folder may not be read)


def find_datasets(folder: Path) -> list[Path]:
    """The dataset that ``folder`` is, or the datasets directly in it, by name; empty when there is none."""
    if is_dataset(folder):
        return [folder]
    if not folder.is_dir():
        return []
    return sorted(child for child in folder.iterdir() if not child.name.startswith(".") and is_dataset(child))


def open_dataset(folder: Path) -> Dataset:
    """The committed dataset at ``folder``; raises DatasetError when there is none or its manifest is damaged."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        shards = tuple(Shard(**shard) for shard in manifest["shards"])
        if manifest["format"] != FORMAT:
            raise DatasetError(str(folder), f"is of format {manifest['format']}, this version reads {FORMAT}", "build it again")
        if not isinstance(manifest["key"], str) or not isinstance(manifest["files"], dict) or manifest["digest"] != rows_digest(shards):
            raise DatasetError(str(path), "does not agree with itself", "build the dataset again")
    except OSError as error:
        raise DatasetError(str(folder), f"is not a committed dataset ({error.strerror or error})", "build it first") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(str(path), f"is damaged ({type(error).__name__})", "build the dataset again") from None
    return Dataset(folder, manifest, shards)


def committed(folder: Path) -> Dataset | None:
    """The dataset at ``folder`` when it is whole (every file present, every shard of its size), else None."""
    try:
        dataset = open_dataset(folder)
        for part in sorted({shard.part for shard in dataset.shards}):
            dataset.files(part)
    except DatasetError:
        return None
    return dataset if all((folder / name).is_file() for name in dataset.manifest["files"]) else None


def rows_digest(shards: Sequence[Shard]) -> str:
    """SHA-256 over the kept shards (name, rows, content), the same whatever was removed, quarantined or edited on the way."""
    state = hashlib.sha256()
    for shard in shards:
        if not shard.part.startswith("__"):
            state.update(f"{shard.path}\0{shard.rows}\0{shard.sha256}\n".encode())
    return state.hexdigest()


def read_batches(path: Path, columns: Sequence[str] | None = None, max_rows: int = 2048) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet shard in batches, page checksums verified and strings checked; raises DatasetError."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):  # a batch never spans two, so memory is bounded by bytes and not only by rows
                for batch in file.iter_batches(max_rows, [group], list(columns) if columns else None, use_threads=False):
                    batch.validate(full=True)
                    yield batch
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(str(path), f"is damaged ({str(error).splitlines()[0][:120]})", "delete the dataset and build it again") from None


def json_bytes(data: Any) -> bytes:
    """The JSON of ``data`` as files hold it: in UTF-8, one value a line."""
    return (json.dumps(data, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "backslashreplace")


def sealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` with the SHA-256 of its JSON as last value, so that a changed bit shows in the file that nothing else has a digest of."""
    return {**data, SEAL: hashlib.sha256(json_bytes(data)).hexdigest()}


def _is_sealed(path: Path) -> bool:
    try:
        content = path.read_bytes()
        data = json.loads(content)
        del data[SEAL]
        return content == json_bytes(sealed(data))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def verify(dataset: Dataset) -> list[str]:
    """Every difference between the manifest and the files: one line each, empty when all is well."""
    own = [dataset.folder / name for name in (MANIFEST, RUN)]
    problems = [f"{path}: is missing or not as it was written; delete the dataset and build it again" for path in own if not _is_sealed(path)]
    for shard in dataset.shards:
        path = dataset.folder / shard.path
        if not path.is_file():
            problems.append(f"{path}: is missing; delete the dataset and build it again")
        elif file_sha256(path) != shard.sha256:
            problems.append(f"{path}: its bytes are not those that were written; delete the dataset and build it again")
    named = {shard.path for shard in dataset.shards} | {MANIFEST, RUN}
    for path in sorted(dataset.folder.rglob("*")):
        relative = path.relative_to(dataset.folder).as_posix()
        if path.is_file() and relative not in named and relative not in dataset.manifest["files"]:
            problems.append(f"{path}: is not in the manifest; move it away")
    for name, sha256 in dataset.manifest["files"].items():
        path = dataset.folder / name
        if not path.is_file() or file_sha256(path) != sha256:
            problems.append(f"{path}: is missing or not as it was written; delete the dataset and build it again")
    return problems


def file_sha256(path: Any) -> str:
    """SHA-256 of the bytes, hex, of a Path or of another file that ``open("rb")`` opens."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
