"""python -m pipeline init DIR: lays out a new project that works at once: a Makefile, settings, rules, recipes and a small sample.

In DIR, `make extract clean tokenize train` then runs with the Python that has gristmill, on the sample or on what is put in its place.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline import bench, command
from pipeline.commits import writing
from pipeline.errors import UsageError

SETTINGS = ("stages", "filters", "train")
SOURCES = Path("data", "sources")
GOALS = Path(__file__).with_name("goals.mk")

MAKEFILE = """# A gristmill project. `make help` lists the goals; PY is a Python in which gristmill is installed.
PY ?= python3

GOALS := $(shell $(PY) -c "import pipeline.init; print(pipeline.init.GOALS)")
ifeq ($(GOALS),)
$(error $(PY) has no gristmill; activate the environment that has it, or run make PY=...)
endif
include $(GOALS)
"""

EMPTY = """# The sources of this project, and how each one becomes documents. Everything but `path` can be left out:
# files are recognised by their content and name.
sources:
  pages:
    path: data/sources
"""

IGNORED = "/data/*\n!/data/sources/\n"


def lay_out(folder: Path, with_sample: bool = True) -> list[str]:
    """Write a project into ``folder``, which is new or empty; gives what was written. Raises UsageError when something is there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(str(folder), "is not empty", "name a new folder; nothing is ever written over")
    folder.mkdir(parents=True, exist_ok=True)
    origin = bench.defaults()
    for name in SETTINGS:
        shutil.copytree(origin / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (folder / SOURCES).mkdir(parents=True)
    if with_sample:
        for path in sorted((origin / SOURCES).iterdir()):
            if path.is_file():
                shutil.copy(path, folder / SOURCES)
    else:
        _write(folder / "stages" / "extract.yaml", EMPTY)
    _write(folder / ".gitignore", IGNORED)
    _write(folder / "Makefile", MAKEFILE)
    return ["Makefile", *(f"{name}/" for name in SETTINGS), f"{SOURCES.as_posix()}/"]


def _write(path: Path, text: str) -> None:
    with writing(path) as file:
        file.write(text.encode())


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline init", __doc__ or "")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--empty", action="store_true", help="without the sample")
    arguments = parser.parse_args(given)
    written = lay_out(arguments.folder, not arguments.empty)
    if not arguments.quiet:
        print(f"init: {arguments.folder} has {', '.join(written)}")
        first = "put files into data/sources, then " if arguments.empty else ""
        print(f"  next: cd {arguments.folder}; {first}make extract clean tokenize train (with PY={sys.executable} where python3 has no gristmill)")
    return 0
