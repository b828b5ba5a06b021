"""The texts that benchmarks run on: those given, else documentation that every Python brings along."""

from __future__ import annotations

import ast
import json
import os
import sysconfig
import tarfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UsageError

GIVEN = Path("../shared/peers/small.tar.xz")
"""Looked for where no corpus is named."""

MAX_BYTES = 24_000_000
"""Texts beyond so many bytes are left out: enough for rates that repeat, and a benchmark ends in minutes."""


@dataclass(frozen=True)
class Corpus:
    """Texts, and where they come from."""

    texts: tuple[str, ...]
    origin: str

    @cached_property
    def megabytes(self) -> float:
        """Size of all texts as UTF-8, in 10^6 bytes."""
        return sum(len(text.encode("utf-8", "replace")) for text in self.texts) / 1e6

    @property
    def about(self) -> str:
        """Number, size and origin, for people."""
        return f"{len(self.texts):,} documents, {self.megabytes:.1f} MB, from {self.origin}"

    def write(self, path: Path, as_turns: bool = False) -> Path:
        """The texts as Parquet: a column ``text``, or ``messages`` of a question and the text as the assistant's answer."""
        path.parent.mkdir(parents=True, exist_ok=True)
        ids = [f"document-{number:06d}" for number in range(len(self.texts))]
        if as_turns:
            rows = [[{"role": "user", "content": "What does the manual say?"}, {"role": "assistant", "content": text}] for text in self.texts]
            table = pa.table({"id": ids, "messages": rows})
        else:
            table = pa.table({"id": ids, "text": list(self.texts)})
        pq.write_table(table, path, row_group_size=1000)
        return path


def load(path: Path | None, max_bytes: int = MAX_BYTES) -> Corpus:
    """The corpus at ``path``, at BENCH_CORPUS, or at the usual place; else docstrings. A .jsonl file, or a tar of such, of rows with ``text``."""
    named = path or (Path(os.environ["BENCH_CORPUS"]) if os.environ.get("BENCH_CORPUS") else None)
    if named is not None and not named.is_file():
        raise UsageError(str(named), "is not a file", "name a .jsonl file of rows with text, or a tar of such files")
    if named is None and GIVEN.is_file():
        named = GIVEN
    if named is None:
        return Corpus(_capped(_docstrings(), max_bytes), "docstrings of the installed Python's library")
    texts = _capped(_rows(named), max_bytes)
    if not texts:
        raise UsageError(str(named), "holds no row with a text", "name a .jsonl file of rows with text, or a tar of such files")
    return Corpus(texts, f"the corpus given ({named.name})")


def _capped(texts: Iterator[str], max_bytes: int) -> tuple[str, ...]:
    taken, size = [], 0
    for text in texts:
        size += len(text.encode("utf-8", "replace"))
        if size > max_bytes:
            break
        taken.append(text)
    return tuple(taken)


def _rows(path: Path) -> Iterator[str]:
    if ".tar" in path.suffixes or path.suffix in (".tgz", ".txz"):
        with tarfile.open(path) as archive:
            for member in sorted((m for m in archive if m.isfile() and m.name.endswith(".jsonl")), key=lambda m: m.name):
                yield from _texts(archive.extractfile(member) or ())
    else:
        with path.open("rb") as lines:
            yield from _texts(lines)


def _texts(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        row = json.loads(line)
        if isinstance(row, dict) and isinstance(row.get("text"), str):
            yield row["text"]


def _docstrings() -> Iterator[str]:
    """One text for each module of the standard library: the docstrings in it, in order."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "test" in path.parts or "site-packages" in path.parts:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError):
            continue
        nodes = (n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef))
        text = "\n\n".join(docstring for node in nodes if (docstring := ast.get_docstring(node)))
        if len(text) > 200:
            yield text
