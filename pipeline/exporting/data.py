"""python -m pipeline export data DATASET --to TOOL OUT: documents, or rows of tokens, as files that other tools read.

trl, axolotl and llamafactory get JSON lines and a configuration of theirs; hf-dataset is a folder for datasets.load_from_disk.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipeline import command
from pipeline.commits import Build, writing
from pipeline.datasets import Dataset, open_dataset, read_batches
from pipeline.documents import SCHEMA
from pipeline.errors import AccountingError, UsageError, nearest
from pipeline.exporting import hf_dataset
from pipeline.exporting.axolotl import Axolotl
from pipeline.exporting.conversations import CannotHoldError, Carried, Learn, Row, survey
from pipeline.exporting.llamafactory import LlamaFactory
from pipeline.exporting.splits import splits_of
from pipeline.exporting.target import CARD, FOLDER, KINDS, Plan, Target, card, file_name
from pipeline.exporting.trl import Trl
from pipeline.packing.split import SPLITS
from pipeline.settings import digest, to_plain

EXPORT_VERSION = 1
TARGETS: Mapping[str, type[Target]] = {"trl": Trl, "axolotl": Axolotl, "llamafactory": LlamaFactory}
HF_DATASET = "hf-dataset"
LEFT_OUT = "__left_out.jsonl"
DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
DEFAULT_LENGTH = 2048
READS = ("extract", "filter")
_BATCH_ROWS = 256


@dataclass(frozen=True)
class Request:
    """What is asked for: which dataset, for which tool, with the splits of which token set, and which of the splits."""

    dataset: Dataset
    to: str
    tokens: Dataset | None
    splits: tuple[str, ...]
    model: str
    length: int
    learn: Learn
    messages: bool

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the output beside the inputs."""
        names = ("to", "splits", "model", "length", "learn", "messages")
        return {name: to_plain(getattr(self, name)) for name in names}

    @property
    def inputs(self) -> list[dict[str, str]]:
        """Name and digest of what is read."""
        read = [self.dataset, *([self.tokens] if self.tokens else [])]
        return [{"name": one.folder.resolve().name, "digest": one.digest} for one in read]

    @property
    def key(self) -> str:
        """Digest of all that goes in."""
        return digest(["export data", EXPORT_VERSION, self.settings, [item["digest"] for item in self.inputs]])


@dataclass
class Account:
    """Where each document (or row of tokens) went: ``read = written + left_out + other_splits``. ``lines`` may be more than were written."""

    read: int = 0
    written: int = 0
    left_out: int = 0
    other_splits: int = 0
    lines: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    files: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check(self, where: Path) -> None:
        """Raises AccountingError when something went nowhere."""
        if self.read != self.written + self.left_out + self.other_splits:
            raise AccountingError(
                str(where), f"{self.read} were read, but {self.written + self.left_out} accounted for", "this is a bug; please report it"
            )

    def to_plain(self) -> dict[str, Any]:
        """As the manifest has it."""
        numbers = {"read": self.read, "written": self.written, "left_out": self.left_out, "other_splits": self.other_splits}
        tables = {"lines": self.lines, "reasons": self.reasons, "not_carried": self.lost}
        lists = {"commands": self.commands, "notes": self.notes}
        return numbers | {name: dict(sorted(table.items())) for name, table in tables.items()} | lists


def export(request: Request, output: Path) -> Dataset:
    """Write the export, whole or not at all; an export of the same key finds its work done."""
    with Build(output, request.key) as build:
        if build.ready is not None:
            return build.ready
        if request.to == HF_DATASET:
            account = _to_hf(request, build.folder)
        else:
            account = _to_text(request, build.folder)
        account.check(output)
        if not account.written:
            raise UsageError(str(request.dataset.folder), f"holds nothing that {request.to} can hold in {', '.join(request.splits)}", _most(account))
        about = {"stage": "export", "settings": request.settings, "inputs": request.inputs, "counts": account.to_plain()}
        return build.commit([], about, {}, files=account.files)


def _most(account: Account) -> str:
    return f"most often: {account.reasons.most_common(1)[0][0]}" if account.reasons else "name another split"


def _documents(request: Request, split_of: np.ndarray) -> Iterator[tuple[str, Row]]:
    """Each document with the name of its split."""
    number = 0
    for path in request.dataset.files():
        for batch in read_batches(path, SCHEMA.names, _BATCH_ROWS):
            for row in batch.to_pylist():
                yield SPLITS[split_of[number]], row
                number += 1


def _to_text(request: Request, folder: Path) -> Account:
    plan = Plan(request.model, request.length, request.learn, survey(request.dataset.files(), request.learn), request.messages)
    target = TARGETS[request.to](plan)
    account = Account(notes=target.notes())
    split_of = splits_of(request.dataset, request.tokens)
    (folder / FOLDER).mkdir(exist_ok=True)
    with ExitStack() as stack:
        left_out = stack.enter_context(writing(folder / LEFT_OUT))
        open_files: dict[str, IO[bytes]] = {}
        for split, row in _documents(request, split_of):
            account.read += 1
            if split not in request.splits:
                account.other_splits += 1
                continue
            try:
                carried = target.carry(row)
            except CannotHoldError as error:
                account.left_out += 1
                account.reasons[_kind_of(str(error))] += 1
                _write(left_out, _entry(row, None, str(error)))
                continue
            name = file_name(split, carried.kind)
            if name not in open_files:
                open_files[name] = stack.enter_context(writing(folder / FOLDER / name))
            account.written += 1
            _write_lines(account, open_files[name], name, left_out, row, carried)
    written = {
        kind: [split for split in SPLITS if account.lines[file_name(split, kind)]]
        for kind in KINDS
        if any(account.lines[file_name(split, kind)] for split in SPLITS)
    }
    files = target.files(written) | {CARD: card(written)}
    for name, text in files.items():
        with writing(folder / name) as file:
            file.write(text.encode())
    account.files = sorted([LEFT_OUT, *(f"{FOLDER}/{name}" for name in open_files), *files])
    account.commands = (
        []
        if not any("train" in splits for splits in written.values())
        else target.commands({kind: splits for kind, splits in written.items() if "train" in splits})
    )
    return account


def _write_lines(account: Account, file: IO[bytes], name: str, left_out: IO[bytes], row: Row, carried: Carried) -> None:
    for line in carried.lines:
        _write(file, line)
    account.lines[name] += len(carried.lines)
    for message, reason in carried.lost:
        account.lost[reason] += 1
        _write(left_out, _entry(row, message, reason))


def _entry(row: Row, message: int | None, reason: str) -> dict[str, Any]:
    """What ``__left_out.jsonl`` says of a document, or of one message (by index) of a document that was written."""
    return {"id": row["id"], "source": row["source"], "locator": row["locator"], "message": message, "reason": reason}


def _kind_of(reason: str) -> str:
    """A reason without the number of the turn, to count by."""
    return " ".join("N" if word.isdigit() else word for word in reason.split())


def _write(file: IO[bytes], data: Any) -> None:
    file.write(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace") + b"\n")


def _to_hf(request: Request, folder: Path) -> Account:
    hf_dataset.check_library()
    account, dataset = Account(), request.dataset
    writers: dict[str, hf_dataset.SplitWriter] = {}
    tokens = dataset.manifest["stage"] == "tokenize"
    schema = hf_dataset.token_schema() if tokens else hf_dataset.document_schema(dataset)
    try:
        for split, batch in _hf_batches(request, tokens):
            account.read += len(batch)
            if split not in request.splits:
                account.other_splits += len(batch)
                continue
            if split not in writers:
                fingerprint = digest([request.key, split])[:16]
                writers[split] = hf_dataset.SplitWriter(folder, split, schema, fingerprint)
            writers[split].write(batch)
            account.written += len(batch)
    except BaseException:
        for writer in writers.values():
            writer.abort()
        raise
    names = [split for split in SPLITS if split in writers]
    account.files = sorted([file for split in names for file in writers[split].close()] + [hf_dataset.write_dict(folder, names)])
    account.lines = Counter({split: writers[split].rows for split in names})
    return account


def _hf_batches(request: Request, tokens: bool) -> Iterator[tuple[str, Any]]:
    if not tokens:
        yield from hf_dataset.document_batches(request.dataset, splits_of(request.dataset, request.tokens))
        return
    for split in SPLITS:
        yield from ((split, batch) for batch in hf_dataset.token_batches(request.dataset, split))


def _request(arguments: Any) -> Request:
    dataset = open_dataset(command.require(arguments.dataset))
    stage = dataset.manifest.get("stage")
    if arguments.to not in (*TARGETS, HF_DATASET):
        raise UsageError(f"--to {arguments.to}", "is not a tool that is known here", nearest(arguments.to, (*TARGETS, HF_DATASET)))
    if stage not in READS and not (stage == "tokenize" and arguments.to == HF_DATASET):
        todo = "name the documents, or --to hf-dataset" if stage == "tokenize" else "name documents or rows of tokens"
        raise UsageError(str(dataset.folder), f"was made by {stage}, which {arguments.to} cannot read", todo)
    tokens = open_dataset(command.require(arguments.splits_from)) if arguments.splits_from else None
    if tokens is not None and (tokens.manifest.get("stage") != "tokenize" or stage == "tokenize"):
        raise UsageError("--splits-from", "takes the token set of the documents that are exported", "leave it out, or name one")
    wanted = tuple(split for split in SPLITS if not arguments.splits or split in arguments.splits)
    for split in arguments.splits:
        if split not in SPLITS:
            raise UsageError(f"--split {split}", "is not a split", nearest(split, SPLITS))
    if arguments.messages and arguments.to != "trl":
        raise UsageError("--messages", f"is not for {arguments.to}", "leave it out")
    made = tokens.manifest if tokens is not None else {}
    learn = arguments.learn or made.get("settings", {}).get("learn", "assistant")
    length = int(made.get("sequence_len", DEFAULT_LENGTH)) if arguments.length is None else arguments.length
    if length < 1:
        raise UsageError(f"--length {length}", "is no number of tokens", "take 1 or more")
    return Request(dataset, arguments.to, tokens, wanted, _model(arguments.model, arguments.output), length, learn, arguments.messages)


def _model(name: str, output: Path) -> str:
    """A Hub id as it is; a folder as it is found from the output, where the tool runs."""
    return Path(os.path.relpath(Path(name).resolve(), output.resolve())).as_posix() if Path(name).exists() else name


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline export data", __doc__ or "")
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="clean documents; for hf-dataset also rows of tokens")
    parser.add_argument("output", type=Path, metavar="OUT", help="the folder to write")
    parser.add_argument("--to", required=True, metavar="TOOL", help=f"one of {', '.join((*TARGETS, HF_DATASET))}")
    parser.add_argument("--splits-from", type=Path, metavar="TOKENS", help="the split of this token set, by group (default: all is for training)")
    parser.add_argument("--split", action="append", default=[], dest="splits", metavar="NAME", help="only this split; may be given again")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help="the base model in the tool's configuration (default: %(default)s)")
    parser.add_argument("--length", type=int, metavar="TOKENS", help=f"tokens a row there (default: that of the token set, else {DEFAULT_LENGTH})")
    parser.add_argument("--learn", choices=("assistant", "last_assistant", "all"), help="which turns are learned where the data does not say")
    parser.add_argument(
        "--messages", action="store_true", help="for trl: whole conversations; the model's chat template must mark the assistant's turns"
    )
    arguments = parser.parse_args(given)
    request = _request(arguments)
    for path in (arguments.dataset, *([arguments.splits_from] if arguments.splits_from else [])):
        command.require_beside(arguments.output, path)
    exported = export(request, arguments.output)
    if not arguments.quiet:
        _print(exported, arguments.output, "rows" if request.dataset.manifest["stage"] == "tokenize" else "documents")
    return 0


def _print(exported: Dataset, output: Path, unit: str) -> None:
    counts = exported.manifest["counts"]
    other = f", {counts['other_splits']:,} in other splits" if counts["other_splits"] else ""
    print(f"export: {output}")
    print(f"  {unit}: {counts['read']:,} read, {counts['written']:,} written, {counts['left_out']:,} left out{other}")
    print(f"  lines: {', '.join(f'{name} {number:,}' for name, number in counts['lines'].items())}")
    for note in counts["notes"]:
        print(f"  {note}")
    for title, table in (("left out", counts["reasons"]), ("not carried", counts["not_carried"])):
        for reason, number in sorted(table.items(), key=lambda item: (-item[1], item[0])):
            print(f"  {title}: {number:,} {reason}")
    if counts["left_out"] or counts["not_carried"]:
        print(f"  {output / LEFT_OUT} names each")
    for line in counts["commands"]:
        print(f"  next: cd {output} && {line}")
    if exported.manifest["settings"]["to"] == HF_DATASET:
        print(f"  next: datasets.load_from_disk({str(output)!r})")
