"""A conversation through a model's own chat template, taken apart again: what the template wrote, what the messages said, what is learned.

The template is rendered twice: with the messages themselves, which is exactly the text that ``apply_chat_template`` gives, and with a mark
in place of each string of theirs. The marks show where in the text each string stands. So no token pattern is searched, contents can be
encoded apart (whatever they spell), and the loss mask follows from the construction. A conversation whose two renders cannot be brought
together (a template that rewrites contents) is refused with a reason rather than guessed at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.documents import Message
from pipeline.packing.sandbox import Sandbox, TemplateError

ROLES = frozenset(("assistant", "developer", "environment", "function", "ipython", "model", "system", "tool", "user"))
"""Roles that templates know; any other must be a plain word that is no control token when a template puts it between brackets."""

LEARNED_ROLE = "assistant"

NOTHING, EVERYTHING, THROUGH_END = "nothing", "everything", "through_end"

_MARKS = [(chr(0xF0000 + 2 * i), chr(0xF0001 + 2 * i)) for i in range(64)]
"""Private-use characters that begin and end a mark; the first pair whose opener stands in no text is used."""

_PLAIN_KEYS = frozenset(("type", "id", "tool_call_id", "role"))
"""Fields that templates compare with constants or measure; their short words are passed as they are."""

_CACHED_SKELETONS = 4_000
_CACHED_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Part:
    """A run of a conversation's text.

    ``literal``: it comes from a message; else from the template, and control tokens count in it. ``learned``: NOTHING, EVERYTHING, or
    THROUGH_END: up to and with the first end-of-turn token.
    """

    text: str
    literal: bool
    learned: str = NOTHING


@dataclass(frozen=True, slots=True)
class Rendered:
    """The parts of a conversation in order; messages that the template leaves out; learned turns after which no end of turn is learned."""

    parts: tuple[Part, ...]
    num_left_out: int
    num_unended: int

    @property
    def text(self) -> str:
        """The whole text, as ``apply_chat_template`` gives it."""
        return "".join(part.text for part in self.parts)


class ChatTemplate:
    """A compiled chat template.

    ``special``: ``bos_token`` .. ``unk_token`` and their text, which templates refer to; ``controls``: the text of every control token.
    Raises TemplateError when the template is none.
    """

    def __init__(self, source: str, special: Mapping[str, str], controls: Iterable[str]) -> None:
        self._sandbox = Sandbox()
        self._template = self._sandbox.compile_template(source)
        self._source, self._special, self._controls = source, dict(special), sorted(controls, key=lambda token: (-len(token), token))
        self._control = re.compile("|".join(map(re.escape, self._controls)) or "(?!)")
        self._skeletons: dict[str, tuple[str, ...]] = {}
        self.generation_prompt = self._probe_generation_prompt()
        """What stands before the model's answer when it is asked for one; empty when the template does not say."""
        self.ends = self._probe_ends()
        """The control tokens that may end a turn of the model."""

    def render(self, messages: Sequence[Message]) -> Rendered:
        """The parts of a conversation; raises TemplateError with the reason when the template refuses it or cannot be followed."""
        for message in messages:
            self._check_role(message.role)
        marking = self._marking(messages)
        fields = [_fields(message) for message in messages]
        num_chars = sum(len(message.content) + len(message.extra or "") for message in messages)
        text = self._render(fields, num_chars)
        marked = [marking.message(index, one) for index, one in enumerate(fields)]
        pieces = _align(text, self._skeleton(marked, marking), marking.values)
        return self._to_parts(pieces, marking.owners, messages)

    def _render(self, messages: Sequence[Mapping[str, Any]], num_chars: int, add_generation_prompt: bool = False) -> str:
        asked = {"tools": None, "documents": None, "add_generation_prompt": add_generation_prompt}
        variables = {**self._special, **asked, "messages": messages}
        return self._sandbox.render(self._template, variables, num_chars)

    def _skeleton(self, marked: list[dict[str, Any]], marking: _Marking) -> tuple[str, ...]:
        """The marked render, cut at its marks: template text, number of a mark, template text, ... Conversations of one shape share it."""
        key = json.dumps(marked, ensure_ascii=False)
        found = self._skeletons.get(key)
        if found is None:
            try:
                found = tuple(marking.pattern.split(self._render(marked, len(key))))
            except TemplateError:
                raise TemplateError("the chat template looks into the contents in a way that cannot be followed") from None
            if len(self._skeletons) >= _CACHED_SKELETONS:
                self._skeletons.clear()
            if len(key) <= _CACHED_CHARS:
                self._skeletons[key] = found
        return found

    def _check_role(self, role: str) -> None:
        if role in ROLES:
            return
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", role) or any(role in re.findall(r"[\w-]+", token) for token in self._controls):
            raise TemplateError(f"the role {role[:40]!r} is not one that a chat template can be given")

    def _marking(self, messages: Sequence[Message]) -> _Marking:
        texts = [self._source, *(text for message in messages for text in (message.content, message.extra or ""))]
        for opener, closer in _MARKS:
            # a mark spelled as a JSON escape in extra would only make the two renders differ
            if not any(opener in text for text in texts):
                return _Marking(opener, closer, self._control)
        raise TemplateError("the conversation holds every private-use character that could mark its contents")

    def _to_parts(self, pieces: list[tuple[str, int]], owners: Sequence[int], messages: Sequence[Message]) -> Rendered:
        owner = [owners[mark] if mark >= 0 else -1 for _, mark in pieces]
        parts = [Part(text, mark >= 0) for text, mark in pieces]
        said: list[list[int]] = [[] for _ in messages]
        num_marked = [0]
        for position, whose in enumerate(owner):
            num_marked.append(num_marked[-1] + (whose >= 0))
            if whose >= 0:
                said[whose].append(position)
        num_left_out = num_unended = 0
        for message, own in zip(messages, said, strict=True):
            if not own:
                num_left_out += bool(message.content.strip())
            elif message.role == LEARNED_ROLE if message.train is None else message.train:
                first, after = own[0], own[-1] + 1
                alone = num_marked[after] - num_marked[first] == len(own)
                for position in range(first, after) if alone else own:
                    parts[position] = Part(parts[position].text, parts[position].literal, EVERYTHING)
                num_unended += not self._learn_end(parts, after, bool(message.extra))
        return Rendered(tuple(self._move_borders(parts, owner, messages)), num_left_out, num_unended)

    def _learn_end(self, parts: list[Part], position: int, anything_before: bool) -> bool:
        """Learn the end of turn in the template text after a turn; blanks may stand before it, or what the template writes for calls."""
        if position >= len(parts) or parts[position].literal:
            return False
        found = self._control.search(parts[position].text)
        while anything_before and found and found.group() not in self.ends:
            found = self._control.search(parts[position].text, found.end())
        if not found or found.group() not in self.ends:
            return False
        if parts[position].text[: found.start()].strip() and not anything_before:
            return False
        parts[position] = Part(parts[position].text, False, THROUGH_END)
        return True

    def _move_borders(self, parts: list[Part], owner: list[int], messages: Sequence[Message]) -> Iterable[Part]:
        """Cut the template text before a content where the model's own text would begin.

        After the generation prompt everything is the model's. Elsewhere a blank before a content is encoded with it, since ``" word"`` is
        one token for most tokenizers and was one when the model was trained.
        """
        carried = ""
        for position, part in enumerate(parts):
            if part.literal:
                yield Part(carried + part.text, True, part.learned)
                carried = ""
                continue
            following = parts[position + 1] if position + 1 < len(parts) else None
            if following is None or not following.literal:
                yield part
                continue
            answer = following.learned != NOTHING and messages[owner[position + 1]].role == LEARNED_ROLE
            cut = part.text.rfind(self.generation_prompt) if answer and self.generation_prompt and part.learned != EVERYTHING else -1
            cut = cut + len(self.generation_prompt) if cut >= 0 else len(part.text.rstrip(" "))
            tail = part.text[cut:]
            if tail and not tail.isspace():
                yield Part(part.text[:cut], False, part.learned)
                yield Part(tail, False, EVERYTHING)
            else:
                carried = tail
                yield Part(part.text[:cut], False, part.learned)

    def _probe_generation_prompt(self) -> str:
        question = [{"role": "user", "content": "x"}]
        try:
            without, asking = self._render(question, 1), self._render(question, 1, add_generation_prompt=True)
        except TemplateError:
            return ""
        if not asking.startswith(without):  # some end a conversation, but not a question, with the end of text
            without = without.removesuffix(self._special.get("eos_token", ""))
        return asking.removeprefix(without) if asking.startswith(without) else ""

    def _probe_ends(self) -> frozenset[str]:
        ends = {self._special[name] for name in ("eos_token",) if name in self._special}
        try:
            text = self._render([{"role": "user", "content": "x"}, {"role": LEARNED_ROLE, "content": _MARKS[0][0]}], 2)
        except TemplateError:
            return frozenset(ends)
        after = text.rpartition(_MARKS[0][0])[2]
        first = self._control.match(after.lstrip())
        return frozenset(ends | {first.group()} if first else ends)


class _Marking:
    """Gives each string of a conversation a mark; ``values[n]`` is the string of mark ``n`` and ``owners[n]`` the index of its message."""

    def __init__(self, opener: str, closer: str, control: re.Pattern[str]) -> None:
        self._opener, self._closer, self._control = opener, closer, control
        self.pattern = re.compile(f"{opener}([0-9]+){closer}")
        self.values: list[str] = []
        self.owners: list[int] = []

    def message(self, index: int, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a message with its strings replaced by marks; the role stays."""
        return {"role": fields["role"], **{key: self._marked(index, key, fields[key]) for key in fields if key != "role"}}

    def _marked(self, index: int, key: str, value: Any) -> Any:
        if isinstance(value, dict):
            spelled = next((name for name in value if self._control.search(name)), None)
            if spelled is not None:
                raise TemplateError(f"a field's name spells a control token: {spelled[:40]!r}")
            return {name: self._marked(index, name, inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._marked(index, key, inner) for inner in value]
        if not isinstance(value, str) or not value:
            return value
        if key in _PLAIN_KEYS and re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value) and not self._control.search(value):
            return value
        self.values.append(value)
        self.owners.append(index)
        return f"{self._opener}{len(self.values) - 1}{self._closer}"


def _fields(message: Message) -> dict[str, Any]:
    """A message as templates expect it: ``extra`` beside role and content."""
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if not message.extra:
        return fields
    try:
        extra = json.loads(message.extra)
    except (ValueError, RecursionError):
        raise TemplateError("the extra fields of a message are not JSON") from None
    if not isinstance(extra, dict):
        raise TemplateError("the extra fields of a message are not a JSON object")
    return fields | {key: value for key, value in extra.items() if key not in fields}


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


_SHAPES: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    str.strip,
    str.rstrip,
    str.lstrip,
    lambda text: text.strip("\n"),
    lambda text: text.rstrip("\n"),
    lambda text: text.lstrip("\n"),
    _json,
    lambda text: _json(text.strip()),
    lambda text: json.dumps(text)[1:-1],
    lambda text: repr(text)[1:-1],
)
"""What templates do to a string before they write it. The first that fits the real render is what was done."""


def _align(text: str, skeleton: Sequence[str], values: Sequence[str]) -> list[tuple[str, int]]:
    """The pieces of ``text`` as (text, number of its mark or -1 for the template); raises TemplateError when it fits no skeleton."""
    pieces: list[tuple[str, int]] = []
    position = 0
    for number in range(0, len(skeleton), 2):
        written = skeleton[number]
        if not text.startswith(written, position):
            break
        pieces.append((written, -1))
        position += len(written)
        if number + 1 == len(skeleton):
            if position != len(text):
                break
            return [piece for piece in pieces if piece[0]]
        mark, following = int(skeleton[number + 1]), skeleton[number + 2]
        last = number + 3 == len(skeleton)
        for shape in _SHAPES:
            said = shape(values[mark])
            end = position + len(said)
            if text.startswith(said, position) and text.startswith(following, end) and (not last or end + len(following) == len(text)):
                pieces.append((said, mark))
                position = end
                break
        else:
            break
    raise TemplateError("the chat template changes the contents in a way that cannot be followed")
