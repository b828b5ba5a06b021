"""The tab key: what the shell is told is what the commands take."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import command, completion
from pipeline.__main__ import COMMANDS
from pipeline.errors import UsageError
from pipeline.exporting.command import KINDS

ASK = """
source "$1"; shift
COMP_WORDS=(gristmill "$@"); COMP_CWORD=$#
function=$(complete -p gristmill | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
"$function"; printf '%s\\n' "${COMPREPLY[@]}"
"""
"""What bash does when the tab key is hit: the words so far, then the function that `complete -F` named."""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script for bash."""
    path = tmp_path_factory.mktemp("completion") / "gristmill"
    path.write_text(completion.script("bash"))
    return path


def offered(script: Path, folder: Path, *words: str) -> list[str]:
    """What the tab key offers behind ``gristmill`` and these words, of which the last is begun."""
    done = subprocess.run(["bash", "-c", ASK, "bash", str(script), *words], cwd=folder, capture_output=True, text=True, check=True)
    return sorted(set(done.stdout.split()))


def test_commands_and_options_are_offered(script: Path, tmp_path: Path) -> None:
    """Behind the program's name stand all commands, behind a command its options, behind an option its values."""
    assert offered(script, tmp_path, "") == sorted(COMMANDS)
    assert offered(script, tmp_path, "to") == ["tokenize"]
    assert offered(script, tmp_path, "export", "") == sorted(KINDS)
    assert {"--peek", "--json", "--help"} <= set(offered(script, tmp_path, "tables", "posts.sql", "--"))
    assert offered(script, tmp_path, "search", "a.yaml", "--sampler", "") == ["grid", "random", "tpe"]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "export"])
def test_no_option_is_missing(script: Path, tmp_path: Path, name: str) -> None:
    """Every option that a command takes is offered."""
    options = offered(script, tmp_path, name, "-")
    parser = next(iter(completion.whole_parser()._subparsers._group_actions)).choices[name]  # type: ignore[union-attr, index]
    assert options == sorted(word for action in parser._actions for word in action.option_strings)
    assert "--help" in options


def test_recipes_and_files_are_offered(script: Path, tmp_path: Path) -> None:
    """A recipe by its file, where a name will do by its name; folders for what is a folder."""
    (tmp_path / "train").mkdir()
    (tmp_path / "data" / "runs" / "one").mkdir(parents=True)
    for name in ("mine.yaml", "other.yml", "notes.txt"):
        (tmp_path / "train" / name).touch()
    files = ["train/mine.yaml", "train/other.yml"]
    assert offered(script, tmp_path, "train", "tokens", "run", "--recipe", "train/") == files
    assert offered(script, tmp_path, "estimate", "") == ["data", "train", *files]
    assert offered(script, tmp_path, "search", "mi") == ["mine"]
    assert offered(script, tmp_path, "chat", "data/runs/") == ["data/runs/one"]
    assert "train/notes.txt" in offered(script, tmp_path, "filter", "train/n")


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_gets_a_script(shell: str, tmp_path: Path) -> None:
    """Every command stands in it, and the shell reads it where it is here."""
    text = completion.script(shell)
    assert all(name in text for name in COMMANDS)
    (tmp_path / "script").write_text(text)
    if shutil.which(shell):
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_an_unknown_shell_is_named() -> None:
    """One line says which there are."""
    with pytest.raises(UsageError, match="fish"):
        completion.main(["csh"])


def test_a_command_without_a_parser_is_told_apart() -> None:
    """It has none to give."""
    with pytest.raises(TypeError, match="parses nothing"):
        command.parser_of(lambda given: 0)


def test_commands_start_without_it() -> None:
    """Only the command itself loads what makes scripts, and it loads no torch."""
    code = "import sys; from pipeline.__main__ import _dispatch; _dispatch([]); print('shtab' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.endswith("False\n")
    code = "import sys; from pipeline.completion import script; script('bash'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
