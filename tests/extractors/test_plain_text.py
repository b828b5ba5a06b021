"""Text and Markdown files."""

from __future__ import annotations

import bz2
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Document, Extracted, Removed, Skipped
from pipeline.extractors import plain_text
from pipeline.extractors.files import SourceFile
from pipeline.extractors.plain_text import PlainText


def read(folder: Path, data: bytes, name: str = "a.md") -> Extracted:
    """The items of a file with these bytes."""
    (folder / name).write_bytes(data)
    (item,) = PlainText().read(SourceFile(folder / name, name))
    return item


@pytest.mark.parametrize("data", ["# Häuser\n".encode(), "# Häuser\n".encode("utf-16"), bz2.compress("# Häuser\n".encode()), "\ufeff# Häuser\r\n\0".encode()])
def test_a_file_is_a_document(tmp_path: Path, data: bytes) -> None:
    """A file is one document, whatever its encoding and compression, without byte order mark and control characters."""
    item = read(tmp_path, data)
    assert isinstance(item, Document)
    assert (item.locator, item.text) == ("a.md", "# Häuser\n")


def test_separators_and_odd_characters_stay(tmp_path: Path) -> None:
    """Characters that some libraries take for line ends or drop stay as they are."""
    text = "a\u2028b\u0301c\u200bd \U000e0041 \ue000\n"
    item = read(tmp_path, text.encode())
    assert isinstance(item, Document)
    assert item.text == text


def test_broken_bytes_are_never_replaced(tmp_path: Path) -> None:
    """A file with a byte that is no text is skipped, with the place of that byte."""
    before = ("überall schöne Häuser " * 9).encode()
    item = read(tmp_path, before + b"\xff\xff" + "äöü".encode())
    assert isinstance(item, Skipped)
    assert item.offset == len(before)


def test_what_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Binary content and files beyond the cap are skipped, empty ones removed."""
    assert isinstance(read(tmp_path, b"\x89PNG\r\n\x1a\n"), Skipped)
    assert isinstance(read(tmp_path, b""), Removed)
    assert isinstance(read(tmp_path, b" \n\n"), Removed)
    monkeypatch.setattr(plain_text, "MAX_TEXT_BYTES", 10)
    assert isinstance(read(tmp_path, b"a" * 11), Skipped)
    assert isinstance(read(tmp_path, b"a" * 10), Document)


@given(st.binary(max_size=300))
def test_any_bytes_are_one_item(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Any bytes give one item, and a document's text can be written as UTF-8 and holds no replacement that was not there."""
    item = read(tmp_path_factory.mktemp("any"), data)
    if isinstance(item, Document):
        assert item.text is not None
        item.text.encode()
        assert "\ufffd" not in item.text or b"\xef\xbf\xbd" in data or b"\xff\xfd" in data or b"\xfd\xff" in data
