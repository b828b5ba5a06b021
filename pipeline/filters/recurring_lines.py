"""Cuts the lines that many documents of a source share: menus, headers, footers, cookie notices, signatures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.documents import PLAIN, turns
from pipeline.errors import GristmillError
from pipeline.filters.edits import Replacement, apply, edit_pieces
from pipeline.filters.line_table import LineCounter, LineTable, read_table
from pipeline.filters.verdicts import Edits, Find
from pipeline.settings import at_least, between
from pipeline.spans import Layout, Spans, layouts, repeats
from pipeline.text import Hashes, Rows, mix

EDGE_LINES = 2
"""So many lines of a page's own (a title, a date) may stand between an edge of the text and a recurring line that counts as header or footer."""

INNER_LINES = 50
MAX_INNER = 0.05
"""A line that stands more than 50 lines from either edge in more than this share of its documents is content that now and then stands at an edge.

Measured on the HTML manuals of 26 Debian packages: hardly a line of a menu, header or footer does so, while "Parameters", "Returns" and the
descriptions that functions share do in 25 to 97% of their documents. Not asked when ``where`` is ``anywhere``.
"""

CODE_SHARE = 0.3
"""A text is taken for code, and left alone, when more than this share of its lines are indented, or begin or end in a sign of code."""

_CODE_STARTS = (b"#", b"//", b"/*", b"import ", b"from ", b"using ", b"} ")
_CODE_ENDS = b"{};()[]=\\"


@dataclass(frozen=True)
class RecurringLines:
    """Cut lines that recur in many documents of the same source: headers, footers, menus, cookie notices, signatures.

    Off unless named: what recurs at the edges can be content (texts built from a few sentences, pages of one shared line), and only who knows the
    source can tell. A line recurs when enough documents have it, and enough of these are not copies of each other. What is cut is a run of such
    lines, and only at the top and the bottom of a text by default: in the middle, documents share sentences that belong to them. Code, fenced or
    whole, and rows of tables are left alone.
    """

    min_documents: int = at_least(10, 2)
    """In so many documents of the source a line must stand."""
    min_share: float = between(0.1, 0.0, 1.0)
    """In this share of the source's documents it must stand, too; 0 for a source of many sites, and for the signatures of single writers."""
    min_letters: int = at_least(20, 1)
    """A run of recurring lines with fewer letters (bytes of them: a Chinese character is three) is left: a heading, a lone brace."""
    max_share: float = between(0.9, 0.0, 1.0)
    """A text of which more than this share would go is left whole, for it is more likely a copy; 1 cuts it, even down to nothing."""
    where: Literal["edges", "anywhere"] = "edges"
    """Whether only the top and the bottom of a text are cut."""
    unit: Literal["lines", "paragraphs"] = "lines"
    """Whether single lines are compared, or what stands between empty lines as a whole."""
    roles: tuple[str, ...] = (PLAIN,)
    """Which turns are cut; ``text`` stands for plain documents. A turn is never emptied."""
    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def edit(self, batch: pa.RecordBatch) -> Edits:
        """Raises GristmillError: what recurs is known only when the whole dataset was counted (``with_table``)."""
        raise GristmillError("edit.recurring_lines", "nothing was counted", "run it by the filter stage, which counts first")

    def with_table(self, path: Path) -> CutRecurringLines:
        """The editor, now that the lines are counted and what recurs lies in the file at ``path`` (``line_table.write_table``)."""
        return CutRecurringLines(self, path)

    def count(self, batch: pa.RecordBatch, counter: LineCounter) -> None:
        """Count the lines of a batch, each once a document (a conversation of more than half a megabyte may count twice)."""
        for piece in self.pieces(batch):
            new = ~repeats(piece.keys, piece.document[piece.spans.owner])
            counter.add(piece.keys[new], piece.inner[new], piece.signs[piece.spans.owner[new]])

    @property
    def max_inner(self) -> float:
        """In which share of its documents a line that recurs may stand within the text."""
        return MAX_INNER if self.where == "edges" else 1.0

    def pieces(self, batch: pa.RecordBatch) -> Iterator[Piece]:
        """The texts of a batch that this editor looks at, some at a time."""
        view = turns(batch).of_roles(self.roles)
        salts = _salts(batch.column("source"))
        first = 0
        for layout in layouts(view.content):
            spans = layout.lines if self.unit == "lines" else layout.paragraphs
            document = view.document[first : first + len(layout)]
            with np.errstate(over="ignore"):
                keys = mix(layout.hashes(spans) + salts[document][spans.owner])
            yield Piece(first, layout, spans, document, keys)
            first += len(layout)


@dataclass(frozen=True)
class Piece:
    """Some texts with their lines (or paragraphs).

    first     row of the first text in the view
    document  int64[texts]: row of its document in the batch
    keys      uint64[spans]: what each line is known by
    """

    first: int
    layout: Layout
    spans: Spans
    document: Rows
    keys: Hashes

    @property
    def inner(self) -> NDArray[np.bool_]:
        """bool[spans]: whether a span stands far from both edges of its text."""
        place, bounds = np.arange(len(self.spans)), self.spans.bounds
        inner: NDArray[np.bool_] = (place - bounds[self.spans.owner] >= INNER_LINES) & (bounds[1:][self.spans.owner] - place > INNER_LINES)
        return inner

    @property
    def signs(self) -> Hashes:
        """uint64[texts], 0 to 63: the same for texts with the same smallest and the same greatest key, so for most copies of a text."""
        signs = np.zeros(len(self.layout), np.uint64)
        some = np.flatnonzero(self.spans.counts)
        if len(some):
            starts = self.spans.bounds[some]
            signs[some] = mix(np.minimum.reduceat(self.keys, starts) ^ mix(np.maximum.reduceat(self.keys, starts))) >> np.uint64(58)
        return signs


@dataclass(frozen=True)
class CutRecurringLines:
    """``RecurringLines`` with the file of what recurs: the editor that runs. It travels to a worker without the table."""

    settings: RecurringLines
    path: Path
    version: ClassVar[int] = RecurringLines.version

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def edit(self, batch: pa.RecordBatch) -> Edits:
        """The batch without the recurring lines, and the cuts.

        Their rules say what was cut and in how many documents it stands: ``header.in_12``, ``footer.in_12``, ``line.in_12``, ``paragraph.in_12``.
        """
        table = read_table(self.path)
        needed = self._needed(batch.column("source"), table)
        found: dict[int, list[Run]] = {}
        for piece in self.settings.pieces(batch):
            found |= self._runs(piece, needed, table)
        view = turns(batch).of_roles(self.settings.roles).take(np.array(list(found), np.int64))
        runs = iter(found.values())

        def step(text: str, role: str) -> tuple[str, list[tuple[int, str, str, str]]]:
            new, cuts = apply(text, [run.replacement(text) for run in next(runs)])
            return (new, cuts) if role == PLAIN or new.strip() else (text, [])

        return edit_pieces(batch, view, step)

    def _needed(self, source: pa.Array, table: LineTable) -> Rows:
        """int64[documents]: in how many documents a line must stand to be cut."""
        known = source.dictionary_encode()
        total = [table.documents.get(name, 0) for name in known.dictionary.to_pylist()]
        least = np.array([max(self.settings.min_documents, ceil(self.settings.min_share * number)) for number in total], np.int64)
        needed: Rows = least[known.indices.to_numpy()]
        return needed

    def _runs(self, piece: Piece, needed: Rows, table: LineTable) -> dict[int, list[Run]]:
        """What to cut from each text of a piece, by the text's row in the view, ascending."""
        spans, counts = piece.spans, table.lookup(piece.keys)
        marked = counts >= needed[piece.document][spans.owner]
        if not marked.any():
            return {}
        marked &= ~_is_code(piece.layout, spans)
        before, after = _others(marked, spans)
        top, bottom = before <= EDGE_LINES, after <= EDGE_LINES
        if self.settings.where == "edges":
            marked &= top | bottom
        letters = _letters(piece.layout, spans)
        marked = _in_long_runs(marked, letters, spans, self.settings.min_letters)
        marked &= (spans.sums(letters * marked) <= self.settings.max_share * spans.sums(letters))[spans.owner]
        found: dict[int, list[Run]] = {}
        starts, stops = _bounds(marked, spans)
        header = top[starts] & (before[starts] <= after[starts])
        kinds = np.where(header, "header", np.where(bottom[stops - 1], "footer", self.settings.unit.removesuffix("s"))).tolist()
        for start, stop, kind, place in zip(starts.tolist(), stops.tolist(), kinds, _places(piece, starts, stops), strict=True):
            run = Run(*place, f"{kind}.in_{counts[start:stop].min()}")
            found.setdefault(piece.first + int(spans.owner[start]), []).append(run)
        return found


@dataclass(frozen=True)
class Run:
    """Lines to cut, in characters of their text: from the first one's word to the last one's, and the neighbours that stay (None: no more lines)."""

    start: int
    end: int
    end_before: int | None
    start_after: int | None
    rule: str

    def replacement(self, text: str) -> Replacement:
        """The cut with line ends and empty lines: the wider of the two gaps beside it is what stays between its neighbours."""
        if self.start_after is None:
            return Replacement(self.end_before or 0, len(text), "", self.rule)
        end = text.rfind("\n", self.end, self.start_after) + 1
        if self.end_before is None:
            return Replacement(0, end, "", self.rule)
        if text.count("\n", self.end_before, self.start) >= text.count("\n", self.end, self.start_after):
            return Replacement(text.rfind("\n", self.end_before, self.start) + 1, end, "", self.rule)
        return Replacement(self.end_before, text.find("\n", self.end), "", self.rule)


def _places(piece: Piece, starts: Rows, stops: Rows) -> list[tuple[int, int, int | None, int | None]]:
    """The first four fields of a ``Run`` for each run of spans, ``starts[i]`` up to ``stops[i]``."""
    spans = piece.spans
    text = spans.owner[starts]
    base = piece.layout.offsets[text]
    bytes_of = spans.starts[starts], spans.ends[stops - 1], spans.ends[starts - 1], spans.starts[np.minimum(stops, len(spans) - 1)]
    start, end, end_before, start_after = (piece.layout.chars(base, np.maximum(place, base)).tolist() for place in bytes_of)
    is_first, is_last = (starts == spans.bounds[text]).tolist(), (stops == spans.bounds[text + 1]).tolist()
    return [(start[i], end[i], None if is_first[i] else end_before[i], None if is_last[i] else start_after[i]) for i in range(len(starts))]


def _others(marked: NDArray[np.bool_], spans: Spans) -> tuple[Rows, Rows]:
    """int64[spans] twice: how many spans of the same text before and after each are not marked."""
    upto = np.concatenate([[0], np.cumsum(~marked, dtype=np.int64)])
    first, last = upto[spans.bounds[:-1]], upto[spans.bounds[1:]]
    return upto[:-1] - first[spans.owner], last[spans.owner] - upto[1:]


def _bounds(marked: NDArray[np.bool_], spans: Spans) -> tuple[Rows, Rows]:
    """int64[runs] twice: the first span of each run of marked spans of one text, and the one after its last."""
    rows = np.flatnonzero(marked)
    if not len(rows):
        return rows, rows
    breaks = np.flatnonzero((np.diff(rows) > 1) | (np.diff(spans.owner[rows]) > 0))
    return rows[np.append(0, breaks + 1)], rows[np.append(breaks, len(rows) - 1)] + 1


def _in_long_runs(marked: NDArray[np.bool_], letters: Rows, spans: Spans, min_letters: int) -> NDArray[np.bool_]:
    """bool[spans]: the marked spans in runs with enough letters, from the first that has some to the last."""
    starts, stops = _bounds(marked, spans)
    upto = np.concatenate([[0], np.cumsum(letters)])
    with_letters = np.concatenate([[0], np.cumsum(letters > 0)])
    long = np.repeat(upto[stops] - upto[starts] >= min_letters, stops - starts)
    before = with_letters[1:][marked] - np.repeat(with_letters[starts], stops - starts)
    after = np.repeat(with_letters[stops], stops - starts) - with_letters[:-1][marked]
    result = np.zeros_like(marked)
    result[marked] = long & (before > 0) & (after > 0)
    return result


def _letters(layout: Layout, spans: Spans) -> Rows:
    """int64[spans]: bytes of letters in each; every byte above ASCII counts as one."""
    upto = np.concatenate([[0], np.cumsum(_is_letter()[layout.data], dtype=np.int64)])
    letters: Rows = upto[spans.ends] - upto[spans.starts]
    return letters


def _is_code(layout: Layout, spans: Spans) -> NDArray[np.bool_]:
    """bool[spans]: what stands between fences, is a row of a table, or lies in a text that looks like code."""
    lines = layout.lines
    fence = layout.starts_with(lines, b"```") | layout.starts_with(lines, b"~~~")
    inside = fence.astype(np.int64).cumsum()
    inside -= (inside - fence)[lines.bounds[:-1].clip(max=max(0, len(lines) - 1))][lines.owner]
    indented = (lines.starts > layout.offsets[:-1][lines.owner]) & (layout.data[np.maximum(lines.starts - 1, 0)] != 0x0A)
    signs = indented | _is_code_end()[layout.data[lines.ends - 1]]
    for start in _CODE_STARTS:
        signs |= layout.starts_with(lines, start)
    in_code = (lines.sums(signs) > CODE_SHARE * lines.counts)[lines.owner]
    code: NDArray[np.bool_] = (inside % 2 == 1) | fence | (layout.data[lines.starts] == ord("|")) | in_code
    if spans is lines:
        return code
    upto = np.concatenate([[0], np.cumsum(code, dtype=np.int64)])
    held: NDArray[np.bool_] = upto[np.searchsorted(lines.starts, spans.ends)] > upto[np.searchsorted(lines.starts, spans.starts)]
    return held


def _salts(source: pa.Array) -> Hashes:
    """uint64[documents]: a number for each document's source, so that each source's lines are counted apart."""
    known = source.dictionary_encode()
    numbers = [int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "little") for name in known.dictionary.to_pylist()]
    salts: Hashes = np.array(numbers, np.uint64)[known.indices.to_numpy()]
    return salts


@cache
def _is_letter() -> NDArray[np.bool_]:
    """bool[256]: whether each byte is part of a letter."""
    table = np.zeros(256, np.bool_)
    table[[*range(0x41, 0x5B), *range(0x61, 0x7B), *range(0x80, 0x100)]] = True
    return table


@cache
def _is_code_end() -> NDArray[np.bool_]:
    """bool[256]: whether a line of code may end in each byte, and one of prose hardly."""
    table = np.zeros(256, np.bool_)
    table[list(_CODE_ENDS)] = True
    return table
