"""The whole page: one file without scripts, fonts or addresses, which a browser can open from anywhere."""

from __future__ import annotations

from pathlib import Path

from pipeline.reporting import changes, examples, phrases, sections
from pipeline.reporting.figures import Figures, gather
from pipeline.reporting.markup import Markup, tag

PER_RULE, PAIRS = 3, 4
"""Documents shown of each rule, and pairs of each kind of duplicate."""

_CSS = Path(__file__).with_name("page.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Said to the browser as well: the page loads nothing and runs nothing."""


def page(data: Path, base: Path | None = None) -> str:
    """The report on what was built in ``data`` as HTML, with what changed since ``base`` when that is given; the same text for the same data."""
    figures = gather(data)
    built = (*figures.raw, *figures.clean)
    compared = _changes(gather(base), figures) if base is not None else None
    parts = [
        tag("h1", "What became of the data"),
        sections.tiles(figures),
        compared,
        sections.flow(figures, examples.removed(built, PER_RULE) | examples.quarantined(built, PER_RULE)),
        sections.sources(figures) if figures.cleaned or figures.extracted else None,
        sections.cuts(examples.cuts(figures.clean, PER_RULE)),
        sections.duplicates(examples.pairs(figures.clean, PAIRS)),
        sections.phrases(phrases.shared_phrases(figures.clean or figures.raw)),
        sections.runs(figures.runs),
        sections.settings(changes.settings_of(figures), _digests(figures)),
    ]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "gristmill report"),
        tag("style", Markup(_CSS.read_text(encoding="utf-8"))),
    ]
    return "<!doctype html>\n" + tag("html", tag("head", head), tag("body", tag("main", parts)), lang="en") + "\n"


def _changes(base: Figures, now: Figures) -> Markup:
    return sections.changes(changes.changed_figures(base, now), changes.changed_settings(base, now))


def _digests(figures: Figures) -> dict[str, str]:
    built = [*figures.raw, *figures.clean, *figures.tokens]
    return {f"{dataset.manifest['stage']} {dataset.folder.name}": dataset.digest for dataset in built}
