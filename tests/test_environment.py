"""The maker of the virtual environment: what it depends on, and which torch it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import environment


def test_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the stamp of the same requirements nothing is installed, whatever the file's time; further extras are added to the old ones."""
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(environment, "_run", lambda *command: ran.append(command))
    assert environment.main([str(tmp_path), "dask"]) == 0
    assert any("[dask]" in word for command in ran for word in command)
    ran.clear()
    assert environment.main([str(tmp_path), "dask"]) == 0 and not ran
    assert environment.main([str(tmp_path), "db"]) == 0
    assert any("[dask,db]" in word for command in ran for word in command)
    ran.clear()
    assert environment.main([str(tmp_path), "dask"]) == 0 and not ran


def test_failed_step_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A failing pip leaves no stamp, and says what to do."""

    def refuse(*command: str) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(environment, "_run", refuse)
    assert environment.main([str(tmp_path / "venv"), "dask"]) == 1
    assert "could not be made" in capsys.readouterr().err
    assert not (tmp_path / "venv" / ".made").exists()


@pytest.mark.parametrize(("gpu", "brings_cuda", "asks_uv"), [(True, True, False), (False, True, True), (False, False, False)])
def test_which_torch(gpu: bool, brings_cuda: bool, asks_uv: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an NVIDIA GPU the CPU build is asked for, unless pip's own choice is one."""
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(environment, "_run", lambda *command: ran.append(command))
    monkeypatch.setattr(environment, "_has_nvidia_gpu", lambda: gpu)
    monkeypatch.setattr(environment, "_brings_cuda", lambda pip, torch: brings_cuda)
    environment._install_torch(tmp_path, ["pip", "install"])
    assert any("--torch-backend=cpu" in command for command in ran) == asks_uv
    assert ran[-1] == ("pip", "install", "torch==2.13.0")


def test_runs_without_anything_installed(tmp_path: Path) -> None:
    """The script needs the standard library only: it starts in an isolated interpreter without site-packages."""
    script = Path(environment.__file__)
    (tmp_path / ".made").write_text(environment._fingerprint() + " dask\n")
    done = subprocess.run([sys.executable, "-I", "-S", str(script), str(tmp_path), "dask"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""
