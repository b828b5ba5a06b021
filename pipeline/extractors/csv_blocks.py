"""The records of an opened CSV file: by Arrow, a megabyte at a time, where that gives the same rows, else one by one.

Arrow reads a quote that never closes, or text behind a closing quote, without a word. So a block goes to it only when every quote stands where
the format wants it: an opening one behind a delimiter, a line end or another quote, a closing one before such. In a text like this, and
only there, a line feed after an even number of quotes ends a record. Rows of another width, bytes that are no text and lone carriage returns send a
block to the reader that goes record by record, and knows which of them is bad.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pipeline.extractors.dialects import MAX_RECORD_BYTES, Dialect, Record, Records
from pipeline.extractors.files import SourceError
from pipeline.extractors.lines import lines

BLOCK_BYTES = 1 << 20


class Feed:
    """A stream that gives lines and blocks, and takes back what was not used. ``offset``: bytes used so far.

    An error of the stream is raised when what stands before it has been given.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = cast(io.BufferedReader, stream)
        self._back = io.BytesIO()
        self._num_back = 0
        self._error: SourceError | None = None
        self._is_at_end = False
        self.offset = 0

    @property
    def is_at_end(self) -> bool:
        """Whether the stream is known to have ended, and ended well."""
        return self._is_at_end and not self._num_back

    def readline(self, limit: int, /) -> bytes:
        """The next line with its line feed, at most ``limit`` bytes of it."""
        line = self._back.readline(limit) if self._num_back else b""
        self._num_back -= len(line)
        if len(line) < limit and line[-1:] != b"\n":
            if self._error is not None:
                raise self._error
            line += self._stream.readline(limit - len(line))
        self.offset += len(line)
        return line

    def read(self, num_bytes: int) -> bytes:
        """The next ``num_bytes``, fewer at the end or before an error."""
        data = self._back.read(num_bytes) if self._num_back else b""
        self._num_back -= len(data)
        parts, missing = [data], num_bytes - len(data)
        while missing and self._error is None and not self._is_at_end:
            try:
                more = self._stream.read1(missing)
            except SourceError as error:
                self._error = error
                break
            parts.append(more)
            missing -= len(more)
            self._is_at_end = not more
        if missing == num_bytes and self._error is not None:
            raise self._error
        self.offset += num_bytes - missing
        filled = [part for part in parts if part]
        return filled[0] if len(filled) == 1 else b"".join(filled)

    def give_back(self, data: bytes) -> None:
        """Take back the last bytes that were read."""
        if data:
            self.offset -= len(data)
            data += self._back.read()
            self._back, self._num_back = io.BytesIO(data), len(data)


@dataclass(frozen=True)
class Blocks:
    """How whole blocks of a file are read: its dialect, Python's name of its encoding, and the number of its columns."""

    dialect: Dialect
    encoding: str
    width: int

    @property
    def are_possible(self) -> bool:
        """Whether Arrow knows the dialect."""
        dialect = self.dialect
        marks = dialect.delimiter + (dialect.quote or "")
        return dialect.escape is None and not dialect.skip_space and marks.isascii() and not set(marks) & set("\r\n")

    def read(self, feed: Feed, records: Records, one_by_one: Iterator[Record]) -> Iterator[pa.RecordBatch | Record]:
        """Everything from here to the end, ``one_by_one`` being the iterator of ``records``; raises what the stream raises."""
        surplus = 0
        while self.are_possible:
            end = feed.offset
            if records.is_settled:
                data, cut = self._block(feed)
                if not data:
                    return
                end = feed.offset - len(data) + (cut or len(data))
                feed.give_back(data[cut:])
                batch, surplus = self._parsed(data[:cut], surplus) if cut else (None, surplus)
                if batch is not None:
                    yield batch
                    continue
                feed.give_back(data[:cut])
                records.go_on(lines(feed, MAX_RECORD_BYTES, feed.offset))
            for record in one_by_one:
                yield record
                if feed.offset >= end and records.is_settled:
                    break
            else:
                return
        yield from one_by_one

    def _block(self, feed: Feed) -> tuple[bytes, int]:
        """The bytes that follow, and how many of them are whole records with every quote in its place (0: no telling)."""
        data = b""
        while len(data) < MAX_RECORD_BYTES:
            more = feed.read(len(data) or BLOCK_BYTES)
            data += more
            end = self._end(data, feed.is_at_end)
            if end or end is None or not more or feed.is_at_end:
                return data, end or 0
        return data, 0

    def _end(self, data: bytes, is_last: bool) -> int | None:
        """Where the last whole record of ``data`` ends, 0 where none does; None when a quote stands where none may."""
        quote = (self.dialect.quote or "").encode()
        if not quote or quote not in data:
            return len(data) if is_last else data.rfind(b"\n") + 1
        every = np.frombuffer(data, np.uint8)
        quotes = np.flatnonzero(every == quote[0])
        num_even = len(quotes) & ~1
        if is_last and num_even == len(quotes):
            end = len(data)
        else:
            end = 0
            for index in range(num_even, -1, -2):
                after = int(quotes[index - 1]) + 1 if index else 0
                before = int(quotes[index]) if index < len(quotes) else len(data)
                if end := data.rfind(b"\n", after, before) + 1:
                    break
            num_even = index
        opening, closing = quotes[:num_even:2], quotes[1:num_even:2]
        around = np.zeros(256, bool)
        around[[ord(self.dialect.delimiter), 10, 13, quote[0]]] = True
        is_good = around[every[opening[opening > 0] - 1]].all() and around[every[closing[closing + 1 < len(data)] + 1]].all()
        return end if is_good else None

    def _parsed(self, block: bytes, surplus: int) -> tuple[pa.RecordBatch | None, int]:
        """The rows of a block, all cells text, and how many empty cells stood behind each; None when not all rows are alike in width."""
        if _has_lone_return(block):
            return None, surplus
        try:
            if self.encoding not in ("utf-8", "ascii"):
                block = block.decode(self.encoding).encode()
        except UnicodeError:
            return None, surplus
        if block.startswith(codecs.BOM_UTF8):  # Arrow would leave it out
            return None, surplus
        for behind in (surplus, 1 - surplus):
            batch = self._arrow(block, behind)
            if batch is not None:
                return batch, behind
        return None, surplus

    def _arrow(self, block: bytes, behind: int) -> pa.RecordBatch | None:
        names = [str(index) for index in range(self.width + behind)]
        try:
            table = pyarrow.csv.read_csv(
                pa.BufferReader(block),
                pyarrow.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(block) + 1),
                pyarrow.csv.ParseOptions(delimiter=self.dialect.delimiter, quote_char=self.dialect.quote or False, newlines_in_values=True),
                pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
            )
        except pa.ArrowInvalid:
            return None
        batch = pa.RecordBatch.from_arrays([column.combine_chunks() for column in table.columns], names)
        if behind and pc.max(pc.binary_length(batch.column(self.width))).as_py():
            return None
        return batch.select(names[: self.width])


def _has_lone_return(block: bytes) -> bool:
    """Whether a carriage return stands without a line feed behind it."""
    if b"\r" not in block:
        return False
    every = np.frombuffer(block, np.uint8)
    returns = np.flatnonzero(every == 13)
    return bool(returns[-1] + 1 == len(block) or (every[returns + 1] != 10).any())


def skip_lines(feed: Feed, count: int) -> None:
    """Read so many lines and forget them."""
    for _ in range(count):
        while (line := feed.readline(MAX_RECORD_BYTES)) and line[-1:] != b"\n":
            pass
