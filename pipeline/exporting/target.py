"""What every target of text gives: the lines of a document, and the files that make its tool read them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.exporting.conversations import Carried, Learn, Row, Survey

KINDS = ("conversations", "text")


@dataclass(frozen=True)
class Plan:
    """How an export is made. ``model`` and ``length`` (tokens a row) go into the tool's configuration; ``learn`` and ``survey`` decide masks;
    ``messages`` asks for whole conversations where a tool has two forms.
    """

    model: str
    length: int
    learn: Learn
    survey: Survey
    messages: bool = False


FOLDER = "data"
"""The lines lie in a folder of their own: ``datasets`` names a dataset after its folder, and has no name for the current one."""

CARD = f"{FOLDER}/.huggingface.yaml"


def file_name(split: str, kind: str) -> str:
    """The file of the lines of one kind and split, in FOLDER."""
    return f"{split}.{kind}.jsonl"


def card(written: Mapping[str, Sequence[str]]) -> str:
    """What ``datasets.load_dataset`` finds in FOLDER: a configuration for each kind of lines, with its splits."""
    configs = [
        {"config_name": kind, "data_files": [{"split": split, "path": file_name(split, kind)} for split in splits]}
        for kind, splits in written.items()
    ]
    return to_yaml("datasets.load_dataset(THIS FOLDER, NAME) reads these", {"configs": configs})


class Target(ABC):
    """One tool. ``written`` below: the splits that have lines, for each kind that has any."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @abstractmethod
    def carry(self, row: Row) -> Carried:
        """The lines of a document (``documents.SCHEMA``); raises CannotHoldError."""

    @abstractmethod
    def files(self, written: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """The texts of the tool's own files, by name."""

    @abstractmethod
    def commands(self, written: Mapping[str, Sequence[str]]) -> list[str]:
        """What to run in the folder, one command a line."""

    def notes(self) -> list[str]:
        """What a user should know of the form that was chosen."""
        return []


LORA_R, LORA_ALPHA = 16, 32
"""As in the recipes' own defaults: the adapter's output is scaled by alpha / r, and twice the rank is usual."""

LEARNING_RATE = 2e-4
"""What QLoRA used up to 13B parameters (Dettmers et al. 2023, table 9)."""


def to_yaml(comment: str, settings: Mapping[str, Any]) -> str:
    """Settings as YAML in their own order, under a line of comment."""
    return f"# {comment}\n" + str(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True, width=1000))
