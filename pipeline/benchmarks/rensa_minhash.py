"""Run by a Python of its own: rensa's MinHash over a folder of Parquet, words hashed by polars. Arguments: INPUT OUTPUT.

rensa leaves the words to its caller: here polars, compiled too, splits and hashes them, and numpy makes 5-grams of them. A document goes when
rensa's index says that an earlier one is like it; no similarity is verified.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

NGRAM, PERMUTATIONS, BANDS, SEED, ROWS = 5, 128, 16, 42, 2048
FACTORS = (np.arange(1, NGRAM + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) | np.uint64(1)


def main(source: str, target: str) -> None:
    """Read, hash, sketch, look up, and write what stays and what goes as Parquet."""
    pl: Any = import_module("polars")
    rensa: Any = import_module("rensa")
    index, known = rensa.RMinHashLSH(0.8, PERMUTATIONS, BANDS), 0
    for path in sorted(Path(source).glob("*.parquet")):
        table = pl.read_parquet(path)
        repeated: list[bool] = []
        for first in range(0, len(table), ROWS):
            grams, offsets = _ngrams(table["text"].slice(first, ROWS))
            sketches = rensa.RMinHash.digest_matrix_from_flat_token_hashes(grams, offsets, PERMUTATIONS, SEED)
            repeated += index.insert_matrix_and_query_duplicate_flags(sketches, known)
            known += len(offsets) - 1
        for name, chosen in (("kept", ~np.array(repeated)), ("removed", np.array(repeated))):
            (Path(target) / name).mkdir(parents=True, exist_ok=True)
            table.filter(pl.Series(chosen)).write_parquet(Path(target) / name / path.name)


def _ngrams(texts: Any) -> tuple[np.ndarray, np.ndarray]:
    """A hash of each 5 neighbouring words of each text, end to end, and where each text's begin; one of all words for a shorter text."""
    words = texts.str.to_lowercase().str.extract_all(r"\w+")
    counts = words.list.len().to_numpy().astype(np.int64)
    hashes = words.list.explode(empty_as_null=False).hash().to_numpy()
    grams = hashes * FACTORS[0]
    for k in range(1, NGRAM):
        grams[:-k] += hashes[k:] * FACTORS[k]
    ends = np.cumsum(counts)
    windows = np.maximum(counts - NGRAM + 1, np.minimum(counts, 1))
    offsets = np.concatenate([[0], np.cumsum(windows)])
    return grams[np.arange(offsets[-1]) + np.repeat(ends - counts - offsets[:-1], windows)], offsets.astype(np.uint64)


if __name__ == "__main__":
    main(*sys.argv[1:])
