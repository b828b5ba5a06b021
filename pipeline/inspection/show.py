"""python -m pipeline show DATASET [ROW]: a packed row or a document as people read it; without ROW, what the dataset holds.

ROW is a number, SHARD:ROW, or a document's id or its beginning. Of a packed row, what is learned stands between brackets, each document
under a line of its own, padding as its length.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import command
from pipeline.datasets import Dataset, open_dataset
from pipeline.errors import UsageError, nearest
from pipeline.inspection import show_documents, show_tokens
from pipeline.inspection.place import place_of
from pipeline.packing.split import SPLITS

STAGES = {"extract": show_documents, "filter": show_documents, "tokenize": show_tokens}


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline show", __doc__ or "")
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="what a stage wrote")
    parser.add_argument("row", nargs="?", metavar="ROW", help="a number from 0, SHARD:ROW, or an id; without it a summary")
    parser.add_argument("--split", default="train", metavar="NAME", help="of a token set: where numbers count (default: %(default)s)")
    parser.add_argument("--tokenizer", metavar="NAME", help="the tokenizer of a token set, where it is no longer where it was")
    parser.add_argument("--documents", type=Path, metavar="DATASET", help="the documents of a token set, to name their sources")
    parser.add_argument("--rows", type=int, default=3, metavar="N", help="of an id: at most N rows (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(given)
    dataset = open_dataset(command.require(arguments.dataset))
    stage = dataset.manifest.get("stage")
    if stage not in STAGES:
        raise UsageError(str(dataset.folder), f"was made by {stage}", "name documents or a token set")
    if arguments.split not in SPLITS:
        raise UsageError(f"--split {arguments.split}", "is not a split", nearest(arguments.split, SPLITS))
    if arguments.row is None:
        answer: Any = STAGES[stage].summary(dataset)
        printed = STAGES[stage].print_summary
    else:
        place = place_of(arguments.row.strip())
        if stage == "tokenize":
            answer = show_tokens.found(dataset, place, arguments.split, max(1, arguments.rows), arguments.tokenizer, arguments.documents)
        else:
            answer = show_documents.found(dataset, place, max(1, arguments.rows))
        printed = STAGES[stage].print_found
        _refuse_nothing(dataset, arguments.row, answer)
    if arguments.json:
        print(json.dumps(answer, ensure_ascii=False, indent=1))
    else:
        printed(answer)
    return 0


def _refuse_nothing(dataset: Dataset, asked: str, answer: Sequence[Any]) -> None:
    if not answer:
        raise UsageError(asked, f"is no row and no document of {dataset.folder}", "look at the summary: leave it out")
