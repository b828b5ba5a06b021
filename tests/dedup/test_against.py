"""Keepers and other datasets: who stays is a stated rule, and what is elsewhere already goes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.dedup.exact import Exact
from pipeline.dedup.near import Near
from pipeline.dedup.signatures import ByScore, Looks
from pipeline.documents import SCORES, record_id, to_batch
from tests.dedup.conftest import document, find_in

Find = Callable[..., Any]
Essay = Callable[[int, int], str]


def variants(original: str) -> list[str]:
    """Three copies that grow: the last is the longest."""
    return [original, f"{original} more", f"{original} more and more"]


def test_the_keeper_is_the_longest_or_the_first(find: Find, essay: Essay) -> None:
    """Of near-duplicates the setting decides which stays."""
    items = variants(essay(1, 200))
    assert find(items).groups["row"].to_pylist() == [2]
    assert find(items, keeper="first").groups["row"].to_pylist() == [0]
    assert find([items[0], items[0].upper() + "!!"], keeper="first").groups["row"].to_pylist() == [0]


def test_the_keeper_is_the_one_with_the_highest_score(essay: Essay) -> None:
    """Then the longest; a document without a score comes last."""
    items = [*variants(essay(2, 200)), essay(2, 200).upper()]
    for scores, kept in (([0.1, 0.9, 0.5, None], 1), ([0.2, 0.2, 0.1, 0.2], 1), ([None, None, None, 0.0], 3), ([0.1, None, None, 0.7], 3)):
        batch = to_batch("s", [document(number, item) for number, item in enumerate(items)])
        batch = batch.append_column(SCORES, pa.StructArray.from_arrays([pa.array(scores, pa.float64())], ["good"]))
        assert find_in([[batch]], 4, Looks(Exact(), Near(), ByScore("good"))).groups["row"].to_pylist() == [kept]


def test_what_is_in_another_dataset_goes(find: Find, essay: Essay) -> None:
    """Exact and near duplicates of a document elsewhere name it, and nothing else goes with them."""
    near, same, other = essay(3, 200), essay(4, 200), essay(5, 200)
    found = find([f"{near} indeed", same.upper(), other, essay(6, 200)], others=[same, near, essay(7, 200), near])
    assert found.removed["row"].to_pylist() == [0, 1]
    assert found.removed["rule"].to_pylist() == ["against", "against"]
    assert found.removed["duplicate_of"].to_pylist() == [min(record_id("o", "1"), record_id("o", "3")), record_id("o", "0")]
    assert found.removed["score"].to_pylist()[1] == 1.0 > found.removed["score"].to_pylist()[0] > 0.9
    assert find([other], others=[near, near]).removed.num_rows == 0


def test_the_order_of_the_other_documents_does_not_matter(find: Find, essay: Essay) -> None:
    """Whichever of several is named, it is the same one in any order, also among exact copies with other ids."""
    random = Random(1)
    items = [copy for seed in range(4) for copy in variants(essay(seed, 120))]
    others = to_batch("o", [document(number, item) for number, item in enumerate([*items, *items])])
    ours = to_batch("s", [document(number, f"{item} again") for number, item in enumerate(items)])
    looks = Looks(Exact(), Near())
    answers = []
    for _ in range(3):
        order = random.sample(range(len(others)), len(others))
        answers.append(find_in([[ours], [others.take(pa.array(order))]], len(ours), looks))
    assert answers[0].removed.equals(answers[1].removed) and answers[1].removed.equals(answers[2].removed)
    assert answers[0].removed.num_rows == len(items)


def test_buckets_and_blocks_of_any_size_say_the_same(find: Find, essay: Essay, monkeypatch: Any) -> None:
    """Many small tasks find what one large one finds."""
    from pipeline.dedup import find as search

    items = [copy for seed in range(30) for copy in variants(essay(seed, 60 + 5 * seed))]
    items += ["same frame of a page " * 20 + essay(500 + page, 20) for page in range(60)]
    whole = find(items)
    assert whole.removed.num_rows >= 60
    for name, size in (("BUCKET_ENTRIES", 16), ("PART_ROWS", 7), ("BLOCK_CHARS", 3000)):
        monkeypatch.setattr(search, name, size)
    cut = find(items, cuts=[3, 50, 77])
    assert cut.removed.equals(whole.removed) and cut.groups.equals(whole.groups)
    assert np.array_equal(cut.num_hot_buckets, whole.num_hot_buckets)
