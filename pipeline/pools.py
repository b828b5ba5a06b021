"""Workers: this process, processes of this machine, or a Dask cluster, all as one ``concurrent.futures.Executor``.

A step of a stage is a pure function over tasks. Each finished task leaves its record in the build, so a killed run does only what is missing.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pipeline.commits import WORK, Build, write_json
from pipeline.errors import GristmillError, MissingPackageError, UsageError
from pipeline.progress import Progress

T = TypeVar("T")
TaskFunction = Callable[[Path, str, Any], Any]
"""``function(folder, name, task)`` writes the task's files into ``folder`` and returns its record (JSON-able)."""


class InProcess(Executor):
    """Runs each call at once, in this process."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn`` now and return a finished future."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def default_workers() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def pool(workers: int, scheduler: str | None = None, num_tasks: int | None = None, timeout_seconds: int = 20) -> Iterator[Executor]:
    """An executor of ``workers`` processes here (1: this process), or of a Dask cluster at ``scheduler`` (``tcp://host:port``)."""
    if scheduler:
        with _cluster(scheduler, timeout_seconds) as executor:
            yield executor
        return
    workers = min(workers, num_tasks) if num_tasks is not None else workers
    if workers <= 1:
        yield InProcess()
        return
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker, initargs=(os.getpid(),))
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _cluster(address: str, timeout_seconds: int) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise MissingPackageError("distributed", "--scheduler", "dask") from None
    try:
        client = Client(address, timeout=timeout_seconds, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--scheduler {address}", f"no Dask scheduler answers ({reason})", "start one with: dask scheduler") from None
    with client:
        yield client.get_executor()


def start_worker(parent: int) -> None:
    """Prepare a worker process: one thread each, and an end when the parent is gone (a killed run leaves no orphans)."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while True:
        time.sleep(1)
        try:
            os.kill(parent, 0)
        except OSError:
            os._exit(1)


def run_step(build: Build, step: str, function: TaskFunction, tasks: Mapping[str, Any], executor: Executor, progress: Progress) -> list[Any]:
    """Do every task that has no record yet; return the records of all, in the order of ``tasks``.

    At most a few tasks a worker are under way at once, so that a long list costs no memory. A worker that dies ends the run with the
    name of a task it may have died of.
    """
    folder = build.folder.resolve()  # a cluster's workers stand elsewhere
    records = {name: build.record(f"{step}-{name}") for name in tasks}
    todo = [name for name, record in records.items() if record is None]
    progress.start(step, len(tasks), done=len(tasks) - len(todo))
    pending: dict[Future[Any], str] = {}
    queue = iter(todo)
    in_flight = 2 * getattr(executor, "_max_workers", 8) if not isinstance(executor, InProcess) else 1
    while True:
        while len(pending) < in_flight and (name := next(queue, None)) is not None:
            pending[executor.submit(_run_task, function, folder, name, tasks[name], folder / WORK / f"{step}-{name}.json")] = name
        if not pending:
            break
        for future in wait(pending, return_when=FIRST_COMPLETED).done:
            name = pending.pop(future)
            try:
                records[name] = future.result()
            except BrokenProcessPool:
                raise GristmillError(step, f"a worker died, perhaps of {name}", "run again with --workers 1 to see why") from None
            progress.advance()
    return [records[name] for name in tasks]


def _run_task(function: TaskFunction, folder: Path, name: str, task: Any, path: Path) -> Any:
    record = function(folder, name, task)
    write_json(path, record)
    return record
