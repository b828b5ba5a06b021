"""Where a document stands in what was built: its rows of every stage, found by id, place in the sources, or a piece of its text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.datasets import Dataset, find_datasets, open_dataset, read_batches
from pipeline.documents import turns
from pipeline.errors import DatasetError

HEX = re.compile(r"[0-9a-f]{4,32}")
"""What may be an id, or the beginning of one."""

PARTS = ("", "__removed", "__quarantine")


@dataclass(frozen=True)
class Built:
    """The datasets below a data folder, by stage."""

    raw: tuple[Dataset, ...]
    clean: tuple[Dataset, ...]
    tokens: tuple[Dataset, ...]


def built_in(data: Path) -> Built:
    """What was built in a folder: ``raw/*``, ``clean`` and ``tokens/*``, or datasets that lie there under other names."""
    folders = find_datasets(data)
    folders += [found for child in ("raw", "clean", "tokens") if data / child not in folders for found in find_datasets(data / child)]
    found = [open_dataset(folder) for folder in folders]
    by_stage = [tuple(dataset for dataset in found if dataset.manifest.get("stage") == stage) for stage in ("extract", "filter", "tokenize")]
    return Built(*by_stage)


@dataclass
class History:
    """What each stage made of one document: rows as they stand in the datasets, None where it has none."""

    id: str | None
    raw: dict[str, Any] | None = None
    raw_dataset: str | None = None
    removed: dict[str, Any] | None = None
    removed_by: str | None = None
    """The dataset in whose ``__removed`` it stands."""
    kept: dict[str, Any] | None = None
    cuts: list[dict[str, Any]] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    packed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def document(self) -> dict[str, Any] | None:
        """The row that tells most of where it came from."""
        return self.raw or self.kept or self.removed


Test = Callable[[pa.RecordBatch], pa.BooleanArray]


def find_ids(built: Built, wanted: str, limit: int) -> tuple[list[str], int, str]:
    """Ids of the documents that ``wanted`` names, at most ``limit``, how many there are, and by what they were found.

    An id or the beginning of one is tried first, then a source or locator that holds it, then the text (in any case). Of a quarantined unit,
    which has no id, nothing is found here.
    """
    tests: list[tuple[str, Test]] = [("place", lambda batch: _in_place(batch, wanted)), ("text", lambda batch: _in_text(batch, wanted))]
    if HEX.fullmatch(wanted.lower()):
        tests.insert(0, ("id", lambda batch: pc.starts_with(batch.column("id"), wanted.lower())))
    for what, test in tests:
        found: dict[str, None] = {}
        for _, path in _files((*built.raw, *built.clean), ("", "__removed")):
            columns = ["id", "source", "locator", *(["text", "messages"] if what == "text" else [])]
            for batch in read_batches(path, columns):
                found |= dict.fromkeys(batch.column("id").filter(test(batch)).to_pylist())
        if found:
            return sorted(found)[:limit], len(found), what
    return [], 0, ""


def _in_place(batch: pa.RecordBatch, wanted: str) -> pa.BooleanArray:
    """Whether ``source/locator`` holds what is wanted, or what is wanted is a path that ends in the locator's file."""
    holds = pc.match_substring(pc.binary_join_element_wise(batch.column("source"), batch.column("locator"), "/"), wanted)
    if "/" not in wanted:
        return holds
    files = (locator.partition("#")[0] for locator in batch.column("locator").to_pylist())
    return pc.or_(holds, pa.array([bool(file) and f"/{wanted}".endswith(f"/{file}") for file in files], pa.bool_()))


def _in_text(batch: pa.RecordBatch, wanted: str) -> pa.BooleanArray:
    view = turns(batch)
    rows = view.document[pc.match_substring(view.content, wanted, ignore_case=True).to_numpy(zero_copy_only=False)]
    return pc.is_in(pa.array(range(len(batch))), pa.array(rows))


def _files(datasets: tuple[Dataset, ...], parts: tuple[str, ...]) -> Iterator[tuple[Dataset, Path]]:
    for dataset in datasets:
        for part in parts:
            for path in dataset.files(part):
                yield dataset, path


def history(built: Built, name: str) -> History:
    """All rows of the document of that id."""
    found = History(name)
    for dataset, row in _rows(built.raw, "", name):
        found.raw, found.raw_dataset = row, str(dataset.folder)
    for dataset, row in _rows((*built.raw, *built.clean), "__removed", name):
        found.removed, found.removed_by = row, str(dataset.folder)
    for _, row in _rows(built.clean, "", name):
        found.kept = row
    found.cuts = sorted((row for _, row in _rows(built.clean, "__edited", name)), key=lambda row: int(row["seq"]))
    document = found.document
    if document is not None:
        found.quarantine = quarantined(built, lambda row: bool((row["source"], row["locator"]) == (document["source"], document["locator"])))
    found.packed = [place for dataset in built.tokens for place in _packed(dataset, name)]
    return found


def _rows(datasets: tuple[Dataset, ...], part: str, name: str) -> Iterator[tuple[Dataset, dict[str, Any]]]:
    for dataset, path in _files(datasets, (part,)):
        for batch in read_batches(path):
            for row in batch.filter(pc.equal(batch.column("id"), name)).to_pylist():
                yield dataset, row


def quarantined(built: Built, test: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The units that could not be read, of which ``test`` is true, without their bytes."""
    found = []
    for dataset, path in _files((*built.raw, *built.clean), ("__quarantine",)):
        for batch in read_batches(path, ["source", "locator", "error", "offset"]):
            found += [{**row, "dataset": str(dataset.folder)} for row in batch.to_pylist() if test(row)]
    return found


def all_ids(built: Built) -> Iterator[str]:
    """The id of every document of every stage."""
    for _, path in _files((*built.raw, *built.clean), ("", "__removed")):
        for batch in read_batches(path, ["id"]):
            yield from batch.column("id").to_pylist()


def _packed(dataset: Dataset, name: str) -> Iterator[dict[str, Any]]:
    """The rows of a token set that hold tokens of the document: file, row, which of its tokens, and who shares the row."""
    for shard in dataset.shards:
        if shard.part.startswith("__"):
            continue
        first = 0
        for pieces in _pieces(dataset.folder / shard.path):
            rows = pc.list_parent_indices(pieces).to_numpy()
            names = pieces.flatten().field("id")
            for place in pc.indices_nonzero(pc.fill_null(pc.equal(names, name), False)).to_pylist():
                row, item = int(rows[place]), pieces.flatten()[place].as_py()
                sharing = sum(1 for other in pieces[row].as_py() if other["id"] not in (None, name))
                where = {"dataset": str(dataset.folder), "file": shard.path, "row": first + row}
                yield {**where, "first_token": item["start"], "end_token": item["end"], "others_in_row": sharing}
            first += len(pieces)


def _pieces(path: Path) -> Iterator[pa.ListArray]:
    """The column ``pieces`` of a file of rows, whatever its format, batch by batch."""
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=["pieces"]):
                    yield batch.column("pieces")
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    yield pa.array([json.loads(line)["pieces"]])
        else:
            with pa.memory_map(str(path)) as source:
                for batch in pa.ipc.open_stream(source):
                    yield batch.column("pieces")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(str(path), f"is damaged ({str(error).splitlines()[0][:120]})", "delete the dataset and build it again") from None
