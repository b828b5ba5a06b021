"""CSV by whole blocks: the same rows as one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.extractors import csv_blocks
from pipeline.extractors.batches import Rows
from pipeline.extractors.csv_blocks import Blocks
from pipeline.extractors.files import SourceFile
from pipeline.extractors.tables import CsvSettings, CsvTable

PIECES = ["a", "b1", ",", ",", ";", '"', '""', '","', '"\n"', "\n", "\n", "\r\n", "\r", " ", "é", "\\", "\0", '"x"', ',"y,\n z",', "\ufeff"]
TOLD: list[dict[str, object]] = [
    {},
    {"delimiter": ","},
    {"delimiter": ",", "quote": '"', "header": True},
    {"delimiter": ",", "quote": ""},
    {"delimiter": ";", "bad_rows": "repair", "nulls": ["a"]},
]


def items(path: Path, **told: object) -> list[str]:
    """Every row with its number, and everything skipped, as text."""
    found: list[object] = []
    for piece in CsvTable(CsvSettings(**told)).rows(SourceFile(path, "a.csv")):  # type: ignore[arg-type]
        if isinstance(piece, Rows):
            assert piece.batch.num_rows == len(piece.numbers)
            found += [(number, *row.values()) for number, row in zip(piece.numbers.tolist(), piece.dicts(), strict=True)]
        else:
            found.append(piece)
    return sorted(map(repr, found))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=60).map("".join),
    st.sampled_from(TOLD),
    st.sampled_from([3, 8, 20, 64, 10_000]),
    st.sampled_from(["utf-8", "cp1252", "utf-16"]),
)
def test_blocks_give_the_same_rows(tmp_path_factory: pytest.TempPathFactory, text: str, told: dict[str, object], block: int, encoding: str) -> None:
    """Whatever a file holds and wherever blocks are cut, rows, their numbers and what is skipped are those of the reader that goes one by one."""
    path = tmp_path_factory.mktemp("blocks") / "a.csv"
    path.write_bytes(text.encode(encoding, "ignore"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_blocks, "BLOCK_BYTES", block)
        fast = items(path, **told)
        patch.setattr(Blocks, "are_possible", False)
        assert fast == items(path, **told)


def test_ordinary_files_go_by_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with quotes, line feeds in cells, carriage returns and delimiters at line ends is read by Arrow, but for the part with a bad row."""
    rows = [f'{number},"two\r\nlines, ""quoted""",x,\r\n' for number in range(3000)]
    path = tmp_path / "a.csv"
    path.write_text("id,text,c,\r\n" + "".join(rows), newline="")
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 10_000)
    taken: list[int] = []
    parsed = Blocks._parsed

    def counting(self: Blocks, block: bytes, surplus: int) -> object:
        made = parsed(self, block, surplus)
        taken.append(0 if made[0] is None else made[0].num_rows)
        return made

    monkeypatch.setattr(Blocks, "_parsed", counting)
    assert len(items(path)) == 3000
    assert sum(taken) == 3000
    taken.clear()
    path.write_text("id,text,c,\r\n" + "".join([*rows[:1000], '5,"br"oken,x,\r\n', *rows[1000:]]), newline="")
    assert len(items(path)) == 3001
    assert 2000 < sum(taken) < 3000


def test_memory_is_that_of_a_block(tmp_path: Path) -> None:
    """Batches are of about the size of a block, however large the file."""
    path = tmp_path / "a.csv"
    path.write_text("id,text\n" + "".join(f"{number},{'word ' * 40}\n" for number in range(30_000)))
    sizes = [piece.batch.nbytes for piece in CsvTable().rows(SourceFile(path, "a.csv")) if isinstance(piece, Rows)]
    assert len(sizes) > 4
    assert max(sizes) < 3 * csv_blocks.BLOCK_BYTES
