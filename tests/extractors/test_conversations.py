"""Conversations in the spellings that data sets use."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Message
from pipeline.extractors.conversations import MalformedError, is_conversation, messages_of, role_of

USER, ASSISTANT = Message("user", "Hi"), Message("assistant", "Ho")

SPELLINGS = [
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
    [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}],
    [{"role": "Prompter", "text": "Hi"}, {"role": " BOT ", "text": "Ho"}],
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "model", "content": "Ho"}]},
    [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, {"role": "assistant", "content": "Ho", "name": None, "tool_calls": []}],
    json.dumps([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]),
]


@pytest.mark.parametrize("value", SPELLINGS)
def test_spellings(value: object) -> None:
    """Every usual spelling gives the same two messages."""
    assert messages_of(value) == (USER, ASSISTANT)


def test_what_else_a_turn_holds_is_kept_as_json() -> None:
    """Name, tool calls and thinking go into ``extra``, in an order that does not depend on the input's."""
    (message,) = messages_of([{"thinking": "hm", "role": "assistant", "content": None, "tool_calls": [{"id": 1}]}])
    assert message.content == ""
    assert message.extra == '{"thinking": "hm", "tool_calls": [{"id": 1}]}'


@pytest.mark.parametrize(("turn", "train"), [({"train": False}, False), ({"weight": 1}, True), ({"loss": 0}, False), ({"weight": None}, None), ({}, None)])
def test_train(turn: dict, train: bool | None) -> None:
    """Whether a turn is learned is read under any of its usual names; unsaid it stays open."""
    (message,) = messages_of([{"role": "assistant", "content": "Ho", **turn}])
    assert message.train is train


BROKEN = [
    ("{", "not JSON"),
    ("[" * 100_000, "not JSON"),
    (5, "list of turns"),
    (["Hi", "Ho"], "turn 0 is str"),
    ([{"content": "Hi"}], "names no role"),
    ([{"role": "alice", "content": "Hi"}], "'alice'"),
    ([{"role": "user", "content": 5}], "not text"),
    ([{"role": "user", "content": [{"type": "image_url"}]}], "not text"),
    ([{"role": "user", "content": "Hi", "weight": 0.5}], "0.5"),
    ([{"role": "user", "content": " "}], "any content"),
    ([], "any content"),
]


@pytest.mark.parametrize(("value", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
def test_broken_conversations_say_why(value: object, reason: str) -> None:
    """What is no conversation is refused with the turn and the reason."""
    with pytest.raises(MalformedError, match="malformed conversation: ") as caught:
        messages_of(value)
    assert reason in str(caught.value)


def test_only_what_looks_like_a_conversation_is_taken_for_one() -> None:
    """A plain string or an empty list in a conversation's column is none, so that another column can speak."""
    assert [is_conversation(cell) for cell in ("hello", "", None, [], {}, 3)] == [False] * 6
    assert [is_conversation(cell) for cell in (" [1]", "{", [1], {"a": 1})] == [True] * 4


@given(st.recursive(st.none() | st.booleans() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "train", "extra", "x"]), inner | st.just("user"), max_size=4)))
def test_anything_is_messages_or_malformed(value: object) -> None:
    """Any data gives messages with known roles and text, or MalformedError."""
    try:
        messages = messages_of(value)
    except MalformedError:
        return
    assert messages
    assert all(role_of(message.role) == message.role and isinstance(message.content, str) for message in messages)
