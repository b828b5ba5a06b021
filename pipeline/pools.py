"""Workers: this process, processes of this machine, or a Dask cluster, all as one ``concurrent.futures.Executor``.

A step of a stage is a pure function over tasks. Each finished task leaves its record in the build, so a killed run does only what is missing.
A task of which a worker died runs again in a process of its own (``pipeline.attending``), wherever its worker stands.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

import pipeline
from pipeline.attending import TaskFunction, Work, run_task, start_worker
from pipeline.commits import Build
from pipeline.errors import GristmillError, MissingPackageError, UsageError
from pipeline.progress import Progress

T = TypeVar("T")

WATCHDOG = "GRISTMILL_WATCHDOG_SECONDS"
WATCHDOG_SECONDS = 3600.0
"""A task without a sign of life (a batch of documents, a file) for so long is taken for a runaway; the environment variable sets another time."""

MAX_DEATHS = 3
"""A task whose workers died so often, though it ran in a process of its own, ends the run."""


RESTART_PAUSES_SECONDS = (0.0, 0.1, 1.0)
"""How long new workers are waited for: a fork server that is being killed refuses connections until the system has buried it."""


class Workers(Executor):
    """An executor that outlives its workers: after one of the errors ``died`` a call can be submitted again."""

    died: tuple[type[BaseException], ...] = ()
    spreads_death = False
    """Whether one worker's death fails the calls of the others too."""
    watchdog_seconds = 0.0

    def in_flight(self) -> int:
        """How many calls to have under way at once: enough to keep all workers busy, few enough to cost no memory."""
        return 1

    def check(self, folder: Path) -> str:
        """A line about the workers when it has not been said yet, else nothing; raises GristmillError when one cannot write into ``folder``."""
        return ""


class InProcess(Workers):
    """Runs each call at once, in this process, which dies with it; the next run then runs that task in a process of its own."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn`` now and return a finished future."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Processes(Workers):
    """Processes of this machine; new ones are started when one has died."""

    spreads_death = True

    def __init__(self, num_workers: int) -> None:
        from concurrent.futures.process import BrokenProcessPool

        self.died = (BrokenProcessPool, CancelledError)  # the second comes from a pool that was given up
        self._lost: tuple[type[BaseException], ...] = (*self.died, ConnectionError, EOFError)  # a worker, or the server that forks them
        self._num_workers = num_workers
        self.watchdog_seconds = watchdog_seconds()
        self._start()

    def _start(self) -> None:
        import multiprocessing  # here, because one worker needs none of it
        from concurrent.futures import ProcessPoolExecutor

        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        self._pool = ProcessPoolExecutor(self._num_workers, mp_context=context, initializer=start_worker, initargs=(os.getpid(),))

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call ``fn`` in a worker."""
        for pause_seconds in RESTART_PAUSES_SECONDS:
            try:
                return self._pool.submit(fn, *args, **kwargs)
            except self._lost:
                time.sleep(pause_seconds)
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._start()
        return self._pool.submit(fn, *args, **kwargs)

    def in_flight(self) -> int:
        """Two a worker."""
        return 2 * self._num_workers

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


class Cluster(Workers):
    """The workers of a Dask cluster, which may come and go; they share this machine's file system."""

    def __init__(self, client: Any) -> None:
        from distributed import KilledWorker

        self.died = (KilledWorker,)
        self.watchdog_seconds = watchdog_seconds()
        self._client = client
        self._executor = client.get_executor(pure=False)
        self._is_checked = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call ``fn`` on a worker; when that one is lost, on another."""
        future: Future[T] = self._executor.submit(fn, *args, **kwargs)
        return future

    def threads(self) -> dict[str, int]:
        """The workers there are now, with the threads of each."""
        return dict(self._client.nthreads())

    def in_flight(self) -> int:
        """Two a thread."""
        return 2 * max(1, sum(self.threads().values()))

    def check(self, folder: Path) -> str:
        """How many workers there are, once; raises GristmillError for one without this package, of other versions, or blind to ``folder``."""
        if self._is_checked:
            return ""
        here = about_worker(str(folder))
        for address, there in self._client.run(about_worker, str(folder), on_error="return").items():
            if isinstance(there, OSError):
                continue  # it went away while it was asked
            if isinstance(there, BaseException):
                what, todo = f"cannot run gristmill ({type(there).__name__}: {there})", "install the same gristmill there"
            elif not there.pop("sees"):
                what, todo = f"does not see {folder}", "write to a file system that all workers share"
            elif wrong := [f"{name} {there[name]}, not {here[name]}" for name in there if there[name] != here[name]]:
                what, todo = f"has {', '.join(wrong)}", "install the same versions everywhere, else results would differ"
            else:
                continue
            raise GristmillError(f"worker {address}", what, todo)
        self._is_checked = True
        threads = self.threads()
        return f"{len(threads)} workers with {sum(threads.values())} threads; dashboard: {self._client.dashboard_link or 'none'}"

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; its workers stay."""
        self._executor.shutdown(wait=False)


def about_worker(folder: str) -> dict[str, Any]:
    """What must be the same on every worker of a cluster, and whether it sees the folder."""
    return {"gristmill": pipeline.__version__, "pyarrow": pa.__version__, "sees": os.access(folder, os.W_OK)}


def default_workers() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def watchdog_seconds() -> float:
    """The watchdog's time from the environment; raises UsageError for no number above 0."""
    given = os.environ.get(WATCHDOG, "")
    try:
        seconds = float(given) if given else WATCHDOG_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 10**9:
        raise UsageError(f"{WATCHDOG}={given}", "is not a number of seconds", "give one above 0, such as 3600")
    return seconds


@contextmanager
def pool(workers: int, scheduler: str | None = None, num_tasks: int | None = None, timeout_seconds: int = 20) -> Iterator[Workers]:
    """An executor of ``workers`` processes here (1: this process), or of a Dask cluster at ``scheduler`` (``tcp://host:port``).

    With 2 workers or more a single task, too, runs in a process of its own, so that no document can end the run.
    """
    if scheduler:
        with _cluster(scheduler, timeout_seconds) as executor:
            yield executor
        return
    if workers <= 1 or num_tasks == 0:
        yield InProcess()
        return
    processes = Processes(min(workers, num_tasks or workers))
    try:
        yield processes
    finally:
        processes.shutdown(cancel_futures=True)


@contextmanager
def _cluster(address: str, timeout_seconds: int) -> Iterator[Cluster]:
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
        try:
            client.wait_for_workers(1, timeout=timeout_seconds)
        except TimeoutError:
            raise UsageError(f"--scheduler {address}", "the scheduler has no workers", f"start some with: dask worker {address}") from None
        cluster = Cluster(client)
        try:
            yield cluster
        finally:
            cluster.shutdown()


def run_step(build: Build, step: str, function: TaskFunction, tasks: Mapping[str, Any], executor: Executor, progress: Progress) -> list[Any]:
    """Do every task that has no record yet; return the records of all, in the order of ``tasks``.

    At most a few tasks a worker are under way at once, so that a long list costs no memory. A task of which a worker died is submitted
    again; what a document does to its worker is settled there. Raises GristmillError for a task that cannot be done.
    """
    records = {name: build.record(f"{step}-{name}") for name in tasks}
    todo = [name for name, record in records.items() if record is None]
    progress.start(step, len(tasks), done=len(tasks) - len(todo))
    if todo:
        folder = build.folder.resolve()  # a cluster's workers stand elsewhere
        workers = executor if isinstance(executor, Workers) else InProcess()
        if line := workers.check(folder):
            progress.say(line)
        work = (Work(step, function, folder, name, tasks[name], workers.watchdog_seconds) for name in todo)
        for name, record in _run(work, workers):
            records[name] = record
            progress.advance()
    return [records[name] for name in tasks]


def _run(works: Iterator[Work], workers: Workers) -> Iterator[tuple[str, Any]]:
    """Name and record of each task, as they finish."""
    pending: dict[Future[Any], Work] = {}
    again: list[Work] = []
    deaths: Counter[str] = Counter()
    while True:
        room = workers.in_flight() - len(pending)
        while room > 0 and (work := again.pop() if again else next(works, None)) is not None:
            pending[workers.submit(run_task, work, workers.spreads_death and bool(deaths))] = work
            room -= 1
        if not pending:
            return
        for future in wait(pending, return_when=FIRST_COMPLETED).done:
            work = pending.pop(future)
            try:
                record = future.result()
            except workers.died:
                deaths[work.name] += 1
                if deaths[work.name] > MAX_DEATHS:
                    raise GristmillError(work.step, f"the workers of {work.name} die", "give them more memory, or use fewer") from None
                again.append(work)
            except CancelledError:
                raise GristmillError(work.step, "the cluster has gone", "start it again and run again: finished tasks are kept") from None
            else:
                yield work.name, record
