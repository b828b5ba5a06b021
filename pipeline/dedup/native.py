"""The loops of ``kernels`` as machine code: compiled by numba once, then kept, so that a process that needs them loads no compiler.

Loading numba and what it keeps takes a third of a CPU second in each process, loading the machine code by itself a twentieth. It is kept as
Python keeps compiled modules, for these loops, this version of LLVM and this processor; where nothing can be written, each process compiles.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.text import HARD, KEEP, REWRITE

NUMBER = "int64"
ARGUMENTS = {
    "hash_words": "uint8* int64 int64* int64 uint8* uint64* int64 uint8* int64* uint64* int64*",
    "fold_bytes": "uint8* int64 uint8* uint8* uint8* int64* int64* int64*",
    "count_visible": "uint8* int64* int64 int64*",
    "sketch": "uint64* int64* int64 int64 uint64* uint32* uint32* int64 int64 uint32* uint32*",
    "overlaps": "uint32* int64* int64* int64* int64 int64*",
}
"""What each loop takes; ``*``: the data of an array, which must be contiguous. Each gives a number."""

FOLDER = "__pycache__"
LOOPS = Path(__file__).with_name("kernels.py")


def is_there() -> bool:
    """Whether loops can be compiled here at all."""
    return find_spec("numba") is not None


def is_kept() -> bool:
    """Whether the machine code lies ready."""
    return is_there() and _kept() is not None


@cache
def loop(name: str) -> Callable[..., int]:
    """A loop of ``kernels``, by name; raises ctypes.ArgumentError for arrays of another type or layout than it takes."""
    kinds = [ctypes.c_int64 if kind == NUMBER else _data_of(kind[:-1]) for kind in ARGUMENTS[name].split()]
    return ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(_linked(name)[_code()[name]["symbol"]])


@cache
def _data_of(kind: str) -> Any:
    """The type of an argument that is the data of a contiguous array; what ``numpy.ctypeslib.ndpointer`` gives takes twice as long a call."""
    dtype = np.dtype(kind)

    def from_param(array: np.ndarray) -> ctypes.c_void_p:
        if array.dtype != dtype or not array.flags.c_contiguous:
            raise TypeError(f"an array of {array.dtype} is not a contiguous one of {dtype}")
        return ctypes.c_void_p(array.ctypes.data)

    return type(kind, (), {"from_param": staticmethod(from_param)})


@cache
def _linked(name: str) -> Any:
    """The loop's library, cached because its code lives as long as it."""
    llvm, code = import_module("llvmlite.binding"), _code()[name]
    builder: Any = llvm.JITLibraryBuilder().add_object_img(base64.b64decode(code["object"]))
    return builder.export_symbol(code["symbol"]).link(_linker(), name)


@cache
def _linker() -> Any:
    return import_module("llvmlite.binding").create_lljit_compiler(_machine())


def _machine() -> Any:
    """The processor that runs this."""
    llvm: Any = import_module("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    about = {"cpu": llvm.get_host_cpu_name(), "features": llvm.get_host_cpu_features().flatten()}
    return llvm.Target.from_default_triple().create_target_machine(**about, opt=3, jit=True)


@cache
def _code() -> dict[str, dict[str, str]]:
    """Symbol and object file of each loop."""
    kept = _kept()
    if kept is None:
        kept = _compile()
        _keep(kept)
    return kept


def _compile() -> dict[str, dict[str, str]]:
    numba: Any = import_module("numba")
    llvm: Any = import_module("llvmlite.binding")
    kernels, machine = import_module("pipeline.dedup.kernels"), _machine()
    made = {}
    for name, arguments in ARGUMENTS.items():
        kinds = [getattr(numba.types, kind.rstrip("*")) for kind in arguments.split()]
        given = [numba.types.CPointer(kind) if text.endswith("*") else kind for kind, text in zip(kinds, arguments.split(), strict=True)]
        compiled = numba.cfunc(numba.types.int64(*given), error_model="numpy", forceinline=True)(getattr(kernels, name))
        code = machine.emit_object(llvm.parse_assembly(compiled.inspect_llvm()))
        made[name] = {"symbol": compiled.native_name, "object": base64.b64encode(code).decode()}
    return made


def _keep(code: dict[str, dict[str, str]]) -> None:
    """Write the machine code where it can be written, unless Python is told to keep no compiled modules."""
    if sys.dont_write_bytecode:
        return
    for place in _places():
        temporary = place.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(code))
            temporary.replace(place)
            return


def _kept() -> dict[str, dict[str, str]] | None:
    for place in _places():
        with suppress(OSError, ValueError):
            code = json.loads(place.read_bytes())
            if set(code) == set(ARGUMENTS):
                return dict(code)
    return None


@cache
def _places() -> list[Path]:
    """Where the machine code may lie: beside the package, or in the user's cache folder."""
    llvm: Any = import_module("llvmlite.binding")
    version = import_module("llvmlite").__version__
    about = [version, llvm.get_default_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), ARGUMENTS, KEEP, REWRITE, HARD]
    name = f"{LOOPS.stem}.{hashlib.sha256(LOOPS.read_bytes() + json.dumps(about).encode()).hexdigest()[:16]}.json"
    places = [LOOPS.parent / FOLDER / name]
    with suppress(RuntimeError):  # a user without a home
        places.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gristmill" / name)
    return places
