"""python -m pipeline completion SHELL: prints a script by which bash, zsh or fish completes the commands of ``gristmill``, their options and recipes.

bash: ``gristmill completion bash > ~/.local/share/bash-completion/completions/gristmill``; zsh: into a folder of ``fpath`` as ``_gristmill``;
fish: into ``~/.config/fish/completions/gristmill.fish``. The script is plain text: nothing of Python runs when the tab key is hit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline import command
from pipeline.__main__ import COMMANDS
from pipeline.exporting.command import KINDS
from pipeline.remote import place

PROG = "gristmill"
SHELLS = ("bash", "zsh", "fish")

FOLDERS = ("DIR", "FOLDER", "DATASET", "RUN", "TOKENS", "OUT", "OUTPUT")
"""What arguments are called that name a folder; any other path may be a file."""
PLACES = ("SOURCE", "ID|PATH|TEXT")
"""What arguments are called that are no paths to argparse, and mostly are one."""

RECIPES = """
_gristmill_recipe_files() {
  compgen -W "$(command ls train/*.yaml train/*.yml 2>/dev/null)" -- "$1"
  compgen -f -X '!*.y*ml' -- "$1"
  compgen -d -- "$1"
}
_gristmill_recipe_names_and_files() {
  compgen -W "$(command ls train 2>/dev/null | sed -n 's/\\.ya*ml$//p')" -- "$1"
  _gristmill_recipe_files "$1"
}
"""
"""bash: the recipes of the project at once, without a step through the folder train/."""


def whole_parser() -> argparse.ArgumentParser:
    """Every command as one parser, ``gristmill COMMAND ...``; it is there to be looked at, not to parse."""
    parser = argparse.ArgumentParser(prog=PROG)
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, (module, what) in COMMANDS.items():
        if name == "export":
            kinds = commands.add_parser(name, help=what).add_subparsers(metavar="KIND")
            for kind, (its_module, its_what) in KINDS.items():
                _add(kinds, kind, its_module, its_what)
        else:
            _add(commands, name, module, what)
    return parser


def _add(commands: Any, name: str, module: str, what: str) -> None:
    own = command.parser_of(import_module(module).main)
    commands.add_parser(name, help=what, parents=[own], add_help=False)


def script(shell: str) -> str:
    """The script for one of ``SHELLS``."""
    import shtab

    parser = whole_parser()
    for action in _arguments(parser):
        found = _completer(action)
        if found is not None:
            action.complete = found  # type: ignore[attr-defined]  # where shtab looks for it
    return str(shtab.complete(parser, shell=shell))


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action.choices, dict):
            for inner in action.choices.values():
                yield from _arguments(inner)


def _completer(action: argparse.Action) -> Any:
    """What shtab shall offer for an argument: recipes, folders, files, or nothing of its own."""
    import shtab

    if action.dest == "recipe":
        files: dict[str, Any] = shtab.glob("*.yaml", "*.yml")
        function = "_gristmill_recipe_files" if action.type is Path else "_gristmill_recipe_names_and_files"
        return {**files, "bash": function, "preamble": {**files["preamble"], "bash": RECIPES}}
    if action.type is Path and action.metavar in FOLDERS:
        return shtab.DIRECTORY
    if action.type in (Path, place) or action.metavar in PLACES:
        return shtab.FILE
    return None


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline completion", __doc__ or "")
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    print(script(parser.parse_args(given).shell))
    return 0
