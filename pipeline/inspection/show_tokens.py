"""A token set for people: a packed row document by document, what is learned in brackets, or what the whole holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets import Dataset, find_datasets, open_dataset, read_batches
from pipeline.errors import DatasetError, GristmillError, UsageError
from pipeline.inspection.bars import bars
from pipeline.inspection.place import Place, locate
from pipeline.inspection.shown import Page, table
from pipeline.inspection.text_page import TextPage
from pipeline.models import IGNORED, TokenizerInfo, load_tokenizer
from pipeline.packing.figures import histogram, shares
from pipeline.packing.reading import read_rows
from pipeline.packing.split import SPLITS

OPEN, CLOSE = "\u27e6", "\u27e7"
"""What is learned stands between these: they are rare in text, and show where there is no colour."""

COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")


def found(dataset: Dataset, place: Place, split: str, limit: int, tokenizer: str | None, documents: Path | None) -> list[dict[str, Any]]:
    """The row at a place of ``split``, or the first ``limit`` rows of any split that hold the document, piece by piece.

    A piece has its document, source, which of the document's tokens it is, and ``runs`` of ``[learned, text]``; padding has a number of
    tokens only. Raises UsageError when the tokenizer is another than the rows were made with.
    """
    info = _tokenizer(dataset, tokenizer)
    if place.id is not None:
        rows = [row for row, _ in zip(_with_document(dataset, place.id), range(limit), strict=False)]
    else:
        shard, number = locate(dataset, split, place)
        rows = [_row(dataset, shard.path, number)]
    names = {piece["id"] for _, _, row in rows for piece in row["pieces"] if piece["id"] is not None}
    sources = _sources(dataset, names, documents)
    return [{"file": file, "row": number, "pieces": _pieces(row, info, sources)} for file, number, row in rows]


def _tokenizer(dataset: Dataset, name: str | None) -> TokenizerInfo:
    made_with, own = dataset.manifest["tokenizer"]["fingerprint"], dataset.manifest["tokenizer"].get("folder")
    wanted = name or (str(dataset.folder / own) if own else str(dataset.manifest["settings"]["tokenizer"]))
    try:
        info = load_tokenizer(wanted)
    except GristmillError as error:
        raise UsageError(error.where, error.what, "name the tokenizer with --tokenizer") from None
    if info.fingerprint != made_with:
        raise UsageError(wanted, f"is not the tokenizer that {dataset.folder} was made with", "name that one with --tokenizer")
    return info


def _row(dataset: Dataset, file: str, number: int) -> tuple[str, int, dict[str, Any]]:
    first = 0
    for batch in read_rows(dataset.folder / file):
        if number < first + len(batch):
            return file, number, batch.slice(number - first, 1).to_pylist()[0]
        first += len(batch)
    raise DatasetError(str(dataset.folder / file), f"has {first:,} rows only", "build the dataset again")


def _with_document(dataset: Dataset, start: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for split in SPLITS:
        for path in dataset.files(split):
            first = 0
            file = path.relative_to(dataset.folder).as_posix()
            for batch in read_rows(path):
                pieces = batch.column("pieces")
                hits = pc.indices_nonzero(pc.fill_null(pc.starts_with(pieces.flatten().field("id"), start), False))
                for row in pc.unique(pc.list_parent_indices(pieces).take(hits)).to_pylist():
                    yield file, first + row, batch.slice(row, 1).to_pylist()[0]
                first += len(batch)


def _sources(dataset: Dataset, names: set[str], documents: Path | None) -> dict[str, str]:
    """The source of each document, out of the documents that the rows were made from where these are still there."""
    wanted = pa.array(sorted(names), pa.string())
    known: dict[str, str] = {}
    for origin in [open_dataset(documents)] if documents else origins(dataset):
        for path in origin.files():
            for batch in read_batches(path, ["id", "source"]):
                mine = batch.filter(pc.is_in(batch.column("id"), wanted))
                known |= dict(zip(mine.column("id").to_pylist(), mine.column("source").to_pylist(), strict=True))
    return known


def origins(dataset: Dataset) -> list[Dataset]:
    """Datasets in the folders above that are the inputs of this one, as their digests say."""
    digests = {item["digest"] for item in dataset.manifest["inputs"]}
    above = dataset.folder.resolve().parents[:2]
    near = [folder for parent in above for child in ("", "clean", "raw") for folder in _datasets(parent / child)]
    opened = [open_dataset(folder) for folder in dict.fromkeys(near)]
    return [one for one in opened if one.digest in digests and one.manifest.get("stage") in ("extract", "filter")]


def _datasets(folder: Path) -> list[Path]:
    try:
        return find_datasets(folder)
    except OSError:
        return []


def _pieces(row: Mapping[str, Any], info: TokenizerInfo, sources: Mapping[str, str]) -> list[dict[str, Any]]:
    pieces, start = [], 0
    for size, piece in zip(row["sequence_lengths"], row["pieces"], strict=True):
        ids, labels = row["input_ids"][start : start + size], row["labels"][start : start + size]
        start += size
        if piece["id"] is None:
            pieces.append({"padding": size})
            continue
        learned = sum(label != IGNORED for label in labels)
        about = {"id": piece["id"], "source": sources.get(piece["id"]), "start": piece["start"], "end": piece["end"]}
        pieces.append({**about, "tokens": size, "learned": learned, "runs": _runs(ids, labels, info)})
    return pieces


def _runs(ids: Sequence[int], labels: Sequence[int], info: TokenizerInfo) -> list[list[Any]]:
    """The text of a sequence as runs of tokens that are learned or not; each run as what decoding up to its end adds."""
    is_learned = [label != IGNORED for label in labels]
    ends = [n for n in range(1, len(ids) + 1) if n == len(ids) or is_learned[n] != is_learned[n - 1]]
    runs, before = [], 0
    for end in ends:
        runs.append([is_learned[end - 1], _text(info, ids, before, end)])
        before = end
    return runs


def _text(info: TokenizerInfo, ids: Sequence[int], start: int, end: int) -> str:
    """Tokens ``start`` to ``end`` as they read after the token before them, control tokens literally."""
    context = list(ids[max(0, start - 1) : start])
    known = str(info.tokenizer.decode(context, skip_special_tokens=False)) if context else ""
    whole = str(info.tokenizer.decode([*context, *ids[start:end]], skip_special_tokens=False))
    return whole[len(known) :] if whole.startswith(known) else str(info.tokenizer.decode(list(ids[start:end]), skip_special_tokens=False))


def summary(dataset: Dataset) -> dict[str, Any]:
    """Figures of each split, tokens of each source, and lengths in log2 bins: of documents by source, where the manifest has it, of sequences."""
    manifest = dataset.manifest
    splits = {name: {**figures, **shares(figures, manifest["sequence_len"])} for name, figures in manifest["splits"].items()}
    sources = {
        name: {key: counts[key] for key in ("documents", "tokens", "tokens_kept", "learned_kept")} | {"times": manifest["mix"][name]["times"]}
        for name, counts in manifest["tokens"].items()
    }
    return {
        "tokenizer": manifest["tokenizer"]["name"],
        "sequence_len": manifest["sequence_len"],
        "pack": manifest["settings"]["pack"],
        "file_format": manifest["file_format"],
        "splits": splits,
        "sources": sources,
        "document_lengths": manifest.get("document_lengths", {}),
        "sequence_lengths": {split: _sequence_lengths(dataset, split) for split in splits},
    }


def _sequence_lengths(dataset: Dataset, split: str) -> dict[str, int]:
    total: dict[str, int] = {}
    for path in dataset.files(split):
        for batch in read_rows(path, ["sequence_lengths", "pieces"]):
            there = batch.column("pieces").flatten().field("id").is_valid().to_numpy(zero_copy_only=False)
            sizes: np.ndarray = batch.column("sequence_lengths").flatten().to_numpy()[there]
            for low, count in histogram(sizes).items():
                total[low] = total.get(low, 0) + count
    return dict(sorted(total.items(), key=lambda item: int(item[0])))


def print_summary(answer: Mapping[str, Any]) -> None:
    """The summary as tables and bars."""
    page = Page()
    page.line(f"rows of {answer['sequence_len']:,} tokens of {answer['tokenizer']}, packed {answer['pack']}, in {answer['file_format']}", "bold")
    head = ["split", "rows", "sequences", "tokens", "learned", "room used", "padding", "learned share"]
    rows = [
        [name, *(f"{f[key]:,}" for key in ("rows", "sequences", "tokens", "learned"))]
        + [f"{f[key]:.2%}" for key in ("utilisation", "padding_share", "learned_share")]
        for name, f in answer["splits"].items()
    ]
    for line in table([head, *rows]):
        page.line(f"  {line}")
    head = ["source", "documents", "tokens", "kept", "learned", "times"]
    rows = [[name, *(f"{v:,}" for v in list(f.values())[:-1]), f"{f['times']:g}"] for name, f in answer["sources"].items()]
    for line in table([head, *rows]):
        page.line(f"  {line}")
    for source, histogram_ in answer["document_lengths"].items():
        page.line(f"tokens of a document of {source}", "bold")
        for line in bars(histogram_, "tokens"):
            page.line(f"  {line}")
    for split, histogram_ in answer["sequence_lengths"].items():
        page.line(f"tokens of a sequence in {split}", "bold")
        for line in bars(histogram_, "tokens"):
            page.line(f"  {line}")
    page.flush()


def print_found(answer: Sequence[Mapping[str, Any]]) -> None:
    """Each row: a line about each piece, then its text, learned runs in brackets and bold, the others dim."""
    page = TextPage()
    for row in answer:
        tokens = sum(piece.get("tokens", piece.get("padding")) for piece in row["pieces"])
        page.line(
            f"{row['file']} row {row['row']:,}: {len(row['pieces'])} sequences, {tokens:,} tokens; {OPEN}learned{CLOSE}, the rest is context", "bold"
        )
        colours = dict(zip(dict.fromkeys(piece.get("id") for piece in row["pieces"]), cycle(COLOURS), strict=False))
        for number, piece in enumerate(row["pieces"]):
            _print_piece(page, number, piece, colours[piece.get("id")])
        page.line()
    page.flush()


def _print_piece(page: TextPage, number: int, piece: Mapping[str, Any], colour: str) -> None:
    if "padding" in piece:
        page.line(f"== {number}: padding, {piece['padding']:,} tokens", "dim")
        return
    where = f"source {piece['source']}" if piece["source"] else "source not known (--documents DATASET)"
    what = f"tokens {piece['start']:,} to {piece['end']:,} of {piece['id']}, {where}, {piece['learned']:,} of {piece['tokens']:,} learned"
    page.line(f"== {number}: {what}", f"bold {colour}")
    page.runs([(f"{OPEN}{text}{CLOSE}" if learned else text, f"bold {colour}" if learned else f"dim {colour}") for learned, text in piece["runs"]])
