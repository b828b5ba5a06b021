"""python -m pipeline.stages.filter INPUT... OUTPUT: removes duplicates, refusals and slop; every removal and every cut is a row that says why.

INPUT is a dataset, a folder of datasets, or any folder or file of Parquet, JSON lines, HTML, CSV, SQL dumps or text, which is extracted first.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pipeline import bench, command
from pipeline.commits import Build
from pipeline.datasets import Dataset, Shard
from pipeline.pandas_later import leave_pandas_out
from pipeline.pools import pool, run_step
from pipeline.progress import Progress
from pipeline.report import Report
from pipeline.settings import digest, override, read_yaml
from pipeline.stages.against import digests_of, open_others
from pipeline.stages.cleaning import Judging, judge_shard, merge_counts
from pipeline.stages.duplicates import drop, find_duplicates, for_size
from pipeline.stages.inputs import Inputs, open_inputs
from pipeline.stages.recurring import with_lines_counted
from pipeline.stages.ruleset import Rules, read_rules
from pipeline.summary import conclude

STAGE_VERSION = 2


@dataclass(frozen=True)
class Job:
    """What a cleaning reads and by which rules: its key decides whether there is anything to do."""

    rules: Rules
    inputs: tuple[dict[str, str], ...]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The resolved rules."""
        return self.rules.to_plain()

    @property
    def key(self) -> str:
        """Digest of all that goes in."""
        others = [item["digest"] for item in self.against]
        return digest(["filter", STAGE_VERSION, self.settings, [item["digest"] for item in self.inputs], *([others] if others else [])])

    @cached_property
    def against(self) -> list[dict[str, str]]:
        """Name and digest of each dataset whose documents are removed, by digest: their order does not matter."""
        return digests_of(self.rules.dedup.against)


def read_settings(path: Path, assignments: Sequence[str] = ()) -> Rules:
    """The rules of the settings file; raises SettingsError with all its problems."""
    return read_rules(override(read_yaml(path), assignments))


def clean(rules: Rules, inputs: Inputs, output: Path, workers: int, scheduler: str | None, progress: Progress) -> Dataset:
    """Run the passes and commit the clean dataset."""
    job = Job(rules, tuple(inputs.digests()))
    with Build(output, job.key) as build:
        if build.ready is not None:
            return build.ready
        shards = [path for dataset in inputs.datasets for path in dataset.files()]
        rules = for_size(rules.carrying(shards), sum(path.stat().st_size for path in shards) // max(1, workers))
        others = open_others(rules.dedup.against, output, workers, scheduler, progress)
        with pool(workers, scheduler, len(shards)) as executor:
            rules = with_lines_counted(build, shards, rules, executor, progress)
            judged = _judge(build, shards, rules, executor, progress)
            looks = rules.dedup.looks
            found = find_duplicates(build, judged, others.datasets, looks, executor, progress) if looks else None
            dropped = drop(build, judged, found, rules, executor, progress) if found else []
        carried = _carry_over(build, inputs)
        report = merge_counts([*judged, *dropped])
        report.check("filter")
        whole = _with_extraction(report, inputs.extracted)
        whole.check("filter")
        written = [Shard(**shard) for pair in zip_longest(judged, dropped) for record in pair if record for shard in record["shards"]]
        about = {
            "stage": "filter",
            "settings": job.settings,
            "inputs": list(job.inputs),
            "counts": whole.to_plain(),
            **({"against": job.against} if job.against else {}),
            "duplicates": found and found["figures"],
        }
        dataset = build.commit([*carried, *written], about, {"workers": workers})
    others.discard()
    return dataset


def _judge(build: Build, shards: Sequence[Path], rules: Rules, executor: Executor, progress: Progress) -> list[Any]:
    tasks = {f"{number:05d}": Judging(shard.resolve(), rules) for number, shard in enumerate(shards)}
    return run_step(build, "judge", judge_shard, tasks, executor, progress)


def _carry_over(build: Build, inputs: Inputs) -> list[Shard]:
    """What the extraction of this run removed or could not read belongs to this output's account: its rows come along."""
    if inputs.extracted is None:
        return []
    lost = [shard for shard in inputs.extracted.shards if shard.part in ("__removed", "__quarantine")]
    return [build.take(inputs.extracted.folder, shard, "extracted", number) for number, shard in enumerate(lost)]


def _with_extraction(report: Report, extracted: Dataset | None) -> Report:
    """The counts in units of the sources: an extraction's, with what became of the documents it kept."""
    if extracted is None:
        return report
    whole = Report.from_plain(extracted.manifest["counts"])
    for source, counts in report.sources.items():
        both = whole.of(source)
        first = source in extracted.manifest["counts"]
        kept, both.kept = both.kept, 0
        both.add(counts)
        both.read -= kept if first else 0
    return whole


def main(given: Sequence[str]) -> int:
    """The command."""
    leave_pandas_out()
    arguments = command.stage_parser("filter", __doc__ or "").parse_args(given)
    paths, output = command.inputs_and_output(arguments.paths, "filter")
    rules = read_settings(bench.settings_file("filter", arguments.settings), arguments.assignments)
    with Progress("filter", arguments.quiet) as progress:
        inputs = open_inputs(paths, output, arguments.workers, arguments.scheduler, progress, "filter")
        dataset = clean(rules, inputs, output, arguments.workers, arguments.scheduler, progress)
        inputs.discard()
    following = f"look at {output}/__removed, then python -m pipeline.stages.tokenize {output} TOKENS"
    conclude(arguments, dataset, "documents" if inputs.extracted is None else "units", following=following)
    return 0


if __name__ == "__main__":
    from pipeline.stages import filter as module

    gc.freeze()  # what was imported stays: not to be gone through again at each collection
    sys.exit(command.run(module.main))
