"""What targets share about conversations: which turns are learned, and what a first look over a dataset tells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.datasets import read_batches

Learn = Literal["assistant", "last_assistant", "all"]
"""Which turns are learned where the data does not say, as in stages/tokenize.yaml."""

LEARNED_ROLE = "assistant"

Row = Mapping[str, Any]
"""A row of ``documents.SCHEMA`` as Python values."""


class CannotHoldError(Exception):
    """The target has no way to hold a document; the message says why."""


@dataclass(frozen=True)
class Carried:
    """What a target takes of a document.

    ``kind``: ``conversations`` or ``text``, the file it goes into. ``lines``: its lines there. ``lost``: what of it could not be carried,
    as (index of the message, reason).
    """

    kind: str
    lines: tuple[Mapping[str, Any], ...]
    lost: tuple[tuple[int, str], ...] = field(default=())


@dataclass(frozen=True)
class Survey:
    """What a first look over the conversations of a dataset tells. ``by_role``: in every one exactly the assistant's turns are learned."""

    by_role: bool


def learned(messages: Sequence[Row], learn: Learn) -> list[bool]:
    """Which messages are learned: as ``train`` says, else as ``learn`` does."""
    last = max((number for number, message in enumerate(messages) if message["role"] == LEARNED_ROLE), default=-1)

    def by_rule(number: int) -> bool:
        if learn == "assistant":
            return bool(messages[number]["role"] == LEARNED_ROLE)
        return learn == "all" or number == last

    return [by_rule(number) if message["train"] is None else bool(message["train"]) for number, message in enumerate(messages)]


def survey(shards: Iterable[Path], learn: Learn) -> Survey:
    """Look over the masks of all conversations, without their texts."""
    by_role = True
    for path in shards:
        for row in _heads(path):
            flags = learned(row, learn)
            if any(flags):  # else it is left out, whatever the form
                by_role &= flags == [message["role"] == LEARNED_ROLE for message in row]
    return Survey(by_role)


def _heads(path: Path) -> Iterator[list[Row]]:
    """Role and ``train`` of the messages of each conversation of a shard."""
    for batch in read_batches(path, ["messages.list.element.role", "messages.list.element.train"], max_rows=1024):
        yield from (messages for messages in batch.column("messages").to_pylist() if messages)


def fields(message: Row) -> dict[str, Any]:
    """A message as other tools have it: role and content, and beside them what ``extra`` holds. Raises CannotHoldError when that is no object."""
    own = {"role": message["role"] or "", "content": message["content"] or ""}
    if not message["extra"]:
        return own
    try:
        extra = json.loads(message["extra"], parse_constant=_refuse)
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        raise CannotHoldError("the extra fields of a message are not a JSON object")
    return own | {key: value for key, value in extra.items() if key not in own}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def text_line(row: Row) -> Carried:
    """A plain document as ``{"text": ...}``; raises CannotHoldError for an empty one."""
    if not row["text"]:
        raise CannotHoldError("is empty")
    return Carried("text", ({"text": row["text"]},))


def need_learned(flags: Sequence[bool]) -> None:
    """Raises CannotHoldError when no turn is learned: a tool would learn all of them, or stop."""
    if not any(flags):
        raise CannotHoldError("no turn of it is learned")
