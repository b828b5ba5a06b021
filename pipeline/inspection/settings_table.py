"""python -m pipeline.inspection.settings_table FILE: writes every key of the files in stages/ into a Markdown file, between two comments."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, get_origin, get_type_hints

from pipeline import command
from pipeline.extractors.sources import ExtractSettings
from pipeline.filters import EDITORS, FILTERS
from pipeline.packing.settings import TokenizeSettings
from pipeline.quality import SCORERS
from pipeline.stages.perplexity import PerplexitySettings
from pipeline.stages.ruleset import Dedup
from pipeline.training.recipe_table import as_markdown, between, described, rewrite, settings_in

BEGIN, END = "<!-- keys: python -m pipeline.inspection.settings_table docs/settings.md -->", "<!-- end of keys -->"

HEAD = "| key | values | default | what it does |\n| --- | --- | --- | --- |"


def sections() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Each file of stages/ with its mappings: where in the file one stands, and the class that reads it."""
    yield "extract.yaml", nested("", ExtractSettings)
    rules = [(f"{section}.{name}", _load(where)) for section, known in _RULES.items() for name, where in known.items()]
    yield "filter.yaml", [pair for where, kind in rules for pair in nested(where, kind)] + nested("dedup", Dedup)
    yield "tokenize.yaml", nested("", TokenizeSettings)
    yield "perplexity.yaml", nested("", PerplexitySettings)


_RULES: Mapping[str, Mapping[str, str]] = {"edit": EDITORS, "remove": FILTERS, "score": SCORERS}


def _load(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def nested(where: str, kind: Any) -> list[tuple[str, Any]]:
    """A class of settings and all that it holds; of one that stands in several places the places are put together."""
    found: dict[Any, list[str]] = {}
    waiting = [(where, kind)]
    for place, one in waiting:  # grows on the way
        if one in found:
            found[one].append(place)
            continue
        found[one] = [place]
        if _reads_itself(one):
            continue
        hints = get_type_hints(one)
        for name, *_ in described(one):
            inside = f"{place}.{name}".lstrip(".") + _suffix(hints[name])
            waiting += [(inside, inner) for inner in settings_in(hints[name])]
    return [(", ".join(places), one) for one, places in found.items()]


def _suffix(hint: Any) -> str:
    """How one entry of a field is named: by a key of the user's, as one of a list, or not at all."""
    if get_origin(hint) is tuple:
        return "[]"
    return ".NAME" if get_origin(hint) is Mapping else ""


def _reads_itself(kind: Any) -> bool:
    """Whether the keys are the user's own names, so that there are no fields to list."""
    return hasattr(kind, "from_settings")


def text() -> str:
    """All files, each mapping under its own heading: in words, then its keys."""
    parts = []
    for file, mappings in sections():
        parts.append(f"## stages/{file}")
        for where, kind in mappings:
            heading = [f"### {where}"] if where else []
            parts += [*heading, as_markdown((kind.__doc__ or "").split("\n\n")[0])]
            rows = [] if _reads_itself(kind) else described(kind)
            if rows:
                parts.append("\n".join([HEAD, *(f"| `{name}` | {' | '.join(cells)} |" for name, *cells in rows)]))
    return "\n\n".join(parts)


def put(page: str) -> str:
    """A page with the keys as they must be; raises ValueError for a page without a place for them."""
    return between(page, BEGIN, f"\n{text()}\n", END)


def main(given: Sequence[str]) -> None:
    """Rewrite the page; raises UsageError for one without a place for the keys."""
    rewrite(given, "python -m pipeline.inspection.settings_table", put, (BEGIN, END))


if __name__ == "__main__":
    sys.exit(command.run(lambda given: main(given)))
