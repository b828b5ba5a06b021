"""python -m pipeline.stages.perplexity INPUT OUTPUT: adds a small model's losses to the scores of each document; removes nothing.

A plain document gets its mean loss a token, a conversation that of its answers with and without what was asked, and their ratio, the IFD
(Li et al. 2023, arXiv 2308.12032). Needs the extra train. Slow on a CPU: try it on a sample with --set max_documents=200.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import bench, command
from pipeline.commits import Build, ShardWriter
from pipeline.datasets import RUN, Dataset, Shard, file_sha256, open_dataset, read_batches
from pipeline.documents import SCHEMA, SCORES
from pipeline.errors import DatasetError, MissingPackageError
from pipeline.models import load_tokenizer
from pipeline.packing.encode import Encoder
from pipeline.packing.settings import TokenizeSettings
from pipeline.pools import pool, run_step
from pipeline.progress import Progress
from pipeline.remote import local
from pipeline.report import Report
from pipeline.settings import at_least, build, digest, override, read_yaml, to_plain
from pipeline.summary import conclude
from pipeline.training.recipe import Recipe
from pipeline.units import beat

STAGE_VERSION = 2
BATCH_ROWS = 256
FIELDS = {
    "perplexity_loss": pa.float32(),
    "ifd": pa.float32(),
    "ifd_loss_given_prompt": pa.float32(),
    "ifd_loss_alone": pa.float32(),
    "perplexity_tokens": pa.int32(),
}
"""What is added to ``scores``. ``perplexity_loss``: mean nats a token of a plain document. ``ifd``: of a conversation, the mean loss of its
answers' tokens given all before them over their mean loss with nothing before them; near 1 and above it the prompt does not help.
``perplexity_tokens``: tokens whose loss was taken. Null for what was not scored. Losses are rounded to 4 digits."""

COUNTS = ("scored", "cut", "not_chosen", "nothing_to_score", "tokens")
Loss = tuple[float, int]
"""Sum of the losses in nats, and of how many tokens."""


@dataclass(frozen=True)
class PerplexitySettings:
    """The settings of ``stages/perplexity.yaml``."""

    model: str = "data/models/smollm2-135m-instruct"
    """A folder or a Hub id."""

    max_tokens: int = at_least(512, 16)
    """Tokens of a document that are looked at."""

    max_documents: int | None = at_least(None, 1)
    """About how many documents are scored, chosen by a hash of their ids; null: all."""

    batch_tokens: int = at_least(1024, 16)
    """Tokens in one step through the model, filling included."""

    seed: int = at_least(0, 0)
    """Decides which documents are chosen."""


@dataclass(frozen=True)
class Scoring:
    """A task: one shard. ``chosen`` is the share of the documents that is scored."""

    shard: Path
    settings: PerplexitySettings
    chosen: float
    schema: pa.Schema


def read_settings(path: Path, assignments: Sequence[str] = ()) -> PerplexitySettings:
    """The settings file of this stage; raises SettingsError with all its problems."""
    return build(PerplexitySettings, override(read_yaml(path), assignments))


def key_of(settings: PerplexitySettings, model: Mapping[str, str], source: Dataset) -> str:
    """Digest of all that goes in; ``batch_tokens`` is how, not what, but rounding may follow it, so it counts."""
    return digest(["perplexity", STAGE_VERSION, to_plain(settings), dict(model), source.digest])


def model_digests(name: str) -> dict[str, str]:
    """A local model by the bytes of its files; one of the Hub by its name, which stands in the settings."""
    folder = Path(name)
    files = sorted(path for pattern in ("*.json", "*.jinja", "*.safetensors") for path in folder.glob(pattern)) if folder.is_dir() else []
    return {path.name: file_sha256(path) for path in files}


def score(settings: PerplexitySettings, source: Dataset, output: Path, progress: Progress) -> Dataset:
    """Score the documents of a committed dataset and commit them with their scores; goes on shard by shard where a killed run stopped."""
    model = model_digests(settings.model)
    with Build(output, key_of(settings, model, source)) as made:
        if made.ready is not None:
            return made.ready
        files = source.files()
        chosen = 1.0 if settings.max_documents is None else settings.max_documents / max(1, source.rows())
        schema = _with_fields(pq.read_schema(files[0]))
        tasks = {f"{number:05d}": Scoring(path.resolve(), settings, chosen, schema) for number, path in enumerate(files)}
        with pool(1) as executor:  # the model's own threads take all cores
            records = run_step(made, "score", score_shard, tasks, executor, progress)
        report = Report()
        for record in records:
            report.add_plain(record["counts"])
        report.check("perplexity")
        total = {name: sum(record["scores"][name] for record in records) for name in COUNTS}
        about = {
            "stage": "perplexity",
            "settings": to_plain(settings),
            "inputs": [{"name": source.folder.resolve().name, "digest": source.digest}],
            "model": model,
            "counts": report.to_plain(),
            "scores": total,
        }
        seconds = round(sum(record["seconds"] for record in records), 3)
        return made.commit([Shard(**shard) for record in records for shard in record["shards"]], about, {"model_seconds": seconds})


def score_shard(folder: Path, name: str, task: Scoring) -> dict[str, Any]:
    """Write one shard with its scores."""
    report, total, started = Report(), dict.fromkeys(COUNTS, 0), time.monotonic()
    with ShardWriter(folder, "", name, task.schema, always=True) as writer:
        for batch in read_batches(task.shard, max_rows=BATCH_ROWS):
            beat()
            for entry in batch.column("source").value_counts().to_pylist():
                counts = report.of(entry["values"])
                counts.read += entry["counts"]
                counts.kept += entry["counts"]
            columns, found = score_batch(batch, task.settings, task.chosen)
            total = {key: number + found[key] for key, number in total.items()}
            writer.write(_with_scores(batch, columns, task.schema))
    seconds = time.monotonic() - started
    return {"counts": report.to_plain(), "scores": total, "seconds": seconds, "shards": [vars(shard) for shard in writer.shards]}


def score_batch(batch: pa.RecordBatch, settings: PerplexitySettings, chosen: float) -> tuple[dict[str, pa.Array], dict[str, int]]:
    """The columns of ``FIELDS`` for each document of a batch, and ``COUNTS``."""
    wanted = np.flatnonzero(_chosen(batch.column("id"), chosen, settings.seed))
    some = batch.select(SCHEMA.names).take(pa.array(wanted, pa.int64()))
    encoder = _encoder(settings.model, settings.max_tokens)
    encoded = encoder.encode(some)
    rows = wanted[pc.index_in(encoded.sequences.column("id"), some.column("id")).to_numpy()] if len(encoded.sequences) else wanted[:0]
    ids, learned = (encoded.sequences.column(name).to_pylist() for name in ("input_ids", "learned"))
    is_plain = pc.is_valid(batch.column("text")).to_numpy(zero_copy_only=False)
    given = [(row, np.array(i), np.array(on, bool)) for row, i, on in zip(rows.tolist(), ids, learned, strict=True)]
    start = encoder.info.bos_id if encoder.info.bos_id is not None else encoder.info.eos_id
    assert start is not None
    alone = [(np.append(start, i[on]), np.append(False, np.ones(on.sum(), bool))) for row, i, on in given if not is_plain[row]]
    losses = _losses([*((i, on) for _, i, on in given), *alone], settings)
    values: dict[str, list[Any]] = {name: [None] * len(batch) for name in FIELDS}
    of_answers = iter(losses[len(given) :])
    for (row, _, _), (loss, num) in zip(given, losses, strict=False):
        values["perplexity_tokens"][row] = num
        if is_plain[row]:
            values["perplexity_loss"][row] = round(loss / num, 4)
            continue
        without, num_without = next(of_answers)
        values["ifd_loss_given_prompt"][row] = round(loss / num, 4)
        values["ifd_loss_alone"][row] = round(without / num_without, 4)
        values["ifd"][row] = round((loss / num) / (without / num_without), 4) if without else None
    cut = sum(counts["documents_truncated"] for counts in encoded.counts.values())
    found = (len(given), cut, len(batch) - len(wanted), len(wanted) - len(given), sum(num for _, num in losses))
    return {name: pa.array(values[name], kind) for name, kind in FIELDS.items()}, dict(zip(COUNTS, found, strict=True))


def _chosen(ids: pa.StringArray, share: float, seed: int) -> np.ndarray:
    """bool[]: whether a document is among those scored: by a hash of its id, the same in whatever shard it stands."""
    if share >= 1:
        return np.ones(len(ids), bool)
    hashes = (hashlib.blake2b(f"{seed}\0{one}".encode(), digest_size=8).digest() for one in ids.to_pylist())
    return np.array([int.from_bytes(one, "little") < share * 2**64 for one in hashes], bool)


@lru_cache(maxsize=1)
def _encoder(model: str, max_tokens: int) -> Encoder:
    """The tokenizer with the model's chat template: the answers it marks as learned are those whose loss is taken."""
    return Encoder(load_tokenizer(model), max_tokens, TokenizeSettings(over_long="truncate", over_long_conversations="truncate"))


def _losses(sequences: Sequence[tuple[np.ndarray, np.ndarray]], settings: PerplexitySettings) -> list[Loss]:
    """Sum of the losses and number of the marked tokens of each sequence (ids, marks); the first token of a sequence has none."""
    model = _model(settings.model)
    from pipeline.training.losses import sequence_sums

    sums = sequence_sums(model, sequences, settings.batch_tokens)
    return [(loss, max(1, num)) for loss, num in zip(sums.loss.tolist(), sums.tokens.tolist(), strict=True)]


@lru_cache(maxsize=1)
def _model(name: str) -> Any:
    """The model in evaluation mode, in the precision that the hardware is fast in."""
    from pipeline.training.quiet import prepare_process, quiet_libraries

    prepare_process()
    try:
        quiet_libraries()
        from pipeline.training import model
    except ImportError as error:
        raise MissingPackageError(error.name or "torch", "the perplexity stage", "train") from error
    recipe = Recipe(base_model=name, adapter="lora")
    return model.load_base(Path(name) if Path(name).exists() else name, recipe, model.precision(recipe))


def _with_fields(schema: pa.Schema) -> pa.Schema:
    """The schema with ``FIELDS`` in its struct ``scores``, which is made when it is not there; fields of these names are replaced."""
    there = list(schema.field(SCORES).type) if SCORES in schema.names else []
    fields = [*(one for one in there if one.name not in FIELDS), *(pa.field(name, kind) for name, kind in FIELDS.items())]
    return pa.schema([*(one for one in schema if one.name != SCORES), pa.field(SCORES, pa.struct(fields))])


def _with_scores(batch: pa.RecordBatch, columns: Mapping[str, pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    wanted = list(schema.field(SCORES).type)
    values = [columns[one.name] if one.name in columns else pc.struct_field(batch.column(SCORES), one.name) for one in wanted]
    struct = pa.StructArray.from_arrays(values, fields=wanted)
    return pa.RecordBatch.from_arrays([*(batch.column(name) for name in schema.names if name != SCORES), struct], schema=schema)


def _lines(dataset: Dataset) -> list[str]:
    found = dataset.manifest["scores"]
    seconds = json.loads((dataset.folder / RUN).read_text(encoding="utf-8"))["model_seconds"]
    left_out = f"{found['not_chosen']:,} not chosen, {found['nothing_to_score']:,} with nothing to score"
    return [
        f"{found['scored']:,} documents scored ({found['cut']:,} cut off at {dataset.manifest['settings']['max_tokens']} tokens), {left_out}",
        f"{found['tokens']:,} tokens in {seconds:,.0f} s: {found['tokens'] / max(seconds, 1e-9):,.0f} a second",
    ]


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline.stages.perplexity", __doc__ or "")
    parser.add_argument("input", type=Path, metavar="INPUT", help="a dataset of documents, as extract and filter write them")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the folder to write")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="settings (default: stages/perplexity.yaml)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="put one setting over the file's")
    command.add_json(parser)
    arguments = parser.parse_args(given)
    (named,), output = command.inputs_and_output([arguments.input, arguments.output], "perplexity")
    path = local(named)
    source = open_dataset(path)
    if source.manifest.get("stage") not in ("extract", "filter", "perplexity"):
        raise DatasetError(str(path), f"was made by {source.manifest.get('stage')}", "perplexity reads documents")
    settings = read_settings(bench.settings_file("perplexity", arguments.settings), arguments.assignments)
    with Progress("perplexity", arguments.quiet) as progress:
        dataset = score(settings, source, output, progress)
    following = f"look at the column scores of {output}, then python -m pipeline.stages.tokenize {output} TOKENS"
    conclude(arguments, dataset, "documents", _lines(dataset), following)
    return 0


if __name__ == "__main__":
    from pipeline.stages import perplexity as module

    sys.exit(command.run(module.main))
