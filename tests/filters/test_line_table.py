"""Lines are counted in bounded memory, and the table of what recurs does not depend on how the work was divided."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.filters import line_table
from pipeline.filters.line_table import RUNS, LineCounter, merge, min_signs, num_ranges, read_table, write_table

DOCUMENTS = st.lists(st.tuples(st.sets(st.integers(0, 12), max_size=6), st.integers(0, 63)), max_size=40)
"""Documents as the lines they hold and their sign."""


def key(line: int) -> int:
    """Keys spread over all 64 bits, the smallest and the greatest among them."""
    return (2**64 - 1) * line // 12


def write_runs(path: Path, documents: list[tuple[set[int], int]]) -> int:
    """Count documents into a file of runs; a line with an odd number stands within the text."""
    with pa.ipc.new_file(str(path), RUNS) as file:
        counter = LineCounter(file.write_batch)
        for lines, sign in documents:
            keys = np.array([key(line) for line in sorted(lines)], np.uint64)
            counter.add(keys, np.array([line % 2 == 1 for line in sorted(lines)], np.bool_), np.full(len(lines), sign, np.uint64))
        counter.close()
    return counter.num_written


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(documents=DOCUMENTS, cut=st.integers(0, 40), ranges=st.integers(1, 5), block=st.sampled_from([1, 7, 1 << 20]))
def test_the_table_is_what_a_dictionary_counts(
    documents: list[tuple[set[int], int]], cut: int, ranges: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any division into files, runs and ranges gives the counts of a plain dictionary, in the order of the keys."""
    monkeypatch.setattr(line_table, "BLOCK_LINES", block)
    files = [tmp_path / "a.arrow", tmp_path / "b.arrow"]
    for path, part in zip(files, (documents[:cut], documents[cut:]), strict=True):
        write_runs(path, part)
    counts = Counter(line for lines, _ in documents for line in lines)
    signs = {line: len({sign for lines, sign in documents if line in lines}) for line in counts}
    for max_inner in (0.05, 1.0):
        merged = [merge(files, number, ranges, 3, max_inner) for number in range(ranges)]
        write_table(tmp_path / "table.arrow", merged, {"books": len(documents)})
        table = read_table(tmp_path / "table.arrow")
        wanted = {key(line): n for line, n in counts.items() if n >= 3 and signs[line] >= min_signs(3) and (max_inner == 1 or line % 2 == 0)}
        assert dict(zip(table.keys.tolist(), table.counts.tolist(), strict=True)) == wanted
        assert table.keys.tolist() == sorted(wanted) and table.documents == {"books": len(documents)}
        every = np.array([key(line) for line in range(13)], np.uint64)
        assert table.lookup(every).tolist() == [wanted.get(one, 0) for one in every.tolist()]


def test_blocks_are_written_when_they_are_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting lines never exceed a block: memory does not grow with the number of documents."""
    monkeypatch.setattr(line_table, "BLOCK_LINES", 10)
    written = write_runs(tmp_path / "runs.arrow", [({1, 2, 3}, n % 64) for n in range(100)])
    sizes = [run.num_rows for run in line_table._runs(tmp_path / "runs.arrow")]
    assert len(sizes) == 25 and max(sizes) <= 10 and sum(sizes) == written


def test_ranges_grow_with_what_was_counted() -> None:
    """More lines are merged in more ranges, each of bounded size."""
    assert num_ranges(0) == 1
    assert num_ranges(10 * line_table.BLOCK_LINES + 1) == 11


def test_copies_of_one_document_are_no_evidence(tmp_path: Path) -> None:
    """A line that stands in a thousand copies of one document does not recur; one in ten documents does."""
    write_runs(tmp_path / "runs.arrow", [({0}, 5)] * 1000 + [({2}, n) for n in range(10)])
    assert merge([tmp_path / "runs.arrow"], 0, 1, 10, 1.0).column("key").to_pylist() == [key(2)]
