"""Arrow imports pandas only when somebody uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def python(code: str, folder: Path) -> str:
    """What a Python of its own prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_arrays_are_made_without_pandas_and_frames_with_it(tmp_path: Path) -> None:
    """Left out, pandas is not imported for an array; ``to_pandas`` brings it all the same, and Arrow knows a Series from then on."""
    code = """
import sys, pyarrow as pa
from pipeline.pandas_later import leave_pandas_out
leave_pandas_out()
pa.array([1, 2]), pa.table({"a": ["x"]})
print("pandas" in sys.modules)
print(pa.table({"a": [1]}).to_pandas().shape)
import pandas as pd
print(pa.array(pd.Series(["a", None])).null_count)
"""
    assert python(code, tmp_path).split("\n") == ["False", "(1, 1)", "1"]


@pytest.mark.parametrize("stage", ["filter", "tokenize"])
def test_let_in_arrow_knows_a_series(stage: str, tmp_path: Path) -> None:
    """A stage leaves pandas out; for a user's own class it is let in again, so that an array of a Series has nulls where the Series has none."""
    code = f"""
import sys
from pipeline import pandas_later
from pipeline.stages import {stage} as module
try:
    module.main([])
except Exception:
    pass
before = "pandas" in sys.modules
pandas_later.let_pandas_in()
import pandas as pd, pyarrow as pa
print(before, pa.array(pd.Series(["a", None])).null_count)
"""
    assert python(code, tmp_path).endswith("False 1")
