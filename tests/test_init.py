"""A new project: laid out into an empty folder, and its goals work at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.init import lay_out

CHECKOUT = Path(__file__).resolve().parents[1]


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Make in the project, with this interpreter."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "MAKEFLAGS": ""}
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_an_empty_project_cleans_what_is_put_there(tmp_path: Path) -> None:
    """Without the sample: one text in data/sources goes through extract and clean, and a second make does nothing."""
    folder = tmp_path / "new"
    lay_out(folder, with_sample=False)
    (folder / "data" / "sources" / "note.md").write_text("Bread wants time more than it wants work, and gardens are the same.\n")
    first = make(folder, f"PY={sys.executable}", "extract", "clean")
    assert first.returncode == 0, first.stderr
    assert (folder / "data" / "clean" / "__manifest.json").is_file()
    assert "pipeline.stages" not in make(folder, f"PY={sys.executable}", "extract", "clean").stdout


def test_the_sample_is_there(tmp_path: Path) -> None:
    """With the sample the plan names every stage; nothing of the checkout's own build comes along."""
    lay_out(tmp_path)
    assert {path.name for path in (tmp_path / "data" / "sources").iterdir()} == {"README.md", "forum.sql", "instructions.csv"}
    assert not list(tmp_path.rglob("__pycache__"))
    planned = make(tmp_path, f"PY={sys.executable}", "-n", "clean")
    assert planned.returncode == 0, planned.stderr
    assert "pipeline.stages.extract" in planned.stdout and "pipeline.stages.filter" in planned.stdout


def test_a_python_without_gristmill_is_said(tmp_path: Path) -> None:
    """One line says what to do."""
    lay_out(tmp_path, with_sample=False)
    done = make(tmp_path, "PY=false", "clean")
    assert done.returncode == 2 and "false has no gristmill; activate the environment that has it" in done.stderr


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A folder with anything in it is refused, and left as it is."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        lay_out(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
