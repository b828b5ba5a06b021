"""python -m pipeline suspects RUN: documents whose losses stand out from those of their source, with their text and what speaks against them.

The losses are those of RUN/documents.parquet; --complete measures all rows first, into RUN.documents beside the run. --drop puts documents on
the filter's list of ids to remove (filters/drop.txt): a number takes so many of those shown, an id or its beginning that one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import bench, command
from pipeline.commits import writing
from pipeline.datasets import Dataset, open_dataset, read_batches
from pipeline.errors import UsageError, nearest
from pipeline.inspection.outliers import MEANING, Outlier, rank
from pipeline.inspection.show_tokens import origins
from pipeline.inspection.shown import Page, piece, stretch
from pipeline.progress import Progress
from pipeline.settings import read_list, read_yaml
from pipeline.training import document_losses
from pipeline.training.trained import TrainedRun, open_run

DROP = "filters/drop.txt"
MAX_COUNT_DIGITS = 4
"""What ``--drop`` is given in so few digits is a number of documents, anything else an id."""

Row = dict[str, Any]


def suspects(losses: pa.Table, clean: Sequence[Dataset], source: str | None, top: int) -> list[tuple[Outlier, Row | None]]:
    """The strangest ``top`` documents of a source (None: of all), each with its row of the clean dataset where that is found."""
    found = [one for one in rank(losses) if source is None or one.source == source][:top]
    rows = _rows(clean, [one.id for one in found])
    return [(one, rows.get(one.id)) for one in found]


def _rows(clean: Sequence[Dataset], names: Sequence[str]) -> dict[str, Row]:
    wanted, rows = pa.array(sorted(names), pa.string()), {}
    for dataset in clean:
        for path in dataset.files():
            for batch in read_batches(path):
                for row in batch.filter(pc.is_in(batch.column("id"), wanted)).to_pylist():
                    rows[row["id"]] = row
    return rows


def chosen(found: Sequence[Outlier], wanted: Sequence[str]) -> list[Outlier]:
    """The documents that ``--drop`` names, in the order of the list; raises UsageError for an id that is not in it, or fits several."""
    taken: set[str] = set()
    for one in wanted:
        if one.isdigit() and len(one) <= MAX_COUNT_DIGITS:
            taken |= {outlier.id for outlier in found[: int(one)]}
            continue
        fitting = [outlier.id for outlier in found if outlier.id.startswith(one.lower())]
        if len(fitting) != 1:
            what = "fits several of the documents shown" if fitting else "is none of the documents shown"
            raise UsageError(f"--drop {one}", what, nearest(one, fitting or [outlier.id for outlier in found]) if fitting else "raise --top")
        taken |= set(fitting)
    return [outlier for outlier in found if outlier.id in taken]


def drop(path: Path, outliers: Sequence[Outlier], run: str) -> int:
    """Add the ids to a list, one a line with the reason after it; those that stand there already are left. Gives how many were added."""
    text = path.read_text(encoding="utf-8") if path.is_file() else "# Ids of documents to remove whatever the rules say, one a line.\n"
    known = set(read_list(path)) if path.is_file() else set()
    new = [outlier for outlier in outliers if outlier.id not in known]
    if new:
        lines = [f"{one.id}  # suspects {run}: {one.kind}, {one.score:.1f} from {one.source or 'its source'}" for one in new]
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path) as file:
            file.write((text + ("" if text.endswith("\n") else "\n") + "\n".join(lines) + "\n").encode("utf-8"))
    return len(new)


def _drop_list() -> Path:
    named = read_yaml(bench.settings_file("filter", None)).values.get("drop")
    if named is None:
        raise UsageError("--drop", "stages/filter.yaml names no list of ids to remove", f"write there: drop: {DROP}")
    return Path(str(named))


def _tokens(run: TrainedRun, named: Path | None) -> Path:
    """The rows that the run was trained on; raises UsageError when they are not there, or others are."""
    place = command.require(named) if named is not None else run.tokens
    return run.require_tokens(place, "name the rows that the run was trained on with --tokens")


def _clean(run: TrainedRun, tokens: Path | None, named: Path | None) -> list[Dataset]:
    """The documents that the run's rows were made from."""
    if named is not None:
        return [open_dataset(command.require(named))]
    place = tokens or run.tokens
    return origins(open_dataset(place)) if place.is_dir() else []


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline suspects", __doc__ or "")
    parser.add_argument("run", type=Path, metavar="RUN", help="a folder that the train stage wrote")
    parser.add_argument("--top", type=int, default=50, metavar="N", help="show so many (default: %(default)s)")
    parser.add_argument("--source", metavar="NAME", help="of this source only")
    parser.add_argument("--complete", action="store_true", help="measure the documents of all rows first; goes on where it stopped")
    parser.add_argument("--tokens", type=Path, metavar="DIR", help="the rows that were trained on, where they lie elsewhere")
    parser.add_argument("--clean", type=Path, metavar="DIR", help="the documents that these were made from, where they lie elsewhere")
    parser.add_argument(
        "--drop", nargs="+", default=[], metavar="N|ID", help="put the first N shown, or these, on the filter's list of ids to remove"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(given)
    if arguments.top < 1:
        raise UsageError(f"--top {arguments.top}", "shows nothing", "take 1 or more")
    run = open_run(command.require(arguments.run))
    if arguments.complete:
        with Progress("suspects", arguments.quiet or arguments.json) as progress:
            document_losses.complete(run, _tokens(run, arguments.tokens), progress.say)
    losses, is_complete = document_losses.read(run)
    if not len(losses):
        raise UsageError(str(run.folder), "has no losses of documents", "run again with --complete")
    known = sorted({name for name in losses["source"].to_pylist() if name is not None})
    if arguments.source is not None and arguments.source not in known:
        raise UsageError(f"--source {arguments.source}", "is no source of these documents", nearest(arguments.source, known))
    found = suspects(losses, _clean(run, arguments.tokens, arguments.clean), arguments.source, arguments.top)
    dropped = chosen([one for one, _ in found], arguments.drop)
    added = drop(_drop_list(), dropped, run.folder.name) if dropped else 0
    if arguments.json:
        shown = [asdict(one) | {"document": row} for one, row in found]
        print(json.dumps({"documents": len(losses), "all_rows": is_complete, "suspects": shown, "dropped": added}, ensure_ascii=False, indent=1))
    else:
        _print(found, losses, is_complete)
        if dropped:
            print(f"{added} ids added to {_drop_list()}, {len(dropped) - added} stood there; next: make clean")
    return 0


def _print(found: Sequence[tuple[Outlier, Row | None]], losses: pa.Table, is_complete: bool) -> None:
    page = Page()
    part = "of all rows" if is_complete else "of the rows measured after training (all of them: --complete)"
    page.line(f"{len(losses):,} documents {part}; scores are robust standard deviations from documents of their source", "bold")
    for number, (one, row) in enumerate(found, 1):
        page.line()
        place = f"{row['source']}/{row['locator']}" if row else one.source or ""
        page.line(f"{number:>3}  {one.id}  {place}  {one.split}", "bold")
        page.line(f"     {one.kind}, {one.score:.1f}: {MEANING.get(one.kind, 'nothing speaks against it')}", "red")
        page.line(f"     {_figures(one)}")
        if row is not None:
            page.stretch(stretch(piece(row, None), None, None), "     ")
    page.flush()


def _figures(one: Outlier) -> str:
    parts = [f"base {one.base_loss:.2f}"] if one.base_loss is not None else []
    parts += [f"trained {one.tuned_loss:.2f}"]
    parts += [f"without the question {one.alone_loss:.2f}"] if one.alone_loss is not None else []
    signs = ", ".join(f"{name} {value:+.1f}" for name, value in one.signs.items())
    return f"nats a token over {one.tokens:,} tokens: {', '.join(parts)}; {one.accuracy:.0%} foretold; signs: {signs}"
