"""Which rows name a table's columns, and how."""

from __future__ import annotations

import pytest

from pipeline.extractors.headers import has_header, names_of


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["id", "text"], ["1", "a"]], True),
        ([["1", "a"], ["2", "b"]], False),
        ([["Bread wants time. It does.", "x"], ["More prose here. Really.", "y"]], False),
        ([["yes", "a"], ["yes", "b"], ["no", "c"]], False),
        ([["", "", "x"], ["a", "b", "c"]], False),
        ([["text"], ["a"], ["text"]], True),
        ([], False),
    ],
)
def test_has_header(rows: list[list[str]], expected: bool) -> None:
    """Names are short, different, filled, no numbers, and do not stand among the values."""
    assert has_header(rows) is expected


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ([], ("col_0", "col_1", "col_2")),
        ([["a", " a", "a"]], ("a", " a", "a_2")),
        ([["", "a", ""]], ("", "a", "col_2")),
        ([["a"]], ("a", "", "col_2")),
        ([["Travel", "", "Total"], ["Air", "Rail", ""]], ("Travel Air", "Travel Rail", "Total")),
    ],
)
def test_names_are_all_different(header: list[list[str]], names: tuple[str, ...]) -> None:
    """Names stay as they are written; only one that stands twice, or is missing, gets a number."""
    assert names_of(header, 3) == names
