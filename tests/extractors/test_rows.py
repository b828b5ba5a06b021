"""Columns become text or turns."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Document, Message, Removed, Skipped, to_batch
from pipeline.errors import SettingsError
from pipeline.extractors import templates
from pipeline.extractors.looks import reads_like_text
from pipeline.extractors.rows import RowMapping, TurnTemplate, column_names, plan
from pipeline.settings import build, parse_yaml

PROSE = ["Bread wants time and a warm place.", "Let the dough rest, then fold it twice.", "Bake it until the crust is dark brown."]


def made(row: dict, mapping: RowMapping | None = None, sample: tuple = ()) -> Document:
    """The document of a row of a table that holds nothing else."""
    document = plan(list(row), mapping, sample=sample or [row]).document("here", row)
    assert isinstance(document, Document), document
    return document


def turns(row: dict, mapping: RowMapping | None = None) -> list[tuple[str, str]]:
    """Role and content of the turns of a row."""
    return [(message.role, message.content) for message in made(row, mapping).messages or ()]


SHAPES = [
    ({"instruction": "Add.", "input": "1 2", "output": "3"}, "alpaca columns as turns", [("user", "Add.\n\n1 2"), ("assistant", "3")]),
    ({"instruction": "Add.", "input": "", "output": "3"}, "alpaca columns as turns", [("user", "Add."), ("assistant", "3")]),
    ({"system": "Be brief.", "instruction": "Hi", "response": "Ho"}, "alpaca columns as turns", [("system", "Be brief."), ("user", "Hi"), ("assistant", "Ho")]),
    ({"Question": "Why?", "Answer": 42, "id": 1}, "Question, Answer columns as turns", [("user", "Why?"), ("assistant", "42")]),
    ({"prompt": "Go", "completion": "Gone"}, "prompt, completion columns as turns", [("user", "Go"), ("assistant", "Gone")]),
    ({"input": "Go", "output": "Gone"}, "input, output columns as turns", [("user", "Go"), ("assistant", "Gone")]),
    ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]}, "sharegpt", [("user", "Hi"), ("assistant", "Ho")]),
    ({"messages": '[{"role": "user", "content": "Hi"}]', "text": None}, "messages, else text from text", [("user", "Hi")]),
    ({"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Ho"}]}, None, [("user", "Hi"), ("assistant", "Ho")]),
    ({"system": "S", "conversations": [{"from": "human", "value": "Hi"}]}, "sharegpt", [("system", "S"), ("user", "Hi")]),
]


@pytest.mark.parametrize(("row", "label", "expected"), SHAPES)
def test_recognises_instruction_data(row: dict, label: str | None, expected: list[tuple[str, str]]) -> None:
    """Instruction data is known by its columns, in any case, and becomes turns; the label says what was chosen."""
    assert turns(row) == expected
    assert label is None or plan(list(row), sample=[row]).label == label


TEXTS = [
    ({"text": "whole", "title": "T", "id": 3}, "whole", "text from text"),
    ({"body": "B.", "title": "T"}, "T\n\nB.", "text from title, body"),
    ({"body": "B.", "title": ""}, "B.", "text from title, body"),
    ({"key": "a1", "note": PROSE[0], "story": PROSE[1]}, f"{PROSE[0]}\n\n{PROSE[1]}", "text from note, story"),
    ({"messages": None, "text": "plain"}, "plain", "messages, else text from text"),
    ({"messages": [], "text": "plain"}, "plain", "messages, else text from text"),
]


@pytest.mark.parametrize(("row", "text", "label"), TEXTS)
def test_recognises_text(row: dict, text: str, label: str) -> None:
    """A column named like text is the document, with the title before it; else the columns that read like text are."""
    assert made(row).text == text
    assert plan(list(row), sample=[row]).label == label


def test_our_own_schema_reads_both_kinds() -> None:
    """Of a row with ``text`` and ``messages`` the one that is filled is taken, and ``extra`` and ``train`` survive."""
    turn = {"role": "assistant", "content": "Ho", "train": False, "extra": '{"name": "x"}'}
    document = made({"text": None, "messages": [turn], "id": "ab"})
    assert document.messages == (Message("assistant", "Ho", False, '{"name": "x"}'),)
    assert document.meta["id"] == "ab"


def test_the_usual_columns_are_carried() -> None:
    """Columns such as id, url and title go into meta as they are, and ``extractor`` names reader and choice."""
    row = {"ID": 7, "url": "http://x/", "Title": "T", "language": "en", "body": "B", "votes": 3, "date": ""}
    document = plan(list(row), RowMapping(meta=("votes",))).document("here", row, "csv")
    assert isinstance(document, Document)
    assert document.meta == {"id": 7, "url": "http://x/", "title": "T", "language": "en", "votes": 3, "extractor": "csv text from Title, body"}


def test_rows_without_text_are_removed_whole() -> None:
    """A row without text is removed with its cells as JSON, under a rule that tells an empty row from a table without text columns."""
    empty = plan(["text", "n"]).document("here", {"text": " ", "n": 1})
    assert isinstance(empty, Removed)
    assert empty.rule == "no_text"
    assert json.loads(empty.document.text or "") == {"text": " ", "n": 1}
    numbers = plan(["a", "b"], sample=[{"a": "1", "b": "2"}]).document("here", {"a": "1", "b": "2"})
    assert isinstance(numbers, Removed)
    assert numbers.rule == "no_text_columns"


def test_numbers_and_lists_are_no_text_of_their_own() -> None:
    """A number or a list under ``text`` is no document, but a template may name it."""
    assert isinstance(plan(["text"]).document("here", {"text": 5}), Removed)
    assert isinstance(plan(["text"]).document("here", {"text": ["a"]}), Removed)
    assert made({"n": 5, "ok": True, "tags": ["a"]}, RowMapping(text="{n} {ok} {tags}")).text == '5 true ["a"]'


def test_template_syntax() -> None:
    """Cells are put in as they are and never read as templates; doubled braces are braces; nothing else means anything."""
    row = {"a": "{b} %s {0.__class__}", "b": "x"}
    assert made(row, RowMapping(text="{{a}} = {a} {b}")).text == "{a} = {b} %s {0.__class__} x"


@pytest.mark.parametrize("template", ["{", "}", "a {b", "a} b", "{}", "{a{b}}"])
def test_wrong_templates_are_refused_at_once(template: str) -> None:
    """A brace alone is an error of the settings, told when they are read."""
    with pytest.raises(ValueError, match="brace"):
        RowMapping(text=template)


def test_lines_of_empty_columns_are_left_out() -> None:
    """A line whose columns are all empty is left out, a paragraph without lines too, and nothing else changes."""
    mapping = RowMapping(text="# {title}\n\nAsked by {who}\n{body}\n\nTags: {tags}\nEnd")
    assert made({"title": "T", "who": "", "body": "a\n\nb ", "tags": None}, mapping).text == "# T\n\na\n\nb \n\nEnd"


def test_turn_templates() -> None:
    """A turn whose columns are all empty is left out; ``when_empty`` is used when one of them is; constants stay."""
    mapping = RowMapping(
        turns=(
            TurnTemplate("system", "You are a baker."),
            TurnTemplate("human", "{q} ({context})", when_empty="{q}"),
            TurnTemplate("gpt", "{a}"),
        )
    )
    assert turns({"q": "Why?", "context": "rye", "a": "So."}, mapping) == [("system", "You are a baker."), ("user", "Why? (rye)"), ("assistant", "So.")]
    assert turns({"q": "Why?", "context": "", "a": ""}, mapping) == [("system", "You are a baker."), ("user", "Why?")]
    assert isinstance(plan(["q", "context", "a"], mapping).document("here", {"q": "", "context": "", "a": None}), Removed)


def test_wrong_columns_name_the_nearest() -> None:
    """A mapping that names a missing column is an error that names table and nearest column, all of them at once."""
    mapping = RowMapping(text="{titel}", group="thraed", meta=("x",))
    with pytest.raises(SettingsError) as caught:
        plan(["title", "thread"], mapping, table="posts")
    assert "posts: has no column 'titel'; did you mean 'title'?" in caught.value.problems
    assert len(caught.value.problems) == 3


def test_mapping_comes_out_of_yaml() -> None:
    """A mapping is what YAML says; wrong ones are told with file and line."""
    read = build(RowMapping, parse_yaml("turns:\n- {role: user, content: '{q}'}\ngroup: thread\n", "x.yaml"))
    assert read == RowMapping(turns=(TurnTemplate("user", "{q}"),), group="thread")
    for text, problem in [("text: '{a'", "brace"), ("turns: [{role: usr, content: x}]", "did you mean 'user'"), ("text: a\nturns: [{role: user, content: b}]", "both")]:
        with pytest.raises(SettingsError, match=problem):
            build(RowMapping, parse_yaml(text, "x.yaml"))


def test_group_column() -> None:
    """The group is the cell of its column as text, and none where it is empty."""
    assert made({"text": "a", "thread": 5}, RowMapping(group="thread")).group == "5"
    assert made({"text": "a", "thread": None}, RowMapping(group="thread")).group is None


def test_malformed_conversations_and_surrogates_are_skipped() -> None:
    """A conversation that cannot be read, and text with half a surrogate pair anywhere, are skipped with a reason."""
    for row in ({"messages": [{"role": "user", "content": 3}]}, {"text": "\ud800"}, {"text": "fine", "id": "\udfff"}, {"messages": [{"role": "user", "content": "\ud83d"}]}):
        assert isinstance(plan(list(row)).document("here", row), Skipped)


NO_TEXT = [
    ["1", "2.5", "-3"],
    ["2024-01-01", "2024-01-02 12:30:00"],
    ["0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"],
    ["https://example.org/a", "http://example.org/b?c=d e f"],
    ["someone@example.org"],
    ["John Smith", "Jane Doe"],
    ["image/png", "src/main/java/App.java"],
    ["not yet shipped to the customer"] * 30,
    [None, "", "  "],
    [3, 4],
]


@pytest.mark.parametrize("cells", NO_TEXT)
def test_what_is_not_text(cells: list) -> None:
    """Numbers, dates, hashes, addresses, names, paths, categories and nothing at all do not read like text."""
    assert not reads_like_text(cells)


@pytest.mark.parametrize("cells", [PROSE, ["面包需要时间和温暖的地方。让面团休息一夜。"], ["ขนมปังต้องใช้เวลาและสถานที่อบอุ่น"], ["Der Teig will ruhen, dann falten."]])
def test_what_is_text(cells: list) -> None:
    """Sentences read like text, also in scripts without spaces."""
    assert reads_like_text(cells)


def test_column_names_are_made_unique() -> None:
    """Every column keeps a name of its own: numbered where there is none or it stands twice."""
    assert column_names(["a", "", " a ", "a_2", "a"]) == ("a", "col_1", "a_2", "a_2_2", "a_3")


CELLS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
NAMES = st.sampled_from(["text", "messages", "conversations", "instruction", "output", "title", "body", "id", "x", "prompt", "completion", "system"])


@given(st.dictionaries(NAMES, CELLS, max_size=6), st.dictionaries(NAMES, CELLS, max_size=6))
def test_any_row_becomes_something_that_can_be_written(row: dict, other: dict) -> None:
    """Whatever cells hold, a row becomes a document, a removal or a skip, and what is a document fits the schema."""
    made = plan(list(row), sample=[row, other]).document("here", row)
    if isinstance(made, Document | Removed):
        document = made if isinstance(made, Document) else made.document
        assert (document.text is None) != (document.messages is None)
        to_batch("s", [document])


@given(st.lists(st.sampled_from(["{{", "}}", "{a}", "{b}", "x", " ", "\n", "\n\n"]), max_size=12), st.text(max_size=8), st.text(max_size=8))
def test_rendering_is_pure_substitution(pieces: list[str], a: str, b: str) -> None:
    """With both cells filled a template of one paragraph is its text with the cells put in."""
    written = "".join(piece for piece in pieces if "\n" not in piece)
    row = {"a": f"<{a}>", "b": f"<{b}>"}
    values = {"{{": "{", "}}": "}", "{a}": row["a"], "{b}": row["b"]}
    expected = "".join(values.get(piece, piece) for piece in pieces if "\n" not in piece)
    assert templates.parse(written).render(row) == expected


def test_conversations_in_a_cell_by_path() -> None:
    """A conversation may stand anywhere inside a cell of JSON, under keys and names of roles that the settings tell."""
    chat = {"id": 5, "chat": {"log": [{"who": "customer", "said": "Hi"}, {"who": "agent", "said": "Ho", "at": "noon"}]}}
    mapping = RowMapping(messages="payload.chat.log", role_key="who", content_key="said", roles={"customer": "user", "agent": "assistant"}, group="payload.id")
    for payload in (chat, json.dumps(chat)):
        document = made({"n": 1, "payload": payload}, mapping)
        assert document.messages == (Message("user", "Hi"), Message("assistant", "Ho", extra='{"at": "noon"}'))
        assert document.group == "5"
    assert isinstance(plan(["payload"], mapping).document("here", {"payload": "no chat"}), Removed)
    wrong = {"payload": {"chat": {"log": "no list"}}}
    assert isinstance(plan(["payload"], mapping).document("here", wrong), Skipped)
    with pytest.raises(SettingsError, match="did you mean 'payload'"):
        plan(["payload", "n"], RowMapping(messages="paylaod"), table="chats")
    with pytest.raises(SettingsError, match="did you mean 'assistant'"):
        build(RowMapping, parse_yaml("messages: x\nroles: {agent: assistent}", "x.yaml"))


def test_fields_inside_cells() -> None:
    """A template reaches into JSON by names and numbers; a column of the whole name goes first; what is not there is empty."""
    row = {"a": '{"b": [{"c": "deep"}]}', "a.x": "flat", "n": None}
    assert made(row, RowMapping(text="{a.b.0.c} {a.x}\n{a.b.7.c}{n.m}")).text == "deep flat"
    assert made({"a": "[" * 100_000, "b": "B"}, RowMapping(text="{a.0}{b}")).text == "B"


def test_id_column() -> None:
    """The id column goes into meta as ``id`` and beside the row's number into the locator, so that locators differ even where ids do not."""
    row = {"key": "a b/1", "text": "x", "id": "other"}
    document = plan(list(row), RowMapping(text="{text}", id="key")).document("t.csv#row=3", row)
    assert isinstance(document, Document)
    assert document.locator == "t.csv#row=3&id=a%20b%2F1"
    assert document.meta["id"] == "a b/1"


def test_where_and_needs() -> None:
    """Rows that ``where`` does not ask for, and rows that lack a column of ``needs``, are removed whole, each under its rule."""
    mapping = build(RowMapping, parse_yaml("text: '{title} {body}'\nneeds: body\nwhere: {visible: [1, yes]}", "x.yaml"))
    assert made({"title": "T", "body": "B", "visible": 1}, mapping).text == "T B"
    rules = []
    for row in ({"title": "T", "body": "B", "visible": "0"}, {"title": "T", "body": " ", "visible": "yes"}):
        removed = plan(list(row), mapping).document("here", row)
        assert isinstance(removed, Removed)
        assert json.loads(removed.document.text or "") == row
        rules.append(removed.rule)
    assert rules == ["where", "no_text"]


def test_formats_of_cells() -> None:
    """A column's format is applied wherever the column is used; what is removed keeps the cell as it was."""
    mapping = RowMapping(text="{title}\n\n{body}", formats={"body": "bbcode", "title": "html"}, meta=("title",), quotes="drop")
    document = made({"title": "A &amp; B", "body": "[quote]old[/quote][b]new[/b]"}, mapping)
    assert document.text == "A & B\n\n**new**"
    assert document.meta["title"] == "A & B"
    removed = plan(["title", "body"], mapping).document("here", {"title": "", "body": "[quote]old[/quote]"})
    assert isinstance(removed, Removed)
    assert json.loads(removed.document.text or "")["body"] == "[quote]old[/quote]"
