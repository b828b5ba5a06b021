"""Rules made ready, kept beside their file as Python keeps compiled modules: making 400 of them ready takes a fifth of a second at each start.

What is kept counts only for the very bytes of the rule file, and of the code that read it; where nothing can be written, nothing is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.filters import match_view

FOLDER = "__pycache__"


def load(path: Path, text: str) -> list[dict[str, Any]] | None:
    """What ``store`` kept for the rule file at ``path`` of this ``text``, or None."""
    try:
        kept = json.loads(_place(path).read_bytes())
        return list(kept["rules"]) if kept["of"] == _digest(text) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store(path: Path, text: str, rules: list[dict[str, Any]]) -> None:
    """Keep plain data for next time, unless Python is told to keep no compiled modules (``PYTHONDONTWRITEBYTECODE``)."""
    if sys.dont_write_bytecode:
        return
    place = _place(path)
    temporary = place.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        place.parent.mkdir(exist_ok=True)
        temporary.write_text(json.dumps({"of": _digest(text), "rules": rules}, ensure_ascii=False), encoding="utf-8")
        temporary.replace(place)


def _place(path: Path) -> Path:
    return path.parent / FOLDER / f"{path.name}.json"


def _digest(text: str) -> str:
    return hashlib.sha256(_code() + text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _code() -> bytes:
    """The bytes of the modules that make rules ready."""
    return b"".join(Path(str(module)).read_bytes() for module in (match_view.__file__, Path(__file__).with_name("rules.py")))
