"""The machine code of the compiled loops is made once and kept."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.dedup import native

pytest.importorskip("numba")

CODE = {name: {"symbol": name, "object": ""} for name in native.ARGUMENTS}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Two empty places, and a compiler that makes nothing."""
    found = [tmp_path / name / "kernels.json" for name in ("package", "user")]
    monkeypatch.setattr(native, "_places", lambda: found)
    monkeypatch.setattr(native, "_compile", lambda: CODE)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    native._code.cache_clear()
    yield found
    native._code.cache_clear()


def test_what_was_compiled_is_kept_and_found(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The next process takes the kept code; a damaged file is made anew."""
    assert not native.is_kept()
    assert native._code() == CODE and native.is_kept() and places[0].is_file()
    monkeypatch.setattr(native, "_compile", lambda: pytest.fail("compiled again"))
    native._code.cache_clear()
    assert native._code() == CODE
    places[0].write_text("{")
    assert not native.is_kept()


def test_where_the_package_cannot_be_written_the_user_keeps_it(places: list[Path]) -> None:
    """A file stands where the folder would."""
    places[0].parent.write_text("")
    assert native._code() == CODE and places[1].is_file() and native.is_kept()


def test_nothing_is_kept_where_python_keeps_nothing(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As PYTHONDONTWRITEBYTECODE asks."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert native._code() == CODE and not native.is_kept()


def test_a_process_with_kept_code_loads_no_compiler(tmp_path: Path) -> None:
    """The machine code stands by itself: it runs where numba was never imported."""
    place = tmp_path / "gristmill" / native._places()[0].name
    place.parent.mkdir()
    place.write_text(json.dumps(native._code()))
    code = (
        "import sys, numpy as np\n"
        "from pipeline.dedup.native import loop\n"
        "common = np.zeros(1, np.int64)\n"
        "rows = np.array([0]), np.array([1])\n"
        "loop('overlaps')(np.array([1, 2, 3, 2, 3, 4], np.uint32), np.array([0, 3, 6]), *rows, 1, common)\n"
        "print(int(common[0]), 'numba' in sys.modules)\n"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]


def test_an_array_of_another_kind_is_refused() -> None:
    """A pointer to other numbers, or to numbers with gaps, would be read as something else."""
    offsets, counts = np.array([0, 1]), np.zeros(1, np.int64)
    for data in (np.zeros(4, np.int64), np.zeros(8, np.uint8)[::2]):
        with pytest.raises(ctypes.ArgumentError):
            native.loop("count_visible")(data, offsets, 1, counts)
