"""What the bulk look lets through: everything that a look at every sentence finds something in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filters.assessment import assess
from pipeline.filters.batch_bytes import join, wide
from pipeline.filters.cut_slop import SLOP_RULES
from pipeline.filters.match_view import fold
from pipeline.filters.prefilter import fold_all, loosened
from pipeline.filters.rules import for_documents, matcher, read_rule_file, read_rules
from tests.filters.conftest import find

RULES = read_rules([find(name) for name in SLOP_RULES])
SAYINGS = [text for name in SLOP_RULES for entry in read_rule_file(find(name)).rules.values() for text in (*entry.examples, *entry.near_misses)]
FULL_WIDTH = {code: code + 0xFEE0 for code in range(33, 127)}
DISGUISES = (
    lambda text: text,
    str.upper,
    lambda text: text.translate(FULL_WIDTH),
    lambda text: text.replace("'", "\u2019").replace('"', "\u201c"),
    lambda text: text.replace("'", "\u00e2\u20ac\u2122"),
    lambda text: "\u200b".join(text),
    lambda text: text.replace("a", "\u0430").replace("o", "\u043e"),
    lambda text: f"**{text}**",
    lambda text: text.replace(" ", " ** "),
    lambda text: text.replace(" ", "\u00a0\n", 3),
    lambda text: f'\u00bd "{text}"',
)
SAYING = st.builds(lambda text, disguise: disguise(text), st.sampled_from(SAYINGS), st.sampled_from(DISGUISES))
OTHER = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "\n\n",
            "1. ",
            "- x",
            "Water boils.",
            "\u0130stanbul \u00bd cup\u2026",
            "\u6c34\u3002",
            "\ubb3c\u3002",
            "```\nx\n```",
            "\u2028",
            "* a *",
        ]
    ),
    st.text(max_size=12),
)
TEXT = st.lists(st.one_of(SAYING, OTHER), max_size=4).flatmap(
    lambda parts: st.sampled_from(["", " ", "\n", "\n\n", "  "]).map(lambda gap: gap.join(parts))
)


@given(st.lists(TEXT, min_size=1, max_size=5), st.booleans())
def test_nothing_is_held_back_that_a_rule_speaks_about(texts: list[str], is_document: bool) -> None:
    """For any texts, disguised and mixed, what does not pass is what a look at every sentence finds nothing in."""
    rules = matcher(for_documents(RULES) if is_document else RULES)
    passed = rules.passes(pa.array(texts, pa.large_string()))
    assert all(assess(text, rules, is_document) is None for text, through in zip(texts, passed.tolist(), strict=True) if not through)


@given(st.lists(st.text(alphabet="aB *\n\t.\u00e9\u00c9\u2019\u2026\uac00\u200b\u00a0\uff21", max_size=20), min_size=1, max_size=5))
def test_text_folded_in_bulk_is_text_folded_alone(texts: list[str]) -> None:
    """But for lone asterisks, the bytes of each piece are those of its own folded view with single blanks."""
    folded = fold_all(pa.array(texts, pa.large_string()))
    ends = np.append(folded.starts[1:], len(folded.text))
    for text, start, end in zip(texts, folded.starts.tolist(), ends.tolist(), strict=True):
        assert folded.text[start:end].decode().split() == fold(text).text.replace("*", "").split()


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_characters_are_found_in_the_bytes(texts: list[str]) -> None:
    """Every character that is not ASCII is read from the joined bytes, in order."""
    joined = join(pa.array(texts, pa.large_string()))
    codes = wide(np.frombuffer(joined.text, np.uint8)).codes.tolist()
    assert codes == [ord(char) for char in "".join(texts) if ord(char) > 127]


@pytest.mark.parametrize(("pattern", "loose"), [("^a$", "a"), (r"[^.]\^\$[$]", r"[^.]\^\$[$]"), (r"(?:^|\s)x\z", r"(?:|\s)x")])
def test_a_loosened_pattern_has_no_ends(pattern: str, loose: str) -> None:
    """Only assertions of a sentence's ends go; sets and escaped marks stay."""
    assert loosened(pattern) == loose


def test_a_second_look_judges_only_what_changed() -> None:
    """A batch that is looked at again, with one row changed, gives what a first look at it gives."""
    rules = matcher(RULES)
    first, second = pa.array([SAYINGS[0], "Water boils."], pa.large_string()), pa.array(["Water boils.", "Water boils."], pa.large_string())
    assert rules.passes(first).tolist() == [True, False]
    assert rules.passes(second).tolist() == [False, False]
    assert rules.passes(first).tolist() == [True, False]
