"""Checkpoints that are trusted only when they were written to the end."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.commits import write_json

SEAL = "complete.json"
"""Written last into a checkpoint: the size of each of its files in bytes."""

_STATE = "trainer_state.json"


def seal(checkpoint: Path) -> None:
    """Say that a checkpoint is complete, once all of it is on disk."""
    write_json(checkpoint / SEAL, sync(checkpoint))


def sync(folder: Path) -> dict[str, int]:
    """Put every file below ``folder`` on disk; gives their sizes in bytes by relative path."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    return sizes


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was sealed and its files still have their sizes."""
    try:
        sizes: dict[str, int] = json.loads((checkpoint / SEAL).read_text())
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def last_complete(folder: Path, log: Callable[[str], None]) -> Path | None:
    """The latest complete checkpoint to resume from, or None; incomplete ones are removed and reported.

    The checkpoint of a run's very last step does not count: the Trainer would train one step more.
    """
    found = [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    for checkpoint in sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True):
        if not is_complete(checkpoint):
            log(f"{checkpoint.name} was not written to its end; it is not used")
            shutil.rmtree(checkpoint)
            continue
        state: dict[str, Any] = json.loads((checkpoint / _STATE).read_text())
        if state["global_step"] < state["max_steps"]:
            return checkpoint
    return None
