"""Keeps Arrow from importing pandas before anybody uses it.

pyarrow imports pandas with the first array that it makes of Python values, only to know a Series if it met one: a fifth of a second of every
process. Told once that there is none, it goes on without. ``to_pandas`` and its kind import pandas all the same when they are called.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from typing import Any

import pyarrow as pa


class _NotNow(MetaPathFinder):
    """Says that there is no pandas."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> None:
        """Raise ModuleNotFoundError for pandas; leave all else to the others."""
        if fullname == "pandas":
            raise ModuleNotFoundError("not now", name=fullname)


def leave_pandas_out() -> None:
    """Let Arrow find no pandas, until ``let_pandas_in``; without effect where it is imported already."""
    if "pandas" in sys.modules:
        return
    finder = _NotNow()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


def let_pandas_in() -> None:
    """Let Arrow know pandas: for code of others, which may make an array of a Series."""
    pa.array([0]).to_pandas()
