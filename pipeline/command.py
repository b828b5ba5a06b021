"""What every command shares: the arguments of a stage, one-line errors, exit codes."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import GristmillError, UsageError, nearest
from pipeline.pools import default_workers
from pipeline.remote import Place, Url, place


class _Asking(tuple[str, ...]):
    """In place of a command line: the parser is wanted, and nothing shall run."""


class _Answer(Exception):  # noqa: N818 (it is no error)
    """The parser that was asked for; never leaves ``parser_of``."""


class _Parser(argparse.ArgumentParser):
    """Errors in one line, exit code 2."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        if isinstance(args, _Asking):
            raise _Answer(self)
        return super().parse_args(args, namespace)

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(self.prog, message, f"see {self.prog} --help")


def stage_parser(stage: str, what: str) -> argparse.ArgumentParser:
    """The arguments that all stages have in common."""
    parser = _Parser(prog=f"python -m pipeline.stages.{stage}", description=what)
    parser.add_argument("paths", nargs="+", metavar="PATH", type=place, help="INPUT... OUTPUT: what to read, and last the folder to write")
    parser.add_argument("--settings", type=Path, metavar="FILE", help=f"settings (default: stages/{stage}.yaml where there is one, else built-in)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="put one setting over the file's")
    parser.add_argument("--workers", type=int, default=default_workers(), metavar="N", help="processes to use (default: the cores, here %(default)s)")
    parser.add_argument("--scheduler", default=os.environ.get("DASK_SCHEDULER_ADDRESS"), metavar="ADDRESS", help="a Dask scheduler such as tcp://host:8786")
    add_common(parser)
    add_json(parser)
    return parser


def add_common(parser: argparse.ArgumentParser) -> None:
    """``--quiet`` and ``--debug``."""
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``, for stages."""
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def parser(prog: str, what: str) -> argparse.ArgumentParser:
    """A parser for a tool."""
    tool = _Parser(prog=prog, description=what)
    add_common(tool)
    return tool


def parser_of(main: Callable[[Sequence[str]], object]) -> argparse.ArgumentParser:
    """The parser of a command: its ``main`` runs up to where it would parse. Raises TypeError for one that has no parser of this module."""
    try:
        main(_Asking())
    except _Answer as answer:
        parser: argparse.ArgumentParser = answer.args[0]
        return parser
    raise TypeError(f"{main.__module__}.{main.__name__} parses nothing")


def inputs_and_output(paths: Sequence[Place], prog: str) -> tuple[list[Place], Path]:
    """``INPUT... OUTPUT`` apart, each input there (a URL is looked at when it is listed); raises UsageError."""
    *inputs, last = paths
    if not inputs:
        raise UsageError(prog, "needs an input and an output", "write INPUT... OUTPUT")
    if isinstance(last, Url):
        raise UsageError(str(last), "is not on this machine", "name a folder here to write to, and copy it there when it is done")
    output = last
    for path in inputs:
        if isinstance(path, Url):
            continue
        require_beside(output, require(path))
    return inputs, output


def require(path: Path) -> Path:
    """``path`` when it is there; else UsageError with the nearest name in its folder."""
    if not path.exists():
        folder = path.parent
        if path.is_symlink():
            raise UsageError(str(path), "is a link to nothing", "mend the link, or name another path")
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        raise UsageError(str(path), "is not there", nearest(path.name, names) if names else "check the path")
    return path


def require_beside(output: Path, given: Path) -> None:
    """Raises UsageError when the output is what is read, or lies in it."""
    if output.resolve().is_relative_to(given.resolve()):
        raise UsageError(str(output), f"lies in the input {given}", "write the output beside it")


def run(main: Callable[[Sequence[str]], int | None], arguments: Sequence[str] | None = None) -> int:
    """Call ``main`` with the arguments; a user's mistake becomes one line and exit code 2, a failed run one line and exit code 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may hold bytes that are no text
    try:
        return main(given) or 0
    except KeyboardInterrupt:
        print("interrupted; run again to resume", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (GristmillError, OSError, MemoryError) as error:
        if "--debug" in given:
            traceback.print_exc()
        print(_line(error), file=sys.stderr)
        return error.exit_code if isinstance(error, GristmillError) else 1


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and not isinstance(error, GristmillError):
        where = error.filename or "system"
        todo = "; free some space and run again: finished parts are kept" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{where}: {error.strerror or error}{todo}"
    if isinstance(error, MemoryError):
        return "memory: there is not enough; run again with fewer --workers"
    return str(error)
