"""python -m pipeline trace SHARD:ROW|ID: from a row of any stage back to the bytes of the source: packed row, clean row, raw row, source.

SHARD:ROW is a row of a file of any dataset, such as data/tokens/NAME/train/part-00000.parquet:17 (a packed row leads to each document in it),
ID a document's id, the beginning of one, or its place in the sources. With --bytes the piece of the source itself goes to standard output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import command
from pipeline.datasets import KEPT, Dataset, is_dataset, open_dataset, read_batches
from pipeline.errors import DatasetError, GristmillError, UsageError
from pipeline.inspection.lookup import Built, History, RowPlace, built_in, histories
from pipeline.inspection.place import Place, locate, place_of
from pipeline.inspection.trace_page import Asked, Traced, print_traced
from pipeline.inspection.trace_source import CHANGED, Source, extracted_again, source_of
from pipeline.inspection.trace_units import Locator, unit_of
from pipeline.inspection.why import ask
from pipeline.packing.reading import read_rows
from pipeline.packing.split import SPLITS
from pipeline.stages.ruleset import Rules

DATA = Path("data")
TRAIN = SPLITS[0]
"""The split whose rows count where only a token set is named."""


@dataclass(frozen=True)
class Options:
    """How the source is looked for: ``source`` and ``settings`` as the command line names them; ``again`` extracts it once more."""

    source: str | None = None
    settings: Path | None = None
    again: bool = False


def asked_for(wanted: str, data: Path | None, limit: int) -> tuple[Built, Asked]:
    """What a row or an id names, at most ``limit`` documents, and the datasets it was looked for in; raises UsageError for what is not there."""
    shard, _, row = wanted.rpartition(":")
    if shard and (row.isdecimal() or Path(shard).exists()):
        dataset, place = _row_place(shard, wanted, data or DATA)
        built = built_in(data) if data is not None else _around(dataset)
        return built, _in_row(built, dataset, place)
    built = built_in(data or DATA)
    answer = ask(wanted, built, _refuse(wanted), limit)
    if answer.nearest:
        raise UsageError(wanted, "is no document's id", f"the nearest: {', '.join(answer.nearest)}")
    if not answer.found_by:
        raise UsageError(wanted, "is no document's id", "nothing has been built yet; run: make clean")
    return built, Asked(None, answer.histories, answer.unreadable, answer.num_found)


def _refuse(wanted: str) -> Callable[[], Rules]:
    def refuse() -> Rules:
        raise UsageError(wanted, "is neither a row nor a document", "name SHARD:ROW, an id or its beginning, or a place in the sources")

    return refuse


def _row_place(shard: str, wanted: str, data: Path) -> tuple[Dataset, RowPlace]:
    """The dataset that a shard belongs to, and the row; a folder of shards counts their rows through, a token set those of training."""
    path = next((path for path in (Path(shard), data / shard) if path.exists()), None)
    path = path if path is not None else command.require(Path(shard))
    folder = next((folder for folder in (path, *path.parents) if is_dataset(folder)), None)
    if folder is None:
        raise UsageError(shard, "is part of no dataset that was built here", "name a file of one: data/clean/part-00000.parquet")
    dataset = open_dataset(folder)
    inside = path.relative_to(folder).as_posix()
    whole = TRAIN if dataset.manifest["stage"] == "tokenize" else KEPT
    part = inside.rpartition("/")[0] if path.is_file() else whole if path == folder else inside
    number = place_of(wanted.rpartition(":")[2])
    if number.row is None:
        raise UsageError(wanted, "names no row", "write SHARD:ROW, the row a number from 0")
    found, row = locate(dataset, part, Place(number.row, inside if path.is_file() else None))
    return dataset, RowPlace(str(dataset.manifest["stage"]), str(folder), found.path, row)


def _around(dataset: Dataset) -> Built:
    """What was built beside a dataset: in the folder two above it (``data`` of ``data/tokens/NAME``), else in the one that it lies in."""
    for folder in reversed(dataset.folder.parents[:2]):
        built = built_in(folder)
        if any(one.folder == dataset.folder for one in (*built.raw, *built.clean, *built.tokens)):
            return built
    return built_in(dataset.folder)


def _in_row(built: Built, dataset: Dataset, place: RowPlace) -> Asked:
    """The documents that stand in a row, or the unit that could not be read."""
    path = dataset.folder / place.file
    is_packed = place.stage == "tokenize" and not place.file.startswith("__")
    batches = read_rows(path, ["pieces"]) if is_packed else read_batches(path)
    row = _nth(batches, place.row, path)
    if is_packed:
        names = list(dict.fromkeys(piece["id"] for piece in row["pieces"] if piece["id"] is not None))
        return Asked(place, tuple(histories(built, names)), (), len(names))
    if "id" in row:
        return Asked(place, tuple(histories(built, [row["id"]])), (), 1)
    if "locator" not in row:
        raise UsageError(str(path), "holds neither documents nor rows of tokens", "name a file of raw, clean or tokens")
    return Asked(place, (), ({**row, "dataset": str(dataset.folder)},), 1)


def _nth(batches: Iterator[Any], number: int, path: Path) -> dict[str, Any]:
    first = 0
    for batch in batches:
        if number < first + len(batch):
            return dict(batch.slice(number - first, 1).to_pylist()[0])
        first += len(batch)
    raise DatasetError(str(path), f"has {first:,} rows only", "delete the dataset and build it again")


def traced(built: Built, item: History, options: Options, place: Mapping[str, Any] | None = None) -> Traced:
    """The steps of a document and its piece of the source; ``place`` names source and locator of a unit without a document."""
    row = place or item.document
    if row is None:
        found = Traced(item, "", "", problem="its document is in no dataset of this folder; name the folder of all stages: --data FOLDER")
        found.steps = _steps(item)
        return found
    found = Traced(item, row["source"], row["locator"], steps=_steps(item))
    wanted = Locator.of(row["locator"])
    try:
        with source_of(built, row["source"], wanted, options.source, options.settings) as source:
            found.where, found.state = _where(source), source.state
            if source.is_live:
                found.problem = f"ask it for {', '.join(f'{key} {value}' for key, value in wanted.parts.items())}"
                return found
            found.again = _again(source, item) if options.again and item.id else ""
            found.unit = unit_of(source.files, wanted, source.settings, _reader(row))
    except GristmillError as error:
        found.problem = str(error)
    return found


def _where(source: Source) -> str:
    """The file of a source, below this folder the way to it from here; of several files, or a database, the place of the source."""
    if len(source.files) != 1:
        return source.where
    path = source.files[0].path
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _reader(row: Mapping[str, Any]) -> str:
    """What ``meta`` calls the extractor of a row."""
    try:
        meta = json.loads(row.get("meta") or "{}")
    except ValueError:
        return ""
    return str(meta.get("extractor", "")) if isinstance(meta, dict) else ""


def _again(source: Source, item: History) -> str:
    """What another extraction says; where the first was on the way to a clean dataset, its text is kept nowhere."""
    now = extracted_again(source, str(item.id))
    before = item.raw or next((item.removed for place in item.places if place.stage == "extract"), None)
    if now is None:
        return "extracted again, the source gives NO document of this id"
    if before is None:
        return "extracted again, the source gives a document of this id"
    same = all(before[name] == now[name] for name in ("text", "messages"))
    return "extracted again, the source gives the same document" if same else "extracted again, the source gives ANOTHER text"


def _steps(item: History) -> list[dict[str, Any]]:
    """The rows of a document from the last stage to the first, each with the command that shows it."""
    packed = [
        {"stage": "tokenize", **{key: place[key] for key in ("dataset", "file", "row", "first_token", "end_token")}, "next": _show_packed(place)}
        for place in item.packed
    ]
    rows = []
    for place in reversed(item.places):
        step = {"stage": place.stage, "dataset": place.dataset, "file": place.file, "row": place.row}
        if place.rule is not None:
            step["removed_by"] = place.rule
        if place.stage == "filter":
            step["cuts"] = len(item.cuts)
        is_shown_by_why = place.stage == "filter" or place.rule is not None
        step["next"] = f"python -m pipeline why {item.id}" if is_shown_by_why else f"python -m pipeline show {place.dataset} {item.id}"
        rows.append(step)
    return packed + rows


def _show_packed(place: Mapping[str, Any]) -> str:
    split, _, file = place["file"].rpartition("/")
    told = f" --split {split}" if split != "train" else ""
    return f"python -m pipeline show {place['dataset']} {file.partition('.')[0]}:{place['row']}{told}"


def main(given: Sequence[str]) -> int:
    """The command; raises UsageError for a row or an id that is not there, and with --bytes where there are none to give."""
    parser = command.parser("python -m pipeline trace", __doc__ or "")
    parser.add_argument("wanted", metavar="SHARD:ROW|ID", help="a row of a file of a dataset, or a document's id, its beginning or its place")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="what was built (default: data, or the folder around the row)")
    parser.add_argument("--source", metavar="PATH", help="where the source lies, when the settings do not say it")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="the settings that name the sources (default: stages/extract.yaml)")
    parser.add_argument("--documents", type=int, default=3, metavar="N", help="show at most N documents (default: %(default)s)")
    parser.add_argument("--bytes", action="store_true", help="write the piece of the source, and nothing else, to standard output")
    parser.add_argument("--again", action="store_true", help="extract its file again and compare the document (takes as long as the file is large)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(given)
    wanted = arguments.wanted.strip()
    if not wanted:
        raise UsageError("trace", "nothing is asked for", "name SHARD:ROW or an id")
    if arguments.data is not None:
        command.require(arguments.data)
    built, asked = asked_for(wanted, arguments.data, max(1, arguments.documents))
    if arguments.bytes and len(asked.documents) + len(asked.unreadable) != 1:
        names = ", ".join(str(item.id) for item in asked.documents)
        raise UsageError(wanted, f"names {asked.num_found:,} documents, and --bytes gives one", f"name one of them: {names}")
    options = Options(arguments.source, arguments.settings, arguments.again)
    found = [traced(built, item, options) for item in asked.documents]
    found += [traced(built, History(None), options, unit) for unit in asked.unreadable]
    if arguments.bytes:
        return _write_bytes(found[0])
    if arguments.json:
        row = vars(asked.row) if asked.row else None
        print(json.dumps({"row": row, "found": asked.num_found, "documents": [one.to_plain() for one in found]}, ensure_ascii=False, indent=1))
    else:
        print_traced(asked, found)
    return 0


def _write_bytes(one: Traced) -> int:
    if one.unit is None:
        raise UsageError(f"{one.source}/{one.locator}" if one.source else str(one.history.id), one.problem, "trace it without --bytes")
    if one.state == CHANGED:
        print(f"{one.where}: {CHANGED}; these are its bytes of today", file=sys.stderr)
    sys.stdout.flush()
    sys.stdout.buffer.write(one.unit.data)
    sys.stdout.buffer.flush()
    return 0
