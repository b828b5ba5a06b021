"""Finding, opening and recognising files."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Skipped
from pipeline.errors import UsageError
from pipeline.extractors import files
from pipeline.extractors.files import SourceError, SourceFile, kind_of, list_files

TEXT = b"Bread wants time.\n" * 50


def zstd(data: bytes) -> bytes:
    """Zstandard as pyarrow writes it."""
    return pa.compress(data, codec="zstd", asbytes=True)


PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


def source(folder: Path, data: bytes, name: str = "a.txt") -> SourceFile:
    """A file of a source."""
    (folder / name).write_bytes(data)
    return SourceFile(folder / name, name)


def content(file: SourceFile) -> bytes:
    """All of a file, decompressed."""
    with file.open() as stream:
        return stream.read()


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS.keys())
def test_decompresses_by_content(tmp_path: Path, pack) -> None:
    """Compressed content is decompressed whatever the name says, all members of it, and can be peeked at."""
    file = source(tmp_path, pack(TEXT) + pack(b"second member"), "plain.txt")
    assert content(file) == TEXT + b"second member"
    assert file.peek(5) == b"Bread"
    with file.open() as stream:
        assert not stream.seekable()


def test_plain_files_are_seekable(tmp_path: Path) -> None:
    """A file that is not compressed is given as it is, and can be read out of order."""
    file = source(tmp_path, TEXT)
    with file.open() as stream:
        assert stream.seekable()
        stream.seek(6)
        assert stream.read(5) == b"wants"


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS.keys())
def test_damage_is_an_error(tmp_path: Path, pack) -> None:
    """A compressed stream cut short raises SourceError and never passes for the whole; so does a changed byte where there is a checksum."""
    packed = pack(bytes(range(256)) * 20)
    changed = packed[:-20] + bytes([packed[-20] ^ 255]) + packed[-19:]
    for broken in (packed[:-5], packed[: len(packed) // 2], *([changed] if pack is not zstd else [])):
        with pytest.raises(SourceError):
            content(source(tmp_path, broken))


def test_damaged_zstd_never_crashes(tmp_path: Path) -> None:
    """Any damage to a Zstandard stream gives bytes or SourceError, nothing else."""
    packed = bytearray(zstd(TEXT))
    for position in range(len(packed)):
        broken = bytes(packed[:position]) + bytes([packed[position] ^ 85]) + bytes(packed[position + 1 :])
        try:
            content(source(tmp_path, broken))
        except SourceError as error:
            assert error.reason.startswith(("cannot be read: ", "decompression bomb: "))


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS.keys())
def test_bombs_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack) -> None:
    """A stream that expands beyond the caps raises; the same stream passes when it expands within them."""
    file = source(tmp_path, pack(b"a" * 3_000_000))
    assert len(content(file)) == 3_000_000
    monkeypatch.setattr(files, "FREE_EXPANSION_BYTES", 100_000)
    with pytest.raises(SourceError, match="bomb"):
        content(file)


@given(st.binary(max_size=300))
def test_xz_and_others_never_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Bytes after any magic number are read or refused with SourceError."""
    folder = tmp_path_factory.mktemp("noise")
    for magic in (b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"):
        try:
            content(source(folder, magic + data))
        except SourceError:
            continue


def test_a_fifo_never_blocks(tmp_path: Path) -> None:
    """A FIFO, a device, a folder and a missing file are refused when opened, with a reason that names no path."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "nothing"):
        with pytest.raises(SourceError) as caught:
            SourceFile(path, "x").open()
        assert str(tmp_path) not in caught.value.reason


def test_lists_files_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    """Files come in one order everywhere; dot files and ``__`` folders are left out; odd names keep their bytes."""
    odd = os.fsdecode(b"\xff.txt")
    for name in ("b/x.txt", "b-a.txt", "b.txt", "B.txt", ".hidden", "__removed/part.parquet", "__init__.html", "b/.git/x", "__manifest.json", odd, "new\nline"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    names = [item.name for item in list_files(tmp_path) if isinstance(item, SourceFile)]
    assert names == ["B.txt", "__init__.html", "b-a.txt", "b.txt", "b/x.txt", "new\nline", odd]
    assert [os.fsencode(name) for name in names] == sorted(os.fsencode(name) for name in names)


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    """A link to a file inside is followed; links that lead out, to a folder, in a loop or nowhere, and FIFOs, are reported and never read."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.txt").write_text("inside")
    (tmp_path / "secret.txt").write_text("outside")
    (root / "good.txt").symlink_to(root / "sub" / "a.txt")
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    (root / "loop").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "dangling").symlink_to(root / "gone")
    os.mkfifo(root / "pipe")
    found = list(list_files(root))
    assert [item.name for item in found if isinstance(item, SourceFile)] == ["good.txt", "sub/a.txt"]
    assert {item.locator for item in found if isinstance(item, Skipped)} == {"out.txt", "loop", "self", "dangling", "pipe"}


def test_one_file_lists_itself(tmp_path: Path) -> None:
    """A file named as a source is read, also through a link, because the user named it; a missing one is the user's mistake."""
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    (found,) = list_files(tmp_path / "link.csv")
    assert isinstance(found, SourceFile)
    assert found.name == "link.csv"
    assert content(found) == b"x"
    with pytest.raises(UsageError, match="no such file"):
        list(list_files(tmp_path / "gone"))


def arrow_stream() -> bytes:
    """An empty Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("text", pa.string())])):
        pass
    return sink.getvalue().to_pybytes()


KINDS = [
    ("page.htm", b"hello", "html"),
    ("page", b"\n<!DOCTYPE html><title>x</title>", "html"),
    ("a.CSV", b"x", "csv"),
    ("a.tsv.gz", gzip.compress(b"a\tb\n"), "csv"),
    ("a.csv", gzip.compress(b"a,b\n"), "csv"),
    ("table", b"a;b\n1;2\n3;4\n5;6\n", "csv"),
    ("dump.sql.bz2", bz2.compress(b"SELECT 1;"), "sql"),
    ("dump", b"-- MySQL dump 10.13\n", "sql"),
    ("a.ndjson", b"{}", "jsonl"),
    ("rows", b'{"a": 1}\n{"a": 2}\n', "jsonl"),
    ("list", b'[\n {"a": 1}\n]', "json"),
    ("a.json", b"{}", "json"),
    ("whatever.txt", b"PAR1....", "parquet"),
    ("a.parquet", b"junk", "parquet"),
    ("a.arrow", b"", "arrow"),
    ("stream", arrow_stream(), "arrow"),
    ("README", b"Read me, please, or do not.\n", "text"),
    ("notes.md", b"<html> is a tag", "text"),
    ("empty", b"", "text"),
    ("utf16.txt", "plain words in two bytes each".encode("utf-16"), "text"),
    ("photo.html", b"\x89PNG\r\n\x1a\n....", None),
    ("zip.csv", b"PK\x03\x04....", None),
    ("noise", bytes(range(256)) * 20, None),
    ("broken.csv.gz", gzip.compress(TEXT)[:-9][:20], "csv"),
]


@pytest.mark.parametrize(("name", "data", "kind"), KINDS, ids=[name for name, _, _ in KINDS])
def test_kinds(tmp_path: Path, name: str, data: bytes, kind: str | None) -> None:
    """The name decides among kinds of text, the content where the name is silent, and binary content is never taken for text."""
    assert kind_of(source(tmp_path, data, name)) == kind


@given(st.binary(max_size=200))
def test_kind_of_anything(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Any content has a kind or none; nothing raises."""
    kind_of(source(tmp_path_factory.mktemp("any"), data, "any"))
