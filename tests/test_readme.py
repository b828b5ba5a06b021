"""What the README shows is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.documents import Document, Message, to_batch, turns
from pipeline.extractors.sources import ExtractSettings
from pipeline.filters.verdicts import Find, verdicts
from pipeline.settings import between, build, parse_yaml
from tests.documented import CHECKOUT, blocks

README = CHECKOUT / "README.md"


def block(language: str, number: int = 0) -> str:
    """A code block of a language, the first by default."""
    return blocks(README, language)[number].text


def test_the_example_filter_works() -> None:
    """The filter of the README removes what it says."""
    names: dict[str, Any] = {"dataclass": dataclass, "ClassVar": ClassVar, "Self": Self, "Find": Find, "pa": pa}
    names |= {"between": between, "turns": turns, "verdicts": verdicts, "__name__": "readme"}
    exec(compile(block("python"), "README.md", "exec", dont_inherit=True), names)
    loud = Document("1", messages=(Message("user", "WHY IS THIS SO LOUD"), Message("assistant", "I do not know.")))
    judged = names["NoShouting"]().judge(to_batch("s", [Document("0", text="A calm text."), loud]))
    assert judged.column("reason").to_pylist() == [None, "mostly capital letters"]
    assert judged.column("message").to_pylist() == [None, 0]


def test_the_example_sources_are_settings() -> None:
    """The sources of the README are read without a complaint."""
    settings = build(ExtractSettings, parse_yaml(block("yaml"), "README.md"))
    assert list(settings.sources) == ["blog", "tickets", "shop"]


def test_the_example_board_becomes_conversations(tmp_path: Path) -> None:
    """The ten lines of the README turn the dump they name into conversations."""
    text = block("yaml", 1)
    assert len(text.splitlines()) == 10
    (tmp_path / "extract.yaml").write_text(text.replace("tests/", f"{CHECKOUT}/tests/"))
    command = [sys.executable, "-m", "pipeline.stages.extract", "--settings", "extract.yaml", "--source", "board", "out", "--workers", "1"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, check=True, capture_output=True)
    rows = pq.read_table(next((tmp_path / "out").glob("*.parquet"))).to_pylist()
    assert {message["role"] for row in rows for message in row["messages"]} == {"user", "assistant"}


def test_help_lists_the_goals() -> None:
    """Make help names every goal with what it does."""
    out = subprocess.run(["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    for goal in ("extract", "clean", "tokenize", "train", "plan", "verify", "test", "check", "reset"):
        assert re.search(rf"^  {goal} +\w", out, re.MULTILINE), goal


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """CI runs what the README names as the test command."""
    assert "    make test\n" in README.read_text(encoding="utf-8")
    assert (CHECKOUT / ".ci" / "run").read_text().rstrip().endswith("\nmake test")


def test_settings_say_who_reads_them() -> None:
    """The first line of every settings file of the bench names the module that reads it."""
    for path in [*(CHECKOUT / "stages").glob("*.yaml"), *(CHECKOUT / "train").glob("*.yaml"), *(CHECKOUT / "filters").glob("*.yaml")]:
        assert "pipeline." in path.read_text(encoding="utf-8").splitlines()[0], path.name
