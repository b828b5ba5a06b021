"""The record and its role-aware view."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Document, Message, locator, record_id, to_batch, turns, with_contents

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
messages = st.lists(st.builds(Message, st.sampled_from(["user", "assistant", "system"]), texts), max_size=4).map(tuple)
documents = st.lists(
    st.builds(lambda i, t: Document(str(i), text=t), st.integers(), texts) | st.builds(lambda i, m: Document(str(i), messages=m), st.integers(), messages),
    max_size=6,
)


def test_ids_are_the_same_everywhere() -> None:
    """An id depends on source and locator only; this one must never change."""
    assert record_id("forum", "posts.sql#table=posts&key=9") == "da446e06a1b099aa145387f712e0c7ac"


def test_locator_is_percent_encoded() -> None:
    """Odd file names, values and bytes that are no UTF-8 survive in a locator."""
    assert locator("a b/c#d.csv", row=17) == "a%20b/c%23d.csv#row=17"
    assert locator("x\udcff") == "x%FF"
    assert locator("p", table="a&b", key="1=2") == "p#table=a%26b&key=1%3D2"


@given(documents, st.integers(0, 5))
def test_view_lists_every_text_once_in_order(docs: list[Document], start: int) -> None:
    """The view holds each plain text and each turn, in order, also of a sliced batch."""
    batch = to_batch("s", docs).slice(start)
    view = turns(batch)
    expected = []
    for row, doc in enumerate(docs[start:]):
        if doc.text is not None:
            expected.append((row, -1, "text", doc.text))
        expected += [(row, i, m.role, m.content) for i, m in enumerate(doc.messages or ())]
    got = zip(view.document.tolist(), view.message.tolist(), view.role.to_pylist(), view.content.to_pylist(), strict=True)
    assert list(got) == expected


@given(documents, st.integers(0, 5))
def test_contents_can_be_replaced(docs: list[Document], start: int) -> None:
    """Replacing some contents changes these and nothing else."""
    batch = to_batch("s", docs).slice(start)
    view = turns(batch).of_roles(["assistant", "text"])
    changed = with_contents(batch, view, pa.array([f"<{c}>" for c in view.content.to_pylist()], pa.large_string()))
    changed.validate(full=True)
    for before, after in zip(batch.to_pylist(), changed.to_pylist(), strict=True):
        if before["text"] is not None:
            before["text"] = f"<{before['text']}>"
        for message in before["messages"] or ():
            if message["role"] == "assistant":
                message["content"] = f"<{message['content']}>"
        assert before == after
