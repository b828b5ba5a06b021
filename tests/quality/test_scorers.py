"""What all scorers have in common."""

from __future__ import annotations

import pickle
from dataclasses import fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Document, Message, to_batch
from pipeline.quality import SCORERS
from pipeline.quality.language import PACKAGE
from pipeline.quality.scorers import Scorer, scored_texts
from tests.quality.conftest import chat, find, plain

TEXTS = st.text(alphabet=st.sampled_from('ab. \n-#…“é中国한๑\t{"x'), max_size=80)


def scorer(name: str) -> Scorer:
    """The scorer of a name with its default settings."""
    if name == "language" and find_spec(PACKAGE) is None:
        pytest.skip("the detector is not installed")
    module, _, kind = SCORERS[name].partition(":")
    made: Scorer = getattr(import_module(module), kind)().resolve(find)
    return made


@pytest.mark.parametrize("name", SCORERS)
def test_scorers_are_frozen_settings_with_prefixed_columns(name: str) -> None:
    """Each is a frozen dataclass with help and a version, can be sent to a worker, and names its columns after itself."""
    one = scorer(name)
    assert is_dataclass(one) and isinstance(fields(one), tuple) and one.version >= 1 and (type(one).__doc__ or "").startswith("Score ")
    assert pickle.loads(pickle.dumps(one)) == one
    assert one.fields() and all(field == name or field.startswith(f"{name}_") for field in one.fields())


@pytest.mark.parametrize("name", SCORERS)
def test_any_text_is_scored(name: str) -> None:
    """One value a document of the named type, never nan, whatever the text; a document alone scores as it does among others."""
    one = scorer(name)

    @given(st.lists(TEXTS, max_size=5))
    def holds(texts: list[str]) -> None:
        together = one.score(plain(*texts))
        assert list(together) == list(one.fields())
        for field, column in together.items():
            assert column.type == one.fields()[field] and len(column) == len(texts)
            assert not any(value is not None and value != value for value in column.to_pylist())
        for row, text in enumerate(texts):
            alone = one.score(plain(text))
            assert {field: column[row].as_py() for field, column in together.items()} == {field: column[0].as_py() for field, column in alone.items()}

    holds()


@pytest.mark.parametrize("name", SCORERS)
def test_a_conversation_scores_as_its_learned_turns(name: str) -> None:
    """The learned turns, an empty line between two, count as one text; a conversation without any has null."""
    talk = (Message("user", "why?"), Message("assistant", "Because of it."), Message("user", "and?"), Message("assistant", "Ask the sky."))
    hidden = (Message("user", "why?"), Message("assistant", "no", train=False))
    one = scorer(name)
    asked, silent = ({field: column.to_pylist() for field, column in one.score(chat(turns)).items()} for turns in (talk, hidden))
    assert asked == {field: column.to_pylist() for field, column in one.score(plain("Because of it.\n\nAsk the sky.")).items()}
    assert all(value == [None] for value in silent.values())


def test_scored_text_of_mixed_batches() -> None:
    """Plain text, learned turns and what ``train`` says, in the order of the documents."""
    documents = [
        Document(locator="a", text="plain"),
        Document(locator="b", messages=(Message("user", "q", train=True), Message("assistant", "a"))),
        Document(locator="c", messages=()),
        Document(locator="d", text=""),
    ]
    assert scored_texts(to_batch("t", documents)).to_pylist() == ["plain", "q\n\na", None, ""]


def test_slices_of_batches_score_alike() -> None:
    """A slice of a batch, whose buffers begin elsewhere, scores as its rows do."""
    batch = plain(*(f"Number {n} is a line. And é more.\nAgain" for n in range(9)))
    for name in ("gopher", "repetition", "tokens"):
        whole, part = scorer(name).score(batch), scorer(name).score(batch.slice(4, 3))
        assert all(part[field].equals(whole[field].slice(4, 3)) for field in whole)


def test_empty_batches() -> None:
    """A batch of no documents gives empty columns."""
    for name in SCORERS:
        columns = scorer(name).score(plain())
        assert all(len(column) == 0 and isinstance(column, pa.Array) for column in columns.values())
