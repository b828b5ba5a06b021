"""Headers, menus, footers and signatures that documents of a source share are cut; what belongs to a document is not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.documents import Document, Message, to_batch
from pipeline.errors import GristmillError
from pipeline.filters.line_table import RUNS, LineCounter, merge, write_table
from pipeline.filters.recurring_lines import RecurringLines
from pipeline.filters.verdicts import Edits

from .conftest import chat, contents, pieces, plain, put_back

WORDS = [
    a + b for a in ("har", "lin", "mos", "tav", "ger", "pul", "ost", "wik") for b in ("ba", "den", "for", "gas", "hul", "kam", "lo", "ner", "pis")
]


def sentence(*seed: object) -> str:
    """A sentence that no other seed gives."""
    dice = random.Random(repr(seed))
    return " ".join(dice.choices(WORDS, k=9)).capitalize() + "."


def body(*seed: object, lines: int = 6) -> str:
    """Some sentences of a document's own, a line each."""
    return "\n".join(sentence(*seed, number) for number in range(lines))


def cut(batch: pa.RecordBatch, folder: Path, **given: object) -> Edits:
    """The batch after both passes."""
    editor = RecurringLines(**given)  # type: ignore[arg-type]
    with pa.ipc.new_file(str(folder / "runs.arrow"), RUNS) as file:
        counter = LineCounter(file.write_batch)
        editor.count(batch, counter)
        counter.close()
    merged = merge([folder / "runs.arrow"], 0, 1, editor.min_documents, editor.max_inner)
    documents = {name: batch.column("source").to_pylist().count(name) for name in set(batch.column("source").to_pylist())}
    table = folder / f"{len(list(folder.iterdir()))}.arrow"
    write_table(table, [merged], documents)
    return editor.with_table(table).edit(batch)


def texts(edits: Edits) -> list[str]:
    """The plain texts."""
    return [str(text) for text in edits.batch.column("text").to_pylist()]


def rules(edits: Edits) -> set[str]:
    """The rules of the cuts."""
    return set(edits.cuts["rule"].to_pylist())


def test_menus_headers_and_footers_go(tmp_path: Path) -> None:
    """A menu of short lines above, and a notice below, go with their line ends; the rule says what they were and how many documents have them."""
    own = [body(n) for n in range(20)]
    menu, notice = "Home\nAll recipes\nContact us\n\n", "\n\nThis site uses cookies.\nTerms of service | Privacy\n"
    edits = cut(plain(*(menu + text + notice for text in own)), tmp_path)
    assert texts(edits) == own
    assert rules(edits) == {"header.in_20", "footer.in_20"}
    assert edits.cuts["before"].to_pylist()[:2] == [notice, menu]


def test_a_line_of_its_own_may_stand_at_the_edge(tmp_path: Path) -> None:
    """A title before the menu, a date in the footer: they stay, and what recurs beside them still goes."""
    made = [f"Title {sentence(n)}\nHome\nAll recipes\nContact us\n\n{body(n)}\n\nCopyright of the kitchen\nPage {n} of the book" for n in range(20)]
    edits = cut(plain(*made), tmp_path)
    assert texts(edits) == [f"Title {sentence(n)}\n\n{body(n)}\n\nPage {n} of the book" for n in range(20)]


def test_paragraphs_stay_apart_and_indentation_stays(tmp_path: Path) -> None:
    """Of the two gaps beside a cut the wider one is left, and the line that follows keeps its blanks."""
    notice = "We use cookies to improve this site."
    for before, after in (("\n", "\n\n"), ("\n\n", "\n"), ("\n\n", "\n\n"), ("\n", "\n  ")):
        made = [f"{sentence(n)}{before}{notice}{after}{body(n)}" for n in range(20)]
        left = before if len(before) >= after.count("\n") else after
        blanks = "  " if after.endswith(" ") else ""
        assert texts(cut(plain(*made), tmp_path)) == [f"{sentence(n)}{left}{blanks}{body(n)}" for n in range(20)]


def test_what_few_documents_share_stays(tmp_path: Path) -> None:
    """Neither min_documents nor min_share nor min_letters is met by less."""
    footer = "\nThis site uses cookies, as others do."
    batch = plain(*(body(n) + (footer if n < 12 else "") for n in range(100)))
    assert rules(cut(batch, tmp_path)) == {"footer.in_12"}
    assert not rules(cut(batch, tmp_path, min_documents=13))
    assert not rules(cut(batch, tmp_path, min_share=0.13))
    assert not rules(cut(batch, tmp_path, min_letters=40))


def test_sources_are_counted_apart(tmp_path: Path) -> None:
    """A line that recurs over sources, but in none of them, stays."""
    batches = [
        to_batch(f"site{n}", [Document(str(m), text=f"{body(n, m)}\nThis site uses cookies, as others do.") for m in range(4)]) for n in range(8)
    ]
    batch = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    assert not rules(cut(batch, tmp_path))
    assert rules(cut(batch, tmp_path, min_documents=4)) == {"footer.in_4"}


def test_the_middle_belongs_to_the_document(tmp_path: Path) -> None:
    """A sentence that recurs in the middle goes only where that is asked for."""
    shared = "This method works on simple estimators as well as on nested objects."
    batch = plain(*(f"{body(n, 1)}\n{shared}\n{body(n, 2)}" for n in range(20)))
    assert not rules(cut(batch, tmp_path))
    assert rules(cut(batch, tmp_path, where="anywhere")) == {"line.in_20"}


def test_content_that_now_and_then_ends_a_text_stays(tmp_path: Path) -> None:
    """A line that stands deep inside some texts is content, and stays where it happens to stand at the end of others."""
    shared = "user_data: what was given when the handler was connected"
    deep = [f"{body(n, 1, lines=60)}\n{shared}\n{body(n, 2, lines=60)}" for n in range(5)]
    assert not rules(cut(plain(*(f"{body(n)}\n{shared}" for n in range(20)), *deep), tmp_path))
    assert rules(cut(plain(*(f"{body(n)}\n{shared}" for n in range(20)), *(body(n, lines=90) for n in range(5))), tmp_path)) == {"footer.in_20"}


def test_copies_keep_their_text(tmp_path: Path) -> None:
    """An article that a source holds thirty times, nearly the same each time, is a matter for deduplication: nothing of it goes."""
    made = [f"{body('article', lines=30)}\nVisited {n} times." for n in range(30)]
    assert not rules(cut(plain(*made, *(body(n) for n in range(30))), tmp_path))


def test_a_text_that_would_nearly_vanish_is_left_whole(tmp_path: Path) -> None:
    """More than max_share of a text never goes, unless that is 1: then it may become empty, and the length rule removes it."""
    notice = "This page was not found.\nGo back to the start page.\nAll rights are reserved by the kitchen."
    made = [*(f"{body(n)}\n{notice}" for n in range(20)), notice]
    assert texts(cut(plain(*made), tmp_path))[-1] == notice
    assert texts(cut(plain(*made), tmp_path, max_share=1.0))[-1] == ""


CODE = "import numpy as np\nfrom pathlib import Path\n\n\ndef work{n}(path: Path) -> None:\n    value = path.read_text()\n    print(value, {n})\n    return None\n"


@pytest.mark.parametrize(
    "form",
    [
        CODE,
        "// Licensed under the terms of the file beside\n#pragma once\n#include <kitchen/oven.h>\n\nint oven_{n};\n}} // namespace kitchen",
        "```python\nimport numpy as np\nfrom pathlib import Path\nprint({n})\n```",
        "{own}\n```\nUsage of the kitchen timer program\n{n}\n```",
        "| Name of the dish | Time in minutes |\n| --- | --- |\n| {n} | {n} |",
        "# Heading\n\nIntroduction\n\n{own}\n\nConclusion\n}}",
    ],
)
def test_code_tables_and_headings_stay(form: str, tmp_path: Path) -> None:
    """Imports, whole and fenced code, heads of tables, headings and lone braces are left alone, though every document has them."""
    made = [form.format(n=n, own=body(n)) for n in range(30)]
    assert texts(cut(plain(*made), tmp_path)) == made


def test_signs_beside_a_cut_stay(tmp_path: Path) -> None:
    """A run of recurring lines ends at its last letter: a brace or a rule beside it belongs to the text."""
    made = [f"{body(n)}\n}}\nCopyright of the kitchen\n-----\nAll rights reserved\n}}" for n in range(20)]
    assert texts(cut(plain(*made), tmp_path)) == [f"{body(n)}\n}}\n}}" for n in range(20)]


def test_conversations_only_where_asked(tmp_path: Path) -> None:
    """Turns are left alone until their role is named, and then none is emptied."""
    close = "I hope this helps! Let me know if you have other questions."
    batch = chat(*(f"{body(n)}\n\n{close}" for n in range(20)), close)
    assert not rules(cut(batch, tmp_path))
    edits = cut(batch, tmp_path, roles=("assistant",), max_share=1.0)
    assert contents(edits.batch) == [*(body(n) for n in range(20)), close]


def test_paragraphs_are_compared_whole(tmp_path: Path) -> None:
    """With ``unit: paragraphs`` a paragraph goes only when all of it recurs."""
    own = [f"{body(n, 1)}\nThe kitchen is open from nine to five.\n\nWritten by the cook\nof the kitchen" for n in range(20)]
    assert texts(cut(plain(*own), tmp_path, unit="paragraphs")) == [text.rpartition("\n\n")[0] for text in own]
    assert rules(cut(plain(*own), tmp_path, unit="paragraphs", where="anywhere")) == {"footer.in_20"}


LINES = [
    "Menu",
    "All recipes of the kitchen",
    "  indented header line",
    "-----",
    "```",
    "|a|b|",
    "Ärger über Öl und Maß 漢字",
    "tail\t\r",
    "x",
    "own {n}",
    "own too {n}",
]
BREAKS = ["\n", "\n\n", "\n \n", "\n\n\n", "\r\n"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    shapes=st.lists(st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(BREAKS)), max_size=9), min_size=1, max_size=6),
    where=st.sampled_from(["edges", "anywhere"]),
    unit=st.sampled_from(["lines", "paragraphs"]),
    turns=st.booleans(),
)
def test_cuts_put_back_give_the_original(
    shapes: Sequence[list[tuple[str, str]]], where: str, unit: str, turns: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the texts: the cuts rebuild the original exactly, and what stays are lines of the text, whole and in order."""
    made = ["".join(line.format(n=n) + gap for line, gap in shape) for n in range(8) for shape in shapes]
    asked = {"where": where, "unit": unit, "min_documents": 2, "min_share": 0.0, "min_letters": 4, "max_share": 1.0}
    if turns:
        documents = [Document(str(row), messages=(Message("user", text), Message("assistant", text))) for row, text in enumerate(made)]
        batch, roles = to_batch("test", documents), ("user", "assistant")
    else:
        batch, roles = plain(*made), ("text",)
    edits = cut(batch, tmp_path_factory.mktemp("cut"), roles=roles, **asked)
    assert put_back(edits.batch, edits.cuts) == pieces(batch)
    after = pieces(edits.batch)
    for place, before in pieces(batch).items():
        lines = iter(line.strip() for line in before.split("\n"))
        assert all(line.strip() in lines for line in after[place].split("\n") if line.strip())
        assert not turns or after[place].strip() or not before.strip()


def test_nothing_is_cut_before_it_was_counted() -> None:
    """The editor alone, without the first pass, says so in a line."""
    with pytest.raises(GristmillError, match="nothing was counted"):
        RecurringLines().edit(plain("A text."))
    assert replace(RecurringLines(), where="anywhere").max_inner == 1.0
