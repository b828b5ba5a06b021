"""Documents become sequences of tokens with a loss mask: conversations through the chat template, plain text with an end after it.

What a document says is encoded literally and apart from what the template writes (``literal.py``, ``template.py``). What is too long for a
row is split, cut or removed as the settings say, and every token of it is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.documents import Message, turns
from pipeline.errors import UsageError
from pipeline.models import TokenizerInfo, load_tokenizer
from pipeline.packing.cut import LINE, PARAGRAPH, Cuts, cut
from pipeline.packing.literal import literal_tokenizer
from pipeline.packing.plan import counted, gathered, spans
from pipeline.packing.sandbox import TemplateError
from pipeline.packing.sequences import ENCODED
from pipeline.packing.settings import TokenizeSettings
from pipeline.packing.split import split_hashes
from pipeline.packing.template import EVERYTHING, LEARNED_ROLE, NOTHING, THROUGH_END, ChatTemplate

COUNTS = (
    "documents", "conversations", "control_literals", "bytes_lost", "messages_left_out", "turns_without_end",
    "tokens", "tokens_kept", "tokens_truncated", "tokens_dropped", "tokens_overlap",
    "learned", "learned_kept", "learned_truncated", "learned_dropped",
    "documents_split", "documents_truncated", "sequences",
)  # fmt: skip
"""What is counted for each source.

``control_literals``: control tokens that texts spell; ``bytes_lost``: bytes of texts that the vocabulary cannot spell;
``turns_without_end``: learned turns after which the template writes no end. ``tokens = tokens_kept + tokens_truncated +
tokens_dropped``, and the same for ``learned`` ones; ``tokens_overlap`` are kept ones that stand once more as the context of a next piece.
"""

MIN_LENGTH = 8
_FIXED, _TEXT, _INNER = 0, 1, 2
_ALL = -1


@dataclass(frozen=True)
class Encoded:
    """What became of a batch of documents.

    sequences  ENCODED  in the order of the documents
    removed    int64[]  rows of the batch that became none, ascending; ``rules`` and ``reasons`` say why: ``template`` (the chat template
               refuses it), ``control_token``, ``too_long``, ``nothing_to_learn``
    counts     for each source, each of COUNTS
    """

    sequences: pa.RecordBatch
    removed: np.ndarray
    rules: list[str]
    reasons: list[str]
    counts: dict[str, dict[str, int]]


@dataclass
class _Segments:
    """Runs of tokens still to be put together: document, where the tokens come from, how many of them from the first on are learned."""

    document: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    num_learned: list[int] = field(default_factory=list)
    fixed: list[np.ndarray] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    inner: list[str] = field(default_factory=list)

    def add_fixed(self, document: int, ids: np.ndarray, num_learned: int) -> None:
        """Tokens that are known already."""
        self._add(document, _FIXED, len(self.fixed), num_learned)
        self.fixed.append(ids)

    def add_literal(self, document: int, text: str, inner: bool, learned: bool) -> None:
        """A text to encode literally."""
        texts = self.inner if inner else self.texts
        self._add(document, _INNER if inner else _TEXT, len(texts), _ALL if learned else 0)
        texts.append(text)

    def _add(self, document: int, kind: int, index: int, num_learned: int) -> None:
        self.document.append(document)
        self.kind.append(kind)
        self.index.append(index)
        self.num_learned.append(num_learned)


@dataclass(frozen=True)
class _Tokens:
    """The tokens of all documents, one after the other, document ``d`` at ``offsets[d]``; ``forged`` documents hold a control token."""

    ids: np.ndarray
    learned: np.ndarray
    offsets: np.ndarray
    forged: np.ndarray


class Encoder:
    """Encodes batches of documents for rows of ``length`` tokens. Raises UsageError when tokenizer and settings do not go together."""

    def __init__(self, info: TokenizerInfo, length: int, settings: TokenizeSettings, fast: bool = False) -> None:
        if length < MIN_LENGTH:
            raise UsageError("sequence length", f"is {length}", f"take {MIN_LENGTH} tokens or more")
        self.info, self.length, self.settings = info, length, settings
        self.literal = literal_tokenizer(info)
        self._text_engine, self._inner_engine = self.literal.engines(fast)
        self._template_ids: dict[tuple[str, bool], tuple[np.ndarray, int]] = {}
        self._ends: frozenset[int] = frozenset()
        self.template: ChatTemplate | None = None
        if info.chat_template is not None:
            try:
                self.template = ChatTemplate(info.chat_template, info.special, self.literal.controls)
            except TemplateError as error:
                raise UsageError(info.where, f"its chat template is not one ({error})", "mend chat_template.jinja") from None
            self._ends = frozenset(self.literal.controls[end] for end in self.template.ends)

    @property
    def answer_ends(self) -> frozenset[int]:
        """The ids that end an answer: what the chat template writes after a turn, and the end of text."""
        return self._ends if self.info.eos_id is None else self._ends | {self.info.eos_id}

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        """The sequences of a batch of documents (``documents.SCHEMA``)."""
        refused: dict[int, tuple[str, str]] = {}
        segments = _Segments()
        sources = batch.column("source").dictionary_encode()
        tally = _Tally(sources)
        is_plain = pc.is_valid(batch.column("text")).to_numpy(zero_copy_only=False)
        is_empty = is_plain & (pc.fill_null(pc.binary_length(batch.column("text")), 0).to_numpy(zero_copy_only=False) == 0)
        self._add_plain(segments, batch, np.flatnonzero(is_plain))
        self._add_conversations(segments, batch, np.flatnonzero(~is_plain), refused, tally)
        view = turns(batch)
        tally.add("documents", np.arange(len(batch)))
        tally.add("conversations", np.flatnonzero(~is_plain))
        tally.add("control_literals", view.document, self.literal.count_controls(view.content))
        tally.add("bytes_lost", view.document, self.literal.count_lost_bytes(view.content))
        tokens = self._assemble(segments, len(batch))
        for row in np.flatnonzero(tokens.forged).tolist():
            refused[row] = ("control_token", "its text becomes a control token with this tokenizer")
        for row in np.flatnonzero(is_empty).tolist():
            refused[row] = ("nothing_to_learn", "is empty")
        cuts = self._cut(tokens, is_plain, refused)
        rows = sorted(refused)
        is_refused = np.zeros(len(batch), dtype=bool)
        is_refused[rows] = True
        self._count(tokens, cuts, is_refused, tally)
        rules, reasons = [refused[row][0] for row in rows], [refused[row][1] for row in rows]
        return Encoded(_to_batch(batch, tokens, cuts, self.settings.seed), np.array(rows, dtype=np.int64), rules, reasons, tally.counts)

    def _cut(self, tokens: _Tokens, is_plain: np.ndarray, refused: dict[int, tuple[str, str]]) -> Cuts:
        """The sequences of the documents that are not refused; notes those that become none."""
        policy = np.where(is_plain, self.settings.over_long, self.settings.over_long_conversations)
        breaks = self._breaks(tokens.ids) if self.settings.split_at == "paragraph" else None
        overlap = self.settings.overlap_tokens
        cuts = cut(tokens.offsets, tokens.learned, self.length, policy == "split", policy == "truncate", overlap, breaks)
        sizes = np.diff(tokens.offsets)
        for row in cuts.too_long.tolist():
            refused.setdefault(row, ("too_long", f"has {sizes[row]:,} tokens; a row holds {self.length:,}"))
        for row in cuts.teaches_nothing.tolist():
            refused.setdefault(row, ("nothing_to_learn", "has no token that would be learned"))
        kept = ~np.isin(cuts.document, list(refused))
        return replace(cuts, document=cuts.document[kept], start=cuts.start[kept], size=cuts.size[kept], context=cuts.context[kept])

    def _breaks(self, ids: np.ndarray) -> np.ndarray:
        """int8[tokens]: LINE or PARAGRAPH where one ends after a token."""
        newlines, alone = (flags[ids] for flags in self.literal.newlines)
        before = np.concatenate([[False], newlines[:-1] > 0]) if len(ids) else np.zeros(0, bool)
        goes_on = np.concatenate([alone[1:], [False]]) if len(ids) else np.zeros(0, bool)
        paragraph = (newlines > 1) | ((newlines > 0) & alone & before)
        return np.where(goes_on | (newlines == 0), 0, np.where(paragraph, PARAGRAPH, LINE)).astype(np.int8)

    def _add_plain(self, segments: _Segments, batch: pa.RecordBatch, rows: np.ndarray) -> None:
        begin, end = np.array([self.info.bos_id or 0], dtype=np.int32), np.array([self.info.eos_id], dtype=np.int32)
        texts = batch.column("text").take(pa.array(rows)).to_pylist()
        for row, text in zip(rows.tolist(), texts, strict=True):
            if self.info.adds_bos:
                segments.add_fixed(row, begin, _ALL)
            segments.add_literal(row, text, inner=False, learned=True)
            segments.add_fixed(row, end, _ALL)

    def _add_conversations(
        self, segments: _Segments, batch: pa.RecordBatch, rows: np.ndarray, refused: dict[int, tuple[str, str]], tally: _Tally
    ) -> None:
        if not len(rows):
            return
        if self.template is None:
            what = "has no chat template, but there are conversations"
            raise UsageError(self.info.where, what, "put chat_template.jinja beside it, or take a chat model's tokenizer")
        for row, messages in zip(rows.tolist(), _conversations(batch.column("messages").take(pa.array(rows))), strict=True):
            try:
                rendered = self.template.render(_to_learn(messages, self.settings.learn))
            except TemplateError as error:
                refused[row] = ("template", str(error))
                continue
            tally.add("messages_left_out", np.array([row]), np.array([rendered.num_left_out]))
            tally.add("turns_without_end", np.array([row]), np.array([rendered.num_unended]))
            everything = self.settings.learn == "all" and all(message.train is not False for message in messages)
            at_start = after_control = True
            for part in rendered.parts:
                if not part.text:
                    continue
                if part.literal:
                    inner = not at_start and not (after_control and self.literal.prefix_after_control)
                    segments.add_literal(row, part.text, inner, everything or part.learned != NOTHING)
                    after_control = False
                else:
                    ids, through_end = self._encode_template(part.text, at_start)
                    num_learned = {NOTHING: 0, THROUGH_END: through_end, EVERYTHING: _ALL}[part.learned]
                    segments.add_fixed(row, ids, _ALL if everything else num_learned)
                    after_control = bool(len(ids)) and bool(self.literal.is_control[ids[-1]])
                at_start = False

    def _encode_template(self, text: str, at_start: bool) -> tuple[np.ndarray, int]:
        """The ids of template text, and how many they are through the first end of turn; the same few texts come again and again."""
        key = (text, at_start)
        found = self._template_ids.get(key)
        if found is None:
            if len(self._template_ids) >= 4096:
                self._template_ids.clear()
            ids = self.literal.template(text, at_start)
            ends = (number for number, token in enumerate(ids.tolist(), start=1) if token in self._ends)
            found = self._template_ids[key] = (ids, next(ends, 0))
        return found

    def _assemble(self, segments: _Segments, num_documents: int) -> _Tokens:
        """Put the segments together: everything that was encoded lies in one pool, and each segment is a span of it."""
        text_ids, text_sizes = self._text_engine.encode(segments.texts)
        inner_ids, inner_sizes = self._inner_engine.encode(segments.inner)
        fixed_sizes = np.fromiter(map(len, segments.fixed), dtype=np.int64, count=len(segments.fixed))
        said = np.concatenate([text_ids, inner_ids])
        pool = np.concatenate([said, *segments.fixed]) if segments.fixed else said
        sizes_by_kind = {_TEXT: text_sizes, _INNER: inner_sizes, _FIXED: fixed_sizes}
        base_by_kind = {_TEXT: 0, _INNER: len(text_ids), _FIXED: len(said)}
        order = np.argsort(np.array(segments.document, dtype=np.int64), kind="stable")
        document = np.array(segments.document, dtype=np.int64)[order]
        kind, index = np.array(segments.kind, dtype=np.int64)[order], np.array(segments.index, dtype=np.int64)[order]
        num_learned = np.array(segments.num_learned, dtype=np.int64)[order]
        starts, sizes = np.zeros(len(order), dtype=np.int64), np.zeros(len(order), dtype=np.int64)
        for one, all_sizes in sizes_by_kind.items():
            mine = kind == one
            sizes[mine] = all_sizes[index[mine]]
            starts[mine] = base_by_kind[one] + (np.cumsum(all_sizes) - all_sizes)[index[mine]]
        first_learned = np.where(num_learned == _ALL, sizes, np.minimum(num_learned, sizes))
        runs = np.stack([first_learned, sizes - first_learned], axis=1).ravel()
        learned = np.repeat(np.arange(len(runs)) % 2 == 0, runs)
        offsets = np.zeros(num_documents + 1, dtype=np.int64)
        np.cumsum(np.bincount(document, weights=sizes, minlength=num_documents).astype(np.int64), out=offsets[1:])
        forged = np.zeros(num_documents, dtype=bool)
        flags = self.literal.is_control[said]
        if flags.any():
            total = counted(flags)
            literal = kind != _FIXED
            hit = total[(starts + sizes)[literal]] > total[starts[literal]]
            forged[document[literal][hit]] = True
        return _Tokens(gathered(pool, starts, sizes), learned, offsets, forged)

    def _count(self, tokens: _Tokens, cuts: Cuts, refused: np.ndarray, tally: _Tally) -> None:
        """Every token is kept, truncated, or dropped with its document."""
        rows, first = np.arange(len(refused)), tokens.offsets[cuts.document] + cuts.start
        before = counted(tokens.learned)
        wholes = {"tokens": np.diff(tokens.offsets), "learned": np.diff(before[tokens.offsets])}
        parts = {"tokens": cuts.size - cuts.context, "learned": before[first + cuts.size] - before[first + cuts.context]}
        for name, whole in wholes.items():
            left = whole - np.bincount(cuts.document, weights=parts[name], minlength=len(rows)).astype(np.int64)
            tally.add(name, rows, whole)
            tally.add(f"{name}_kept", cuts.document, parts[name])
            tally.add(f"{name}_dropped", rows[refused], whole[refused])
            tally.add(f"{name}_truncated", rows[~refused], left[~refused])
            if name == "tokens":
                tally.add("documents_truncated", rows[~refused & (left > 0)])
        tally.add("tokens_overlap", cuts.document, cuts.context)
        tally.add("sequences", cuts.document)
        tally.add("documents_split", np.flatnonzero(np.bincount(cuts.document, minlength=len(rows)) > 1))


class _Tally:
    """Adds up numbers of documents by their source."""

    def __init__(self, sources: pa.DictionaryArray) -> None:
        self._names = sources.dictionary.to_pylist()
        self._codes = sources.indices.to_numpy(zero_copy_only=False)
        self._sums = {name: np.zeros(len(self._names), dtype=np.int64) for name in COUNTS}

    def add(self, name: str, rows: np.ndarray, numbers: np.ndarray | None = None) -> None:
        """Add ``numbers`` (1 each by default) to the sources of the documents at ``rows``."""
        np.add.at(self._sums[name], self._codes[rows], 1 if numbers is None else numbers)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """By source, sorted, and then by name."""
        codes = sorted(range(len(self._names)), key=self._names.__getitem__)
        return {self._names[code]: {name: int(self._sums[name][code]) for name in COUNTS} for code in codes}


@lru_cache(maxsize=2)
def encoder_for(name: str, revision: str | None, length: int, settings: TokenizeSettings, fast: bool = False) -> Encoder:
    """The encoder of a worker, built once: building it takes a second or two, and it is too large to send with every task."""
    return Encoder(load_tokenizer(name, revision), length, settings, fast)


def _to_learn(messages: list[Message], learn: str) -> list[Message]:
    """The messages with ``train`` set as the setting says, where the data does not say."""
    if learn == "assistant":
        return messages
    last = max((number for number, message in enumerate(messages) if message.role == LEARNED_ROLE), default=-1)
    return [replace(one, train=learn == "all" or number == last) if one.train is None else one for number, one in enumerate(messages)]


def _conversations(column: pa.ListArray) -> list[list[Message]]:
    flat = column.flatten()
    fields = [flat.field(name).to_pylist() for name in ("role", "content", "train", "extra")]
    messages = [Message(role or "", content or "", train, extra) for role, content, train, extra in zip(*fields, strict=True)]
    ends = np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)).tolist()
    return [messages[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _to_batch(batch: pa.RecordBatch, tokens: _Tokens, cuts: Cuts, seed: int) -> pa.RecordBatch:
    rows = pa.array(cuts.document)
    first, ends = tokens.offsets[cuts.document] + cuts.start, np.cumsum(cuts.size)
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    learned = gathered(tokens.learned, first, cuts.size)
    learned[spans(ends - cuts.size, cuts.context)] = False
    ids, groups = batch.column("id").take(rows), batch.column("group").take(rows)
    columns = [
        ids,
        batch.column("source").take(rows),
        pa.array(split_hashes(pc.coalesce(groups, ids), seed), pa.uint64()),
        pa.array(cuts.start.astype(np.int32)),
        pa.ListArray.from_arrays(offsets, pa.array(gathered(tokens.ids, first, cuts.size))),
        pa.ListArray.from_arrays(offsets, pa.array(learned.view(np.uint8))),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ENCODED)
