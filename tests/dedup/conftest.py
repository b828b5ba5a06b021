"""Documents in, verdicts out: what the deduplication tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest

from pipeline.dedup.clusters import Duplicates, duplicates
from pipeline.dedup.exact import Exact
from pipeline.dedup.near import Near
from pipeline.dedup.signatures import SCHEMA, signatures
from pipeline.documents import Document, Message, to_batch

Find = Callable[..., Duplicates]
EXACT, NEAR = Exact(), Near()


@pytest.fixture
def find() -> Find:
    """Signs documents (texts, lists of (role, content), or documents), in files of batches cut at ``cuts``, and finds their duplicates."""

    def run(items: Sequence[object], exact: Exact | None = EXACT, near: Near | None = NEAR, cuts: Sequence[int] = ()) -> Duplicates:
        batch = to_batch("s", [document(number, item) for number, item in enumerate(items)])
        borders = [0, *sorted(cut % (len(items) + 1) for cut in cuts), len(items)]
        with TemporaryDirectory() as folder:
            files = []
            for number, (start, stop) in enumerate(pairwise(borders)):
                files.append(Path(folder) / f"{number}.arrow")
                with pa.ipc.new_file(str(files[-1]), SCHEMA) as writer:
                    middle = (start + stop) // 2
                    for first, last in ((start, middle), (middle, stop)):
                        writer.write_batch(signatures(batch.slice(first, last - first), exact, near))
            return duplicates(files, exact, near)

    return run


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
