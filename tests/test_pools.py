"""Workers: here or on a cluster, they give the same; a dead one is said, and none outlives a killed run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.commits import Build
from pipeline.errors import GristmillError, UsageError
from pipeline.pools import pool, run_step
from pipeline.progress import Progress

CHECKOUT = Path(__file__).resolve().parents[1]


def square(folder: Path, name: str, task: int) -> dict[str, Any]:
    """A task."""
    (folder / f"{name}.txt").write_text(str(task * task))
    return {"square": task * task}


def die(folder: Path, name: str, task: int) -> dict[str, Any]:
    """A task that kills its worker."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def fail(folder: Path, name: str, task: int) -> dict[str, Any]:
    """A task with a user's mistake in it."""
    raise UsageError("here", "something is wrong", "mend it")


TASKS = {f"{n:05d}": n for n in range(7)}


@pytest.mark.parametrize("workers", [1, 2])
def test_records_in_the_order_of_the_tasks(workers: int, tmp_path: Path) -> None:
    """Every task runs once, and the records come in the order of the tasks."""
    with Build(tmp_path / "out", "k") as build, pool(workers) as executor:
        records = run_step(build, "square", square, TASKS, executor, Progress("test", quiet=True))
        assert [record["square"] for record in records] == [n * n for n in range(7)]
        again = run_step(build, "square", fail, TASKS, executor, Progress("test", quiet=True))
        assert again == records


def test_errors_come_through_whole(tmp_path: Path) -> None:
    """A mistake found in a worker process is the same one line here."""
    with Build(tmp_path / "out", "k") as build, pool(2) as executor, pytest.raises(UsageError, match=r"^here: something is wrong; mend it$"):
        run_step(build, "fail", fail, TASKS, executor, Progress("test", quiet=True))


def test_a_task_that_always_dies_is_named(tmp_path: Path) -> None:
    """A task that kills its worker without a document to blame ends the run with one line, not with a hang."""
    with Build(tmp_path / "out", "k") as build, pool(2) as executor, pytest.raises(GristmillError, match=r"0000. cannot be done .*SIGKILL"):
        run_step(build, "die", die, TASKS, executor, Progress("test", quiet=True))


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a real Dask scheduler on loopback with two worker processes."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    scheduler = subprocess.Popen(start, env=env, stderr=subprocess.PIPE, text=True)
    assert scheduler.stderr is not None
    address = next(found[0] for line in scheduler.stderr if (found := re.search(r"tcp://127\.0\.0\.1:\d+", line)))
    work = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"]
    worker = subprocess.Popen(work, env=env, stderr=subprocess.DEVNULL)
    yield address
    for process in (worker, scheduler):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


def test_dask_gives_the_same_bytes(cluster: str, tmp_path: Path) -> None:
    """The filter stage on a Dask cluster writes the bytes that it writes here."""
    for n in range(3):
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / f"{n}.txt").write_text(f"This is text number {n}, long enough to be kept, and it is about bread and gardens.")
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    for name, options in (("here", ["--workers", "1"]), ("there", ["--scheduler", cluster])):
        given = [sys.executable, "-m", "pipeline.stages.filter", "raw", name, *options]
        done = subprocess.run(given, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for path in (tmp_path / "here").rglob("*"):
        if path.is_file() and path.name != "__run.json":
            assert path.read_bytes() == (tmp_path / "there" / path.relative_to(tmp_path / "here")).read_bytes()


def test_no_scheduler_is_one_line(tmp_path: Path) -> None:
    """An address where nothing answers is a clear error."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    with pytest.raises(UsageError, match="no Dask scheduler answers"), pool(1, "tcp://127.0.0.1:9", timeout_seconds=1):
        pass


def test_no_worker_outlives_a_killed_run(tmp_path: Path) -> None:
    """After SIGKILL of the main process its workers end by themselves."""
    code = (
        "import os, time\nfrom pipeline.pools import pool\n"
        "if __name__ == '__main__':\n with pool(2) as executor:\n"
        "  print(*{executor.submit(os.getpid).result() for _ in range(9)}, flush=True)\n  time.sleep(60)\n"
    )
    (tmp_path / "main.py").write_text(code)
    process = subprocess.Popen([sys.executable, "main.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = [int(word) for word in process.stdout.readline().split()]
    assert workers
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
