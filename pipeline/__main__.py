"""python -m pipeline COMMAND: the tools beside the stages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from pipeline import command
from pipeline.errors import UsageError, nearest

COMMANDS = {
    "init": ("pipeline.init", "lay out a new project that works at once"),
    "extract": ("pipeline.stages.extract", "sources become documents"),
    "filter": ("pipeline.stages.filter", "duplicates, refusals and slop go"),
    "tokenize": ("pipeline.stages.tokenize", "documents become packed rows of tokens"),
    "perplexity": ("pipeline.stages.perplexity", "how surprised a small model is by each document, as scores"),
    "estimate": ("pipeline.inspection.estimate", "the steps, time and memory that a recipe takes, before it runs"),
    "train": ("pipeline.stages.train", "a QLoRA adapter is trained on them"),
    "chat": ("pipeline.inspection.chat", "a conversation with what a run trained"),
    "search": ("pipeline.training.search", "settings of a recipe are tried, and the best become one"),
    "try": ("pipeline.inspection.try_settings", "what a change of the filter's settings would remove, keep and cut"),
    "show": ("pipeline.inspection.show", "a packed row or a document as people read it, or what a dataset holds"),
    "export": ("pipeline.exporting.command", "what was built, as files that other tools read"),
    "tables": ("pipeline.inspection.tables", "the tables of a dump, a database, a CSV file or a spreadsheet as Parquet"),
    "report": ("pipeline.reporting.command", "one page that shows what became of the data"),
    "suspects": ("pipeline.inspection.suspects", "documents that a run found strange: wrong answers, gibberish, leaked copies"),
    "ablate": ("pipeline.inspection.ablate", "what a rule or a source does to the validation loss, beside chance"),
    "why": ("pipeline.inspection.why", "what each stage said about a document"),
    "trace": ("pipeline.inspection.trace", "from a row of any stage back to the bytes of the source"),
    "completion": ("pipeline.completion", "a script for bash, zsh or fish, so that the tab key knows all of this"),
    "verify": ("pipeline.inspection.verify", "compare every byte of a dataset with its manifest"),
}


def _dispatch(given: Sequence[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print("gristmill: python -m pipeline COMMAND ... (COMMAND --help says more)\n")
        print("\n".join(f"  {name:<10} {what}" for name, (_, what) in COMMANDS.items()))
        return 0
    name, *rest = given
    if name not in COMMANDS:
        raise UsageError(name, "is not a command", nearest(name, COMMANDS))
    return int(import_module(COMMANDS[name][0]).main(rest))


def main() -> int:
    """The console script ``gristmill``."""
    return command.run(_dispatch)


if __name__ == "__main__":
    sys.exit(main())
