"""python -m pipeline.stages.tokenize INPUT... OUTPUT: clean documents become packed rows of tokens, in a training and a validation split.

Tokenizer and length come from the recipe (--recipe), or from --tokenizer and --length; the rest from stages/tokenize.yaml. The tokenizer
``train`` is trained on the documents first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import bench, command
from pipeline.commits import Build, ShardWriter
from pipeline.datasets import RUN, Dataset, Shard, file_sha256, read_batches
from pipeline.documents import QUARANTINE, REMOVED, SCHEMA
from pipeline.errors import GristmillError, UsageError
from pipeline.models import TokenizerInfo, load_tokenizer
from pipeline.packing import rows as packed
from pipeline.packing.agreement import fast_agrees
from pipeline.packing.encode import Encoded, encoder_for
from pipeline.packing.figures import document_lengths, in_order, shares
from pipeline.packing.sequences import SequenceIndex, index_sequences, write_encoded
from pipeline.packing.settings import TokenizeSettings
from pipeline.packing.training_bpe import Sample, chat_template, shortfall, smaller, train_tokenizer, training_part, write_trained
from pipeline.pandas_later import leave_pandas_out
from pipeline.pools import pool, run_step
from pipeline.progress import Progress
from pipeline.report import Report
from pipeline.settings import build, digest, override, read_yaml, to_plain
from pipeline.stages.inputs import Inputs, open_inputs
from pipeline.summary import conclude
from pipeline.training.recipe import OWN_FOLDER, OWN_NAME, Recipe, read_recipe
from pipeline.units import units

STAGE_VERSION = 3
NOTES = {
    "control_literals": "pieces of text look like control tokens; they are encoded as plain text",
    "bytes_lost": "bytes of text have no token in this vocabulary and were left out",
    "messages_left_out": "messages are not shown by the chat template",
    "turns_without_end": "learned turns end without an end-of-turn token",
}
"""What is printed of the counts of tokens when it happened."""
DEFAULT_RECIPE = "train/smollm2-qlora.yaml"
ENCODED = "__work/{}.encoded.arrow"


@dataclass(frozen=True)
class Job:
    """What is tokenized, with which tokenizer (None: one that is trained first) and how: its key decides whether there is anything to do."""

    settings: Mapping[str, Any]
    info: TokenizerInfo | None
    length: int
    inputs: tuple[Mapping[str, str], ...]

    @property
    def key(self) -> str:
        """Digest of all that goes in; the tokenizer by what it does, not by where it lies."""
        how = {name: value for name, value in self.settings.items() if name != "tokenizer"}
        tokenizer = self.info.fingerprint if self.info is not None else OWN_NAME
        return digest(["tokenize", STAGE_VERSION, how, tokenizer, [item["digest"] for item in self.inputs]])


def read_settings(path: Path, assignments: Sequence[str] = ()) -> TokenizeSettings:
    """The settings file of this stage; raises SettingsError with all its problems."""
    return build(TokenizeSettings, override(read_yaml(path), assignments))


def settings_for_key(settings: TokenizeSettings, recipe: Recipe) -> dict[str, Any]:
    """The values that decide the output: the stage's settings, and of the recipe the tokenizer and the length."""
    plain = {**to_plain(settings), "tokenizer": recipe.tokenizer_name, "length": recipe.sequence_len}
    own = plain.pop("own_tokenizer")
    template = chat_template(settings.own_tokenizer) if recipe.trains_tokenizer else None
    return {**plain, "own_tokenizer": {**own, "chat_template": template}} if recipe.trains_tokenizer else plain


def resolve(settings: TokenizeSettings, recipe: Recipe, inputs: Sequence[Mapping[str, str]]) -> Job:
    """Load the tokenizer and fix the key; raises UsageError for a tokenizer that is not there."""
    info = None if recipe.trains_tokenizer else load_tokenizer(recipe.tokenizer_name, recipe.tokenizer_revision)
    return Job(settings_for_key(settings, recipe), info, recipe.sequence_len, tuple(inputs))


@dataclass(frozen=True)
class Encoding:
    """A task of the first pass: one shard of documents, and how its worker builds the encoder."""

    shard: Path
    tokenizer: str
    revision: str | None
    length: int
    settings: TokenizeSettings
    fast: bool


def encode_shard(folder: Path, name: str, task: Encoding) -> dict[str, Any]:
    """Encode a shard into the work folder; documents that become no sequence go to ``__removed``."""
    encoder = encoder_for(task.tokenizer, task.revision, task.length, task.settings, task.fast)
    report = Report()
    tokens: dict[str, dict[str, int]] = {}
    lengths: dict[str, dict[str, int]] = {}
    with (
        ShardWriter(folder, "__removed", name, REMOVED) as removed,
        ShardWriter(folder, "__quarantine", name, QUARANTINE) as quarantined,
    ):

        def sequences() -> Iterator[pa.RecordBatch]:
            for batch, fault in units(read_batches(task.shard, SCHEMA.names, max_rows=512)):
                if fault is not None:
                    quarantined.write(_spoiled(report, batch, fault))
                    continue
                encoded = encoder.encode(batch)
                _count(report, tokens, batch, encoded)
                _add(lengths, document_lengths(encoded.sequences))
                if len(encoded.removed):
                    removed.write(_removed(batch, encoded))
                yield encoded.sequences

        write_encoded(folder / ENCODED.format(name), sequences())
    shards = [vars(shard) for shard in (*removed.shards, *quarantined.shards)]
    return {"counts": report.to_plain(), "tokens": tokens, "lengths": lengths, "shards": shards}


def _spoiled(report: Report, batch: pa.RecordBatch, error: str) -> pa.RecordBatch:
    """The rows of the quarantine, counted, for documents that ended the process that encoded them."""
    places = batch.select(["source", "locator"]).to_pylist()
    for place in places:
        counts = report.of(place["source"])
        counts.read += 1
        counts.quarantine(error)
    return pa.RecordBatch.from_pylist([{**place, "error": error} for place in places], schema=QUARANTINE)


def _count(report: Report, tokens: dict[str, dict[str, int]], batch: pa.RecordBatch, encoded: Encoded) -> None:
    for entry in batch.column("source").value_counts().to_pylist():
        counts = report.of(entry["values"])
        counts.read += entry["counts"]
        counts.kept += entry["counts"]
    for source, rule in zip(batch.column("source").take(pa.array(encoded.removed)).to_pylist(), encoded.rules, strict=True):
        report.of(source).remove(rule)
        report.of(source).kept -= 1
    _add(tokens, encoded.counts)


def _add(total: dict[str, dict[str, int]], more: Mapping[str, Mapping[str, int]]) -> None:
    for source, counts in more.items():
        mine = total.setdefault(source, {})
        for name, number in counts.items():
            mine[name] = mine.get(name, 0) + number


def _removed(batch: pa.RecordBatch, encoded: Encoded) -> pa.RecordBatch:
    rows = batch.take(pa.array(encoded.removed))
    columns = [*rows.columns, pa.array(encoded.rules, pa.string()), pa.array(encoded.reasons, pa.string())]
    columns += [pa.nulls(len(rows), spec.type) for spec in list(REMOVED)[len(columns) :]]
    return pa.RecordBatch.from_arrays(columns, schema=REMOVED)


@dataclass(frozen=True)
class Gathering:
    """A task of the last pass: one shard of rows."""

    split: str
    number: int
    format: str
    work: packed.ShardTask


def gather_shard(folder: Path, name: str, task: Gathering) -> dict[str, Any]:
    """Write one shard of packed rows."""
    path = f"{task.split}/{task.number:05d}.{task.format}"
    (folder / task.split).mkdir(exist_ok=True)
    counts = packed.write_rows(folder / path, packed.gather(task.work), task.format)
    shard = Shard(path, counts["rows"], (folder / path).stat().st_size, file_sha256(folder / path))
    return {"split": task.split, "figures": counts, "shards": [vars(shard)]}


def tokenize(
    job: Job, settings: TokenizeSettings, recipe: Recipe, inputs: Inputs, output: Path, workers: int, scheduler: str | None, progress: Progress
) -> Dataset:
    """Run the passes and commit the token set."""
    if job.info is not None:
        packed.padding_for(job.info, job.length, settings)  # a mistake is told before anything is written
    with Build(output, job.key) as build_:
        if build_.ready is not None:
            return build_.ready
        shards = [path for dataset in inputs.datasets for path in dataset.files()]
        with pool(workers, scheduler, len(shards)) as executor:
            own = _own_tokenizer(build_, shards, settings, executor, progress) if job.info is None else None
            name = str((build_.folder / OWN_FOLDER).resolve()) if own else _name_for_workers(recipe)
            info = job.info or load_tokenizer(name)
            padding = packed.padding_for(info, job.length, settings)
            engine = _engine(build_, shards, info)
            how = (name, recipe.tokenizer_revision, recipe.sequence_len, settings, engine["fast"])
            tasks = {f"{number:05d}": Encoding(shard.resolve(), *how) for number, shard in enumerate(shards)}
            encoded = run_step(build_, "encode", encode_shard, tasks, executor, progress)
            gathered, mixed = _gather(build_, len(encoded), job, settings, padding, executor, progress)
        report = Report()
        tokens: dict[str, dict[str, int]] = {}
        lengths: dict[str, dict[str, int]] = {}
        for record in encoded:
            report.add_plain(record["counts"])
            _add(tokens, record["tokens"])
            _add(lengths, record["lengths"])
        report.check("tokenize")
        about = {
            "stage": "tokenize",
            "settings": job.settings,
            "inputs": list(job.inputs),
            "counts": report.to_plain(),
            "tokens": dict(sorted(tokens.items())),
            "document_lengths": in_order(lengths),
            "mix": mixed["figures"],
            "splits": _figures(gathered, job.length),
            "tokenizer": {"name": info.name, "fingerprint": info.fingerprint, **(own["about"] if own else {})},
            "sequence_len": job.length,
            "file_format": settings.format,
            **({"padding": {"token": padding.token, "side": padding.side, "is_new": padding.is_new}} if padding else {}),
        }
        _check_tokens(about)
        written = [Shard(**shard) for record in [*gathered, *encoded, mixed] for shard in record["shards"]]
        return build_.commit(written, about, {"workers": workers, "engine": engine["finding"]}, files=own["files"] if own else [])


def _own_tokenizer(build_: Build, shards: Sequence[Path], settings: TokenizeSettings, executor: Executor, progress: Progress) -> Any:
    """Train the tokenizer into the token set's own folder: a record, so that a run that resumes need not train again."""
    done = build_.record("own-tokenizer")
    if done is not None:
        return done
    wanted = settings.own_tokenizer
    whole = training_part(settings.seed, settings.validation_share + settings.test_share)
    tasks = {f"{number:05d}": (shard.resolve(), whole) for number, shard in enumerate(shards)}
    num_bytes = sum(run_step(build_, "measure", measure_shard, tasks, executor, progress))
    sample = smaller(whole, num_bytes, round(wanted.sample_mb * 1e6))
    progress.start("train the tokenizer", 1)
    tokenizer = train_tokenizer(sample.texts(shards), wanted)
    files = write_trained(build_.folder / OWN_FOLDER, tokenizer, wanted, chat_template(wanted))
    progress.advance()
    about = {"name": OWN_NAME, "folder": OWN_FOLDER, "vocab_size": tokenizer.get_vocab_size()}
    return build_.finish("own-tokenizer", {"about": about, "files": [f"{OWN_FOLDER}/{file}" for file in files]})


def measure_shard(folder: Path, name: str, task: tuple[Path, Sample]) -> int:
    """How many bytes of text a sample has of a shard."""
    shard, sample = task
    return sample.num_bytes(shard)


def _name_for_workers(recipe: Recipe) -> str:
    where = Path(recipe.tokenizer_name)
    return str(where.resolve()) if where.exists() else recipe.tokenizer_name


def _engine(build_: Build, shards: Sequence[Path], info: TokenizerInfo) -> Any:
    """Which engine encodes: a record, so that a run that resumes need not ask again. Nothing in the output depends on it."""
    done = build_.record("engine")
    if done is not None or not shards:
        return done or {"fast": False, "finding": "there was nothing to encode"}
    fast, finding = fast_agrees(info, shards)
    return build_.finish("engine", {"fast": fast, "finding": finding})


def _gather(
    build_: Build, num_encoded: int, job: Job, settings: TokenizeSettings, padding: Any, executor: Executor, progress: Progress
) -> tuple[list[Any], Any]:
    """Plan over the lengths of all sequences, then write the rows shard by shard; what was written, and what mixing the sources did."""
    index = index_sequences([(build_.folder / ENCODED.format(f"{number:05d}")).resolve() for number in range(num_encoded)])
    plans, mix = packed.plan_splits(index, job.length, settings)
    if not len(plans["train"]):
        raise GristmillError(str(build_.target), "no document is left to learn from", "look at __removed of the clean dataset, or add sources")
    tasks = {
        f"{split}-{number:05d}": Gathering(split, number, settings.format, work)
        for split, plan in plans.items()
        for number, work in enumerate(packed.shard_tasks(index, plan, settings.rows_per_shard, padding))
    }
    return run_step(build_, "pack", gather_shard, tasks, executor, progress), _leave_out(build_, index, mix)


def _leave_out(build_: Build, index: SequenceIndex, mix: packed.Mix) -> Any:
    """The figures of a mix, and what it leaves out as rows that say so."""
    done = build_.record("mix")
    if done is not None:
        return done
    sizes = np.bincount(index.source[mix.left_out], index.length[mix.left_out], len(index.sources)).astype(int).tolist()
    left = dict(zip(index.sources, sizes, strict=True))
    figures = {name: {"times": mix.times[name], "tokens_repeated": mix.repeated[name], "tokens_left_out": left[name]} for name in index.sources}
    with ShardWriter(build_.folder, "__left_out", "mix", packed.LEFT_OUT) as writer:
        for batch in packed.left_out(index, mix.left_out):
            writer.write(batch)
    return build_.finish("mix", {"figures": figures, "shards": [vars(shard) for shard in writer.shards]})


def _figures(gathered: Sequence[Mapping[str, Any]], length: int) -> dict[str, dict[str, Any]]:
    """Rows, sequences, tokens, learned tokens and padding of each split, and the share of the rows' room that tokens fill."""
    splits: dict[str, dict[str, Any]] = {}
    for record in gathered:
        _add(splits, {record["split"]: record["figures"]})
    for figures in splits.values():
        figures |= shares(figures, length)
    return splits


def _check_tokens(about: Mapping[str, Any]) -> None:
    """What was kept of the documents is what stands in the rows, token for token."""
    kept = sum(counts["tokens_kept"] + counts["tokens_overlap"] for counts in about["tokens"].values())
    kept += sum(counts["tokens_repeated"] - counts["tokens_left_out"] for counts in about["mix"].values())
    written = sum(figures["tokens"] + figures["tokens_unlearned"] for figures in about["splits"].values())
    if kept != written:
        raise GristmillError("tokenize", f"{kept} tokens were kept, but {written} were written", "this is a bug; please report it")


def _lines(dataset: Dataset) -> list[str]:
    lines = [
        f"{split}: {f['rows']:,} rows, {f['tokens']:,} tokens, {f['learned']:,} of them learned, {f['utilisation']:.2%} of the room used"
        for split, f in dataset.manifest["splits"].items()
    ]
    total = {name: sum(counts[name] for counts in dataset.manifest["tokens"].values()) for name in next(iter(dataset.manifest["tokens"].values()))}
    cut = f"{total['documents_truncated']:,} cut off ({total['tokens_truncated']:,} tokens lost)"
    lines.append(f"longer than a row: {total['documents_split']:,} documents split, {cut}, {total['tokens_dropped']:,} tokens in removed documents")
    mixed = [f"{source} {f['times']:g} times" for source, f in dataset.manifest["mix"].items() if f["times"] != 1]
    lines += [f"training rows hold each document of {', '.join(mixed)}; __left_out names those that none holds"] if mixed else []
    lines += _own_lines(dataset)
    padding = dataset.manifest.get("padding", {})
    lines += [f"padding is token {padding['token']:,}, which the tokenizer lacks: it has none but its end of text"] if padding.get("is_new") else []
    lines += [f"{total[name]:,} {what}" for name, what in NOTES.items() if total[name]]
    return [*lines, json.loads((dataset.folder / RUN).read_text())["engine"]]


def _own_lines(dataset: Dataset) -> list[str]:
    tokenizer, asked = dataset.manifest["tokenizer"], dataset.manifest["settings"].get("own_tokenizer")
    if asked is None:
        return []
    where = f"own tokenizer: {tokenizer['vocab_size']:,} tokens, in {dataset.folder / tokenizer['folder']}"
    return [where, *shortfall(tokenizer["vocab_size"], asked["vocab_size"], asked["min_frequency"])]


def _recipe(arguments: Any) -> Recipe:
    if (arguments.tokenizer is None) != (arguments.length is None):
        raise UsageError("tokenize", "--tokenizer and --length belong together", "give both, or a --recipe")
    if arguments.tokenizer is not None:
        return Recipe(base_model=arguments.tokenizer, tokenizer=arguments.tokenizer, sequence_len=arguments.length)
    return read_recipe(arguments.recipe or bench.find(DEFAULT_RECIPE))


def main(given: Sequence[str]) -> int:
    """The command."""
    leave_pandas_out()
    parser = command.stage_parser("tokenize", __doc__ or "")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help=f"the recipe that names tokenizer and length (default: {DEFAULT_RECIPE})")
    parser.add_argument("--tokenizer", metavar="NAME", help="a folder, a tokenizer.json, a Hub id, or train, in place of a recipe")
    parser.add_argument("--length", type=int, metavar="TOKENS", help="tokens in a row, with --tokenizer")
    arguments = parser.parse_args(given)
    paths, output = command.inputs_and_output(arguments.paths, "tokenize")
    settings = read_settings(bench.settings_file("tokenize", arguments.settings), arguments.assignments)
    recipe = _recipe(arguments)
    with Progress("tokenize", arguments.quiet) as progress:
        inputs = open_inputs(paths, output, arguments.workers, arguments.scheduler, progress, "tokenize")
        job = resolve(settings, recipe, inputs.digests())
        dataset = tokenize(job, settings, recipe, inputs, output, arguments.workers, arguments.scheduler, progress)
        inputs.discard()
    conclude(arguments, dataset, "documents", _lines(dataset), f"python -m pipeline.stages.train {output} RUN")
    return 0


if __name__ == "__main__":
    from pipeline.stages import tokenize as module

    sys.exit(command.run(module.main))
