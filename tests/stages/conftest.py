"""A small messy folder, and how the tests run stages: as a user does, in processes of their own."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

PAGE = """<!doctype html><html lang="en"><head><title>Bread {n}</title></head><body><nav><a href="/">Home</a> <a href="/all">All recipes</a></nav>
<article><h1>Bread number {n}</h1><p>Mix {n} hundred grams of flour with water, salt and a little yeast, and let the dough rest overnight in a cool place.</p>
<p>Bake it in a very hot oven until the crust is dark, then let it cool on a rack before you cut it, however good it smells by then.</p></article></body></html>"""

ROWS = [
    ("How long do I boil an egg?", "Eight minutes for a firm yolk, six for a soft one, counted from when the water boils again."),
    ("Tell me a secret.", "As an AI language model, I cannot help with that."),
    ("Which language is good for scripts?", "As an AI language model, I don't have personal preferences, but Python is readable and comes with a large standard library."),
    ("What is a primary key?", "A column, or several together, whose value names a row of a table and no other row."),
    ("What is a primary key?", "A column, or several together, whose value names a row of a table and no other row."),
]

DUMP = """-- MySQL dump 10.13
CREATE TABLE `posts` (`id` int NOT NULL, `title` varchar(80), `body` text, PRIMARY KEY (`id`));
INSERT INTO `posts` VALUES (1,'Tomatoes','They want sun, water at the roots and a stick to lean on, or the first storm takes them down.'),
(2,'Slugs','Go out after dark with a torch; beer traps mostly feed the slugs of your neighbours as well as your own.');
"""


def rows_as_messages() -> list[dict[str, object]]:
    """The question and answer pairs as conversations."""
    return [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in ROWS]


def write_messy_folder(folder: Path) -> Path:
    """HTML, CSV, SQL and a compressed JSON lines file, with a refusal, slop, a duplicate and a broken line."""
    (folder / "pages").mkdir(parents=True)
    for n in range(1, 8):
        (folder / "pages" / f"bread {n}.html").write_text(PAGE.format(n=n), encoding="utf-8")
    (folder / "pages" / "picture.html").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)
    lines = ["question,answer", *(f'"{q}","{a}"' for q, a in ROWS)]
    (folder / "answers.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "garden.sql").write_text(DUMP, encoding="utf-8")
    talk = "\n".join(json.dumps(row) for row in rows_as_messages()) + '\n{"messages": [\n'
    (folder / "talk.jsonl.gz").write_bytes(gzip.compress(talk.encode(), mtime=0))
    return folder


@pytest.fixture(scope="session")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The messy folder, made once."""
    return write_messy_folder(tmp_path_factory.mktemp("messy") / "raw")


def run_module(module: str, *arguments: object, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """``python -m MODULE ARGUMENTS`` in a folder, output captured."""
    return subprocess.run(command(module, arguments), cwd=cwd, env=environment(env), capture_output=True, text=True, timeout=300, check=False)


def command(module: str, arguments: Sequence[object]) -> list[str]:
    """The command line of a module."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a subprocess: this checkout's package, and no terminal."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "HF_HUB_OFFLINE": "1", **(extra or {})}


def tree(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder but the one that holds times."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "__run.json")
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
