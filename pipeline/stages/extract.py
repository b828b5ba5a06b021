"""python -m pipeline.stages.extract INPUT... OUTPUT: sources become one dataset of documents.

INPUT is a file or folder of HTML, CSV, SQL dumps, JSON lines, Parquet, Arrow, text or Markdown; files are recognised by content and name.
With --source NAME a source of stages/extract.yaml is read with its settings.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import bench, command
from pipeline.commits import Build, number_shards
from pipeline.datasets import Dataset, Shard, committed, file_sha256
from pipeline.errors import SettingsError, UsageError, nearest
from pipeline.extractors.databases import Piece
from pipeline.extractors.sources import (
    ExtractSettings,
    Part,
    SourceSettings,
    divided,
    list_parts,
    read_part,
    settings_for_key,
    source_name,
)
from pipeline.pandas_later import leave_pandas_out
from pipeline.pools import pool, run_step
from pipeline.progress import Progress
from pipeline.remote import Place, local, place
from pipeline.report import Report
from pipeline.settings import build, digest, override, read_yaml
from pipeline.summary import conclude

STAGE_VERSION = 1


@dataclass(frozen=True)
class Job:
    """What an extraction reads and how, resolved: its key decides whether there is anything to do."""

    sources: Mapping[str, SourceSettings]
    parts: tuple[Part, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of each source that decide the output."""
        return {name: settings_for_key(source) for name, source in self.sources.items()}

    @property
    def inputs(self) -> list[dict[str, str]]:
        """Every file by name and digest; of a live database its name and the fingerprint of its state."""
        files = [{"source": part.source, "name": file.name, "digest": sha256} for part in self.parts for file, sha256 in part.files]
        live = [(part.source, part.database) for part in self.parts if part.database is not None]
        return files + [{"source": source, "name": database.address.name, "digest": database.fingerprint} for source, database in live]

    @property
    def key(self) -> str:
        """Digest of all that goes in."""
        return digest(["extract", STAGE_VERSION, list(self.sources), [part.key for part in self.parts]])


def read_settings(path: Path, assignments: Sequence[str] = ()) -> ExtractSettings:
    """The settings file of this stage; raises SettingsError with all its problems."""
    return build(ExtractSettings, override(read_yaml(path), assignments))


def resolve(sources: Mapping[str, SourceSettings], file_digest: Callable[[Any], str] = file_sha256, output: Path | None = None) -> Job:
    """List and fingerprint the files of the sources; raises UsageError for a source with nothing at its path.

    ``output`` is where the dataset will stand: a live database that is to be read by every run is read again when there is one already.
    """
    previous = committed(output) if output is not None else None
    key = previous.key if previous is not None else ""
    parts = [part for name, settings in sources.items() for part in list_parts(name, settings, file_digest, key)]
    if not parts:
        places = ", ".join(settings.path for settings in sources.values())
        raise UsageError(places, "is empty", "put files there, or name another folder")
    return Job(sources, tuple(parts))


def extract(job: Job, output: Path, workers: int, scheduler: str | None, progress: Progress) -> Dataset:
    """Run the job and commit the dataset; parts that an earlier run or the replaced dataset already holds are not read again."""
    with Build(output, job.key) as build_:
        if build_.ready is not None:
            return build_.ready
        tasks = _tasks(build_, job.parts)
        with pool(workers, scheduler, len(tasks)) as executor:
            records = run_step(build_, "extract", read_part, tasks, executor, progress)
        report = Report()
        for record in records:
            report.add_plain(record["counts"])
        report.check("extract")
        shards = [Shard(**shard) for record in records for shard in record["shards"]]
        about = {
            "stage": "extract",
            "settings": job.settings,
            "inputs": job.inputs,
            "counts": report.to_plain(),
            "parts": _parts(records),
        }
        return build_.commit(shards, about, {"workers": workers})


def _parts(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each part its key, counts and the final names of its shards: what a later run needs to take it over unread."""
    names = iter(number_shards([Shard(**shard) for record in records for shard in record["shards"]]))
    return [{"key": r["key"], "counts": r["counts"], "shards": [vars(next(names)) for _ in r["shards"]]} for r in records]


def _tasks(build_: Build, parts: Sequence[Part]) -> dict[str, Part]:
    """What there is to do. A live database is divided, once a build, so that a run that goes on after a kill has the same tasks.

    The shards of a part that the dataset being replaced was made from are linked, and its tasks noted as done.
    """
    known: dict[str, list[Mapping[str, Any]]] = {}
    for entry in build_.previous.manifest.get("parts", []) if build_.previous else ():
        known.setdefault(entry["key"], []).append(entry)
    tasks: dict[str, Part] = {}
    for number, part in enumerate(parts):
        name, old = f"{number:05d}", known.get(part.key, [])
        if part.database is not None:
            tasks |= _pieces(build_, name, part, old)
            continue
        tasks[name] = part
        if old and build_.record(f"extract-{name}") is None and _intact(build_.target, old[0]["shards"]):
            _take_over(build_, name, old[0])
    return tasks


def _pieces(build_: Build, name: str, part: Part, old: Sequence[Mapping[str, Any]]) -> dict[str, Part]:
    """The tasks of a live database; one that was read before and is not to be read again is not asked at all."""
    record = build_.record(f"pieces-{name}")
    if record is None and old and all(_intact(build_.target, entry["shards"]) for entry in old):
        taken = {f"{name}-{i:05d}": entry for i, entry in enumerate(old)}
        for task, entry in taken.items():
            _take_over(build_, task, entry)
        return dict.fromkeys(taken, part)
    if record is None:
        record = build_.finish(f"pieces-{name}", [[piece.to_plain() for piece in pieces] for pieces in divided(part)])
    return {f"{name}-{i:05d}": replace(part, pieces=tuple(map(Piece.of_plain, pieces))) for i, pieces in enumerate(record)}


def _take_over(build_: Build, task: str, entry: Mapping[str, Any]) -> None:
    """Link the shards of a task of the dataset that is being replaced, and note the task as done."""
    shards = [vars(build_.take(build_.target, Shard(**shard), task, number)) for number, shard in enumerate(entry["shards"])]
    build_.finish(f"extract-{task}", {"key": entry["key"], "counts": entry["counts"], "shards": shards})


def _intact(folder: Path, shards: Sequence[Mapping[str, Any]]) -> bool:
    return all(file_sha256(folder / shard["path"]) == shard["sha256"] for shard in shards)


def _sources(arguments: Any) -> tuple[dict[str, SourceSettings], Path]:
    settings = read_settings(bench.settings_file("extract", arguments.settings), arguments.assignments)
    if arguments.source:
        chosen = {}
        for name in arguments.source:
            if name not in settings.sources:
                raise SettingsError([f"--source {name}: is not in the settings; {nearest(name, settings.sources)}"])
            chosen[name] = settings.sources[name]
            if isinstance(where := place(chosen[name].path), Path):
                command.require(where)
        if len(arguments.paths) != 1:
            raise UsageError("extract", "with --source there is no INPUT", "write --source NAME OUTPUT")
        return chosen, local(arguments.paths[0])
    inputs, output = command.inputs_and_output(arguments.paths, "extract")
    return sources_of(inputs, settings), output


def sources_of(inputs: Sequence[Place], settings: ExtractSettings) -> dict[str, SourceSettings]:
    """A source for each path: with the settings of the one that names this path, else with defaults."""
    known = {_resolved(place(source.path)): (name, source) for name, source in settings.sources.items()}
    chosen: dict[str, SourceSettings] = {}
    for path in inputs:
        name, source = known.get(_resolved(path), (source_name(path), SourceSettings(str(path))))
        if name in chosen:
            raise UsageError(str(path), f"is the second source named {name}", "extract the two apart")
        chosen[name] = replace(source, path=str(path))
    return chosen


def _resolved(path: Place) -> Place:
    return path.resolve() if isinstance(path, Path) else path


def main(given: Sequence[str]) -> int:
    """The command."""
    leave_pandas_out()
    parser = command.stage_parser("extract", __doc__ or "")
    parser.add_argument("--source", action="append", metavar="NAME", help="a source of the settings file; then no INPUT is given")
    arguments = parser.parse_args(given)
    sources, output = _sources(arguments)
    with Progress("extract", arguments.quiet) as progress:
        dataset = extract(resolve(sources, output=output), output, arguments.workers, arguments.scheduler, progress)
    conclude(arguments, dataset, "units", following=f"python -m pipeline.stages.filter {output} CLEAN")
    return 0


if __name__ == "__main__":
    from pipeline.stages import extract as module

    gc.freeze()  # what was imported stays: not to be gone through again at each collection
    sys.exit(command.run(module.main))
