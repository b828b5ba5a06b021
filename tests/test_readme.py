"""What the README shows is so."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa

from pipeline.documents import Document, Message, to_batch, turns
from pipeline.extractors.sources import ExtractSettings
from pipeline.filters.verdicts import Find, verdicts
from pipeline.settings import between, build, parse_yaml

CHECKOUT = Path(__file__).resolve().parents[1]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The first code block of a language."""
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found
    return found[1]


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
    assert list(settings.sources) == ["blog", "tickets", "forum"]


def test_help_lists_the_goals() -> None:
    """Make help names every goal with what it does."""
    out = subprocess.run(["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    for goal in ("extract", "clean", "tokenize", "train", "plan", "verify", "test", "check", "reset"):
        assert re.search(rf"^  {goal} +\w", out, re.MULTILINE), goal


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """CI runs what the README names as the test command."""
    assert "    make test\n" in README
    assert (CHECKOUT / ".ci" / "run").read_text().rstrip().endswith("\nmake test")


def test_settings_say_who_reads_them() -> None:
    """The first line of every settings file of the bench names the module that reads it."""
    for path in [*(CHECKOUT / "stages").glob("*.yaml"), *(CHECKOUT / "train").glob("*.yaml"), *(CHECKOUT / "filters").glob("*.yaml")]:
        assert "pipeline." in path.read_text(encoding="utf-8").splitlines()[0], path.name
