"""Templates of one row: ``{column}`` is the cell, ``{{`` and ``}}`` are braces, and nothing else means anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
"""One row: a cell is text, None, or whatever JSON or Arrow held there."""

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Column:
    """The place of a cell in a template; ``accepts``: cells of other types count as empty, None takes any."""

    name: str
    accepts: tuple[type, ...] | None = None

    def cell(self, row: Row) -> object:
        """The cell of ``row`` that belongs here, or None."""
        cell = row.get(self.name)
        if cell is None and "." in self.name:
            cell = cell_at(row, self.name)
        return cell if self.accepts is None or isinstance(cell, self.accepts) else None


Line = tuple[str | Column, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template, paragraph by paragraph and line by line.

    A line that names columns which are all empty in a row is left out of that row's text, and so is a paragraph of which no line is left.
    A cell is empty when it is missing, null or white space.
    """

    paragraphs: tuple[tuple[Line, ...], ...]
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns named, in order, each once."""
        return tuple(dict.fromkeys(column.name for column in self.columns))

    def render(self, row: Row) -> str:
        """The text of ``row``; empty when all columns named are empty. A template that names none is the same for every row."""
        if self.columns and all(is_empty(column.cell(row)) for column in self.columns):
            return ""
        paragraphs = [[text for line in lines if (text := _line(line, row)) is not None] for lines in self.paragraphs]
        return "\n\n".join("\n".join(lines) for lines in paragraphs if lines)


def parse(text: str) -> Template:
    """The template written as ``text``; raises ValueError when a brace is left alone or a name is empty."""
    lines = [_parse_line(line, text) for line in text.strip("\n").split("\n")]
    paragraphs: list[list[Line]] = [[]]
    for line in lines:
        if line:
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return _template(tuple(tuple(paragraph) for paragraph in paragraphs if paragraph))


def joined(names: Iterable[str], accepts: tuple[type, ...] | None) -> Template:
    """The template that puts each column into a paragraph of its own; cells that are not of ``accepts`` count as empty."""
    return _template(tuple(((Column(name, accepts),),) for name in names))


def _template(paragraphs: tuple[tuple[Line, ...], ...]) -> Template:
    pieces = (piece for lines in paragraphs for line in lines for piece in line)
    return Template(paragraphs, tuple(piece for piece in pieces if isinstance(piece, Column)))


def _parse_line(line: str, whole: str) -> Line:
    pieces: list[str | Column] = []
    literal, position = "", 0
    for match in _PIECE.finditer(line):
        literal += line[position : match.start()]
        position = match.end()
        if match[0] in ("{{", "}}"):
            literal += match[0][0]
        elif match[1]:
            pieces += [literal, Column(match[1])] if literal else [Column(match[1])]
            literal = ""
        else:
            raise ValueError(f"the template {whole!r} has a brace alone; write {{column}} for a cell, {{{{ and }}}} for braces")
    literal += line[position:]
    return (*pieces, literal) if literal else tuple(pieces)


def _line(line: Line, row: Row) -> str | None:
    """The text of one line, or None when it names columns and all of them are empty."""
    cells = [piece.cell(row) for piece in line if isinstance(piece, Column)]
    if cells and all(map(is_empty, cells)):
        return None
    return "".join(as_text(piece.cell(row)) if isinstance(piece, Column) else piece for piece in line)


def cell_at(row: Row, path: str) -> Any:
    """The cell of a column, or what stands inside it: ``payload.author.name``, ``choices.0.text``; JSON in a string is read. None where nothing is.

    A column that is called like the whole path, or like a longer beginning of it, goes before a shorter one.
    """
    if path in row:
        return row[path]
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        if name in row:
            return _inside(row[name], parts[end:])
    return None


def text_at(row: Row, path: str | None) -> str:
    """The cell of ``cell_at`` as text, stripped; nothing without a path."""
    return as_text(cell_at(row, path)).strip() if path else ""


def _inside(cell: Any, parts: list[str]) -> Any:
    for part in parts:
        if isinstance(cell, str) and cell.lstrip().startswith(("{", "[")):
            try:
                cell = json.loads(cell)
            except (ValueError, RecursionError):
                return None
        if isinstance(cell, Mapping):
            cell = cell.get(part)
        elif isinstance(cell, list) and part.isascii() and part.isdigit() and len(part) < 10:
            cell = cell[int(part)] if int(part) < len(cell) else None
        else:
            return None
    return cell


def is_empty(cell: object) -> bool:
    """Whether a cell holds nothing for a text: missing, null, white space, an empty list or mapping, bytes that are no text."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or isinstance(cell, bytes) or (isinstance(cell, list | dict | tuple) and not cell)


def as_text(cell: object) -> str:
    """A cell as text: text as it stands, null as nothing, numbers, booleans, lists and mappings as JSON spells them."""
    if isinstance(cell, str):
        return cell
    if is_empty(cell):
        return ""
    if isinstance(cell, bool | int | float | list | dict | tuple):
        return json.dumps(cell, ensure_ascii=False, default=str)
    return str(cell)
