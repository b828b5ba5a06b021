"""Documents made of whole columns: what ``RowPlan.document`` makes row by row, for tables of text whose plan asks for no more than templates.

A row that does not become a document holds no text, and is removed whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.documents import MESSAGE, REMOVED, SCHEMA, Document, Extracted, Removed
from pipeline.extractors.batches import Rows, as_arrow
from pipeline.extractors.looks import Shape, Turn
from pipeline.extractors.rows import RowMapping, RowPlan
from pipeline.extractors.templates import Column, Template

MAX_ROWS = 10_000

Masks = Mapping[str, np.ndarray]
"""For each column which rows (bool[n]) hold more than white space in it."""


@dataclass(frozen=True)
class DocumentBatch:
    """Rows on their way to documents; ``place`` is the locator of a row without its number, ``extractor`` names the reader."""

    rows: Rows
    plan: RowPlan
    place: str
    extractor: str
    meta: tuple[tuple[str, str], ...] = ()
    """Further entries of ``meta``, the same for every row."""

    @property
    def label(self) -> str:
        """What ``meta`` calls the extractor of these documents."""
        return f"{self.extractor} {self.plan.label}".strip()

    def items(self) -> Iterator[Extracted]:
        """What becomes of each row, one by one."""
        for number, row in zip(self.rows.numbers.tolist(), self.rows.dicts(), strict=True):
            yield self._with_meta(self.plan.document(f"{self.place}{number}", row, self.extractor))

    def _with_meta(self, made: Extracted) -> Extracted:
        if isinstance(made, Document) and self.meta:
            return dataclasses.replace(made, meta={**made.meta, **dict(self.meta)})
        if isinstance(made, Removed) and self.meta:
            document = made.document
            return dataclasses.replace(made, document=dataclasses.replace(document, meta={**document.meta, **dict(self.meta)}))
        return made

    def pieces(self) -> Iterator[DocumentBatch]:
        """The same rows, no more at once than whose documents take little memory however short they are."""
        for start in range(0, len(self.rows), MAX_ROWS):
            yield dataclasses.replace(self, rows=self.rows.part(start, MAX_ROWS))

    def made(self, source: str) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The documents as a batch of ``SCHEMA``, and the rows without text, whole, as one of ``REMOVED``."""
        masks = {name: _filled(self.rows.batch.column(name)) for name in _used(self.plan)}
        kept = _kept(self.plan.shape, masks, len(self.rows))
        return self._documents(source, kept, masks), self._removed(source, ~kept, masks)

    def _documents(self, source: str, kept: np.ndarray, masks: Masks) -> pa.RecordBatch:
        if not kept.any():
            return pa.RecordBatch.from_pylist([], schema=SCHEMA)
        rows, masks, shape = self.rows.take(kept), _at(masks, kept), self.plan.shape
        text = _text(shape.text, rows.batch, masks) if shape.text else None
        messages = _messages(shape.turns, rows.batch, masks) if shape.turns else None
        return pa.RecordBatch.from_arrays(self._columns(source, rows, masks, text, messages), schema=SCHEMA)

    def _removed(self, source: str, removed: np.ndarray, masks: Masks) -> pa.RecordBatch:
        if not removed.any():
            return pa.RecordBatch.from_pylist([], schema=REMOVED)
        rows = self.rows.take(removed)
        why = [pa.repeat(pa.scalar(said, pa.string()), len(rows)) for said in self.plan.without_text]
        whole = _json_rows(rows.batch).cast(pa.large_string())
        columns = [*self._columns(source, rows, _at(masks, removed), whole, None), *why]
        empty = [pa.nulls(len(rows), field.type) for field in list(REMOVED)[len(columns) :]]
        return pa.RecordBatch.from_arrays([*columns, *empty], schema=REMOVED)

    def _columns(self, source: str, rows: Rows, masks: Masks, text: pa.Array | None, messages: pa.Array | None) -> list[pa.Array]:
        """The columns of ``SCHEMA``."""
        size = len(rows)
        ids, locators = _ids(source, self.place, rows.numbers)
        return [
            ids,
            pa.repeat(pa.scalar(source, pa.string()), size),
            locators,
            pa.nulls(size, pa.large_string()) if text is None else text,
            pa.nulls(size, SCHEMA.field("messages").type) if messages is None else messages,
            _group(self.plan.mapping.group, rows.batch),
            _meta(self.plan.meta, self.label, rows.batch, masks, self.meta),
        ]


def one_by_one(pieces: Iterable[Extracted | DocumentBatch]) -> Iterator[Extracted]:
    """What becomes of each unit and each row of the batches among them."""
    for piece in pieces:
        if isinstance(piece, DocumentBatch):
            yield from piece.items()
        else:
            yield piece


def is_columnar(plan: RowPlan) -> bool:
    """Whether a plan asks for nothing but templates of text cells, so that whole columns can be worked on; in doubt it does not."""
    told = plan.mapping
    turns = tuple(Turn(turn.role, turn.content, turn.when_empty) for turn in plan.shape.turns)
    shape = Shape(plan.shape.label, turns=turns, text=plan.shape.text)
    mapping = RowMapping(text=told.text, turns=told.turns, group=told.group, meta=told.meta)
    if plan != RowPlan(shape, plan.meta, mapping, plan.columns) or (shape.turns and shape.text):
        return False
    templates = [shape.text, *(template for turn in shape.turns for template in (turn.content, turn.when_empty))]
    names = {*_used(plan), told.group or plan.columns[0]}
    return names <= set(plan.columns) and all(_is_plain(template) for template in templates if template)


def _is_plain(template: Template) -> bool:
    pieces = [piece for lines in template.paragraphs for line in lines for piece in line]
    columns = [piece for piece in pieces if isinstance(piece, Column)]
    takes_text = all(column == Column(column.name, column.accepts) and (column.accepts is None or str in column.accepts) for column in columns)
    known = all(isinstance(piece, str | Column) for piece in pieces)
    return takes_text and known and type(template) is Template and template == Template(template.paragraphs, tuple(columns))


def _used(plan: RowPlan) -> list[str]:
    shape = plan.shape
    names = [*(shape.text.names if shape.text else ()), *(column for column, _ in plan.meta)]
    names += [name for turn in shape.turns for template in (turn.content, turn.when_empty) if template for name in template.names]
    return list(dict.fromkeys(names))


_SURELY_FILLED = np.ones(256, bool)
_SURELY_FILLED[[*range(33), 0x7F, 0xC2, 0xE1, 0xE2, 0xE3]] = False
"""First bytes of UTF-8 that begin no white space."""


def _filled(column: pa.StringArray) -> np.ndarray:
    """Which cells hold more than white space, as ``str.strip`` understands it: bool[n]."""
    filled = np.zeros(len(column), bool)
    _, offsets, data = column.buffers()
    if data is None or not len(column):
        return filled
    ends: np.ndarray = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    is_there = ends[:-1] < ends[1:]
    if column.null_count:
        is_there &= pc.is_valid(column).to_numpy(zero_copy_only=False)
    there = np.flatnonzero(is_there)
    sure = _SURELY_FILLED[np.frombuffer(data, np.uint8)[ends[there]]]
    filled[there[sure]] = True
    doubtful = there[~sure]
    if len(doubtful):
        filled[doubtful] = [bool(cell.strip()) for cell in column.take(as_arrow(doubtful)).to_pylist()]
    return filled


def _at(masks: Masks, chosen: np.ndarray) -> Masks:
    """The masks of the chosen rows."""
    return masks if chosen.all() else {name: mask[chosen] for name, mask in masks.items()}


def _any(names: tuple[str, ...], masks: Masks, size: int) -> np.ndarray:
    """Which rows have something in one of the columns."""
    found = np.zeros(size, bool)
    for name in names:
        found |= masks[name]
    return found


def _kept(shape: Shape, masks: Masks, size: int) -> np.ndarray:
    """Which rows become documents."""
    if shape.is_empty:
        return np.zeros(size, bool)
    if shape.text:
        return _has_text(shape.text, masks, size)
    asked = _any(tuple(name for turn in shape.turns for name in turn.content.names), masks, size)
    kept: np.ndarray = asked & np.any([_has_turn(turn, masks, size) for turn in shape.turns], axis=0)
    return kept


def _has_text(template: Template, masks: Masks, size: int) -> np.ndarray:
    return _any(template.names, masks, size) if template.columns else np.full(size, bool(template.render({}).strip()))


def _has_turn(turn: Turn, masks: Masks, size: int) -> np.ndarray:
    filled = _has_text(turn.content, masks, size)
    if turn.when_empty is None:
        return filled
    chosen: np.ndarray = np.where(_lacks(turn.content, masks, size), _has_text(turn.when_empty, masks, size), filled)
    return chosen


def _lacks(template: Template, masks: Masks, size: int) -> np.ndarray:
    """Which rows have nothing in one of the template's columns or more."""
    found = np.zeros(size, bool)
    for name in template.names:
        found |= ~masks[name]
    return found


def _text(template: Template, batch: pa.RecordBatch, masks: Masks) -> pa.LargeStringArray:
    """The template's text of each row."""
    paragraphs = []
    for lines in template.paragraphs:
        made = [_line(line, batch, masks) for line in lines]
        paragraphs.append(_joined(made, "\n", len(batch)))
    text = _joined(paragraphs, "\n\n", len(batch))
    if isinstance(text, str):
        return pa.repeat(pa.scalar(text, pa.large_string()), len(batch))
    return _whole(text).cast(pa.large_string())


def _line(line: tuple[str | Column, ...], batch: pa.RecordBatch, masks: Masks) -> Any:
    """One line of each row, null where it is left out; a line without columns is a str."""
    columns = tuple(piece.name for piece in line if isinstance(piece, Column))
    if not columns:
        return "".join(piece for piece in line if isinstance(piece, str))
    pieces = [piece if isinstance(piece, str) else _whole(batch.column(piece.name)) for piece in line]
    text = pieces[0] if len(pieces) == 1 else pc.binary_join_element_wise(*pieces, "")
    there = _any(columns, masks, len(batch))
    return text if there.all() else pc.if_else(as_arrow(there), text, pa.scalar(None, pa.string()))


def _whole(column: pa.StringArray) -> pa.StringArray:
    """The column with nothing for null; without a copy where none is null."""
    return pc.fill_null(column, "") if column.null_count else column


def _joined(parts: list[Any], mark: str, size: int) -> Any:
    """Parts (arrays with nulls for what is left out, or str) put together; null where all are left out."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, str) for part in parts):
        return mark.join(parts)
    there = np.full(size, any(isinstance(part, str) for part in parts))
    for part in parts:
        there |= True if isinstance(part, str) else pc.is_valid(part).to_numpy(zero_copy_only=False)
    if there.all():
        return pc.binary_join_element_wise(*parts, mark, null_handling="skip")
    # Arrow leaves out a row of nulls only (pyarrow 26), so something stands before each, and is taken off again.
    anchored = pc.binary_join_element_wise("", *parts, mark, null_handling="skip")
    return pc.if_else(as_arrow(there), pc.utf8_slice_codeunits(anchored, len(mark)), pa.scalar(None, pa.string()))


def _messages(turns: tuple[Turn, ...], batch: pa.RecordBatch, masks: Masks) -> pa.ListArray:
    """The turns of each row that hold something, in order."""
    size = len(batch)
    there = np.stack([_has_turn(turn, masks, size) for turn in turns], axis=1)
    owner, which = np.nonzero(there)
    contents = pa.concat_arrays([_turn_text(turn, batch, masks) for turn in turns])
    content = contents.take(as_arrow(which * size + owner))
    role = pa.array([turn.role for turn in turns], pa.string()).take(as_arrow(which))
    fields = [role, content, pa.nulls(len(which), pa.bool_()), pa.nulls(len(which), pa.string())]
    offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(as_arrow(offsets), pa.StructArray.from_arrays(fields, fields=list(MESSAGE)), type=SCHEMA.field("messages").type)


def _turn_text(turn: Turn, batch: pa.RecordBatch, masks: Masks) -> pa.LargeStringArray:
    text = _text(turn.content, batch, masks)
    if turn.when_empty is None:
        return text
    return pc.if_else(as_arrow(_lacks(turn.content, masks, len(batch))), _text(turn.when_empty, batch, masks), text)


def _ids(source: str, place: str, numbers: np.ndarray) -> tuple[pa.StringArray, pa.StringArray]:
    """``documents.record_id`` and locator of each row."""
    prefix = f"{source}\0{place}".encode("utf-8", "surrogatepass")
    digests = b"".join([hashlib.sha256(b"%s%d" % (prefix, number)).digest()[:16] for number in numbers.tolist()])
    ids = digests.hex().encode()
    offsets = pa.py_buffer(np.arange(0, len(ids) + 32, 32, dtype=np.int32))
    locators = pc.binary_join_element_wise(place, as_arrow(numbers).cast(pa.string()), "")
    return pa.StringArray.from_buffers(len(numbers), offsets, pa.py_buffer(ids)), locators


def _group(column: str | None, batch: pa.RecordBatch) -> pa.StringArray:
    if column is None:
        return pa.nulls(len(batch), pa.string())
    cells = batch.column(column)
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)


def _meta(
    carried: tuple[tuple[str, str], ...], extractor: str, batch: pa.RecordBatch, masks: Masks, fixed: Iterable[tuple[str, str]]
) -> pa.StringArray:
    """The JSON that ``documents.to_json`` makes of the carried columns, the extractor's name and what is the same for all."""
    parts: dict[str, Any] = {}
    for column, key in carried:
        cells = pc.if_else(as_arrow(masks[column]), _json_strings(batch.column(column)), pa.scalar(None, pa.string()))
        parts[key] = pc.binary_join_element_wise(json.dumps(key, ensure_ascii=False), cells, ": ")
    for key, value in (("extractor", extractor), *fixed):
        parts[key] = f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}"
    pieces = [parts[key] for key in sorted(parts)]
    if all(isinstance(piece, str) for piece in pieces):
        return pa.repeat(pa.scalar("{" + ", ".join(pieces) + "}", pa.string()), len(batch))
    inner = pc.binary_join_element_wise(*pieces, ", ", null_handling="skip")
    return pc.binary_join_element_wise("{", inner, "}", "")


_PLAIN_IN_JSON = np.ones(256, bool)
_PLAIN_IN_JSON[[*range(32), ord('"'), ord("\\")]] = False
_ODD_IN_JSON = r'[\x00-\x1f"\\]'


def _json_strings(column: pa.StringArray) -> pa.StringArray:
    """Each cell as ``json.dumps`` spells it without escapes for letters beyond ASCII."""
    plain = pc.binary_join_element_wise('"', column, '"', "")
    data = column.buffers()[2]
    if data is None or _PLAIN_IN_JSON[np.frombuffer(data, np.uint8)].all():
        return plain
    odd = pc.match_substring_regex(column, _ODD_IN_JSON)
    cells = [json.dumps(cell, ensure_ascii=False) for cell in column.filter(odd).to_pylist() if cell is not None]
    return pc.replace_with_mask(plain, pc.fill_null(odd, False), pa.array(cells, pa.string()))


def _json_rows(batch: pa.RecordBatch) -> pa.StringArray:
    """Each row as ``rows.as_json`` spells it."""
    pieces: list[Any] = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        cells = _json_strings(column)
        pieces += [f"{', ' if pieces else '{'}{json.dumps(name, ensure_ascii=False)}: ", pc.fill_null(cells, "null") if cells.null_count else cells]
    return pc.binary_join_element_wise(*pieces, "}", "")
