"""The way back to the data: how well the base and the trained model foretell each document, one row a document.

Loads torch only when it measures; the table's shape and reading need none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commits import Build, ShardWriter, write_json, writing
from pipeline.datasets import Dataset, open_dataset
from pipeline.errors import MissingPackageError
from pipeline.models import IGNORED, load_tokenizer
from pipeline.settings import digest
from pipeline.training.quiet import prepare_process, quiet_libraries
from pipeline.training.recipe import Recipe
from pipeline.training.trained import TrainedRun
from pipeline.training.with_base import WithBase, of_run

VERSION = 1
FILE, STAGE = "documents.parquet", "document_losses"

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        ("source", pa.string()),
        pa.field("pieces", pa.int32(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        ("base_loss", pa.float64()),
        pa.field("tuned_loss", pa.float64(), nullable=False),
        pa.field("accuracy", pa.float64(), nullable=False),
        ("alone_loss", pa.float64()),
    ]
)
"""A document, over its ``pieces`` in the rows that were measured, each counted once.

``tokens`` are supervised ones, and every loss is the mean of theirs in nats. ``base_loss`` is that of the model before training: null
after training from scratch, and of a model trained whole until ``complete`` loads it beside the other. ``tuned_loss`` is that after
training, ``accuracy`` the share of tokens that this model found likeliest. ``alone_loss``: of a conversation, its loss of the same answers
without what was asked: before each stands only what nearly all prompts share.
tuned_loss / alone_loss is then the IFD (Li et al. 2023, arXiv 2308.12032), with the chat template left where it was.
"""

CHUNK_ROWS = 8
"""Rows measured between two records: a run that is killed goes on there."""

FRAME_ROWS = 512
FRAME_SHARE = 0.8
"""What stands at the beginning, or end, of so many of the prompts in the first rows belongs to the template."""

DIGITS = 6

Row = Mapping[str, Any]


def frame(rows: Iterable[Row]) -> list[int]:
    """The tokens that nearly all prompts begin and end with: what the chat template writes around a question, with no question in it.

    Empty when there are fewer than two different prompts.
    """
    prompts = sorted({tuple(prompt) for row in rows for piece in _pieces(row) if (prompt := piece.prompt)})
    if len(prompts) < 2:
        return []
    start = _agreed(prompts)
    return start + _agreed([prompt[len(start) :][::-1] for prompt in prompts])[::-1]


def _agreed(prompts: Sequence[Sequence[int]]) -> list[int]:
    agreed: list[int] = []
    rest = prompts
    while True:
        rest = [prompt for prompt in rest if len(prompt) > len(agreed)]
        counts = Counter(prompt[len(agreed)] for prompt in rest)
        token, number = min(counts.items(), key=lambda item: (-item[1], item[0]), default=(0, 0))
        if number < max(1.0, FRAME_SHARE * len(prompts)):
            return agreed
        rest = [prompt for prompt in rest if prompt[len(agreed)] == token]
        agreed.append(token)


@dataclass(frozen=True)
class _Piece:
    """A sequence of a row: a document or a part of one."""

    about: Mapping[str, Any]
    ids: Sequence[int]
    is_learned: Sequence[bool]

    @property
    def prompt(self) -> Sequence[int]:
        """All before the first answer; nothing where all but the first token is learned, and in a later part of a document."""
        is_prompted = self.about["start"] == 0 and self.is_learned.count(False) > 1 and True in self.is_learned
        return self.ids[: self.is_learned.index(True)] if is_prompted else ()

    def answers(self) -> Iterator[Sequence[int]]:
        """Each run of learned tokens."""
        begin = None
        for at, learned in enumerate([*self.is_learned, False]):
            if learned and begin is None:
                begin = at
            elif not learned and begin is not None:
                yield self.ids[begin:at]
                begin = None


def _pieces(row: Row) -> Iterator[_Piece]:
    start = 0
    for size, about in zip(row["sequence_lengths"], row["pieces"], strict=True):
        ids, labels = row["input_ids"][start : start + size], row["labels"][start : start + size]
        start += size
        if about["id"] is not None:
            yield _Piece(about, ids, [at > 0 and label != IGNORED for at, label in enumerate(labels)])


def measure(both: WithBase, rows: Sequence[Row], shared: Sequence[int], max_tokens: int) -> list[dict[str, Any]]:
    """The sums of each piece in a batch of rows, in order; ``alone`` is None where there is no prompt beyond what all ``shared``."""
    import numpy as np

    from pipeline.training.losses import row_sums, sequence_sums

    tuned = row_sums(both.tuned, rows)
    with both.base() as model:
        base = row_sums(model, rows) if model is not None else None
    at = [about["id"] is not None for row in rows for about in row["pieces"]]
    places = np.flatnonzero(at).tolist()
    pieces = [piece for row in rows for piece in _pieces(row)]
    answers = [
        (number, np.array([*shared, *answer]), np.arange(len(shared) + len(answer)) >= len(shared))
        for number, piece in enumerate(pieces)
        if shared and len(piece.prompt) > len(shared)
        for answer in piece.answers()
    ]
    alone = sequence_sums(both.tuned, [(ids, learned) for _, ids, learned in answers], max_tokens)
    without: dict[int, float] = {}
    for (number, _, _), loss in zip(answers, alone.loss.tolist(), strict=True):
        without[number] = without.get(number, 0.0) + loss
    return [
        {
            "id": piece.about["id"],
            "source": piece.about.get("source"),
            "start": piece.about["start"],
            "tokens": int(tuned.tokens[place]),
            "base": None if base is None else float(base.loss[place]),
            "tuned": float(tuned.loss[place]),
            "right": int(tuned.right[place]),
            "alone": without.get(number),
        }
        for number, (place, piece) in enumerate(zip(places, pieces, strict=True))
    ]


def measured(both: WithBase, splits: Mapping[str, Any], recipe: Recipe, parts: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The sums of each piece in the rows of ``splits`` (with a length, by number), with its split.

    What lies in ``parts`` was measured before and is not again.
    """
    train = next(iter(splits.values()))
    shared = frame(train[at] for at in range(min(len(train), FRAME_ROWS)))
    chunks = [(split, rows, first) for split, rows in splits.items() for first in range(0, len(rows), CHUNK_ROWS)]
    found = []
    for number, (split, rows, first) in enumerate(chunks, 1):
        path = parts / f"{split}-{first:08d}.json"
        if not path.is_file():
            chunk = [rows[at] for at in range(first, min(len(rows), first + CHUNK_ROWS))]
            batches = [chunk[at : at + recipe.micro_batch_size] for at in range(0, len(chunk), recipe.micro_batch_size)]
            sums = [piece for batch in batches for piece in measure(both, batch, shared, recipe.sequence_len * recipe.micro_batch_size)]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, sums)
            say(f"losses of documents: {number} of {len(chunks)} parts")
        found += [{**piece, "split": split} for piece in json.loads(path.read_text(encoding="utf-8"))]
    return found


def table(pieces: Iterable[Mapping[str, Any]], sources: Mapping[str, str] | None = None) -> pa.Table:
    """One row a document (schema SCHEMA) by split and id, from the sums of its pieces; a piece that stands there twice counts once."""
    documents: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for piece in pieces:
        documents.setdefault((piece["split"], piece["id"]), {}).setdefault(piece["start"], piece)
    rows = [_document(*key, list(parts.values()), sources or {}) for key, parts in sorted(documents.items())]
    return pa.Table.from_pylist([row for row in rows if row["tokens"]], SCHEMA)


def _document(split: str, name: str, parts: Sequence[Mapping[str, Any]], sources: Mapping[str, str]) -> dict[str, Any]:
    tokens = sum(part["tokens"] for part in parts)
    sums = {kind: [part[kind] for part in parts] for kind in ("base", "tuned", "right", "alone")}
    known = {kind: sum(values) for kind, values in sums.items() if None not in values and (kind != "alone" or len(parts) == 1)}
    means = {kind: round(value / max(1, tokens), DIGITS) for kind, value in known.items()}
    return {
        "id": name,
        "split": split,
        "source": parts[0].get("source") or sources.get(name),
        "pieces": len(parts),
        "tokens": tokens,
        "base_loss": means.get("base"),
        "tuned_loss": means["tuned"],
        "accuracy": means["right"],
        "alone_loss": means.get("alone"),
    }


def write(both: WithBase, splits: Mapping[str, Any], recipe: Recipe, out: Path, parts: Path, say: Callable[[str], None]) -> None:
    """Measure the first rows of a run's ``splits``, as many as the recipe says (``document_losses_max_rows``), and write ``out/documents.parquet``.

    ``parts``: a folder for what was measured so far.
    """
    limit = recipe.document_losses_max_rows
    if limit == 0:
        return
    total = sum(map(len, splits.values()))
    share = 1.0 if limit is None else min(1.0, limit / total)
    some = {split: _First(rows, max(1, round(share * len(rows)))) for split, rows in splits.items() if len(rows)}
    say(f"losses of the documents in {sum(map(len, some.values())):,} of {total:,} rows (document_losses_max_rows)")
    found = table(measured(both, some, recipe, parts, say))
    with writing(out / FILE) as file:
        pq.write_table(found, file, compression="zstd", write_page_checksum=True)


@dataclass(frozen=True)
class _First:
    """The first ``number`` of some rows."""

    rows: Any
    number: int

    def __len__(self) -> int:
        return min(self.number, len(self.rows))

    def __getitem__(self, at: int) -> Row:
        row: Row = self.rows[at]
        return row


def place_of_complete(run: Path) -> Path:
    """Where ``complete`` writes: beside the run."""
    return run.with_name(f"{run.name}.documents")


def complete(run: TrainedRun, tokens: Path, say: Callable[[str], None]) -> Dataset:
    """Measure all rows of the training and validation splits into a dataset of its own beside the run; goes on where a killed call stopped.

    ``tokens``: the rows that the run was trained on. Raises UsageError, DatasetError or GristmillError in one line.
    """
    recipe = run.recipe
    with Build(place_of_complete(run.folder), digest([STAGE, VERSION, run.dataset.key, run.dataset.manifest["files"]])) as build:
        if build.ready is not None:
            return build.ready
        info = load_tokenizer(recipe.tokenizer_beside(tokens) if recipe.tokenizer else recipe.base_model, recipe.tokenizer_revision)
        prepare_process()
        try:
            quiet_libraries()
            from pipeline.training import merge, model, rows
        except ImportError as error:
            raise MissingPackageError(error.name or "torch", "measuring losses", "train") from error
        wanted = model.precision(recipe)
        both = of_run(run, merge.open_tuned(run, info, wanted), wanted)
        splits = rows.open_all(tokens, recipe, info.fingerprint, build.work / "rows")
        found = table(measured(both, splits, recipe, build.work / "documents", say))
        with ShardWriter(build.folder, "", "documents", SCHEMA, always=True) as writer:
            for batch in found.to_batches():
                writer.write(batch)
        about = {"stage": STAGE, "inputs": [{"name": tokens.resolve().name, "digest": run.tokens_digest}], "run": run.dataset.key}
        return build.commit(writer.shards, about, {})


def read(run: TrainedRun) -> tuple[pa.Table, bool]:
    """The losses of a run's documents (schema SCHEMA), and whether they are those of all rows."""
    place = place_of_complete(run.folder)
    if place.is_dir():
        made = open_dataset(place)
        if made.manifest.get("run") == run.dataset.key:
            return pa.concat_tables([pq.read_table(path) for path in made.files()]), True
    path = run.folder / FILE
    return (pq.read_table(path) if path.is_file() else SCHEMA.empty_table()), False
