"""How stages end: the same account as lines and as JSON, the next command last, nothing when quiet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.stages import extract, tokenize
from pipeline.stages import filter as filtering


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CSV file of which one row is a copy and one a refusal, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    path = Path("notes.csv")
    path.write_text("id,body\n1,Bread wants time more than work\n2,Bread wants time more than work\n3,As an AI language model I cannot say\n")
    return path


def test_lines_and_json_say_the_same(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every stage prints one JSON object with --json, also where its work is done already; its counts add up, and the lines name them."""
    stages = [(extract.main, [str(table), "raw"]), (filtering.main, ["raw", "clean"])]
    for main, arguments in stages:
        capsys.readouterr()
        assert main([*arguments, "--workers", "1"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert main([*arguments, "--workers", "1", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert lines[1] == f"{told['stage']}: {told['output']}" and lines[-1] == f"  next: {told['next']}"
        (counts,) = told["counts"].values()
        assert counts["read"] == counts["kept"] + sum(counts["removed"].values()) == 3
        assert lines[3].split()[:3] == ["notes", "3", str(counts["kept"])]
        manifest = json.loads((Path(told["output"]) / "__manifest.json").read_text())
        assert told["digest"] == manifest["digest"] and told["counts"] == manifest["counts"]
        assert main([*arguments, "--workers", "1", "--quiet"]) == 0 and not capsys.readouterr().out
    assert counts["kept"] == 1


def test_every_stage_has_json() -> None:
    """The option is there for the stages whose runs take longer, too."""
    from pipeline.command import parser_of
    from pipeline.stages import perplexity, train

    for stage in (tokenize, perplexity, train):
        assert "--json" in parser_of(stage.main).format_help()
