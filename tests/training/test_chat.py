"""Chatting with a run of the tiny model."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.inspection import chat


def test_a_run_answers_from_a_pipe(trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line of a pipe gets its answer, the same one for the same seed; a prompt gets one; base and adapter differ."""

    def piped(text: str, *options: str) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert chat.main([str(trained / "runs" / "qlora"), "--max-tokens", "8", "--quiet", *options]) == 0
        return capsys.readouterr().out.splitlines()

    first = piped("Which tree?\n/base\n")
    assert len(first) == 2 and first[0] != first[1]
    assert piped("Which tree?\n/base\n") == first
    assert chat.main([str(trained / "runs" / "qlora"), "--max-tokens", "8", "--prompt", "Which tree?"]) == 0
    assert capsys.readouterr().out.splitlines() == first[:1]
    drawn = piped("Which tree?\n", "--temperature", "2.5", "--seed", "3")
    assert drawn == piped("Which tree?\n", "--temperature", "2.5", "--seed", "3") != first[:1]
    with pytest.raises(UsageError, match="--max-tokens 0"):
        chat.main([str(trained / "runs" / "qlora"), "--max-tokens", "0"])
