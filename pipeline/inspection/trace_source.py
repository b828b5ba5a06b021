"""Where the source of a document lies now, whether it is as it was when it was extracted, and how it was read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from pipeline import bench
from pipeline.datasets import Dataset, file_sha256, is_dataset, read_batches
from pipeline.errors import SettingsError, UsageError
from pipeline.extractors.databases_login import is_address, parse_address
from pipeline.extractors.files import SourceFile, list_files
from pipeline.extractors.sources import ExtractSettings, Part, SourceSettings, read_part
from pipeline.inspection.lookup import Built
from pipeline.inspection.trace_units import Locator
from pipeline.remote import RemoteFile, Url, place
from pipeline.settings import Raw, build, read_yaml

MAX_LOOKED_AT = 200_000
"""Names below the project's folder that are looked at for a source which no settings name."""

UNCHANGED = "as it was when it was extracted"
CHANGED = "CHANGED since it was extracted"
UNKNOWN = "not compared: the dataset keeps no digest of it"


@dataclass(frozen=True)
class Made:
    """How a source was read, as far as a dataset says: its settings, and the SHA-256 of each file by name."""

    settings: SourceSettings | None
    digests: Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """Where a source lies: the file that a locator names first, then those that were read together with it. Of a live database no file.

    ``state`` says whether the files are those that were extracted.
    """

    name: str
    where: str
    settings: SourceSettings
    files: tuple[SourceFile, ...]
    state: str

    @property
    def is_live(self) -> bool:
        """Whether it is a database that is asked and not read."""
        return not self.files


def made_of(built: Built, name: str) -> Made:
    """What the extracted datasets say about a source; nothing where it was extracted on the way to a clean dataset."""
    for dataset in built.raw:
        plain = dataset.manifest.get("settings", {}).get(name)
        if plain is not None:
            digests = {item["name"]: item["digest"] for item in dataset.manifest["inputs"] if item["source"] == name}
            return Made(_settings(dataset, plain), digests)
    return Made(None, {})


def _settings(dataset: Dataset, plain: Mapping[str, Any]) -> SourceSettings | None:
    """The settings of a source as the manifest keeps them; None where this version has others."""
    kept = {key: value for key, value in plain.items() if key != "versions"}
    for mapping in (kept.get("rows"), *kept.get("tables", {}).values()):
        if mapping is not None:
            mapping.pop("gathered_as", None)
    try:
        return build(SourceSettings, Raw(str(dataset.folder), {**kept, "path": "."}, {}))
    except SettingsError:
        return None


@contextmanager
def source_of(built: Built, name: str, wanted: Locator, given: str | None, settings_file: Path | None) -> Iterator[Source]:
    """The source of a document: at ``given``, else where the settings say, else where below this folder a file of its name and digest lies.

    Files elsewhere are fetched for the time of the context. Raises UsageError when it is nowhere.
    """
    made = made_of(built, name)
    told = _told(name, settings_file)
    settings = made.settings or told or SourceSettings(".")
    where = given or (told.path if told is not None and _is_there(told.path) else None) or _found(wanted, made.digests)
    if where is None:
        todo = "name its place, or the address of its database: --source PATH"
        raise UsageError(f"{name}/{wanted.path}", "lies nowhere that is known here", todo)
    if is_address(where):
        yield Source(name, str(parse_address(where)), settings, (), "a live database: no bytes are kept of it")
        return
    with tempfile.TemporaryDirectory() as folder:
        files = _files(place(where), wanted, made.digests if "thread" in wanted.parts or settings.sql.together else None, Path(folder))
        if not files:
            raise UsageError(f"{where}", f"holds no {wanted.path}", "name the place of the source with --source PATH")
        yield Source(name, where, settings, tuple(files), _state(files, made.digests))


def _told(name: str, path: Path | None) -> SourceSettings | None:
    """The source of that name in the settings file."""
    try:
        return build(ExtractSettings, read_yaml(bench.settings_file("extract", path))).sources.get(name)
    except SettingsError:
        if path is not None:
            raise
        return None


def _is_there(path: str) -> bool:
    where = place(path) if not is_address(path) else None
    return not isinstance(where, Path) or where.exists()


def _files(root: Path | Url, wanted: Locator, together: Mapping[str, str] | None, folder: Path) -> list[SourceFile]:
    """The file that a locator names; where files were read ``together``, all of those names behind it. What lies elsewhere goes to ``folder``."""
    if isinstance(root, Path) and together is None:
        file = root / wanted.path if root.is_dir() else root
        inside = (root if root.is_dir() else root.parent).resolve()
        is_it = file.is_file() and (root.is_dir() or root.name == wanted.path) and file.resolve().is_relative_to(inside)
        return [SourceFile(file, wanted.path)] if is_it else []
    found: list[SourceFile] = []
    for item in list_files(root.absolute() if isinstance(root, Path) else root):
        names = together if together is not None else (wanted.path,)
        if not isinstance(item, SourceFile | RemoteFile) or (names and item.name not in names):
            continue
        if isinstance(item, RemoteFile):
            item.fetch(folder / str(len(found)))
            item = SourceFile(folder / str(len(found)), item.name)
        found.append(item)
    return sorted(found, key=lambda file: file.name != wanted.path)


def _state(files: Sequence[SourceFile], digests: Mapping[str, str]) -> str:
    if not digests:
        return UNKNOWN
    return UNCHANGED if all(digests.get(file.name) == file_sha256(file.path) for file in files) else CHANGED


def _found(wanted: Locator, digests: Mapping[str, str]) -> str | None:
    """The folder of a source below this one: where one file of its name lies, of the digest that was extracted where there are several."""
    name = next(iter(digests), wanted.path) if wanted.path not in digests else wanted.path
    found = list(_named(name))
    same = [path for path in found if name in digests and file_sha256(path) == digests[name]]
    chosen = (same or found)[:1] if same or len(found) == 1 else []
    return next((os.fspath(path.parents[name.count("/")]) for path in chosen), None)


def _named(name: str) -> Iterator[Path]:
    num_names = 0
    for folder, folders, names in os.walk("."):
        folders[:] = sorted(one for one in folders if not one.startswith((".", "__")) and not is_dataset(Path(folder, one)))
        num_names += len(names)
        if num_names > MAX_LOOKED_AT:
            return
        path = Path(folder, name.rpartition("/")[2])
        if path.name in names and f"/{path.as_posix()}".endswith(f"/{name}"):
            yield path


def extracted_again(source: Source, name: str) -> dict[str, Any] | None:
    """The document of that id as an extraction of its file gives it now, None where it gives none; the whole file is read for it."""
    whole = source.settings.is_one_part
    files = tuple((file, "") for file in (source.files if whole else source.files[:1]))
    with tempfile.TemporaryDirectory() as folder:
        record = read_part(Path(folder), "again", Part(source.name, source.settings, files))
        for shard in record["shards"]:
            if "__quarantine" in shard["path"]:
                continue
            for batch in read_batches(Path(folder) / shard["path"]):
                for row in batch.filter(pc.equal(batch.column("id"), name)).to_pylist():
                    return dict(row)
    return None
