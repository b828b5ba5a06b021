"""A small project in which everything was built: raw, clean and tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

LINES = [
    "Mix the flour with water, salt and a little yeast, and let the dough rest overnight in a cool place.",
    "As an AI language model, I cannot help with that.",
    "As an AI language model, I don't have personal preferences, but Python is readable and comes with a large library.",
    "A primary key is a column, or several together, whose value names a row of a table and no other row.",
    "A primary key is a column, or several together, whose value names a row of a table and no other row.",
    "Ten letters",
]


def run(module: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``python -m MODULE ARGUMENTS`` in a folder, output captured."""
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Path:
    """The project's folder; nobody writes to it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "sources").mkdir()
    turns = [
        {"messages": [{"role": "user", "content": f"Question {n}?"}, {"role": "assistant", "content": line}]} for n, line in enumerate(LINES[:5])
    ]
    (folder / "sources" / "talk.jsonl").write_text("\n".join(map(json.dumps, turns)) + '\n{"broken\n')
    (folder / "sources" / "notes.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in (LINES[0], LINES[3], LINES[5])))
    for name in ("talk", "notes"):
        assert run("pipeline.stages.extract", f"sources/{name}.jsonl", f"data/raw/{name}", cwd=folder).returncode == 0
    assert run("pipeline.stages.filter", "data/raw", "data/clean", cwd=folder).returncode == 0
    done = run("pipeline.stages.tokenize", "data/clean", "data/tokens/tiny", "--tokenizer", tiny_tokenizer, "--length", 256, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder
