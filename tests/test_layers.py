"""Nobody imports sideways, and heavy libraries stay in the modules that need them."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "pipeline"

FLOORS = [
    {"errors"},
    {
        "settings",
        "documents",
        "text",
        "spans",
        "decoding",
        "datasets",
        "commits",
        "lock",
        "report",
        "progress",
        "attending",
        "pools",
        "remote",
        "units",
        "bench",
        "command",
        "models",
        "pandas_later",
        "compiled",
        "summary",
    },
    {"quality"},
    {"extractors", "filters", "dedup", "packing", "training", "sample"},
    {"stages"},
    {"plan", "exporting", "inspection", "reporting", "benchmarks", "stamp", "init", "environment", "completion", "__main__"},
]
"""Lower floors first: a module imports from its own room and from lower floors; on the second floor also from its neighbours."""

SHARED_FLOOR = 1

HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "pandas", "distributed", "bs4", "trafilatura", "matplotlib", "datasets")
MAY_IMPORT_AT_ONCE = {"training"}
"""Rooms whose modules may import heavy libraries at the top; stages import those rooms inside functions."""


def room(name: str) -> str:
    """The room of a module: the first name below the package."""
    return name.split(".")[1] if "." in name else "__init__"


def floor(name: str) -> int:
    """The floor a room is on."""
    return next(i for i, rooms in enumerate(FLOORS) if name in rooms)


def modules() -> list[Path]:
    """Every module of the package."""
    return sorted(path for path in PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> list[str]:
    """The modules of this package that a module imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pipeline":
            found += [f"pipeline.{alias.name}" for alias in node.names] if node.module == "pipeline" else [node.module]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == "pipeline"]
    return found


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    """A module imports from its own room, from lower floors, and on the shared floor from its neighbours."""
    here = room(name_of(path))
    for other in map(room, imports(path)):
        if other in ("__init__", "__version__") or here in ("__init__", other):
            continue
        allowed = floor(other) < floor(here) or floor(other) == floor(here) == SHARED_FLOOR
        lazily_named = here == "models" and other == "training"  # models starts the unpacking of weights, inside a function
        from_the_top = here in FLOORS[-1] and other in FLOORS[-1]
        assert allowed or lazily_named or from_the_top, f"{name_of(path)} imports {other}"


def loaded_by(statement: str) -> set[str]:
    """The top-level modules in memory after a statement in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return set(out.stdout.split())


@pytest.mark.parametrize("stage", ["extract", "filter", "tokenize", "train"])
def test_stages_start_light(stage: str) -> None:
    """Importing a stage imports none of the heavy libraries."""
    assert not loaded_by(f"import pipeline.stages.{stage}") & set(HEAVY)


def test_planning_is_light() -> None:
    """Make asks the plan at every run: it must start at once."""
    assert not loaded_by("import pipeline.plan") & set(HEAVY)


def test_every_module_imports_alone() -> None:
    """No module needs another one to have been imported first (workers import them in any order)."""
    torch = importlib.util.find_spec("torch")
    names = [name_of(path) for path in modules() if path.name != "__main__.py" and (torch or path.parent.name != "training")]
    code = "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in reversed(names))
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent, capture_output=True)


def test_no_file_is_long() -> None:
    """No file has more than 400 lines."""
    long = {name_of(path): n for path in modules() if (n := len(path.read_text().splitlines())) > 400}
    assert not long


def test_no_drawers() -> None:
    """There is no utils.py, helpers.py, base.py nor core."""
    assert not [path for path in modules() if path.stem in ("utils", "helpers", "base", "core", "common", "misc")]
