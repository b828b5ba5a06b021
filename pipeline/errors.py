"""Every error a user can meet.

GristmillError            exit code 1
├── UsageError            exit code 2: an argument or a path is wrong
│   └── SettingsError     exit code 2: one or more settings are wrong, all of them listed
├── DatasetError          a dataset on disk is damaged, incomplete or not one
├── AccountingError       counts that must add up do not (our fault, never the user's)
└── MissingPackageError   an optional package is not installed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class GristmillError(Exception):
    """One line for the user: ``where: what is wrong; what to do``."""

    exit_code = 1

    def __init__(self, where: str, what: str, todo: str = "") -> None:
        self.where, self.what, self.todo = where, what, todo
        super().__init__(where, what, todo)

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line}; {self.todo}" if self.todo else line


class UsageError(GristmillError):
    """An argument or a path on the command line is wrong."""

    exit_code = 2


class SettingsError(UsageError):
    """Settings are wrong; ``problems`` holds one line for each, in the order of the file."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        Exception.__init__(self, self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


class DatasetError(GristmillError):
    """A dataset on disk is damaged, incomplete or not a dataset."""


class AccountingError(GristmillError):
    """What was read does not equal what was kept, removed, merged, superseded and quarantined."""


class MissingPackageError(GristmillError):
    """An optional package is missing; names the extra that brings it, where one does."""

    def __init__(self, package: str, used_for: str, extra: str | None = None) -> None:
        install = f"'gristmill[{extra}]'" if extra else package
        super().__init__(package, f"is not installed, and {used_for} needs it", f"run: pip install {install}")

    def __reduce__(self) -> tuple[object, ...]:
        return (GristmillError, (self.where, self.what, self.todo))


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that names the nearest known name, or all of them when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(names)}" if names else "none is known"
