"""Keeps a second run off a folder that is being written; the lock goes with its process, however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pipeline.errors import UsageError


def lock(target: Path) -> IO[str]:
    """The lock of ``target``, an open file beside it; raises UsageError when another run holds it, or nothing can be written there."""
    path = target.parent / f".{target.name}.lock"
    while True:
        try:
            file = path.open("w")
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            raise UsageError(str(target), f"cannot be written ({error.strerror})", "name another folder, or make this one writable") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise UsageError(str(target), "another run is writing it", "wait until that run has ended") from None
        with suppress(FileNotFoundError):
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        file.close()


def unlock(held: IO[str]) -> None:
    """Give it back. A file that cannot be removed locks nothing, and what was committed stays committed."""
    with suppress(OSError):
        Path(held.name).unlink(missing_ok=True)
    held.close()


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of ``target`` for the time of a context; raises as ``lock`` does."""
    held = lock(target)
    try:
        yield
    finally:
        unlock(held)
