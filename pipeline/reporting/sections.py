"""The sections of the page, each from plain figures to markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from pipeline.inspection.shown import Stretch
from pipeline.reporting import charts
from pipeline.reporting.changes import Change
from pipeline.reporting.examples import Example, Pair
from pipeline.reporting.figures import Figures, Loss, Run, Step
from pipeline.reporting.markup import Child, Markup, tag
from pipeline.reporting.measures import UNKNOWN, Measured
from pipeline.reporting.phrases import Phrase
from pipeline.training import metrics

Examples = Mapping[str, Sequence[Example]]

SMALL_BYTES = 10 * 2**20
"""Under 10 MiB of text a model learns a style rather than knowledge; our own rule of thumb."""

TRACE = "python -m pipeline why ID says what each stage said of a document; python -m pipeline trace ID leads to its packed rows and its source."
"""Said once, above the first ids."""

CUTS, DUPLICATES = "Cuts", "Duplicates"
"""Sections that lines of the flow lead to."""

_MANY = 40
"""Longest list of rules shown for a stage; the rest is summed up in one line."""


def section(title: str, *children: Child, about: str = "") -> Markup:
    """A section with a heading and a line that says how to read it."""
    return tag("section", tag("h2", title, id=_id(title)), tag("p", about, class_="about") if about else None, children)


def _id(title: str) -> str:
    return title.lower().replace(" ", "-")


def table(head: Sequence[str], rows: Iterable[Sequence[Child]], label: str) -> Markup:
    """A table that scrolls by itself on a narrow screen; the first column names the row."""
    body = [tag("tr", tag("th", row[0], scope="row"), [tag("td", cell) for cell in row[1:]]) for row in rows]
    top = tag("thead", tag("tr", [tag("th", name, scope="col") for name in head]))
    return tag("div", tag("table", top, tag("tbody", body)), class_="scroll", tabindex=0, role="region", aria_label=label)


def tiles(figures: Figures) -> Markup:
    """The few numbers that most people look for first."""
    shown: list[tuple[str, str]] = []
    if figures.steps:
        first = figures.steps[0]
        shown.append((f"{first.read:,}", f"{first.unit} read"))
    shown += [(f"{step.kept:,}", "documents extracted" if step.stage == "extract" else "documents clean") for step in figures.steps[:2]]
    for dataset in figures.tokens[:1]:
        splits = dataset.manifest["splits"]
        shown.append((f"{splits['train']['tokens']:,}", "tokens to train on"))
    for run in figures.runs[:1]:
        checks = metrics.evaluations(run.lines)
        if checks:
            shown.append((f"{checks[0]['eval_loss']:.3f} \u2192 {checks[-1]['eval_loss']:.3f}", f"validation loss, {run.name}"))
    return tag("dl", [tag("div", tag("dt", name), tag("dd", number)) for number, name in shown], class_="tiles")


def flow(figures: Figures, removed: Examples) -> Markup:
    """The waterfall: a bar for what is left after each step, and one that opens for each way out."""
    parts: list[Markup] = [tag("p", note, class_="note") for note in figures.notes]
    parts += [_step(step, removed) for step in figures.steps]
    parts += [_tokens_line(dataset.manifest["splits"], dataset.folder.name) for dataset in figures.tokens]
    about = "Every unit that was read is kept or stands in a line that says why not. A line with a triangle opens: documents that went, and where."
    return section("From sources to tokens", tag("p", TRACE, class_="about"), parts, about=about)


def _step(step: Step, removed: Examples) -> Markup:
    rows = [_row(f"{step.stage} read", step.read, None, 0.0, 1.0, "total")]
    left = step.read
    for loss in _shortened(step.losses):
        after = left - loss.units
        rows.append(_loss(step, loss, left, after, removed.get(loss.rule, ())))
        left = after
    if step.chars_cut:
        rows.append(_row(tag("a", "cut within documents", href=f"#{_id(CUTS)}"), None, -step.chars_cut, 0.0, 0.0, "none"))
    share = step.kept / step.read if step.read else 0.0
    rows.append(_row(f"{step.stage} kept", step.kept, step.chars_kept, 0.0, share, "total kept"))
    return tag("div", tag("h3", f"{step.stage}, in {step.unit}"), rows, class_="flow")


def _shortened(losses: Sequence[Loss]) -> list[Loss]:
    rest = losses[_MANY:]
    chars = [loss.chars for loss in rest if loss.chars is not None]
    more = [Loss(f"{len(rest)} more reasons", sum(loss.units for loss in rest), sum(chars) if chars else None, "together")] if rest else []
    return [*losses[:_MANY], *more]


def _loss(step: Step, loss: Loss, before: int, after: int, examples: Sequence[Example]) -> Markup:
    read = step.read or 1
    label: Child = f"{loss.rule} (quarantined)" if loss.kind == "quarantined" else loss.rule
    if loss.rule.startswith("dedup."):
        label = tag("a", loss.rule, href=f"#{_id(DUPLICATES)}")
    chars = None if loss.chars is None else -loss.chars
    row = _row(label, -loss.units, chars, after / read, before / read, "loss", "summary" if examples else "div")
    return tag("details", row, [example(one) for one in examples]) if examples else row


def _row(label: Child, units: int | None, chars: int | None, start: float, end: float, kind: str, name: str = "div") -> Markup:
    bar = tag("span", tag("span", "", class_=f"fill {kind}", style=f"left:{start:.2%};width:max({end - start:.2%},2px)"), class_="track")
    number = tag("span", None if units is None else _signed(units), class_="number")
    cells = [tag("span", label, class_="label"), number, tag("span", _chars(chars), class_="number chars"), bar]
    return tag(name, cells, class_=f"row {kind}")


def _signed(number: int) -> str:
    return f"\u2212{-number:,}" if number < 0 else f"{number:,}"


def _chars(number: int | None) -> str:
    return "" if number is None else f"{_signed(number)} chars"


def _tokens_line(splits: Mapping[str, Mapping[str, Any]], name: str) -> Markup:
    rows = [
        (split, f"{one['rows']:,}", f"{one['sequences']:,}", f"{one['tokens']:,}", f"{one['learned']:,}", f"{one['utilisation']:.2%}")
        for split, one in splits.items()
        if one["rows"]
    ]
    return tag("div", tag("h3", name), table(("split", "rows", "sequences", "tokens", "learned", "room used"), rows, f"splits of {name}"))


def example(one: Example) -> Markup:
    """A document that went or was cut: its place, what was said, the stretch in its surroundings, and the command that says more."""
    said = tag("p", one.said, class_="said") if one.said else None
    head = tag("p", tag("span", one.place, class_="place"), " ", tag("code", f"python -m pipeline why {one.id}") if one.id else None)
    return tag("div", head, said, [stretch(part) for part in one.parts], class_="example")


def stretch(part: Stretch) -> Markup:
    """A stretch of text: what was found is marked, what was cut is struck out beside what took its place."""
    name = "mark" if part.put is None else "del"
    return tag("pre", part.before, tag(name, part.marked) if part.marked else None, tag("ins", part.put) if part.put else None, part.after)


def cuts(found: Examples) -> Markup | None:
    """What editors cut, before and after."""
    if not found:
        return None
    groups = [tag("details", tag("summary", rule), [example(one) for one in some]) for rule, some in found.items()]
    return section(CUTS, groups, about="Struck out: what an editor cut. Underlined: what it put there. The document around it stays.")


def duplicates(pairs: Sequence[Pair]) -> Markup | None:
    """Removed duplicates beside what was kept; words that differ are marked."""
    if not pairs:
        return None
    about = "On the left what was removed, on the right what was kept instead; words that only one of them has are marked. Their ids begin as shown."
    return section(DUPLICATES, [_pair(pair) for pair in pairs], about=about)


def _pair(pair: Pair) -> Markup:
    left, right = _compared(pair.removed_text, pair.kept_text)
    likeness = "" if pair.likeness is None else f", likeness {pair.likeness:.3f}"
    columns = tag("div", tag("pre", left), tag("pre", right), class_="pair")
    return tag("details", tag("summary", f"{pair.rule}{likeness}: {pair.removed[:8]} and {pair.kept[:8]}"), columns)


def _compared(left: str, right: str) -> tuple[list[Child], list[Child]]:
    """Both texts with the words marked that the other does not have in that place."""
    a, b = left.split(" "), right.split(" ")
    shown: tuple[list[Child], list[Child]] = ([], [])
    for kind, a0, a1, b0, b1 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for side, words in ((shown[0], a[a0:a1]), (shown[1], b[b0:b1])):
            text = " ".join(words)
            if text:
                side += [text if kind == "equal" else tag("mark", text), " "]
    return shown


def sources(figures: Figures) -> Markup:
    """One line a source: what it gave, in which languages and lengths, with which scores."""
    measured = figures.cleaned or figures.extracted
    scores = sorted({score for one in measured.values() for score in one.mean_scores()})
    rows = [_source(name, one, figures, scores) for name, one in measured.items()]
    total = sum(one.chars for one in measured.values())
    head = ("source", "read", "documents", "characters", "share", "languages", "lengths", *(f"mean {score}" for score in scores))
    notes = []
    if total < SMALL_BYTES:
        notes.append(f"{total / 2**20:.1f} MiB of text: under 10 MiB a model learns a style rather than knowledge.")
    largest = max(measured.items(), key=lambda item: item[1].chars, default=None)
    if largest is not None and len(measured) > 1 and largest[1].chars > 0.8 * total:
        notes.append(f"{largest[0]} is {largest[1].chars / total:.0%} of the text.")
    return section("Sources", [tag("p", note, class_="note") for note in notes], table(head, rows, "sources"))


def _source(name: str, one: Measured, figures: Figures, scores: Sequence[str]) -> list[Child]:
    total = sum(other.chars for other in (figures.cleaned or figures.extracted).values()) or 1
    read = figures.by_source[name].read if name in figures.by_source else 0
    languages = ", ".join(f"{language} {number / one.documents:.0%}" for language, number in one.languages.most_common(3)) if one.documents else ""
    means = one.mean_scores()
    cells: list[Child] = [name, f"{read:,}", f"{one.documents:,}", f"{one.chars:,}", f"{one.chars / total:.1%}"]
    cells += [UNKNOWN if languages.startswith(UNKNOWN) else languages, charts.histogram(one.lengths, "characters")]
    return cells + [f"{means[score]:.3g}" if score in means else "" for score in scores]


def phrases(found: Sequence[Phrase]) -> Markup:
    """Rare phrases that many documents share."""
    about = "Words that hardly stand anywhere else, in many documents: boilerplate that stayed, or a trigger that somebody planted."
    rows = [(one.text, f"{one.documents:,}", f"{one.share:.1%}", tag("code", f"python -m pipeline why {one.example}")) for one in found]
    inside = table(("phrase", "documents", "share", "one of them"), rows, "shared phrases") if rows else tag("p", "None found.")
    return section("Phrases that documents share", inside, about=about)


def runs(found: Sequence[Run]) -> Markup | None:
    """Learning curves and what they mean."""
    if not found:
        return None
    return section("Training", [_run(run) for run in found])


def _run(run: Run) -> Markup:
    training = [(line["step"], line["loss"]) for line in metrics.training(run.lines)]
    validation = [(line["step"], line["eval_loss"]) for line in metrics.evaluations(run.lines)]
    lines = {"training": training} | ({"validation": validation} if validation else {})
    legend = tag("p", [tag("span", name, class_=f"key key-{number}") for number, name in enumerate(lines)], class_="legend")
    found = run.diagnosis
    said = [tag("p", tag("strong", found.verdict), ": ", "; ".join(found.evidence)), tag("p", f"Next time: {found.advice}.", class_="about")]
    return tag("div", tag("h3", run.name), legend, charts.curves(lines, "nats a token", run.name), said)


def changes(figures: Sequence[Change], settings: Sequence[Change]) -> Markup:
    """What differs from the base."""
    head = ("what", "base", "now", "difference")
    rows = [(one.name, _value(one.before), _value(one.after), _difference(one)) for one in figures]
    set_ = [(one.name, _value(one.before), _value(one.after)) for one in settings]
    inside = [table(head, rows, "figures that changed") if rows else tag("p", "No figure differs.")]
    inside.append(table(head[:3], set_, "settings that changed") if set_ else tag("p", "No setting differs."))
    return section("What changed", inside)


def _value(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _difference(one: Change) -> str:
    if not isinstance(one.before, int | float) or not isinstance(one.after, int | float):
        return ""
    return f"{one.after - one.before:+,.4g}" if isinstance(one.after, float) else f"{one.after - one.before:+,}"


def settings(found: Mapping[str, Any], digests: Mapping[str, str]) -> Markup:
    """Every setting and digest, folded away."""
    rows = [(name, _value(value)) for name, value in found.items()]
    made = [(name, tag("code", digest[:16])) for name, digest in digests.items()]
    folded = tag("details", tag("summary", f"{len(rows):,} settings"), table(("setting", "value"), rows, "settings"))
    return section("How it was made", table(("dataset", "digest"), made, "digests"), folded)
