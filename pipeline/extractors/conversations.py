"""Conversations as data sets spell them (messages, ShareGPT) become messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.documents import Message

ROLES = ("system", "developer", "user", "assistant", "tool")

_SPELLINGS = {
    **{role: role for role in ROLES},
    **dict.fromkeys(("human", "prompter", "question", "instruction"), "user"),
    **dict.fromkeys(("gpt", "model", "bot", "chatgpt", "ai", "chatbot", "answer", "response", "function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("function", "observation", "ipython", "function_response", "tool_response", "tool_result"), "tool"),
    "system_prompt": "system",
}

_ROLE_KEYS = ("role", "from", "speaker")
_CONTENT_KEYS = ("content", "value", "text")
_TRAIN_KEYS = ("train", "loss", "weight")
_WRAPPERS = ("messages", "conversations", "conversation")


@dataclass(frozen=True)
class Spelling:
    """How a column's conversations name their parts: keys that stand for the usual ones, and further names of roles."""

    role_key: str | None = None
    content_key: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)

    def role_of(self, name: str) -> str | None:
        """The role that ``name`` stands for here, or None."""
        return role_of(self.roles.get(name, name))


USUAL = Spelling()


class MalformedError(Exception):
    """A cell that should hold a conversation does not; the message says why."""


def role_of(name: str) -> str | None:
    """The role that a data set's spelling stands for ("gpt" is "assistant"), or None."""
    return _SPELLINGS.get(name.strip().lower())


def is_conversation(cell: object) -> bool:
    """Whether a cell holds something that ``messages_of`` should read: a filled list or mapping, or JSON of one in a string."""
    if isinstance(cell, str):
        return cell.lstrip().startswith(("[", "{"))
    return isinstance(cell, list | dict) and bool(cell)


def is_list_of_turns(cell: object) -> bool:
    """Whether a cell is a list of mappings, as in a prompt that is a conversation already."""
    return isinstance(cell, list) and bool(cell) and all(isinstance(turn, Mapping) for turn in cell)


def messages_of(cell: Any, spelling: Spelling = USUAL) -> tuple[Message, ...]:
    """The messages of ``[{role, content}]`` or ``[{from, value}]``, also as JSON in a string or inside ``{"messages": ...}``.

    What else a turn holds (name, tool calls, thinking) goes into ``extra`` as JSON. Raises MalformedError when there is an unknown role,
    content that is no text, or no content at all.
    """
    value = _parsed(cell) if isinstance(cell, str) else cell
    if isinstance(value, Mapping):
        value = next((value[key] for key in _WRAPPERS if key in value), [value])
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise MalformedError(f"malformed conversation: a conversation is a list of turns, but here is {type(value).__name__}")
    messages = tuple(_message(index, turn, spelling) for index, turn in enumerate(value))
    if not any(message.content.strip() or message.extra for message in messages):
        raise MalformedError("malformed conversation: no turn of the conversation holds any content")
    return messages


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"malformed conversation: not JSON: {error}") from None


def _message(index: int, turn: Any, spelling: Spelling) -> Message:
    if not isinstance(turn, Mapping):
        raise MalformedError(f"malformed conversation: turn {index} is {type(turn).__name__}; expected a mapping with a role and a content")
    role_key = next((key for key in _keys(spelling.role_key, _ROLE_KEYS) if isinstance(turn.get(key), str)), None)
    if role_key is None:
        raise MalformedError(f"malformed conversation: turn {index} names no role; its keys: {', '.join(sorted(map(str, turn)))}")
    role = spelling.role_of(turn[role_key])
    if role is None:
        known = ", ".join(ROLES)
        raise MalformedError(f"malformed conversation: turn {index} has the role {turn[role_key]!r}; known: {known} and their aliases")
    content_key = next((key for key in _keys(spelling.content_key, _CONTENT_KEYS) if turn.get(key) is not None), None)
    rest = {key: item for key, item in turn.items() if key not in (role_key, content_key, *_TRAIN_KEYS, "extra")}
    content = _content(index, turn[content_key]) if content_key is not None else ""
    return Message(role, content, _train(index, turn), _extra(turn.get("extra"), rest))


def _keys(told: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    return usual if told is None else (told,)


def _content(index: int, content: Any) -> str:
    """Text, or the text parts of a list such as ``[{"type": "text", "text": ...}]``."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
        return "\n".join(part["text"] for part in content)
    raise MalformedError(f"malformed conversation: turn {index} has a content that is not text")


def _train(index: int, turn: Mapping[str, Any]) -> bool | None:
    value = next((turn[key] for key in _TRAIN_KEYS if turn.get(key) is not None), None)
    if value not in (None, 0, 1):
        raise MalformedError(f"malformed conversation: turn {index} has {value!r} where true or false says whether it is learned")
    return None if value is None else bool(value)


def _extra(own: Any, rest: Mapping[str, Any]) -> str | None:
    """JSON of what else a turn holds; the text of a field ``extra`` (this project's own) is taken as it is when nothing else is there."""
    kept = {key: item for key, item in rest.items() if item not in (None, "", [], {})}
    if isinstance(own, str) and own and not kept:
        return own
    if own not in (None, ""):
        kept["extra"] = own
    return json.dumps(kept, ensure_ascii=False, sort_keys=True, default=str) if kept else None
