"""Functions as machine code, for loops over bytes and numbers that Python is too slow for; importing this loads numba (a third of a second)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

NEEDLESS = frozenset(["scipy", "cffi"])
"""What numba imports where it is there, for functions that are not used here: more time and memory than all the rest of it."""


class _Without(MetaPathFinder):
    """Says that there is nothing of that."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> None:
        """Raise ModuleNotFoundError for it; leave all else to the others."""
        if fullname.partition(".")[0] in NEEDLESS:
            raise ModuleNotFoundError("not now", name=fullname)


@contextmanager
def _alone() -> Iterator[None]:
    finder = _Without()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _alone():
    numba: Any = import_module("numba")


def compiled(function: Function) -> Function:
    """The function as machine code, kept for later processes where a folder for it can be written; divisions are not checked."""
    try:
        made = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no folder for the cache can be written
        made = numba.njit(nogil=True, error_model="numpy")(function)
    return cast(Function, made)


@compiled
def _nothing(number: int) -> int:
    return number


with _alone():
    _nothing(0)  # numba loads the rest of itself with the first function
