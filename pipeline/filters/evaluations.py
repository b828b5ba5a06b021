"""The user's evaluation files, as a table of the word n-grams that stand in their items."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import SettingsError
from pipeline.text import Hashes, Ragged, Rows, ngram_hashes, offsets_of, word_hashes

MAX_NGRAMS = 1 << 25
"""More n-grams than this (about 400 MB, 30 million words of evaluation items) are refused: each worker holds the table."""

COMMON_ITEMS = 10
"""An n-gram that stands in more different items of one file is that file's wording, not an item: Brown et al. 2020, appendix C, leave out
n-grams that occur in more than 10 training documents for the same reason. An item of nothing else keeps its n-grams."""

Item = tuple[int, list[str]]
"""Number of an item in its file, from 1, and its texts."""


class Evaluations(Mapping[str, Any]):
    """A table of n-grams: which 64-bit hash stands in which item. As settings it is what its files hold: names, digests, counts.

    hashes  uint64[n], sorted   hash of an n-gram, once for each item that it stands in
    owner   int32[n]            the item
    totals  int32[num_items]    n-grams of each item
    files   int32[num_items]    index into ``names``
    rows    int64[num_items]    the item's number in its file, from 1
    sizes                       lengths in words, ascending: ``ngram``, and those of shorter texts
    """

    def __init__(self, names: Sequence[str], about: Mapping[str, Any], sizes: Sequence[int], columns: Mapping[str, Any]) -> None:
        """Take the columns as they are."""
        self.names, self.sizes = tuple(names), tuple(sizes)
        self._about = dict(about)
        self.hashes: Hashes = columns["hashes"]
        self.owner: NDArray[np.int32] = columns["owner"]
        self.totals: NDArray[np.int32] = columns["totals"]
        self.files: NDArray[np.int32] = columns["files"]
        self.rows: Rows = columns["rows"]

    def __getitem__(self, name: str) -> Any:
        return self._about[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._about)

    def __len__(self) -> int:
        return len(self._about)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_sieve"}

    @cached_property
    def _sieve(self) -> NDArray[np.bool_]:
        """bool[2**k], at least 16 for each n-gram: whether any hash of the table begins with these k bits."""
        sieve = np.zeros(1 << max(4, (16 * len(self.hashes) - 1).bit_length()), np.bool_)
        sieve[self.hashes >> self._shift(sieve)] = True
        return sieve

    @staticmethod
    def _shift(sieve: NDArray[np.bool_]) -> np.uint64:
        return np.uint64(65 - len(sieve).bit_length())

    def held(self, hashes: Hashes) -> tuple[Rows, Rows, Rows]:
        """Which of ``hashes`` the table holds, the first row of each in it, and how many rows.

        A look into the sieve costs a tenth of a binary search, and few hashes of other text pass it.
        """
        rows = np.flatnonzero(self._sieve[hashes >> self._shift(self._sieve)])
        low = np.searchsorted(self.hashes, hashes[rows], "left")
        high = np.searchsorted(self.hashes, hashes[rows], "right")
        there = np.flatnonzero(high > low)
        return rows[there], low[there], (high - low)[there]

    def name(self, item: int) -> str:
        """An item by file and number."""
        return f"item {self.rows[item]} of {self.names[self.files[item]]}"


def read_evaluations(paths: Mapping[str, Path], fields: Sequence[str], ngram: int, min_words: int) -> Evaluations:
    """The table of the files at ``paths``, by the names that the settings give them.

    Raises SettingsError when a file cannot be read, holds no item, lacks all of ``fields``, or all files hold too much.
    """
    grams, owners, sizes = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], {ngram}
    files: list[int] = []
    rows: list[int] = []
    about: dict[str, Any] = {}
    for number, (name, path) in enumerate(paths.items()):
        items = [(row, texts) for row, texts in _read(path, name, fields) if texts]
        if not items:
            raise SettingsError([f"{name}: holds no text{f' in the fields {list(fields)}' if fields else ''}; name another file or its fields"])
        hashes, owner, lengths = _file_ngrams([texts for _, texts in items], ngram, min_words)
        grams.append(hashes)
        owners.append(owner + len(files))
        sizes |= lengths
        too_short = len(items) - len(np.unique(owner))
        about[name] = {"sha256": _sha256(path), "items": len(items), "too_short": too_short, "ngrams": len(hashes)}
        files += [number] * len(items)
        rows += [row for row, _ in items]
        if sum(map(len, grams)) > MAX_NGRAMS:
            raise SettingsError([f"{name}: with it there are more than {MAX_NGRAMS:,} n-grams of evaluation items; name fewer files or fields"])
    every, owned = np.concatenate(grams), np.concatenate(owners)
    order = np.lexsort((owned, every))
    columns = {
        "hashes": every[order],
        "owner": owned[order].astype(np.int32),
        "totals": np.bincount(owned, minlength=len(files)).astype(np.int32),
        "files": np.array(files, np.int32),
        "rows": np.array(rows, np.int64),
    }
    return Evaluations(list(paths), about, sorted(sizes), columns)


def _file_ngrams(items: Sequence[Sequence[str]], ngram: int, min_words: int) -> tuple[Hashes, Rows, set[int]]:
    """Different n-grams of each item of a file, the item (from 0) of each, and the lengths in words of shorter texts."""
    sequences = word_hashes(pa.array([text for texts in items for text in texts], pa.large_string()))
    owner = np.repeat(np.arange(len(items)), [len(texts) for texts in items])
    long_enough = np.flatnonzero(sequences.lengths >= min_words)
    sequences, owner = sequences.take(long_enough), owner[long_enough]
    lengths = {int(length) for length in np.unique(sequences.lengths) if length < ngram}
    grams = ngram_hashes(sequences, ngram)
    owned, hashes = np.repeat(owner, grams.lengths), grams.values
    order = np.lexsort((hashes, owned))
    owned, hashes = owned[order], hashes[order]
    new = np.ones(len(owned), np.bool_)
    new[1:] = (owned[1:] != owned[:-1]) | (hashes[1:] != hashes[:-1])
    owned, hashes = owned[new], hashes[new]
    kept = _telling(hashes, owned, len(items))
    return hashes[kept], owned[kept], lengths


def _telling(hashes: Hashes, owner: Rows, num_items: int) -> NDArray[np.bool_]:
    """Which n-grams tell an item: those in few different items, and all of an item that has no such."""
    sums = np.zeros(num_items, np.uint64)
    np.add.at(sums, owner, hashes)
    first = np.zeros(num_items, np.bool_)
    first[np.unique(sums, return_index=True)[1]] = True
    _, place = np.unique(hashes, return_inverse=True)
    rare = np.bincount(place, weights=first[owner])[place] <= COMMON_ITEMS
    has_rare = np.bincount(owner, weights=rare, minlength=num_items) > 0
    return rare | ~has_rare[owner]


def _read(path: Path, name: str, fields: Sequence[str]) -> Iterator[Item]:
    """The items of one file, by its ending: Parquet, JSON lines, JSON, else text, in which empty lines part the items."""
    ending = path.suffix.lower()
    if ending == ".parquet":
        yield from _read_parquet(path, name, fields)
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{name}: cannot be read ({getattr(error, 'strerror', None) or 'it is not UTF-8'}); mend the file"]) from None
    if ending in (".jsonl", ".ndjson"):
        for row, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield row, list(_texts(_parsed(line, f"{name}:{row}"), fields))
    elif ending == ".json":
        value = _parsed(text, name)
        for row, item in enumerate(value if isinstance(value, list) else [value], 1):
            yield row, list(_texts(item, fields))
    else:
        for row, part in enumerate(text.replace("\r\n", "\n").split("\n\n"), 1):
            yield row, [part]


def _read_parquet(path: Path, name: str, fields: Sequence[str]) -> Iterator[Item]:
    try:
        with pq.ParquetFile(path) as file:
            row = 0
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    row += 1
                    yield row, list(_texts(record, fields))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise SettingsError([f"{name}: cannot be read as Parquet ({type(error).__name__}); mend the file"]) from None


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise SettingsError([f"{where}: is not JSON; mend the file, or name it .txt when it is text"]) from None


def _texts(value: Any, fields: Sequence[str]) -> Iterator[str]:
    """Every string in a value, however deep; of a mapping at the top only those of ``fields``, when fields are named."""
    waiting = [value]
    if fields and isinstance(value, dict):
        waiting = [value[name] for name in reversed(fields) if name in value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += reversed(list(item.values()))
        elif isinstance(item, list | tuple):
            waiting += reversed(item)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def places(sequences: Ragged, n: int) -> tuple[Hashes, Rows, Rows]:
    """The n-grams of sequences of at least ``n`` values, the sequence of each, and where in it each starts (all in order)."""
    grams = ngram_hashes(sequences, n)
    sequence = np.repeat(np.arange(len(sequences)), grams.lengths)
    start = np.arange(len(grams.values)) - np.repeat(offsets_of(grams.lengths)[:-1], grams.lengths)
    long_enough = sequences.lengths[sequence] >= n
    return grams.values[long_enough], sequence[long_enough], start[long_enough]
