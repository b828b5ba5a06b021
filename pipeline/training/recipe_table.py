"""python -m pipeline.training.recipe_table FILE: writes the table of every key of a recipe into a Markdown file, between two comments."""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pipeline import command
from pipeline.errors import UsageError
from pipeline.training import recipe
from pipeline.training.recipe import Quantization, Recipe

BEGIN, END = "<!-- keys: python -m pipeline.training.recipe_table docs/recipes.md -->", "<!-- end of keys -->"

OURS = ("tokenizer", "init", "momentum", "l1_penalty", "eval_max_rows", "document_losses_max_rows", "search", "search_sampler")
TRANSFORMERS = ("report_to",)
"""Keys that axolotl does not have, and those that are transformers'; all others are axolotl's."""


def table() -> str:
    """A row for each key: what it may be, its default, what it does and on whose word, and whose name it is."""
    texts, hints = _docstrings(), get_type_hints(Recipe)
    lines = ["| key | values | default | what it does | name from |", "| --- | --- | --- | --- | --- |"]
    for field in dataclasses.fields(Recipe):
        whose = "gristmill" if field.name in OURS else "transformers" if field.name in TRANSFORMERS else "axolotl"
        values = _values(hints[field.name]) + _range(field.metadata)
        lines.append(f"| `{field.name}` | {values} | {_default(field)} | {texts[field.name]} | {whose} |")
    return "\n".join(lines)


def _docstrings() -> dict[str, str]:
    """What stands below each field in the source, as one line of Markdown."""
    tree = ast.parse(Path(recipe.__file__).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Recipe")
    texts = {}
    for node, after in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            texts[node.target.id] = re.sub(r"\s+", " ", str(text)).replace("``", "`").replace("|", "\\|").strip()
    return texts


def _values(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) is tuple:
        return f"list of {_values(get_args(hint)[0])}"
    if get_origin(hint) in (Union, type(int | None)):
        return " or ".join(dict.fromkeys(_values(choice) for choice in get_args(hint) if choice is not type(None)))
    names = {str: "text", int: "whole number", float: "number", bool: "`true` `false`", Quantization: "mapping"}
    return names.get(hint, "mapping")


def _range(limits: Any) -> str:
    if "maximum" in limits:
        return f", {limits['minimum']:g} to {limits['maximum']:g}"
    return f", {limits['minimum']:g} or more" if "minimum" in limits else ""


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "" if field.default_factory is not dataclasses.MISSING else "must be given"
    if field.default is None or field.default == ():
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def put(text: str) -> str:
    """A page with its table as it must be; raises ValueError for a page without a place for it."""
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return f"{text[:start]}\n{table()}\n{text[end:]}"


def main(given: Sequence[str]) -> None:
    """Rewrite the page; raises UsageError for one without a place for the table."""
    if len(given) != 1:
        raise UsageError("python -m pipeline.training.recipe_table", f"got {' '.join(given) or 'nothing'}", "name one Markdown file")
    path = command.require(Path(given[0]))
    try:
        path.write_text(put(path.read_text(encoding="utf-8")), encoding="utf-8")
    except ValueError:
        raise UsageError(given[0], "has no place for the table", f"put these two lines there: {BEGIN} and {END}") from None


if __name__ == "__main__":
    sys.exit(command.run(lambda given: main(given)))
