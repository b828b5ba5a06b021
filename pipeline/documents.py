"""The one record that travels between extraction and tokenization, its id, and the role-aware view of its text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.large_string()), ("train", pa.bool_()), ("extra", pa.string())])

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("locator", pa.string(), nullable=False),
        ("text", pa.large_string()),
        ("messages", pa.list_(MESSAGE)),
        ("group", pa.string()),
        ("meta", pa.string()),
    ]
)
"""What every dataset between extraction and tokenization holds; the filter stage adds a struct ``scores`` when its settings name scores."""

SCORES = "scores"
"""The column of scores: a struct of one value a document for each score that the settings name."""

WHY = (
    pa.field("rule", pa.string(), nullable=False),
    pa.field("reason", pa.string()),
    pa.field("message", pa.int64()),
    pa.field("start", pa.int64()),
    pa.field("end", pa.int64()),
    pa.field("score", pa.float64()),
    pa.field("duplicate_of", pa.string()),
)
"""The columns that a removed document has beside its own."""

REMOVED = pa.schema([*SCHEMA, *WHY])
"""A removed document, whole, and why: ``rule`` (the filter's name in the settings, ``name.rule_id`` where it has rules), the span in
characters of turn ``message`` (-1: the plain text), what was compared with a threshold, and the id of the document that was kept instead."""


def scored_schema(fields: Mapping[str, pa.DataType]) -> pa.Schema:
    """``SCHEMA`` with the struct ``scores`` of ``fields``; ``SCHEMA`` itself without any, since Parquet knows no empty struct."""
    return SCHEMA.append(pa.field(SCORES, pa.struct(list(fields.items())))) if fields else SCHEMA


def removed_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of removed documents that were of ``schema``."""
    return pa.schema([*schema, *WHY])


QUARANTINE = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("locator", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        ("offset", pa.int64()),
        ("raw", pa.binary()),
    ]
)
"""A unit that could not be read: ``offset`` in bytes from the start of the (decompressed) file, ``raw`` its first bytes, capped."""

PLAIN = "text"
"""The role that stands for a plain document where roles are named in settings."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. ``train`` None: learned when its role is assistant. ``extra``: JSON (tool calls, name)."""

    role: str
    content: str
    train: bool | None = None
    extra: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """One training example: exactly one of ``text`` and ``messages`` is set.

    ``merged`` counts the further units read (rows of a thread, say) that became part of this document.
    """

    locator: str
    text: str | None = None
    messages: tuple[Message, ...] | None = None
    group: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    merged: int = 0


@dataclass(frozen=True, slots=True)
class Removed:
    """A unit that was read and deliberately not made into training data: the document as it would have been, and why."""

    document: Document
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A unit that could not be read: it goes to quarantine. ``offset`` in bytes from the start of the (decompressed) file."""

    locator: str
    error: str
    offset: int | None = None
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Superseded:
    """``units`` rows that were read and then replaced or dropped by a later statement of the same source."""

    units: int


@dataclass(frozen=True, slots=True)
class Merged:
    """``units`` rows that were read and became part of documents which are given elsewhere (titles of threads, names of authors)."""

    units: int


@dataclass(frozen=True, slots=True)
class Gathered:
    """A row that becomes a document only together with others, which may lie anywhere in its source: it waits until all are read.

    ``table`` names its mapping in the settings, ``extractor`` its reader.
    """

    locator: str
    table: str
    row: Mapping[str, Any]
    columns: tuple[str, ...] = ()
    extractor: str = ""


Extracted = Document | Removed | Skipped | Superseded | Merged | Gathered
"""What an extractor yields; each is one unit read, but for ``merged`` and ``units``. What is Gathered is counted as what it becomes."""

RAW_CAP_BYTES = 2048
"""Longest piece of raw input kept with a quarantined unit."""


def record_id(source: str, locator: str) -> str:
    """128 bits of SHA-256 over source and locator as 32 hex digits: the same on every machine."""
    return hashlib.sha256(f"{source}\0{locator}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def locator(path: str, **parts: object) -> str:
    """``path#key=value&...``: a path relative to its source with ``/`` between its parts, percent-encoded; no part, no ``#``."""
    encoded = quote(path.encode("utf-8", "surrogateescape"), safe="/-_.~")
    pairs = "&".join(f"{key}={quote(str(value), safe='-_.~')}" for key, value in parts.items())
    return f"{encoded}#{pairs}" if pairs else encoded


def to_json(meta: Mapping[str, Any]) -> str | None:
    """Canonical JSON of ``meta`` without its empty values, or None when nothing is left."""
    kept = {key: value for key, value in meta.items() if value not in (None, "", [], {})}
    return json.dumps(kept, ensure_ascii=False, sort_keys=True, default=str) if kept else None


def to_batch(source: str, documents: Sequence[Document]) -> pa.RecordBatch:
    """Documents as one record batch of ``SCHEMA``, ids filled in."""
    rows = [
        {
            "id": record_id(source, doc.locator),
            "source": source,
            "locator": doc.locator,
            "text": doc.text,
            "messages": None if doc.messages is None else [_message_row(m) for m in doc.messages],
            "group": doc.group,
            "meta": to_json(doc.meta),
        }
        for doc in documents
    ]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def _message_row(message: Message) -> dict[str, object]:
    return {"role": message.role, "content": message.content, "train": message.train, "extra": message.extra}


@dataclass(frozen=True)
class Turns:
    """Every piece of text of a batch, one row a piece, in document and then message order.

    document  int64[n]         row of the document in the batch
    message   int64[n]         index of the turn in its conversation, -1 for a plain document
    role      string[n]        the turn's role, ``text`` for a plain document
    content   large_string[n]  never null
    """

    document: np.ndarray
    message: np.ndarray
    role: pa.StringArray
    content: pa.LargeStringArray

    def __len__(self) -> int:
        return len(self.content)

    def of_roles(self, roles: Iterable[str]) -> Turns:
        """Only the pieces whose role is one of ``roles``."""
        return self.take(np.flatnonzero(pc.is_in(self.role, pa.array(sorted(roles), pa.string())).to_numpy(zero_copy_only=False)))

    def take(self, rows: np.ndarray) -> Turns:
        """The pieces at ``rows`` (int64), in that order."""
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(self))):
            return self  # no copy of all the text
        index = pa.array(rows, pa.int64())
        return Turns(self.document[rows], self.message[rows], self.role.take(index), self.content.take(index))


def turns(batch: pa.RecordBatch) -> Turns:
    """The role-aware view of a batch that has the columns ``text`` and ``messages``."""
    text, messages = batch.column("text"), batch.column("messages")
    plain = np.flatnonzero(pc.is_valid(text).to_numpy(zero_copy_only=False))
    flat = messages.flatten()
    lengths = pc.fill_null(pc.list_value_length(messages), 0).to_numpy(zero_copy_only=False)
    owner = np.repeat(np.arange(len(batch)), lengths)
    starts = np.cumsum(lengths) - lengths
    position = np.arange(len(flat)) - np.repeat(starts, lengths)
    document = np.concatenate([plain, owner]).astype(np.int64)
    message = np.concatenate([np.full(len(plain), -1), position]).astype(np.int64)
    role = _end_to_end(pa.repeat(pa.scalar(PLAIN, pa.string()), len(plain)), pc.fill_null(flat.field("role"), ""))
    content = _end_to_end(text if len(plain) == len(text) else text.take(pa.array(plain)), pc.fill_null(flat.field("content"), ""))
    order = np.lexsort((message, document))
    return Turns(document, message, role, content).take(order)


def _end_to_end(first: pa.Array, second: pa.Array) -> pa.Array:
    """The two arrays in one; without a copy where one is empty."""
    return pa.concat_arrays([first, second]) if len(first) and len(second) else first if len(first) else second


def with_contents(batch: pa.RecordBatch, view: Turns, content: pa.LargeStringArray) -> pa.RecordBatch:
    """The batch with the text of ``view``'s pieces replaced by ``content`` (same length and order); all else untouched."""
    everything = turns(batch)
    width = int(everything.message.max(initial=0)) + 2
    rows = np.searchsorted(everything.document * width + everything.message, view.document * width + view.message)
    position = np.arange(len(everything))
    position[rows] = len(everything) + np.arange(len(view))
    whole = pa.concat_arrays([everything.content, content.cast(pa.large_string())]).take(pa.array(position))
    plain = everything.message < 0
    text_row = np.full(len(batch), -1)
    text_row[everything.document[plain]] = np.flatnonzero(plain)
    text = whole.take(pa.array(text_row, mask=text_row < 0))
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["text"] = text
    columns["messages"] = _replace_contents(batch.column("messages"), whole.filter(pa.array(~plain)))
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=batch.schema)


def _replace_contents(messages: pa.ListArray, content: pa.LargeStringArray) -> pa.ListArray:
    flat = messages.flatten()
    turns_of = pa.StructArray.from_arrays([flat.field("role"), content, flat.field("train"), flat.field("extra")], fields=list(MESSAGE))
    lengths = pc.fill_null(pc.list_value_length(messages), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    missing = pc.is_null(messages)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), turns_of, type=messages.type, mask=missing)
