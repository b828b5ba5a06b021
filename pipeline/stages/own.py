"""A user's own filter, editor or scorer: a class that the settings name as ``package.module:Class``, imported from the project's folder."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pyarrow as pa

from pipeline.datasets import file_sha256
from pipeline.errors import GristmillError, nearest
from pipeline.filters.verdicts import Find
from pipeline.pandas_later import let_pandas_in
from pipeline.settings import to_plain

_imported: dict[str, str] = {}
"""Digest of the file that each module was imported from, in this process."""


class OwnClassError(ValueError):
    """A named class cannot be used; the message says why and what to do, without a place."""


@dataclass(frozen=True)
class Own:
    """An instance of a user's class, which travels to a worker by reference.

    A worker imports the class anew when its file is not the one this process read, so a worker that outlives an edit runs the edited class.
    """

    rule: Any
    reference: str
    folder: str
    source: str
    """SHA-256 of the file that holds the class."""

    @property
    def version(self) -> Any:
        """The class's own version."""
        return self.rule.version

    def resolve(self, find: Find) -> Self:
        """The same with the lists read in that the class asks for, where it has a method ``resolve``."""
        return replace(self, rule=self.rule.resolve(find)) if hasattr(self.rule, "resolve") else self

    def edit(self, batch: pa.RecordBatch) -> Any:
        """What the class's ``edit`` gives."""
        return self.rule.edit(batch)

    def judge(self, batch: pa.RecordBatch) -> Any:
        """What the class's ``judge`` gives."""
        return self.rule.judge(batch)

    def fields(self) -> dict[str, pa.DataType]:
        """What the class's ``fields`` gives."""
        return dict(self.rule.fields())

    def score(self, batch: pa.RecordBatch) -> Any:
        """What the class's ``score`` gives."""
        return self.rule.score(batch)

    def to_plain(self) -> dict[str, Any]:
        """What decides its answers: the class, its file and its settings."""
        settings = to_plain(self.rule) if is_dataclass(self.rule) else {}
        return {"class": self.reference, "source": self.source, **settings}

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            return _revive, (self.reference, self.folder, self.source, pickle.dumps(self.rule))
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise GristmillError(self.reference, f"cannot travel to a worker ({reason})", "keep plain values in its fields") from None


def load(reference: str, methods: Sequence[str]) -> type:
    """The class that ``reference`` names, looked for in the current folder first; raises OwnClassError when it is not fit."""
    module_name, _, name = reference.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise OwnClassError(f"{reference!r} is not a class; write package.module:Class")
    module = _import(module_name, str(Path.cwd()))
    kind = getattr(module, name, None)
    if not isinstance(kind, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and value.__module__ == module_name]
        raise OwnClassError(f"{module_name} has no class {name}; {nearest(name, classes)}")
    missing = [method for method in methods if not callable(getattr(kind, method, None))]
    if missing:
        raise OwnClassError(f"{reference} has no method {' nor '.join(missing)}; see docs/cleaning.md")
    if type(getattr(kind, "version", None)) is not int:
        raise OwnClassError(f"{reference} has no version; write version: ClassVar[int] = 1 in the class")
    return kind


def wrap(rule: Any, reference: str) -> Own:
    """An instance of a class that ``load`` gave, ready to travel."""
    return Own(rule, reference, str(Path.cwd()), _imported[reference.partition(":")[0]])


def _import(name: str, folder: str, wanted: str | None = None) -> ModuleType:
    """The module, imported from ``folder`` or else from where Python finds it; anew when it is not from the file of digest ``wanted``."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        importlib.invalidate_caches()
        if name in sys.modules and name in _imported and wanted not in (None, _imported[name]):
            module = importlib.reload(sys.modules[name])
        else:
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise OwnClassError(f"{name} cannot be imported ({error}); install what it needs") from None
        beside = Path(folder, *name.split(".")[:-1])
        known = [path.stem for path in beside.glob("*.py")] if beside.is_dir() else []
        raise OwnClassError(f"there is no module {name} in {beside.name or beside}; {nearest(name.split('.')[-1], known)}") from None
    except Exception as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise OwnClassError(f"{name} cannot be imported ({type(error).__name__}: {getattr(error, 'msg', error)}{line}); mend it") from None
    file = getattr(module, "__file__", None)
    _imported[name] = file_sha256(Path(file)) if file else ""
    let_pandas_in()
    return module


def _revive(reference: str, folder: str, source: str, pickled: bytes) -> Own:
    """What ``__reduce__`` took apart, in a worker."""
    module_name = reference.partition(":")[0]
    _import(module_name, folder, source)
    if _imported[module_name] != source:
        raise GristmillError(reference, "was changed while it ran", "run again")
    return Own(pickle.loads(pickled), reference, folder, source)
