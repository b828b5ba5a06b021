"""What a command costs: CPU seconds, wall seconds and peak memory of a child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GristmillError

PACKAGE = Path(__file__).resolve().parents[2]
"""The folder that holds the package, for the children."""


@dataclass(frozen=True)
class Cost:
    """Of a process and the children it waited for: user and system CPU seconds, wall seconds, largest resident set in MB."""

    cpu_seconds: float
    wall_seconds: float
    peak_mb: float


_LAUNCHER = """
import json, os, subprocess, sys
child = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(child.pid, 0)
with open(sys.argv[1], "w") as file:
    json.dump([used.ru_utime + used.ru_stime, used.ru_maxrss], file)
sys.exit(os.waitstatus_to_exitcode(status) and 1)
"""
"""Runs the command from a small process: a child's peak memory begins at that of the process it was forked from."""


def run(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> Cost:
    """Run a command in ``folder`` to its end; raises GristmillError with its last line when it fails."""
    started = time.monotonic()
    log, used = folder / "log.txt", (folder / "used.json").resolve()
    with log.open("wb") as output:
        launch = [sys.executable, "-S", "-c", _LAUNCHER, str(used), *command]
        code = subprocess.run(launch, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=_with_bytecode(env or {}), check=False).returncode
    wall = time.monotonic() - started
    if code:
        lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        raise GristmillError(" ".join(command[:4]), f"failed ({lines[-1][:200]})", f"see {log}")
    cpu_seconds, peak = json.loads(used.read_text())
    return Cost(cpu_seconds, wall, peak * (1 if sys.platform == "darwin" else 1024) / 1e6)  # bytes there, kilobytes elsewhere


def _with_bytecode(env: Mapping[str, str]) -> dict[str, str]:
    """The environment with ``env`` over it, in which Python keeps its compiled modules: an installed package is not compiled at each start."""
    return {name: value for name, value in (os.environ | env).items() if name != "PYTHONDONTWRITEBYTECODE"}


def module(name: str, *arguments: object) -> list[str]:
    """The command line of a module of this package, run by this Python."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def own_package() -> dict[str, str]:
    """The environment in which a child finds this package wherever it stands."""
    return {"PYTHONPATH": str(PACKAGE)}


def least(costs: Sequence[Cost]) -> Cost:
    """The run of least CPU time: what else the machine did only adds."""
    return min(costs, key=lambda cost: cost.cpu_seconds)


def environment(folder: Path, packages: Sequence[str]) -> Path:
    """The Python of a virtual environment with ``packages``, made once; raises GristmillError when it cannot be made."""
    python, stamp = folder / "bin" / "python", folder / ".packages"
    wanted = "\n".join(packages)
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    folder.mkdir(parents=True, exist_ok=True)
    run([sys.executable, "-m", "venv", str(folder)], folder)
    run([str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *packages], folder)
    stamp.write_text(wanted)
    return python
