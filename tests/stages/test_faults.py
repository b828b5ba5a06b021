"""Faults of the system: a full disk, errors of a disk, kills, read-only folders, clocks that jump, two runs, changed bits. A dataset is whole or not there."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pipeline.attending import Work, attend
from pipeline.commits import WORK, Build, ShardWriter
from pipeline.datasets import committed, open_dataset, verify
from pipeline.documents import SCHEMA, Document, to_batch
from pipeline.errors import DatasetError, UsageError
from pipeline.pools import Processes

from .conftest import environment, run_module, tree

KILOBYTES_FREE = (4, 20, 40)
"""Less than one file of the dataset, some of its files, all but its last ones."""

NUM_FAULTS = 3
"""How many calls of a run are hit, of each kind of fault."""

FLIPS_A_FILE = 25

HIT = """
import errno, os, signal, sys
fault, left, count = os.environ["FAULT"], int(os.environ["FAULT_AT"]), 0

def hook(event, args):
    global count
    if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir") and ".partial-" in str(args[0]):
        count += 1
        if count == left and fault == "KILL":
            os.kill(os.getpid(), signal.SIGKILL)
        if count == left and fault != "COUNT":
            number = getattr(errno, fault)
            raise OSError(number, os.strerror(number), str(args[0]))

sys.addaudithook(hook)
from pipeline import command
from pipeline.stages import filter

code = command.run(filter.main)
print(f"calls: {count}")
sys.exit(code)
"""
"""The filter stage in a process in which one call on a file of the build is hit: Python tells a hook of each before it is done."""


@pytest.fixture(scope="module")
def raw(messy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What extract makes of the messy folder."""
    folder = tmp_path_factory.mktemp("faults") / "raw"
    done = run_module("pipeline.stages.extract", messy, folder, "--workers", "1", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def clean(raw: Path) -> Path:
    """What filter makes of it."""
    folder = raw.parent / "clean"
    done = run_module("pipeline.stages.filter", raw, folder, "--workers", "1", cwd=raw.parent)
    assert done.returncode == 0, done.stderr
    return folder


Disk = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Disk]]:
    """A small file system in memory, and how to change it (``size=40k``, ``ro``)."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)

    if shutil.which("mount") is None or mount("-t", "tmpfs", "-o", "size=16m", "none").returncode:
        pytest.skip("mounting a tmpfs is not allowed here")

    def change(option: str) -> None:
        assert mount("-o", f"remount,{option}").returncode == 0

    yield folder, change
    subprocess.run(["umount", str(folder)], check=True)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed stage says."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_full_disk(raw: Path, clean: Path, disk: tuple[Path, Disk]) -> None:
    """A stage whose disk is full says so in one line and commits nothing; with room again it goes on to the same bytes."""
    folder, change = disk
    for free in KILOBYTES_FREE:
        change(f"size={free}k")
        line = one_line(run_module("pipeline.stages.filter", raw, folder / "clean", "--workers", "1", cwd=folder))
        assert "No space left on device; free some space and run again" in line
        assert not (folder / "clean").exists()
    change("size=16m")
    assert run_module("pipeline.stages.filter", raw, folder / "clean", "--workers", "1", cwd=folder).returncode == 0
    assert tree(folder / "clean") == tree(clean)
    assert [path.name for path in folder.iterdir()] == ["clean"]


def test_full_disk_keeps_the_old_dataset(clean: Path, disk: tuple[Path, Disk]) -> None:
    """A dataset that cannot be replaced stays as it is."""
    folder, change = disk
    shutil.copytree(clean, folder / "clean")
    change(f"size={-(-shutil.disk_usage(folder).used // 1024) + 4}k")
    settings = ["--set", "remove.length.min_chars=90"]
    assert "No space left" in one_line(run_module("pipeline.stages.filter", clean.parent / "raw", folder / "clean", *settings, cwd=folder))
    assert tree(folder / "clean") == tree(clean) and verify(open_dataset(folder / "clean")) == []


def test_read_only_output(raw: Path, disk: tuple[Path, Disk]) -> None:
    """A folder that cannot be written to is the user's mistake, in one line."""
    folder, change = disk
    change("ro")
    done = run_module("pipeline.stages.filter", raw, folder / "clean", cwd=raw.parent)
    assert done.returncode == 2
    assert one_line(done) == f"{folder / 'clean'}: cannot be written (Read-only file system); name another folder, or make this one writable"


def hit(raw: Path, out: Path, fault: str, at: int) -> subprocess.CompletedProcess[str]:
    """The filter stage with its ``at``-th call hit by the fault."""
    env = environment({"FAULT": fault, "FAULT_AT": str(at)})
    given = [sys.executable, "-c", HIT, str(raw), str(out), "--workers", "1"]
    return subprocess.run(given, cwd=raw.parent, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def num_calls(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many calls on files of the build a run makes."""
    done = hit(raw, tmp_path_factory.mktemp("counted") / "clean", "COUNT", 0)
    return int(done.stdout.rpartition("calls: ")[2])


@pytest.mark.parametrize("fault", ["KILL", "EIO"])
def test_any_call_may_fail(fault: str, raw: Path, clean: Path, num_calls: int, tmp_path: Path) -> None:
    """At whichever call a run is killed or meets an error: nothing half is there, an error is one line, and runs after it end in the same bytes."""
    out = tmp_path / "clean"
    num_hit = 0
    for at in random.Random(fault).sample(range(1, num_calls), NUM_FAULTS):
        done = hit(raw, out, fault, at)
        num_hit += done.returncode != 0
        if fault != "KILL" and done.returncode:
            assert done.returncode == 1 and os.strerror(getattr(errno, fault)) in done.stderr.splitlines()[-1], done.stderr
            assert "Traceback" not in done.stderr
            assert not out.exists()
        if out.exists():
            assert tree(out) == tree(clean), at
            shutil.rmtree(out)
    assert num_hit >= NUM_FAULTS // 2
    assert run_module("pipeline.stages.filter", raw, out, "--workers", "1", cwd=tmp_path).returncode == 0
    assert tree(out) == tree(clean)
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


def test_two_runs_at_once(raw: Path, clean: Path) -> None:
    """While one run writes a dataset, another one of the same is refused in one line and changes nothing."""
    before = tree(clean)
    with Build(clean, "another key"):
        done = run_module("pipeline.stages.filter", raw, clean, cwd=raw.parent)
    assert done.returncode == 2 and one_line(done) == f"{clean}: another run is writing it; wait until that run has ended"
    assert tree(clean) == before


@pytest.mark.parametrize("seconds", [86_400, 4_070_908_800])
def test_times_of_files(seconds: int, messy: Path, raw: Path, tmp_path: Path) -> None:
    """Sources that seem to come from 1970 or 2099 give the same bytes, and what was made of them counts as made."""
    copy = tmp_path / messy.name
    shutil.copytree(messy, copy)
    for path in copy.rglob("*"):
        os.utime(path, (seconds, seconds))
    assert run_module("pipeline.stages.extract", copy, tmp_path / "out", "--workers", "1", cwd=tmp_path).returncode == 0
    assert tree(tmp_path / "out") == tree(raw)


def small(target: Path) -> None:
    """A dataset of one document."""
    with Build(target, "k") as build, ShardWriter(build.folder, "", "00000", SCHEMA, always=True) as writer:
        writer.write(to_batch("s", [Document("0", text="A text.")]))
        build.commit(writer.close(), {"stage": "extract"}, {})


def test_clock_that_is_set_back_during_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a run took does not follow the clock on the wall."""
    times = count(4_000_000_000, -86_400)
    monkeypatch.setattr(time, "time", lambda: float(next(times)))
    small(tmp_path / "clean")
    assert 0 <= json.loads((tmp_path / "clean" / "__run.json").read_text())["seconds"] < 600


def test_lock_that_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed is not called a failure for a lock file that stays, and that file locks nothing."""
    unlink = Path.unlink

    def failing(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".lock":
            raise OSError(errno.EIO, "Input/output error", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", failing)
    small(tmp_path / "clean")
    monkeypatch.undo()
    assert committed(tmp_path / "clean") is not None and (tmp_path / ".clean.lock").exists()
    small_again = Build(tmp_path / "clean", "k")
    with small_again:
        assert small_again.ready is not None
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


def problems(folder: Path) -> list[str]:
    """What ``verify`` says of a dataset."""
    try:
        return verify(open_dataset(folder))
    except DatasetError as error:
        return [str(error)]


def test_any_flipped_bit_is_named(clean: Path, tmp_path: Path) -> None:
    """One changed bit in any file of a dataset, its manifest and account of the run included, is found, and the file is named."""
    folder = tmp_path / "clean"
    shutil.copytree(clean, folder)
    dice = random.Random(9)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.name for path in files} >= {"__manifest.json", "__run.json", ".huggingface.yaml", "part-00000.parquet"}
    for path in files:
        content = path.read_bytes()
        for bit in dice.sample(range(len(content) * 8), FLIPS_A_FILE):
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            assert any(str(path) in line for line in problems(folder)), (path.name, bit)
        path.write_bytes(content)
    assert problems(folder) == []


def test_verify_goes_on_after_a_damaged_manifest(tmp_path: Path) -> None:
    """One dataset that cannot be read does not keep the next ones from being looked at."""
    for name in ("a", "b"):
        small(tmp_path / "data" / name)
    (tmp_path / "data" / "a" / "__manifest.json").write_text("{")
    done = run_module("pipeline", "verify", "data", cwd=tmp_path)
    first, second = done.stdout.splitlines()
    assert done.returncode == 1 and "a/__manifest.json: is damaged" in first and second == "data/b: 2 files as written"


def fill(folder: Path, name: str, task: Any) -> None:
    """A task that needs more room than there is."""
    with (folder / name).open("wb") as file:
        file.write(bytes(2**20))


def test_full_disk_is_no_document_s_fault(disk: tuple[Path, Disk]) -> None:
    """A task that runs in a process of its own and finds the disk full says that, and neither ends its worker nor costs a document."""
    folder, change = disk
    (folder / WORK).mkdir()
    change("size=16k")
    with pytest.raises(OSError, match="No space left"), (folder / "other").open("wb") as other:
        other.write(bytes(2**20))
    with pytest.raises(OSError, match="No space left"):
        attend(Work("work", fill, folder, "a", None, 60))


def test_fork_server_that_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server that starts the workers is gone, another one is started."""
    submit, refused = ProcessPoolExecutor.submit, [EOFError("unexpected EOF"), ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")]

    def failing(pool: ProcessPoolExecutor, *args: Any) -> Any:
        if refused:
            raise refused.pop()
        return submit(pool, *args)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", failing)
    with Processes(1) as workers:
        assert workers.submit(max, 1, 2).result() == 2


def test_folder_of_another_user(tmp_path: Path) -> None:
    """Where the system does not let us write, one line says so."""
    if os.geteuid() == 0:
        pytest.skip("the administrator may write everywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="cannot be written"), Build(tmp_path / "clean", "k"):
            pass
    finally:
        tmp_path.chmod(0o700)
