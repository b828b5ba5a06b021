"""Code blocks and commands of Markdown pages, and whether a command line is one that would be understood."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline import command
from pipeline.__main__ import COMMANDS
from pipeline.exporting.command import KINDS

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", CHECKOUT / "SECURITY.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]

SHELLS = ("sh", "bash", "console")
TOOLS = ("accelerate", "cat", "cd", "cp", "git", "mkdir", "printf", "rsync", "sed", "source", "ssh", "nvidia-smi", "dask", ".", "export", "mv")
"""Programs that are not ours, of which no options are checked."""

BUILT = ("data/", "build/")
"""What does not lie in a checkout until something is run."""

_FENCE = re.compile(r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_HEREDOC = re.compile(r"<<'(\w+)'.*?\n(?:.*?\n)??\1\n", re.S)
_FILE = re.compile(r"(?:train|stages|filters|tests|docs|pipeline)/[\w./-]+\.\w+")


@dataclass(frozen=True)
class Command:
    """A command line, and what the page shows of its output (None: nothing)."""

    line: str
    output: str | None = None


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``mark`` is the comment right above it."""

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""

    @property
    def where(self) -> str:
        """Page and line, for messages."""
        return f"{self.page.relative_to(CHECKOUT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether the page does not say that it is only to be read."""
        return not self.mark.startswith("not run: ")

    def commands(self) -> list[Command]:
        """Its commands: the lines behind ``$ `` with what follows each, or every line; none where the block is something else."""
        if self.language not in ("", *SHELLS):
            return []
        if self.text.startswith("$ "):
            parts = re.split(r"^\$ ", self.text, flags=re.M)[1:]
            return [Command(line, output) for line, _, output in (part.partition("\n") for part in parts)]
        lines = [line for line in _joined(self.text) if line.strip() and not line.startswith("#")]
        if self.language in SHELLS or all(_begins_with_a_program(line) for line in lines):
            return [Command(line) for line in lines]
        return []


def _joined(text: str) -> list[str]:
    """Lines of a script: continued ones as one, and what is between ``<<'END'`` and ``END`` left out."""
    return _HEREDOC.sub("\n", text).replace("\\\n", " ").splitlines()


def _begins_with_a_program(line: str) -> bool:
    return line.split()[0] in ("python", "make", "pip", "gristmill", *TOOLS)


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of a page, in order; of these languages, or of all."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        inner = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M)
        found.append(Block(page, text.count("\n", 0, match.start("language")) + 1, match["language"], inner, match["mark"] or ""))
    return [block for block in found if not languages or block.language in languages]


def inline_commands(page: Path) -> list[str]:
    """Commands of ours that stand in the middle of a sentence, between backticks, or in an indented line."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    indented = [line.partition(" #")[0].strip() for line in re.findall(r"^ {4}((?:python -m pipeline|make ).*)$", prose, re.M)]
    return indented + re.findall(r"`((?:python -m pipeline|make |gristmill )[^`\n]*)`", prose)


def simple_commands(line: str) -> Iterator[list[str]]:
    """The commands of a line with ``|``, ``&&`` and the like, as words, without redirections, assignments and comments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    skip = False
    for word in lexer:
        if skip or word.startswith((">", "<")):
            skip = not skip
        elif set(word) <= set("|&;"):
            yield words
            words = []
        elif words or not re.fullmatch(r"[A-Z_]+=.*", word):
            words.append(word)
    yield words


@dataclass
class Check:
    """Looks for what would not be understood; ``problems`` says all of it."""

    page: str
    problems: list[str] = field(default_factory=list)

    def line(self, line: str) -> None:
        """A whole command line: every argument must be one that the command takes, every file one that is there."""
        for words in filter(None, simple_commands(line)):
            self._words(words)
        for name in _FILE.findall(line):
            writes = re.search(rf"(?:> ?|example: |cp \S+ ){re.escape(name)}", self.page)
            if not (writes or (CHECKOUT / name).exists() or re.search(r"[A-Z]{3}", name)):
                self.problems.append(f"{line}: {name} is not there")

    def mention(self, line: str) -> None:
        """A command in a sentence, which may be cut short: the command and its options must exist."""
        words = re.sub(r"[\[\]|]|\.\.\.", " ", line).split()
        if words[0] == "make":
            self._make([word for word in words[1:] if word.islower()])
            return
        module, rest = _ours(words)
        parser = _parser(module) if module else None
        known = {option for action in parser._actions for option in action.option_strings} if parser else None
        if module is None or not importlib.util.find_spec(module):
            self.problems.append(f"{line}: is no command")
        elif known is not None:
            self.problems += [f"{line}: there is no {word}" for word in rest if word.startswith("--") and word.split("=")[0] not in known]

    def _words(self, words: list[str]) -> None:
        program = words[0].rpartition("/")[2]
        if program == "make":
            self._make(words[1:])
        elif program in ("python", "python3", "gristmill") or "-m" in words:
            if not any(word.endswith(".py") for word in words):  # a script: its file is looked for
                self._ours(words)
        elif program == "pip":
            wanted = {name for word in words for part in re.findall(r"\[(.*?)\]", word) for name in part.split(",")}
            known = re.findall(r"^(\w+) = \[", (CHECKOUT / "pyproject.toml").read_text(), re.M)
            self.problems += [f"{' '.join(words)}: there is no extra {name}" for name in wanted - set(known)]
        elif program not in TOOLS:
            self.problems.append(f"{' '.join(words)}: {program} is no command that is known here")

    def _make(self, words: list[str]) -> None:
        text = (CHECKOUT / "Makefile").read_text() + (CHECKOUT / "pipeline" / "goals.mk").read_text()
        goals = re.findall(r"^([a-z-]+):(?!=)", text, re.M)
        for word in words:
            name, is_value, _ = word.partition("=")
            if not (f"$({name})" in text if is_value else name in goals or name.startswith("-")):
                self.problems.append(f"make {' '.join(words)}: there is no {name}")

    def _ours(self, words: list[str]) -> None:
        module, rest = _ours(words)
        if module is None or not importlib.util.find_spec(module):
            self.problems.append(f"{' '.join(words)}: is no command")
            return
        parser = _parser(module)
        if parser is None or {"--help", "-h"} & set(rest):
            return
        try:
            parser.parse_args(rest)
        except command.UsageError as error:
            self.problems.append(f"{' '.join(words)}: {error}")


def _ours(words: list[str]) -> tuple[str | None, list[str]]:
    """The module that a command line runs, and its arguments."""
    if words[0] == "gristmill":
        module, rest = "pipeline", words[1:]
    elif "-m" in words:
        at = words.index("-m")
        module, rest = words[at + 1], words[at + 2 :]
    else:
        return None, []
    if module != "pipeline" or not rest:
        return module, rest
    if rest[0] == "export" and len(rest) > 1:
        return (KINDS[rest[1]][0] if rest[1] in KINDS else None), rest[2:]
    return (COMMANDS[rest[0]][0] if rest[0] in COMMANDS else None), rest[1:]


def _parser(module: str) -> Any:
    """The parser of a module of ours, or None where it has none (a program that takes one path)."""
    spec = importlib.util.find_spec(module) if module.startswith("pipeline.") else None
    if spec is None or spec.origin is None:
        return None
    name = f"{module}.__main__" if spec.submodule_search_locations else module
    path = Path(spec.origin).with_name("__main__.py") if spec.submodule_search_locations else Path(spec.origin)
    has_one = re.search(r"\b_?(stage_)?parser\(", path.read_text(encoding="utf-8"))
    return command.parser_of(import_module(name).main) if has_one else None
