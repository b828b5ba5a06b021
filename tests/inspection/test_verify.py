"""The tools beside the stages: the first page, verify, and errors in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import __main__ as tools
from pipeline.commits import Build, ShardWriter
from pipeline.documents import SCHEMA, Document, to_batch


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A small committed dataset."""
    with Build(tmp_path / "data" / "clean", "k") as build, ShardWriter(build.folder, "", "00000", SCHEMA) as writer:
        writer.write(to_batch("s", [Document("0", text="A text.")]))
        build.commit(writer.close(), {"stage": "filter"}, {})
    return tmp_path / "data" / "clean"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """``gristmill ARGUMENTS`` in this process."""
    monkeypatch.setattr(sys, "argv", ["gristmill", *map(str, arguments)])
    return tools.main()


def test_whole_dataset(dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An untouched dataset, named itself or by the folder above it, passes."""
    assert run(monkeypatch, "verify", dataset) == 0
    assert run(monkeypatch, "verify", dataset.parent) == 0
    assert capsys.readouterr().out == f"{dataset}: 2 files as written\n" * 2


def test_flipped_bit_foreign_and_missing_file(dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed byte, a file that does not belong and one that is gone are each one line, exit code 1."""
    shard = dataset / "part-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 4
    shard.write_bytes(data)
    (dataset / "stray.txt").write_text("x")
    assert run(monkeypatch, "verify", dataset) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "not those that were written" in lines[0] and "stray.txt: is not in the manifest" in lines[1]
    shard.unlink()
    assert run(monkeypatch, "verify", dataset) == 1
    assert "part-00000.parquet: is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["verfy"], "verfy: is not a command; did you mean 'verify'?"),
        (["verify"], "verify: nothing has been built yet; run: make extract"),
        (["verify", "nowhere"], "nowhere: is not there; check the path"),
        (["verify", "."], ".: holds no dataset; name a folder with a __manifest.json, or one above it"),
    ],
)
def test_mistakes(arguments: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A user's mistake is one line and exit code 2."""
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err == f"{line}\n"


def test_first_page(tmp_path: Path) -> None:
    """Without arguments python -m pipeline lists its commands, and each of them has help."""
    checkout = Path(tools.__file__).resolve().parents[1]
    page = subprocess.run([sys.executable, "-m", "pipeline"], cwd=checkout, capture_output=True, text=True, check=True).stdout
    assert all(name in page for name in tools.COMMANDS)
    for name in tools.COMMANDS:
        done = subprocess.run([sys.executable, "-m", "pipeline", name, "--help"], cwd=checkout, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "usage:" in done.stdout, done.stderr
