r"""What several rooms need of text: folding, words, and hashes of words and word n-grams that are the same on every machine.

A word is what ``re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower())`` finds. ``words`` does so for one text,
``word_hashes`` for a whole Arrow column without a Python object a word. Letters are judged by the running Python's Unicode tables,
so that a text in a script that Unicode added lately may fall into other words under an older Python.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Rows = NDArray[np.int64]

CHUNK_BYTES = 1 << 17
"""Text is hashed in pieces of about this size: they stay in the processor's cache, and memory is bounded by it and by the longest document
(about 12 times its bytes)."""

LONG_WORD_BYTES = 1024
"""A word longer than this is hashed by BLAKE2b one at a time: the vectorised hash takes a step for every 8 bytes of the longest word."""

_WORD = re.compile(r"\w+")
_ODD = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # increment and multipliers of SplitMix64 (Steele, Lea, Flood 2014)


@dataclass(frozen=True)
class Ragged:
    """n sequences laid end to end: the i-th is ``values[offsets[i]:offsets[i + 1]]``.

    values   uint64[total]
    offsets  int64[n + 1], from 0 to total
    """

    values: Hashes
    offsets: Rows

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Hashes:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Rows:
        """int64[n]: how many values each sequence has."""
        return np.diff(self.offsets)

    def take(self, rows: Rows) -> Ragged:
        """The sequences at ``rows``, in that order."""
        return self._cut(self.offsets[rows], self.lengths[rows])

    def heads(self, counts: Rows) -> Ragged:
        """The first ``counts[i]`` values of each sequence."""
        return self._cut(self.offsets[:-1], counts)

    def tails(self, counts: Rows) -> Ragged:
        """The last ``counts[i]`` values of each sequence."""
        return self._cut(self.offsets[1:] - counts, counts)

    def joined(self, bounds: Rows) -> Ragged:
        """Neighbouring sequences made one: the new i-th is all of ``bounds[i]`` up to, not including, ``bounds[i + 1]``."""
        return Ragged(self.values, self.offsets[bounds])

    def _cut(self, starts: Rows, lengths: Rows) -> Ragged:
        offsets = offsets_of(lengths)
        return Ragged(self.values[np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)], offsets)


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Ascending, each once; ``np.unique`` of numpy 2.4 hashes and is eight times slower on millions of values."""
    ordered = np.sort(values)
    found: NDArray[Any] = ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]
    return found


def offsets_of(lengths: NDArray[Any]) -> Rows:
    """int64[n + 1]: where each of n sequences of these lengths starts when they are laid end to end, and where the last ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def words(text: str) -> list[str]:
    """The words of one text: runs of letters, digits and underscores after NFKC and lower case."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def fold(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Each text in NFKC and lower case, as Python does it; a null becomes an empty text, bytes that are not UTF-8 become U+FFFD."""
    texts = pc.fill_null(texts.cast(pa.large_string(), safe=False), "")
    plain = pc.string_is_ascii(texts)
    others = texts.filter(pc.invert(plain)).cast(pa.large_binary())
    folded = [unicodedata.normalize("NFKC", raw.decode("utf-8", "replace")).lower() for raw in others.to_pylist()]
    return pc.replace_with_mask(pc.ascii_lower(texts), pc.invert(plain), pa.array(folded, pa.large_string()))


def word_hashes(texts: pa.LargeStringArray) -> Ragged:
    """A 64-bit hash of each word of each text, in order; equal words have equal hashes wherever they stand.

    Not meant to withstand an adversary; by chance two of a billion different words share a hash with probability 0.03.
    """
    hashed = [_word_hashes(*folded_words(piece)) for piece in chunks(texts)]
    lengths = [np.zeros(0, np.int64), *(piece.lengths for piece in hashed)]
    return Ragged(np.concatenate([np.zeros(0, np.uint64), *(piece.values for piece in hashed)]), offsets_of(np.concatenate(lengths)))


def ngram_hashes(sequences: Ragged, n: int) -> Ragged:
    """A hash of each ``n`` neighbouring values of each sequence, repeats included; a shorter sequence is one n-gram, an empty one none."""
    values, offsets, lengths = sequences.values, sequences.offsets, sequences.lengths
    factors = mix(np.arange(1, n + 1, dtype=np.uint64)) | np.uint64(1)
    grams = values * factors[0]
    for k in range(1, n):
        grams[:-k] += values[k:] * factors[k]
    counts = np.maximum(lengths - n + 1, lengths > 0)
    result = Ragged(grams, offsets)._cut(offsets[:-1], counts)
    short = np.flatnonzero((lengths > 0) & (lengths < n))
    whole = np.zeros(len(short), np.uint64)
    for k in range(n - 1):
        inside = lengths[short] > k
        whole[inside] += values[offsets[short[inside]] + k] * factors[k]
    result.values[result.offsets[short]] = whole
    return result


def mix(values: Hashes) -> Hashes:
    """SplitMix64: a fixed one-to-one scrambling of 64-bit numbers."""
    mixed = values + np.uint64(_ODD[0])
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_ODD[1])
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_ODD[2])
    return mixed ^ (mixed >> np.uint64(31))


def utf8(texts: pa.LargeStringArray) -> tuple[NDArray[np.uint8], Rows]:
    """The bytes of texts, end to end, and int64[n + 1] offsets into them; a null counts as an empty text."""
    return _utf8(_filled(texts))


def visible_chars(texts: pa.LargeStringArray) -> Rows:
    """int64[n]: how many characters of each text are neither ASCII white space nor ASCII control characters."""
    counts = [np.zeros(0, np.int64)]
    for piece in chunks(texts):
        data, offsets = utf8(piece)
        seen = np.append((data > 0x20) & (data & 0xC0 != 0x80), False).view(np.uint8)
        counts.append(np.where(np.diff(offsets) > 0, np.add.reduceat(seen, offsets[:-1], dtype=np.int64), 0) if len(offsets) > 1 else counts[0])
    return np.concatenate(counts)


def chunks(texts: pa.LargeStringArray) -> Iterator[pa.LargeStringArray]:
    """Slices of about ``CHUNK_BYTES``, each at least one text."""
    ends = np.cumsum(pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False))
    start = 0
    while start < len(texts):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + CHUNK_BYTES, side="right")))
        yield texts.slice(start, stop - start)
        start = stop


def _filled(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    return pc.fill_null(texts, "") if texts.null_count else texts  # it copies even where there is none


def _utf8(texts: pa.LargeStringArray) -> tuple[NDArray[np.uint8], Rows]:
    """The bytes of texts without nulls, end to end, and int64[n + 1] offsets into them."""
    _, offset_buffer, data_buffer = texts.buffers()
    if not len(texts) or data_buffer is None:
        return np.zeros(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    offsets = np.frombuffer(offset_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]], offsets - offsets[0]


def _word_hashes(data: NDArray[np.uint8], offsets: Rows) -> Ragged:
    padded = np.concatenate([data, np.zeros(8, np.uint8)])  # reading 8 bytes from the last one on stays inside
    starts, ends = word_spans(padded, offsets)
    return Ragged(span_hashes(padded, starts, ends - starts), np.searchsorted(starts, offsets).astype(np.int64))


KEEP, REWRITE, HARD = 1, 2, 3
"""What folding does to a character: nothing that words show, another of as many bytes, or what depends on its neighbours."""


FoldBytes = Callable[[NDArray[np.uint8]], tuple[NDArray[np.uint8], Rows]]
"""From UTF-8 to the same with each character folded that folds by itself, and where the others (``HARD``) stand."""


def folded_words(texts: pa.LargeStringArray, fold_bytes: FoldBytes | None = None) -> tuple[NDArray[np.uint8], Rows]:
    """UTF-8 whose words are those of the folded texts, and its offsets.

    Most characters fold by themselves and are looked up all at once, by ``fold_bytes``. Of the others, Python folds each distinct stretch
    between white space that holds one.
    """
    texts = _filled(texts.cast(pa.large_string(), safe=False))
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:  # not UTF-8
        return _utf8(fold(texts))
    data, offsets = _utf8(texts)
    lower, hard = (fold_bytes or _fold_bytes)(data)
    return _spliced(data, lower, offsets, hard) if len(hard) else (lower, offsets)


def _fold_bytes(data: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Rows]:
    lower = data + ((data - np.uint8(0x41)) < 26).view(np.uint8) * np.uint8(0x20)
    lead = np.flatnonzero(data >= 0xC0)
    if not len(lead):
        return lower, lead
    width, point = _points(np.concatenate([data, np.zeros(4, np.uint8)]), lead)
    kinds, others = _kinds(point)
    changed = np.flatnonzero(kinds == REWRITE)
    for k in range(4):
        some = changed[width[changed] > k]
        lower[lead[some] + k] = others[point[some], k]
    return lower, lead[kinds == HARD]


def _spliced(data: NDArray[np.uint8], lower: NDArray[np.uint8], offsets: Rows, hard: Rows) -> tuple[NDArray[np.uint8], Rows]:
    """``lower`` and its offsets, with each stretch of ``data`` between white space that holds a byte of ``hard`` folded by Python."""
    blanks = np.concatenate([[-1], np.flatnonzero(data <= 0x20), [len(data)]])
    place, row = np.searchsorted(blanks, hard), np.searchsorted(offsets, hard, side="right")
    starts = distinct(np.maximum(blanks[place - 1] + 1, offsets[row - 1]))
    ends = distinct(np.minimum(blanks[place], offsets[row]))
    pieces, grown, last = [], [0], 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        stretch = _fold_stretch(data[start:end].tobytes())
        pieces += [lower[last:start].tobytes(), stretch]
        grown.append(grown[-1] + len(stretch) - (end - start))
        last = end
    pieces.append(lower[last:].tobytes())
    return np.frombuffer(b"".join(pieces), np.uint8), offsets + np.array(grown)[np.searchsorted(starts, offsets)]


@lru_cache(1 << 16)
def _fold_stretch(raw: bytes) -> bytes:
    return unicodedata.normalize("NFKC", raw.decode()).lower().encode()


def _kinds(points: Rows) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The kind of each code point; and uint8[0x110000, 4], what to write for those of kind ``REWRITE``. Each is asked about once."""
    kinds, others = fold_tables()
    unknown = points[kinds[points] == 0]
    if len(unknown):
        learn(distinct(unknown))
    return kinds[points], others


def learn(points: Rows) -> None:
    """Fill the tables for these code points."""
    kinds, others = fold_tables()
    for point in points.tolist():
        kinds[point], others[point] = _kind(chr(point))


def _kind(char: str) -> tuple[int, list[int]]:
    normal = unicodedata.normalize("NFKC", char)
    folded, nothing, is_word = normal.lower(), [0, 0, 0, 0], _WORD.match(char) is not None
    if unicodedata.category(char)[0] == "M":  # marks stand between words; some join the letter before them
        return (HARD if folded != char or is_word or char in _joining() else KEEP), nothing
    depends = "\u03a3" in normal or unicodedata.combining(folded[0]) or _is_jamo(char)  # a final sigma is written otherwise
    if depends or (char > "\uffff" and is_word):
        return HARD, nothing
    if folded == char or (not is_word and not _WORD.search(folded)):
        return KEEP, nothing
    raw = folded.encode()
    same_size = len(folded) == 1 and len(raw) == len(char.encode()) and unicodedata.normalize("NFKC", folded).lower() == folded
    return (REWRITE, [*raw, *nothing][:4]) if same_size else (HARD, nothing)


def _is_jamo(char: str) -> bool:
    """Parts of Hangul syllables join."""
    return "\u1100" <= char <= "\u11ff" or "\ua960" <= char <= "\ua97f" or "\ud7b0" <= char <= "\ud7ff"


@cache
def fold_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """uint8[0x110000], the kind of each code point met so far (else 0), and uint8[0x110000, 4], the bytes to write for it."""
    return np.zeros(0x110000, np.uint8), np.zeros((0x110000, 4), np.uint8)


_COMPOSED = (
    *((0xC0, 0x520), (0x600, 0x700), (0x900, 0x1100), (0x1B00, 0x1C00), (0x1E00, 0x2000), (0x2190, 0x2300), (0x3040, 0x3100)),
    *((0xFB1D, 0xFB50), (0x11000, 0x11A00), (0x16D00, 0x16E00), (0x1D100, 0x1D200)),
)
"""Where the characters stand that are made of two, but for Hangul; a test compares this with all characters."""


@cache
def _joining() -> frozenset[str]:
    """The characters that normalisation may join to the one before them, but for Hangul."""
    points = (point for first, end in _COMPOSED for point in range(first, end))
    pairs = (made.split() for made in map(unicodedata.decomposition, map(chr, points)) if made and made[0] != "<")
    return frozenset(chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2)


def word_spans(padded: NDArray[np.uint8], offsets: Rows) -> tuple[Rows, Rows]:
    """Where words start and end in bytes; no word reaches over a document's border."""
    inside = _is_word_byte(padded)
    first, last = inside.copy(), inside.copy()
    first[1:] &= ~inside[:-1]
    last[:-1] &= ~inside[1:]
    borders = offsets[:-1][np.diff(offsets) > 0]
    first[borders] = inside[borders]
    borders = borders[borders > 0] - 1
    last[borders] = inside[borders]
    return np.flatnonzero(first), np.flatnonzero(last) + 1


def _is_word_byte(padded: NDArray[np.uint8]) -> NDArray[np.bool_]:
    r"""Whether each byte is part of a character that ``\w`` matches."""
    table = word_characters()
    inside = np.concatenate([table[:128], np.zeros(128, np.bool_)])[padded]
    lead = np.flatnonzero(padded >= 0xC0)
    if not len(lead):
        return inside
    width, point = _points(padded, lead)
    letters = table[point]
    for k in range(4):
        inside[lead[letters & (width > k)] + k] = True
    return inside


def _points(padded: NDArray[np.uint8], lead: Rows) -> tuple[Rows, Rows]:
    """How many bytes each character has that begins at ``lead``, and its code point."""
    first = padded[lead].astype(np.int64)
    width = 2 + (first >= 0xE0) + (first >= 0xF0)
    point = first & (0x7F >> width)
    for k in range(1, 4):
        longer = width > k
        point[longer] = point[longer] << 6 | padded[lead[longer] + k] & 0x3F
    return width, point


@cache
def word_characters() -> NDArray[np.bool_]:
    r"""bool[0x110000]: whether ``\w`` matches the character, asked of ``re`` itself."""
    table = np.zeros(0x110000, np.bool_)
    characters = np.arange(0x40000, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")  # no letters beyond
    for run in _WORD.finditer(characters):
        table[run.start() : run.end()] = True
    return table


def eights(padded: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """uint64[n - 7]: the eight bytes from each one on."""
    return np.ndarray((len(padded) - 7,), "<u8", padded.data, strides=(1,))


def span_hashes(padded: NDArray[np.uint8], starts: Rows, lengths: Rows) -> Hashes:
    """64 bits for each span of bytes: 8 bytes a step are mixed into all spans that still have some."""
    eight = eights(padded)
    hashes = mix(lengths.astype(np.uint64))
    long = np.flatnonzero(lengths > LONG_WORD_BYTES)
    going = np.flatnonzero(lengths <= LONG_WORD_BYTES) if len(long) else np.arange(len(starts))
    at = 0
    while len(going):
        left = np.minimum(lengths[going] - at, 8).astype(np.uint64)
        piece = eight[starts[going] + at].astype(np.uint64) & (np.uint64(0xFFFFFFFFFFFFFFFF) >> (np.uint64(64) - np.uint64(8) * left))
        hashes[going] = mix(hashes[going] ^ piece)
        at += 8
        going = going[lengths[going] > at]
    for row in long:
        span = padded[starts[row] : starts[row] + lengths[row]]
        hashes[row] = int.from_bytes(hashlib.blake2b(span.tobytes(), digest_size=8).digest(), "little")
    return hashes
