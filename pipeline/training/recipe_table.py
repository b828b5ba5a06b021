"""python -m pipeline.training.recipe_table FILE: writes the table of every key of a recipe into a Markdown file, between two comments.

What reads settings out of dataclasses serves other pages too (``pipeline.inspection.settings_table``).
"""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pipeline import command
from pipeline.errors import UsageError
from pipeline.training.recipe import Recipe

BEGIN, END = "<!-- keys: python -m pipeline.training.recipe_table docs/recipes.md -->", "<!-- end of keys -->"

OURS = ("tokenizer", "init", "momentum", "l1_penalty", "eval_max_rows", "document_losses_max_rows", "search", "search_sampler")
TRANSFORMERS = ("report_to",)
"""Keys that axolotl does not have, and those that are transformers'; all others are axolotl's."""


def table() -> str:
    """A row for each key: what it may be, its default, what it does and on whose word, and whose name it is."""
    lines = ["| key | values | default | what it does | name from |", "| --- | --- | --- | --- | --- |"]
    for name, *cells in described(Recipe):
        whose = "gristmill" if name in OURS else "transformers" if name in TRANSFORMERS else "axolotl"
        lines.append(f"| `{name}` | {' | '.join(cells)} | {whose} |")
    return "\n".join(lines)


def described(kind: Any) -> list[tuple[str, str, str, str]]:
    """Of each field that a settings file may set: its name, what it may be, its default, and what stands below it in the source, as Markdown.

    A field that holds further settings and has no words of its own has those of their class.
    """
    texts, hints = _docstrings(kind), get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if not field.metadata.get("internal")]
    return [
        (field.name, values_of(hints[field.name]) + _range(field.metadata), _default(field), texts.get(field.name) or _of_class(hints[field.name]))
        for field in fields
    ]


def _docstrings(kind: Any) -> dict[str, str]:
    """What stands below each field in the source, as one line of Markdown."""
    tree = ast.parse(Path(sys.modules[kind.__module__].__file__ or "").read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    texts = {}
    for node, after in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            texts[node.target.id] = as_markdown(str(text))
    return texts


def as_markdown(text: str) -> str:
    """A docstring as one line that may stand in a cell of a table."""
    return re.sub(r"\s+", " ", text).replace("``", "`").replace("|", "\\|").strip()


def _of_class(hint: Any) -> str:
    kinds = settings_in(hint)
    return as_markdown((kinds[0].__doc__ or "").split("\n\n")[0]) if kinds else ""


def settings_in(hint: Any) -> list[Any]:
    """The classes of settings that a type holds: a dataclass itself, or those in a list, a mapping or a choice."""
    if dataclasses.is_dataclass(hint):
        return [hint]
    return [kind for inner in get_args(hint) for kind in settings_in(inner)]


def values_of(hint: Any) -> str:
    """What a field of a type may be, in words."""
    if get_origin(hint) is Literal:
        return " ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) is tuple:
        return f"list of {values_of(get_args(hint)[0])}"
    if get_origin(hint) in (Union, type(int | None)):
        return " or ".join(dict.fromkeys(values_of(choice) for choice in get_args(hint) if choice is not type(None)))
    names = {str: "text", int: "whole number", float: "number", bool: "`true` `false`"}
    return names.get(hint, "mapping")


def _range(limits: Any) -> str:
    if "maximum" in limits:
        return f", {limits['minimum']:g} to {limits['maximum']:g}"
    return f", {limits['minimum']:g} or more" if "minimum" in limits else ""


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "" if field.default_factory is not dataclasses.MISSING else "must be given"
    if field.default is None or field.default in ((), ""):
        return ""
    if isinstance(field.default, tuple):
        return f"`[{', '.join(map(str, field.default))}]`"
    default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    return f"`{default}`".replace("|", "\\|")


def put(text: str) -> str:
    """A page with its table as it must be; raises ValueError for a page without a place for it."""
    return between(text, BEGIN, table(), END)


def between(text: str, begin: str, middle: str, end: str) -> str:
    """``text`` with ``middle`` between two marks; raises ValueError when they are not there."""
    start, stop = text.index(begin) + len(begin), text.index(end)
    return f"{text[:start]}\n{middle}\n{text[stop:]}"


def main(given: Sequence[str]) -> None:
    """Rewrite the page; raises UsageError for one without a place for the table."""
    rewrite(given, "python -m pipeline.training.recipe_table", put, (BEGIN, END))


def rewrite(given: Sequence[str], prog: str, put: Callable[[str], str], marks: tuple[str, str]) -> None:
    """Put what is made out of the code into the one page named; raises UsageError for one without a place for it."""
    if len(given) != 1:
        raise UsageError(prog, f"got {' '.join(given) or 'nothing'}", "name one Markdown file")
    path = command.require(Path(given[0]))
    try:
        path.write_text(put(path.read_text(encoding="utf-8")), encoding="utf-8")
    except ValueError:
        raise UsageError(given[0], "has no place for the table", f"put these two lines there: {' and '.join(marks)}") from None


if __name__ == "__main__":
    sys.exit(command.run(lambda given: main(given)))
