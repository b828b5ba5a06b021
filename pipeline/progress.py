"""Progress of long work: a bar on a terminal, plain lines elsewhere, nothing when quiet. Goes to standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

PLAIN_SECONDS = 10.0
"""Pause between two plain lines."""


class Progress:
    """Counts finished tasks of one step after another; use it as a context manager."""

    def __init__(self, stage: str, quiet: bool = False) -> None:
        self.stage, self.quiet = stage, quiet
        self._step, self._total, self._done = "", 0, 0
        self._last = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, step: str, total: int, done: int = 0) -> None:
        """Begin a step of ``total`` tasks of which ``done`` were finished by an earlier run."""
        self._step, self._total, self._done = step, total, done
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(f"{self.stage}: {step}", total=total, completed=done, note="")
        elif done and not self.quiet:
            self.say(f"{step}: {done} of {total} tasks were finished by an earlier run")

    def advance(self) -> None:
        """One more task is finished."""
        self._done += 1
        if self._bar is not None:
            self._bar.advance(self._task)
        elif not self.quiet and time.monotonic() - self._last >= PLAIN_SECONDS:
            self._last = time.monotonic()
            self.say(f"{self._step}: {self._done} of {self._total}")

    @property
    def has_bar(self) -> bool:
        """Whether there is a terminal with a bar."""
        return self._bar is not None

    def note(self, text: str) -> None:
        """What stands beside the bar from now on; nothing elsewhere."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, note=text)

    def say(self, line: str) -> None:
        """A line of its own, whatever form the progress takes."""
        if not self.quiet:
            print(f"{self.stage}: {line}", file=sys.stderr, flush=True)
