"""python -m pipeline export KIND ...: what was built, as files that other tools read."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from pipeline.errors import UsageError, nearest

KINDS = {
    "data": ("pipeline.exporting.data", "documents or rows of tokens, for TRL, axolotl, LLaMA-Factory or datasets"),
    "model": ("pipeline.exporting.model", "what a run trained: merged, as GGUF, or the adapter"),
}


def main(given: Sequence[str]) -> int:
    """The command; its first argument is one of KINDS."""
    if not given or given[0] in ("-h", "--help"):
        print("usage: python -m pipeline export KIND ... (KIND --help says more)\n")
        print("\n".join(f"  {name:<10} {what}" for name, (_, what) in KINDS.items()))
        return 0
    name, *rest = given
    if name not in KINDS:
        raise UsageError(f"export {name}", "is not a kind of export", nearest(name, KINDS))
    return int(import_module(KINDS[name][0]).main(rest))
