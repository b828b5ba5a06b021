"""Runs a task of which a worker died in a process of its own, finds the unit that does it, and has the task leave that unit out.

Run as a module it is that process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from pipeline.commits import WORK, write_json
from pipeline.errors import GristmillError
from pipeline.pandas_later import leave_pandas_out
from pipeline.units import Orders, place_of, was_stopped, watching

TaskFunction = Callable[[Path, str, Any], Any]
"""``function(folder, name, task)`` writes the task's files into ``folder`` and returns its record (JSON-able)."""

HOPELESS = 32
"""A task of which more units than this kill their worker ends the run: something other than a document is wrong."""

STRIKES = 2
"""A task that dies so often without a unit that does it alone ends the run."""


@dataclass(frozen=True)
class Work:
    """A task of a step, ready to travel to a worker."""

    step: str
    function: TaskFunction
    folder: Path
    name: str
    task: Any
    watchdog_seconds: float

    @property
    def record(self) -> Path:
        """What the finished task leaves."""
        return self.folder / WORK / f"{self.step}-{self.name}.json"

    @property
    def mark(self) -> Path:
        """There while the task runs, and after it died."""
        return self.folder / WORK / f"{self.step}-{self.name}.mark"

    @property
    def lost(self) -> Path:
        """The units that were found to kill their worker."""
        return self.folder / WORK / f"{self.step}-{self.name}.lost.json"


@dataclass(frozen=True)
class Ending:
    """How a process ended: with a record, or by dying for a reason at some units."""

    record: Any = None
    died: str | None = None
    place: tuple[int, int] | None = None


def run_task(work: Work, alone: bool) -> Any:
    """Do a task and leave its record; in a process of its own when asked to, or when it has died before."""
    if alone or work.mark.exists():
        record = attend(work)
    else:
        try:
            record = _call(work.function, work.folder, work.name, work.task, work.mark, Orders(watchdog_seconds=work.watchdog_seconds))
        except (MemoryError, SystemExit):
            record = attend(work)
    write_json(work.record, record)
    work.mark.unlink(missing_ok=True)
    pa.default_memory_pool().release_unused()  # else the memory of one step's batches is missing from that of the next step's arrays
    return record


def _call(function: TaskFunction, folder: Path, name: str, task: Any, mark: Path, orders: Orders) -> Any:
    """Call a task's function under its mark, which stays when the process dies, is interrupted, exits or lacks memory, and goes with an error."""
    try:
        with watching(mark, orders):
            return function(folder, name, task)
    except MemoryError:
        raise
    except Exception:
        mark.unlink(missing_ok=True)
        raise


def attend(work: Work) -> Any:
    """The task's record, made in processes of its own, without the units that kill them; those become rows of the quarantine.

    Raises GristmillError when no unit alone explains the deaths, or too many do.
    """
    lost, place, strikes, died = _known(work), place_of(work.mark), 0, ""
    while strikes < STRIKES:
        found = _search(work, lost, place) if place is not None else {}
        strikes = 0 if found else strikes + 1
        lost |= found
        if len(lost) > HOPELESS:
            raise GristmillError(work.step, f"more than {HOPELESS} documents of {work.name} end their worker ({died})", "mend what they end it by")
        if found:
            write_json(work.lost, {str(unit): reason for unit, reason in lost.items()})
        ending = _in_child(work, work.folder, work.mark, Orders(lost, watchdog_seconds=work.watchdog_seconds))
        if ending.died is None:
            return ending.record
        died, place = ending.died, ending.place
    todo = "run again with fewer --workers or more memory; with --workers 1 it runs in the process itself"
    raise GristmillError(work.step, f"{work.name} cannot be done ({died}), and no document of it does so alone", todo)


def _known(work: Work) -> dict[int, str]:
    try:
        return {int(unit): reason for unit, reason in json.loads(work.lost.read_text()).items()}
    except (OSError, ValueError):
        return {}


def _search(work: Work, lost: dict[int, str], place: tuple[int, int]) -> dict[int, str]:
    """The one unit of ``place`` that ends a process even among few, with what it does; empty when none does. What is written is thrown away."""
    scratch = work.folder / WORK / f"search-{work.step}-{work.name}"
    while True:
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / WORK).mkdir(parents=True)
        try:
            ending = _in_child(work, scratch, scratch / "mark", Orders(lost, place, work.watchdog_seconds))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if ending.died is None or ending.place is None:
            return {}
        place = ending.place
        if place[1] - place[0] == 1:
            return {place[0]: ending.died}


def _in_child(work: Work, folder: Path, mark: Path, orders: Orders) -> Ending:
    given = pickle.dumps((work.function, folder, work.name, work.task, mark, orders))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with _outcome_file() as outcome:
        start = [sys.executable, "-m", "pipeline.attending", str(os.getpid())]
        done = subprocess.run(start, input=given, stdout=outcome, env=environment, check=False)
        outcome.seek(0)
        try:
            result, error = pickle.load(outcome)
        except (EOFError, pickle.UnpicklingError):
            return Ending(died=_how(done.returncode, mark), place=place_of(mark))
    if isinstance(error, MemoryError | SystemExit):
        return Ending(died=f"ended its worker: {type(error).__name__}", place=place_of(mark))
    if error is not None:
        raise error
    return Ending(record=result)


def _outcome_file() -> IO[bytes]:
    """Where the process leaves its outcome: in memory where the system can, since the outcome may be that the disk is full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("outcome"), "w+b")
    return tempfile.TemporaryFile()


def _how(code: int, mark: Path) -> str:
    """What a process died of, in words that are the same on every machine."""
    if was_stopped(mark):
        return "did not end: stopped by the watchdog"
    if code >= 0:
        return f"ended its worker: exit code {code}"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    return f"ended its worker: {name}{', as the system does when memory runs out' if -code == signal.SIGKILL else ''}"


def start_worker(parent: int) -> None:
    """Prepare a worker process: one thread each, no pandas unasked, and an end when the parent is gone (a killed run leaves no orphans)."""
    leave_pandas_out()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while True:
        time.sleep(1)
        try:
            os.kill(parent, 0)
        except OSError:
            os._exit(1)


def _end_with_parent() -> None:
    """Have the system kill this process with its parent, even when a regular expression holds the interpreter (Linux, ``PR_SET_PDEATHSIG``)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main(parent: int) -> None:
    """Do the task that stands on standard input and leave its record or its error on standard output, where nothing else is then printed."""
    outcome = os.dup(1)
    os.dup2(2, 1)
    _end_with_parent()
    start_worker(parent)
    given = pickle.loads(sys.stdin.buffer.read())
    result: tuple[Any, BaseException | None]
    try:
        result = (_call(*given), None)
    except BaseException as error:
        result = (None, error)
    with os.fdopen(outcome, "wb") as file:
        file.write(pickle.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]))
