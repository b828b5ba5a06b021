"""python -m pipeline why ID|PATH|TEXT: what each stage said about a document: where it came from, its cuts, why it went, where its tokens lie.

A document is named by its id or the beginning of it, by its place in the sources, or by a piece of its text. A text that nothing holds is
judged on the spot, as a document and as an assistant's turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import bench, command
from pipeline.documents import Document, Message, to_batch
from pipeline.errors import UsageError
from pipeline.inspection.lookup import HEX, Built, History, all_ids, built_in, find_ids, history, quarantined
from pipeline.inspection.shown import Page, cuts_in_context, piece, stretch
from pipeline.inspection.try_settings import Outcome, outcomes
from pipeline.settings import read_yaml
from pipeline.stages.recurring import without_counting
from pipeline.stages.ruleset import Rules, read_rules, unmet

NEAREST = 3
"""So many near ids are named for one that is not there."""


@dataclass(frozen=True)
class Answer:
    """What is known of what was asked for: documents, units that could not be read, or what the rules would say now."""

    histories: tuple[History, ...] = ()
    num_found: int = 0
    found_by: str = ""
    unreadable: tuple[dict[str, Any], ...] = ()
    live: tuple[tuple[str, Outcome], ...] = ()
    not_asked: tuple[str, ...] = ()
    nearest: tuple[str, ...] = ()


def ask(wanted: str, built: Built, rules: Callable[[], Rules], limit: int) -> Answer:
    """Look for a document, then for an unreadable unit; else judge ``wanted`` as text, unless it looks like an id."""
    ids, number, found_by = find_ids(built, wanted, limit)
    if ids:
        return Answer(tuple(history(built, name) for name in ids), number, found_by)
    unreadable = quarantined(built, lambda row: wanted in f"{row['source']}/{row['locator']}")
    if unreadable:
        return Answer(num_found=len(unreadable), found_by="place", unreadable=tuple(unreadable[:limit]))
    if HEX.fullmatch(wanted.lower()) and any(char.isdigit() for char in wanted):
        return Answer(nearest=tuple(_nearest_ids(built, wanted.lower())))
    known = rules()
    asked = without_counting(known)
    return Answer(live=tuple(_live(wanted, asked)), not_asked=tuple(known.edit.keys() - asked.edit.keys()))


def _nearest_ids(built: Built, wanted: str) -> list[str]:
    """The ids that share the longest beginning with ``wanted``."""

    def shared(name: str) -> int:
        return next((i for i, (a, b) in enumerate(zip(name, wanted, strict=False)) if a != b), min(len(name), len(wanted)))

    best: list[str] = []
    for name in all_ids(built):
        best = sorted({*best, name}, key=lambda other: (-shared(other), other))[:NEAREST] if name not in best else best
    return best


def _live(text: str, rules: Rules) -> list[tuple[str, Outcome]]:
    """What the rules make of a text as a plain document and as an assistant's turn; scores that only a dataset could bring are not asked for."""
    rules = replace(rules, remove={name: rule for name, rule in rules.remove.items() if not unmet(rule, rules.fields)})
    documents = {
        "as a document": Document("document", text=text),
        "as an assistant's turn": Document("turn", messages=(Message("user", "A question?"), Message("assistant", text))),
    }
    found = []
    for label, document in documents.items():
        (outcome,) = outcomes(to_batch("asked", [document]), rules).values()
        found.append((label, outcome))
    return found


def main(given: Sequence[str]) -> int:
    """The command; raises UsageError with the nearest ids for one that is not there."""
    parser = command.parser("python -m pipeline why", __doc__ or "")
    parser.add_argument("wanted", metavar="ID|PATH|TEXT", help="an id or its beginning, a place in the sources, or a piece of text")
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="FOLDER", help="what was built (default: %(default)s)")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="rules to judge a text by that nothing holds (default: stages/filter.yaml)")
    parser.add_argument("--documents", type=int, default=3, metavar="N", help="show at most N documents (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(given)
    wanted = arguments.wanted.strip()
    if not wanted:
        raise UsageError("why", "nothing is asked for", "name an id, a place in the sources or a piece of text")
    if arguments.data != Path("data"):
        command.require(arguments.data)

    def rules() -> Rules:
        return read_rules(read_yaml(bench.settings_file("filter", arguments.settings)))

    answer = ask(wanted, built_in(arguments.data), rules, max(1, arguments.documents))
    if arguments.json:
        print(json.dumps(to_plain(answer), ensure_ascii=False, indent=1))
    elif not answer.nearest:
        _print(answer)
    if answer.found_by or answer.live:
        return 0
    near = f"the nearest: {', '.join(answer.nearest)}" if answer.nearest else "nothing has been built yet; run: make clean"
    raise UsageError(wanted, "is no document's id", near)


def to_plain(answer: Answer) -> dict[str, Any]:
    """An answer as JSON-able data."""
    return {
        "found_by": answer.found_by or None,
        "found": answer.num_found,
        "documents": [_document(item) for item in answer.histories],
        "unreadable": list(answer.unreadable),
        "not_asked": list(answer.not_asked),
        "judged_now": [{"as": label, **_judged(outcome)} for label, outcome in answer.live],
        "nearest": list(answer.nearest),
    }


def _document(item: History) -> dict[str, Any]:
    row = item.document or {}
    edited = item.kept or item.removed
    shown = cuts_in_context(edited, item.cuts) if edited and item.cuts else []
    return {
        "id": item.id,
        **{name: row.get(name) for name in ("source", "locator", "group", "meta")},
        "extracted_to": item.raw_dataset,
        "cuts": [{"rule": cut["rule"], "message": cut["message"], **s.to_plain()} for cut, s in zip(item.cuts, shown, strict=True)],
        "removed": _removed(item),
        "kept": item.kept is not None,
        "scores": (edited or {}).get("scores"),
        "quarantine": item.quarantine,
        "packed": item.packed,
        "text": piece(edited or row, None),
    }


def _removed(item: History) -> dict[str, Any] | None:
    row = item.removed
    if row is None:
        return None
    why = {name: row[name] for name in ("rule", "reason", "message", "start", "end", "score", "duplicate_of")}
    return {"from": item.removed_by, **why, "span": stretch(piece(row, row["message"]), row["start"], row["end"]).to_plain()}


def _judged(outcome: Outcome) -> dict[str, Any]:
    said = {"verdict": "kept" if outcome.label is None else "removed", "says": [{"rule": r, **s.to_plain()} for r, s in outcome.stretches()]}
    return said | ({"text": piece(outcome.document, -1 if outcome.document["text"] is not None else 1)} if outcome.cuts else {})


def _print(answer: Answer) -> None:
    page = Page()
    if answer.num_found > len(answer.histories) + len(answer.unreadable):
        page.line(f"{answer.num_found:,} documents match by {answer.found_by}; the first of them (--documents N shows more):")
    for item in answer.histories:
        _print_history(page, item)
    for row in answer.unreadable:
        page.line(f"{row['source']}/{row['locator']}", "bold")
        page.line(f"  could not be read: {row['error']} ({row['dataset']}/__quarantine)")
    if answer.live:
        page.line("no document holds this text; the rules would say:", "bold")
    for label, outcome in answer.live:
        verdict = "kept" if outcome.label is None else f"removed by {outcome.label}" if outcome.rule else f"quarantined: {outcome.error}"
        page.line(f"  {label}: {verdict}{' after cuts' if outcome.label is None and outcome.cuts else ''}", "bold")
        for rule, shown in outcome.stretches():
            page.line(f"    {rule}")
            page.stretch(shown)
    for name in answer.not_asked:
        page.line(f"  not asked: {name}, which knows nothing before all documents are counted (python -m pipeline try counts them)")
    page.flush()


def _print_history(page: Page, item: History) -> None:
    row, edited = item.document or {}, item.kept or item.removed
    page.line(str(item.id), "bold")
    page.line(f"  from {row.get('source')}/{row.get('locator')}" + (f" ({item.raw_dataset})" if item.raw_dataset else ""))
    if edited and item.cuts:
        page.line(f"  cut in {len(item.cuts)} places" if len(item.cuts) > 1 else "  cut in one place")
        for cut, shown in zip(item.cuts, cuts_in_context(edited, item.cuts), strict=True):
            page.line(f"    {cut['rule']}{_turn(cut)}")
            page.stretch(shown)
    for failed in item.quarantine:
        page.line(f"  quarantined: {failed['error']} ({failed['dataset']}/__quarantine)", "red")
    if item.removed is not None:
        _print_removed(page, item, item.removed)
    elif item.kept is not None:
        page.line("  kept", "green")
    elif not item.quarantine:
        page.line("  not cleaned yet; run: make clean")
    scores = (edited or {}).get("scores")
    if scores:
        page.line(f"  scores: {', '.join(f'{n} {v:.4g}' if isinstance(v, float) else f'{n} {v}' for n, v in scores.items())}")
    for place in item.packed:
        where = f"{place['dataset']}/{place['file']} row {place['row']:,}"
        shared = f", beside {place['others_in_row']} others" if place["others_in_row"] else ""
        page.line(f"  tokens {place['first_token']:,} to {place['end_token']:,} in {where}{shared}")
    if item.kept is not None and not item.cuts:
        page.stretch(stretch(piece(item.kept, None), None, None), "    ")
    page.line()


def _print_removed(page: Page, item: History, row: dict[str, Any]) -> None:
    page.line(f"  removed by {row['rule']}: {row['reason']} ({item.removed_by}/__removed)", "red")
    if row["duplicate_of"]:
        page.line(f"    kept instead: {row['duplicate_of']}" + (f", likeness {row['score']:.3f}" if row["score"] is not None else ""))
    elif row["score"] is not None:
        page.line(f"    score {row['score']:g}")
    page.stretch(stretch(piece(row, row["message"]), row["start"], row["end"]))


def _turn(cut: dict[str, Any]) -> str:
    return f", turn {cut['message']}" if cut["message"] >= 0 else ""
