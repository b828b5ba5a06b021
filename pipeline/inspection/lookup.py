"""Where a document stands in what was built: its rows of every stage, found by id, place in the sources, or a piece of its text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets import Dataset, find_datasets, open_dataset, read_batches
from pipeline.documents import locator, turns
from pipeline.packing.reading import read_rows

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


@dataclass(frozen=True)
class RowPlace:
    """Where a row stands: stage and folder of its dataset, the file relative to that, the row's number in the file."""

    stage: str
    dataset: str
    file: str
    row: int
    rule: str | None = None
    """The rule that removed the document, where this is a row of ``__removed``."""


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
    places: list[RowPlace] = field(default_factory=list)
    """Where the rows stand that are the document itself, in the order of the stages."""

    @property
    def document(self) -> dict[str, Any] | None:
        """The row that tells most of where it came from."""
        return self.raw or self.kept or self.removed


Test = Callable[[pa.RecordBatch], pa.BooleanArray]


def find_ids(built: Built, wanted: str, limit: int) -> tuple[list[str], int, str]:
    """Ids of the documents that ``wanted`` names, at most ``limit``, how many there are, and by what they were found.

    An id or the beginning of one is tried first, then the very place, then a source or locator that holds it, then the text (in any case).
    Of a quarantined unit, which has no id, nothing is found here.
    """
    tests: list[tuple[str, Test]] = [("place", lambda batch: _at_place(batch, wanted)), ("place", lambda batch: _in_place(batch, wanted))]
    tests.append(("text", lambda batch: _in_text(batch, wanted)))
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


def _at_place(batch: pa.RecordBatch, wanted: str) -> pa.BooleanArray:
    """Whether a row's ``source/locator`` or locator is the very place that is wanted."""
    spelled = pa.array(_spellings(wanted), pa.string())
    return pc.or_(pc.is_in(_places(batch), spelled), pc.is_in(batch.column("locator"), spelled))


def _in_place(batch: pa.RecordBatch, wanted: str) -> pa.BooleanArray:
    """Whether ``source/locator`` holds what is wanted, or what is wanted is a path that ends in the locator's file (and names its row)."""
    places = _places(batch)
    holds = pc.match_substring(places, wanted)
    for spelled in _spellings(wanted):
        holds = pc.or_(holds, pc.match_substring(places, spelled))
    if "/" not in wanted:
        return holds
    path, _, part = _spellings(wanted)[-1].partition("#")
    split = (name.partition("#") for name in batch.column("locator").to_pylist())
    ends = [bool(file) and f"/{path}".endswith(f"/{file}") and (not part or part == own) for file, _, own in split]
    return pc.or_(holds, pa.array(ends, pa.bool_()))


def _places(batch: pa.RecordBatch) -> pa.StringArray:
    return pc.binary_join_element_wise(batch.column("source"), batch.column("locator"), "/")


def _spellings(wanted: str) -> tuple[str, str]:
    """A place as it was asked for, and with its path as locators spell it."""
    path, mark, part = wanted.partition("#")
    return wanted, f"{locator(path)}{mark}{part}"


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
    return histories(built, [name])[0]


def histories(built: Built, names: Sequence[str]) -> list[History]:
    """All rows of each document, in the order of ``names``; the datasets are read once for all of them."""
    found = {name: History(name) for name in names}
    for dataset, place, row in _rows(built.raw, "", names):
        one = found[row["id"]]
        one.raw, one.raw_dataset = row, str(dataset.folder)
        one.places.append(place)
    for dataset, place, row in _rows((*built.raw, *built.clean), "__removed", names):
        one = found[row["id"]]
        one.removed, one.removed_by = row, str(dataset.folder)
        one.places.append(place)
    for _, place, row in _rows(built.clean, "", names):
        found[row["id"]].kept = row
        found[row["id"]].places.append(place)
    for _, place, row in _rows(built.tokens, "__removed", names):
        found[row["id"]].places.append(place)
    for _, _, row in _rows(built.clean, "__edited", names):
        found[row["id"]].cuts.append(row)
    for dataset in built.tokens:
        for name, where in _packed(dataset, names):
            found[name].packed.append(where)
    places = {(one.document["source"], one.document["locator"]): one for one in found.values() if one.document is not None}
    for failed in quarantined(built, lambda row: (row["source"], row["locator"]) in places):
        places[failed["source"], failed["locator"]].quarantine.append(failed)
    for one in found.values():
        one.cuts.sort(key=lambda row: int(row["seq"]))
    return list(found.values())


def _rows(datasets: tuple[Dataset, ...], part: str, names: Sequence[str]) -> Iterator[tuple[Dataset, RowPlace, dict[str, Any]]]:
    wanted = pa.array(names, pa.string())
    for dataset, path in _files(datasets, (part,)):
        if not any(pc.any(pc.is_in(batch.column("id"), wanted)).as_py() for batch in read_batches(path, ["id"])):
            continue  # one column tells, and most files hold none of them
        first, file = 0, path.relative_to(dataset.folder).as_posix()
        for batch in read_batches(path):
            for number in pc.indices_nonzero(pc.is_in(batch.column("id"), wanted)).to_pylist():
                row = batch.slice(number, 1).to_pylist()[0]
                yield dataset, RowPlace(str(dataset.manifest["stage"]), str(dataset.folder), file, first + number, row.get("rule")), row
            first += len(batch)


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


def _packed(dataset: Dataset, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a token set that hold tokens of a document: its id, and file, row, which of its tokens, and how many others share the row."""
    wanted = pa.array(names, pa.string())
    for shard in dataset.shards:
        if shard.part.startswith("__"):
            continue
        first = 0
        for batch in read_rows(dataset.folder / shard.path, ["pieces"]):
            pieces = batch.column("pieces")
            rows = pc.list_parent_indices(pieces).to_numpy()
            for place in pc.indices_nonzero(pc.is_in(pieces.flatten().field("id"), wanted)).to_pylist():
                row, item = int(rows[place]), pieces.flatten()[place].as_py()
                sharing = sum(1 for other in pieces[row].as_py() if other["id"] not in (None, item["id"]))
                where = {"dataset": str(dataset.folder), "file": shard.path, "row": first + row}
                yield item["id"], {**where, "first_token": item["start"], "end_token": item["end"], "others_in_row": sharing}
            first += len(pieces)
