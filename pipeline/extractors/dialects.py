"""CSV of any dialect as records, and which dialect fits a sample best.

The reader is Python's ``csv`` in strict mode, one record at a time, over lines that can be given back. A quote without an end makes ``csv``
take the rows after it for text; here such a record is given up at its first line, and reading goes on at its second.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import inf, sqrt
from typing import Any

from pipeline.documents import RAW_CAP_BYTES
from pipeline.extractors.lines import Line

MAX_RECORD_BYTES = 16_000_000
"""A record (and so a cell) beyond this is taken for a quote that never closes: no row of training text is so long."""


@dataclass(frozen=True)
class Dialect:
    """How a file marks its cells. ``quote`` None: quotes are plain characters. ``escape``: the character before a quote that is text."""

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    skip_space: bool = False
    """Whether blanks after a delimiter are no part of the cell."""

    def reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Python's strict reader of this dialect: it raises ``csv.Error`` for text after a closing quote and for a quote left open."""
        options: dict[str, Any] = {"delimiter": self.delimiter, "escapechar": self.escape, "skipinitialspace": self.skip_space}
        options |= {"quoting": csv.QUOTE_NONE} if self.quote is None else {"quotechar": self.quote}
        return csv.reader(map(self._keep_backslashes, lines) if self.escape else lines, strict=True, **options)

    def _keep_backslashes(self, line: str) -> str:
        """Doubles every escape character that stands before an ordinary one, where ``csv`` would drop it."""
        mark = self.escape or ""
        special = re.escape(mark + self.delimiter + (self.quote or "\r\n"))
        return re.sub(f"{re.escape(mark)}([{special}])?", lambda match: match[0] if match[1] else mark * 2, line) if mark in line else line


@dataclass(frozen=True, slots=True)
class Record:
    """The cells of one record, or None and why not; ``num_lines`` lines were read for it, ``raw`` (capped) is set when it is bad."""

    offset: int
    num_lines: int
    cells: list[str] | None
    error: str = ""
    raw: bytes = b""


class _EndlessError(Exception):
    """The record at hand has grown beyond the cap."""


class Records:
    """The records of ``lines``, bad ones in their place. ``width``: the number of cells of a good record; None takes any for good."""

    def __init__(self, lines: Iterable[Line], dialect: Dialect, encoding: str = "utf-8", width: int | None = None) -> None:
        self.width = width
        self._lines = iter(lines)
        self._dialect, self._encoding = dialect, encoding
        self._again: deque[Line] = deque()
        self._taken: list[Line] = []
        self._is_text = True

    @property
    def is_settled(self) -> bool:
        """Whether every line taken so far belongs to a record that was given."""
        return not self._again

    def go_on(self, lines: Iterable[Line]) -> None:
        """Read these lines from here on; only where ``is_settled``."""
        self._lines = iter(lines)

    def __iter__(self) -> Iterator[Record]:
        csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_BYTES))
        reader = self._dialect.reader(self._feed())
        while True:
            self._taken.clear()
            self._is_text = True
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, _EndlessError) as error:
                yield self._give_up(str(error))
                reader = self._dialect.reader(self._feed())
                continue
            if not cells:
                continue
            if len(self._taken) > 1 and self._swallows(cells):
                yield self._give_up("")
                reader = self._dialect.reader(self._feed())
            elif not self._is_text:
                yield self._bad(f"not {self._encoding}: bytes of this row are no text in that encoding")
            elif self.width is not None and not fits(cells, self.width):
                yield self._bad(f"wrong number of cells: {len(cells)}, expected {self.width}", cells)
            else:
                yield Record(self._taken[0].offset, len(self._taken), cells)

    def _feed(self) -> Iterator[str]:
        """Lines as text, those given back first; a record's lines gather in ``_taken``, which is emptied before each record."""
        num_bytes = 0
        while (line := self._again.popleft() if self._again else next(self._lines, None)) is not None:
            num_bytes = line.num_bytes + (num_bytes if self._taken else 0)
            self._taken.append(line)
            if line.is_cut or num_bytes > MAX_RECORD_BYTES:
                raise _EndlessError
            try:
                text = line.raw.decode(self._encoding)
            except UnicodeDecodeError:
                self._is_text = False
                text = line.raw.decode(self._encoding, "backslashreplace")
            yield text

    def _give_up(self, error: str) -> Record:
        """The first line of the record at hand as a bad record; the lines after it are read again."""
        self._again.extendleft(reversed(self._taken[1:]))
        is_alone = len(self._taken) == 1
        del self._taken[1:]
        if self._taken[0].is_cut:
            return self._bad(f"row too long: more than {MAX_RECORD_BYTES:,} bytes")
        if "new-line" in error:
            return self._bad("carriage return: it stands inside a cell without quotes")
        if is_alone and "unexpected end" not in error:
            return self._bad(f"broken quoting: {error}")
        return self._bad("unclosed quote: a quote opens on this line and does not close in a way that gives rows")

    def _bad(self, error: str, cells: list[str] | None = None) -> Record:
        raw = b"".join(line.raw for line in self._taken[:50])[:RAW_CAP_BYTES]
        return Record(self._taken[0].offset, len(self._taken), cells, error, raw)

    def _swallows(self, cells: Sequence[str]) -> bool:
        """Whether a record of the wrong width hides a line that is a good row by itself."""
        if self.width is None or self.width < 2 or fits(cells, self.width):
            return False
        return any(fits(row, self.width) for line in self._taken[1:] for row in self._alone(line))

    def _alone(self, line: Line) -> list[list[str]]:
        try:
            return list(self._dialect.reader([line.raw.decode(self._encoding, "replace")]))
        except csv.Error:
            return []


def fits(cells: Sequence[str], width: int) -> bool:
    """Whether a row has ``width`` cells, or more of which the surplus is empty (a delimiter at the end of every row)."""
    return len(cells) == width or (len(cells) > width and not any(cells[width:]))


DELIMITERS = ",\t;|^~\x1f\x01"
"""Delimiters tried, the more usual first; of dialects that fit equally well the first is taken. Blanks and colons have to be told."""

ONE_COLUMN_SCORE = 0.3
"""What a single column scores: a delimiter wins when it makes even rows of at least about six in ten lines [j]."""


PLAIN_QUOTES_SCORE = 0.95
"""The factor for quotes as plain characters: one broken quote in a hundred rows is a broken row, not another dialect [j]."""


@dataclass(frozen=True)
class Fit:
    """How well a dialect reads a sample: score (0 to 1), number of cells of the good rows, and the good rows."""

    dialect: Dialect
    score: float
    width: int
    rows: tuple[list[str], ...] = ()


def detect(lines: Sequence[Line], encoding: str, told: Mapping[str, Any] | None = None, is_whole: bool = True) -> Fit:
    """The dialect that reads most of a sample as rows of one width with simple cells; fields of it in ``told`` are not tried.

    ``is_whole`` false: the file goes on after the sample, which may end inside a record.
    """
    sample = _Sample.of(lines, encoding, is_whole)
    candidates = dict.fromkeys(replace(dialect, **(told or {})) for dialect in _candidates("".join(sample.texts)))
    best = Fit(Dialect(), -1.0, 1)
    for dialect in candidates:
        fit = _fit(sample, dialect, best.score)
        if round(fit.score, 6) > round(best.score, 6):
            best = fit
    return best


def _candidates(text: str) -> list[Dialect]:
    """Dialects worth a try, the more usual first, so that ``max`` prefers them."""
    quotes: list[str | None] = ['"']
    if "'" in text:
        quotes.append("'")
    if '"' in text:
        quotes.append(None)
    found: list[Dialect] = []
    for delimiter in [mark for mark in DELIMITERS if mark in text] or [","]:
        for quote in quotes:
            found.append(Dialect(delimiter, quote))
            if quote and f"\\{quote}" in text:
                found.append(Dialect(delimiter, quote, escape="\\"))
            if quote and f"{delimiter} {quote}" in text:
                found.append(Dialect(delimiter, quote, skip_space=True))
    return found


@dataclass(frozen=True)
class _Sample:
    """The beginning of a file as text, line by line; ``no_text``: the lines whose bytes are no text."""

    texts: list[str]
    no_text: frozenset[int]
    unclosed_from: float
    """An unclosed quote on this line or behind it may close after the sample."""

    @classmethod
    def of(cls, lines: Sequence[Line], encoding: str, is_whole: bool) -> _Sample:
        """The sample of these lines."""
        texts = [line.raw.decode(encoding, "replace") for line in lines]
        no_text = frozenset(number for number, line in enumerate(lines) if "\ufffd" in texts[number] and not _is_text(line.raw, encoding))
        half = lines[-1].offset // 2 if lines else 0
        behind = (number for number, line in enumerate(lines) if line.offset > half)
        return cls(texts, no_text, inf if is_whole else next(behind, inf))

    def records(self, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
        """Number of lines and cells of each record, none of a bad one: what ``Records`` gives, faster, since all is at hand."""
        csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_BYTES))
        start = 0
        while start < len(self.texts):
            reader: Any = dialect.reader(islice(self.texts, start, None))
            end = start
            try:
                for cells in reader:
                    first, end = end, start + reader.line_num
                    if cells:
                        is_good = not self.no_text or self.no_text.isdisjoint(range(first, end))
                        yield end - first, cells if is_good else []
                return
            except csv.Error as error:
                is_alone = start + reader.line_num - end == 1
                is_unclosed = "new-line" not in str(error) and not (is_alone and "unexpected end" not in str(error))
                if is_unclosed and end >= self.unclosed_from:
                    return
                yield 1, []
                start = end + 1


def _is_text(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _fit(sample: _Sample, dialect: Dialect, least: float) -> Fit:
    """How well a dialect reads the sample; score 0 as soon as it cannot be more than ``least``."""
    max_lost = len(sample.texts) * (1 - sqrt(least)) if least >= ONE_COLUMN_SCORE else inf
    records, num_lost = [], 0
    for num_lines, cells in sample.records(dialect):
        records.append((num_lines, cells))
        if len(cells) < 2:  # a bad record, or one column, which scores less
            num_lost += num_lines
            if num_lost > max_lost:
                return Fit(dialect, 0.0, 1)
    good = [(num_lines, cells) for num_lines, cells in records if cells]
    widths = Counter(len(cells) for _, cells in good).most_common(5)
    if not widths:
        return Fit(dialect, 0.0, 1)
    covered = {width: sum(num_lines for num_lines, cells in good if len(cells) == width or fits(cells, width)) for width, _ in widths}
    width = max(covered, key=lambda each: (covered[each], each))
    rows = tuple(cells for _, cells in good if len(cells) == width or fits(cells, width))
    share = covered[width] / sum(num_lines for num_lines, _ in records)
    score = share * share * (0.6 + 0.4 * _simple_share(rows))
    score *= (ONE_COLUMN_SCORE if width == 1 else 1) * (PLAIN_QUOTES_SCORE if dialect.quote is None else 1)
    return Fit(dialect, score, width, rows)


_SIMPLE = re.compile(
    r"[-+(]?\s*[$€£]?\s*\d[\d.,\s]*(e[-+]?\d+)?\s*[%€$£)]?"  # numbers, money, percentages
    r"|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]\d{1,2}:\d\d(:\d\d)?)?.{0,6}|\d{1,2}:\d\d(:\d\d)?([.,]\d+)?"  # dates, times
    r"|[^\W\d][^,;|\t\"']{0,60}|\S+@\S+|https?://\S+|",  # a few words, addresses, nothing
    re.IGNORECASE,
)


def _simple_share(rows: Sequence[Sequence[str]]) -> float:
    """The share of cells that are plainly one value: cells cut at the wrong character, or with their quotes left on, are not."""
    cells = [cell.strip() for row in rows[:500] for cell in row[:100]]
    return sum(_SIMPLE.fullmatch(cell) is not None for cell in cells) / len(cells) if cells else 0.0
