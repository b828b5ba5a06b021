"""Documents in, verdicts out: what the deduplication tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest

from pipeline.dedup.collection import Stored
from pipeline.dedup.exact import Exact
from pipeline.dedup.find import Source
from pipeline.dedup.find import find as search
from pipeline.dedup.index import index_writer
from pipeline.dedup.near import Near
from pipeline.dedup.signatures import Keeper, Looks, signatures
from pipeline.documents import Document, Message, to_batch

EXACT, NEAR = Exact(), Near()


@dataclass(frozen=True)
class Duplicates:
    """Removed documents (row, duplicate_of, rule, score), kept ones with duplicates (row, id), and the hot buckets on the way."""

    removed: pa.Table
    groups: pa.Table
    num_hot_buckets: int


Find = Callable[..., Duplicates]


@pytest.fixture
def find() -> Find:
    """Signs documents (texts, lists of (role, content), or documents), in files of batches cut at ``cuts``, and finds their duplicates."""

    def run(
        items: Sequence[object],
        exact: Exact | None = EXACT,
        near: Near | None = NEAR,
        cuts: Sequence[int] = (),
        keeper: Keeper = "longest",
        others: Sequence[object] = (),
    ) -> Duplicates:
        batch = to_batch("s", [document(number, item) for number, item in enumerate(items)])
        borders = [0, *sorted(cut % (len(items) + 1) for cut in cuts), len(items)]
        files = [[batch.slice(a, (b - a) // 2), batch.slice(a + (b - a) // 2, b - a - (b - a) // 2)] for a, b in pairwise(borders)]
        elsewhere = to_batch("o", [document(number, item) for number, item in enumerate(others)])
        return find_in([*files, [elsewhere]] if others else files, len(items), Looks(exact, near, keeper))

    return run


def find_in(files: Sequence[Sequence[pa.RecordBatch]], num_documents: int, looks: Looks) -> Duplicates:
    """The duplicates among the first documents of these files of batches."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "__work").mkdir()
        stored, index = [], []
        for number, batches in enumerate(files):
            stored.append(Stored(Path(f"{number}.arrow"), tuple(len(batch) for batch in batches)))
            index.append(f"{number}.index.arrow")
            with pa.ipc.new_file(str(folder / f"{number}.arrow"), batches[0].schema) as documents, index_writer(folder / index[-1], looks) as writer:
                for batch in batches:
                    documents.write_batch(batch)
                    writer.write(signatures(batch, looks))
        source = Source(tuple(index), tuple(stored), num_documents, looks)
        found = search(folder, source, lambda step, function, tasks: [function(folder, *task) for task in tasks.items()])
        ids, verdicts = source.collection(folder).ids, found.verdicts
        theirs = verdicts.keepers >= num_documents
        rule = np.where(theirs, "against", np.where(verdicts.exactly, "exact", "near")).astype(object)
        leaders = np.unique(verdicts.keepers[~theirs])
        columns = {"row": verdicts.rows, "duplicate_of": ids(verdicts.keepers), "rule": pa.array(rule, pa.string()), "score": verdicts.scores}
        return Duplicates(pa.table(columns), pa.table({"row": leaders, "id": ids(leaders)}), found.figures["hot_buckets"])


def document(number: int, item: object) -> Document:
    """A document whose locator is its number, so that its id does not depend on its text."""
    if isinstance(item, str):
        return Document(str(number), text=item)
    assert isinstance(item, list)
    return Document(str(number), messages=tuple(Message(role, content) for role, content in item))


@pytest.fixture
def essay() -> Callable[[int, int], str]:
    """A text of so many words that no two seeds share; sentences, so that punctuation can be folded away."""

    def write(seed: int, num_words: int) -> str:
        random = Random(seed)
        words = ["".join(random.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(random.randint(2, 9))) for _ in range(num_words)]
        return " ".join(f"{word.capitalize()}." if position % 11 == 10 else word for position, word in enumerate(words))

    return write
