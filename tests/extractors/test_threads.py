"""Posts become conversations, rows of several tables documents, and each row is accounted for."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.documents import Document, Extracted, Gathered, Merged, Removed, Skipped, Superseded
from pipeline.errors import SettingsError
from pipeline.extractors import gathering, spills
from pipeline.extractors.rows import RowMapping
from pipeline.extractors.threads import Post, ThreadSettings, conversations_of, order_of
from pipeline.settings import build, parse_yaml

POSTS = [Post(0, "Q", "ann", "1"), Post(1, "A", "bob", "2"), Post(2, "more", "ann", "3"), Post(3, "and more", "ann", "4"), Post(4, "B", "cem", "5")]


def turns(posts: Sequence[Post], title: str = "", **told: Any) -> list[list[tuple[str, str]]]:
    """Roles and contents of the conversations of some posts; posts are copied, since their replies are noted in them."""
    copies = [Post(p.number, p.content, p.author, p.id, p.parent, p.score, p.is_accepted, p.is_staff, p.role) for p in posts]
    outcome = conversations_of(copies, ThreadSettings(thread="t", author="a", **told), title)
    return [[(message.role[0], message.content) for message in made.messages] for made in outcome.conversations]


def test_the_asker_is_the_user() -> None:
    """By default the author of the first post is the user and all others the assistant; neighbours of one role are one turn."""
    assert turns(POSTS) == [[("u", "Q"), ("a", "A"), ("u", "more\n\nand more"), ("a", "B")]]
    assert turns(POSTS, same_role="keep")[0][2:4] == [("u", "more"), ("u", "and more")]
    assert turns(POSTS, title="Title", system="Be kind.")[0][:2] == [("s", "Be kind."), ("u", "Title\n\nQ")]
    assert turns(POSTS, title="Q")[0][0] == ("u", "Q")


def test_the_starter_or_the_staff_may_be_the_assistant() -> None:
    """``starter`` turns the roles round, ``staff`` asks a list, a role told for each post goes before both."""
    assert [role for role, _ in turns(POSTS, assistant="starter")[0]] == ["a", "u", "a", "u"]
    staff = [Post(p.number, p.content, p.author, is_staff=p.author == "bob") for p in POSTS]
    assert turns(staff, assistant="staff", staff=("bob",)) == [[("u", "Q"), ("a", "A"), ("u", "more\n\nand more\n\nB")]]
    told = [Post(0, "Hi", role="assistant"), Post(1, "Ho", role="user")]
    assert turns(told, role="r") == [[("a", "Hi"), ("u", "Ho")]]


def test_question_and_answer() -> None:
    """``accepted`` and ``best`` keep the question and one answer; the other posts are left out by name, as is a thread without an answer."""
    posts = [Post(0, "Q", "ann", score=Decimal(9)), Post(1, "A", "bob", score=Decimal(1)), Post(2, "B", "cem", score=Decimal(3), is_accepted=False)]
    assert turns(posts, assistant="best", score="s") == [[("u", "Q"), ("a", "B")]]
    posts[1].is_accepted = True
    assert turns(posts, assistant="accepted", accepted="x") == [[("u", "Q"), ("a", "A")]]
    outcome = conversations_of(posts, ThreadSettings(thread="t", assistant="accepted", accepted="x"))
    assert [(post.number, rule) for post, rule in outcome.left_out] == [(2, "not_accepted")]
    outcome = conversations_of(posts[:1], ThreadSettings(thread="t", assistant="best", score="s"))
    assert [rule for _, rule in outcome.left_out] == ["no_answer"]


def tree() -> list[Post]:
    """A thread of two branches, an answer to a deleted post, and two posts that answer each other."""
    parents = {"r": "", "a": "r", "b": "r", "a1": "a", "gone": "a1", "g1": "gone", "orphan": "not here", "x": "y", "y": "x"}
    return [Post(n, "" if name == "gone" else name, f"by {name}", name, parent, Decimal(n)) for n, (name, parent) in enumerate(parents.items())]


def test_trees() -> None:
    """Each path of a tree is a conversation; a deleted post leads on, a missing parent or a circle means an answer to the first post."""
    paths = [[content for _, content in path] for path in turns(tree(), parent="p", assistant="alternate", same_role="keep")]
    assert paths == [["r", "b"], ["r", "a", "a1", "g1"], ["r", "orphan"], ["r", "x", "y"]]
    assert [role for role, _ in turns(tree(), parent="p", assistant="alternate")[1]] == ["u", "a", "u", "a"]
    (best,) = turns(tree(), parent="p", branches="best", score="s", same_role="keep")
    assert best[0] == ("u", "r")
    posts = tree()
    posts[3].is_accepted = True
    assert turns(posts, parent="p", branches="accepted", accepted="x", same_role="keep") == [[("u", "r"), ("a", "a"), ("a", "a1")]]


def test_a_deep_tree_is_read_in_bounded_steps() -> None:
    """A chain of 3,000 answers, each with a side branch, stops where its paths would repeat too much; what is left out is named."""
    posts = [Post(n, "x" * 200, str(n), str(n), str(max(0, n - 1 - n % 2)) if n else "") for n in range(6000)]
    outcome = conversations_of(posts, ThreadSettings(thread="t", author="a", parent="p"))
    used = {post.number for made in outcome.conversations for post in made.posts}
    assert len(used) + len(outcome.left_out) == len(posts)
    assert {rule for _, rule in outcome.left_out} == {"too_many_branches"}


def test_order_is_by_size() -> None:
    """Cells are sorted by their size where they are numbers, before all text, after nothing."""
    cells = ["b", "10", "", "9.5", "a", "-3", "2020-01-02", "1" * 40]
    assert sorted(cells, key=order_of) == ["", "-3", "9.5", "10", "1" * 40, "2020-01-02", "a", "b"]


WRONG = [
    ("threads: {thread: t, author: a}", "needs text"),
    ("text: '{b}'\nthreads: {thread: t}", "need author"),
    ("text: '{b}'\nthreads: {thread: t, assistant: best}", "need score"),
    ("text: '{b}'\nthreads: {thread: t, author: a, parent: p}", "needs id"),
    ("text: '{b}'\nid: i\nthreads: {thread: t, author: a, branches: best, score: s}", "need parent"),
    ("text: '{b}'\nthreads: {thread: t, assistant: stuff}", "did you mean 'staff'"),
    ("text: '{b}'\nthreads: {thred: t}", "did you mean 'thread'"),
    ("text: '{b}'\nformats: {b: bbcod}", "did you mean 'bbcode'"),
]


@pytest.mark.parametrize(("text", "problem"), WRONG)
def test_wrong_settings_are_told_at_once(text: str, problem: str) -> None:
    """What threads need and do not have is one clear line before anything is read."""
    with pytest.raises(SettingsError, match=problem):
        build(RowMapping, parse_yaml(text, "x.yaml"))


JOINED = build(
    RowMapping,
    parse_yaml(
        "text: '{body}'\nid: id\njoin: {topics: {key: topic}}\nthreads: {thread: topic, order: time, author: who, title: name}",
        "x.yaml",
    ),
)


def waiting(table: str, rows: Iterable[dict[str, Any]], columns: tuple[str, ...] = ()) -> Iterator[Gathered]:
    """Rows as a reader gives them."""
    for number, row in enumerate(rows):
        yield Gathered(f"dump.sql#table={table}&row={number}", table, row, columns or tuple(row), "sql")


def collected(items: Iterable[Extracted], mapping: RowMapping, table: str = "posts") -> list[Extracted]:
    """What becomes of rows that wait."""
    with tempfile.TemporaryDirectory() as folder:
        return list(gathering.gathered(items, {table: mapping}, Path(folder) / "spill"))


def units(items: Iterable[Extracted]) -> int:
    """How many rows are accounted for."""
    total = 0
    for item in items:
        match item:
            case Document():
                total += 1 + item.merged
            case Merged() | Superseded():
                total += item.units
            case Removed() | Skipped():
                total += 1
            case _:
                raise AssertionError(item)
    return total


TEXTS = st.sampled_from(["", "one", "two", " ", "\ud800", "three"])
POST_ROWS = st.fixed_dictionaries(
    {
        "id": st.integers(0, 30).map(str),
        "topic": st.sampled_from(["", "1", "2", "3", "44"]),
        "time": st.sampled_from(["", "3", "20", "100", "x"]),
        "who": st.sampled_from(["", "a", "b", "c"]),
        "body": TEXTS,
        "up": st.integers(0, 30).map(str) | st.just(""),
        "score": st.sampled_from(["", "1", "-2", "x"]),
        "ok": st.sampled_from(["0", "1", None]),
    }
)
TOPIC_ROWS = st.fixed_dictionaries({"topic": st.sampled_from(["", "1", "2", "5"]), "name": TEXTS, "time2": st.sampled_from(["1", "2"])})
HOW = st.sampled_from(
    [
        ThreadSettings(thread="topic", order=("time",), author="who", title="name"),
        ThreadSettings(thread="topic", author="who", assistant="starter", same_role="keep"),
        ThreadSettings(thread="topic", order=("time",), assistant="best", score="score", author="who"),
        ThreadSettings(thread="topic", order=("time",), assistant="accepted", accepted="ok"),
        ThreadSettings(thread="topic", order=("time",), assistant="alternate", parent="up"),
        ThreadSettings(thread="topic", author="who", parent="up", branches="best", score="score"),
        ThreadSettings(thread="topic", author="who", parent="up", branches="accepted", accepted="ok"),
        None,
    ]
)


@settings(deadline=None)
@given(st.lists(POST_ROWS, max_size=25), st.lists(TOPIC_ROWS, max_size=8), HOW, st.booleans(), st.sampled_from([None, "time2"]))
def test_every_row_is_accounted_for(posts: list[dict], topics: list[dict], how: ThreadSettings | None, required: bool, latest: str | None) -> None:
    """Whatever the tables hold and whatever is asked for, read = kept + removed + merged + superseded + quarantined, and locators differ."""
    join = gathering.Join("topic", latest=latest, required=required)
    mapping = RowMapping(text="{body}", id="id", join={"topics": join}, threads=how, where={"who": ("a", "b", "")})
    columns = ("id", "topic", "time", "who", "body", "up", "score", "ok")
    rows = [*waiting("posts", posts, columns), *waiting("topics", topics, ("topic", "name", "time2"))]
    if not posts or not topics:
        rows += [*waiting("posts", [dict.fromkeys(columns, "")]), *waiting("topics", [dict.fromkeys(("topic", "name", "time2"), "")])]
    items = collected(rows, mapping)
    assert units(items) == len(rows)
    locators = [item.locator for item in items if isinstance(item, Document)]
    assert len(set(locators)) == len(locators)


@settings(deadline=None)
@given(st.lists(POST_ROWS, min_size=1, max_size=25, unique_by=lambda row: row["id"]), st.randoms(use_true_random=False))
def test_the_order_of_the_file_does_not_matter(posts: list[dict], chance: random.Random) -> None:
    """With an order and ids, the same conversations come of the rows in any order, in the order of their first rows."""
    shuffled = chance.sample(posts, len(posts))
    topics = [{"topic": "1", "name": "One"}]
    contents = []
    for rows in (posts, shuffled):
        items = collected([*waiting("topics", topics), *waiting("posts", rows)], JOINED)
        contents.append(sorted((item.group, item.messages) for item in items if isinstance(item, Document) and item.messages))
    assert contents[0] == contents[1]


def test_large_tables_are_spilled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With hardly any memory the same documents come in the same order, files are used and none is left."""
    posts = [{"id": str(n), "topic": str(n * 7919 % 97), "time": str(-n), "who": str(n % 5), "body": f"post {n}"} for n in range(3000)]
    topics = [{"topic": str(n), "name": f"topic {n}"} for n in range(100)]
    rows = [*waiting("posts", posts), *waiting("topics", topics)]
    plain = collected(rows, JOINED)
    monkeypatch.setattr(spills, "MAX_BUCKET_BYTES", 2000)
    monkeypatch.setattr(spills, "BUFFER_BYTES", 1000)
    spilled, most = [], 0
    for item in gathering.gathered(rows, {"posts": JOINED}, tmp_path / "spill"):
        spilled.append(item)
        most = max(most, sum(1 for _ in tmp_path.rglob("*")))
    assert [item for item in spilled if isinstance(item, Document)] == [item for item in plain if isinstance(item, Document)]
    assert [item.group for item in plain if isinstance(item, Document)][:3] == ["0", "62", "27"]
    assert units(spilled) == len(rows)
    assert most > 30
    assert not list(tmp_path.iterdir())


def test_a_thread_without_end_is_quarantined(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread larger than memory allows is quarantined post by post, and its neighbours stay."""
    monkeypatch.setattr(gathering, "MAX_THREAD_BYTES", 20_000)
    monkeypatch.setattr(spills, "MAX_BUCKET_BYTES", 20_000)
    posts = [{"id": str(n), "topic": "1" if n % 10 else "2", "time": "1", "who": "a", "body": "word " * 20} for n in range(500)]
    items = collected([*waiting("posts", posts), *waiting("topics", [{"topic": "1", "name": "x"}])], JOINED)
    assert [item.group for item in items if isinstance(item, Document)] == ["2"]
    assert sum(isinstance(item, Skipped) and item.error.startswith("thread too long") for item in items) == 450
    assert units(items) == 501


def test_joined_rows() -> None:
    """A row gets the columns of its partner, the latest or the first of several; both spellings of a column work; others are told apart."""
    mapping = RowMapping(
        text="{title}: {text.body} ({author})",
        join={
            "text": gathering.Join("page", on="id", latest="time"),
            "people": gathering.Join("name", on="by", strip="u:", required=True),
        },
    )
    pages = [{"id": "1", "title": "Rye", "body": "none"}, {"id": "2", "title": "Oats", "body": ""}]
    text = [
        {"page": "1", "time": "9", "body": "old", "by": "u:ann"},
        {"page": "1", "time": "10", "body": "new", "by": "u:bob"},
        {"page": "3", "time": "1", "body": "stray", "by": ""},
    ]
    people = [{"name": "bob", "author": "Bob", "secret": "hash"}, {"name": "cem", "author": "Cem", "secret": "hash"}]
    items = collected([*waiting("people", people), *waiting("pages", pages), *waiting("text", text)], mapping, "pages")
    assert [item.text for item in items if isinstance(item, Document)] == ["Rye: new (Bob)"]
    assert sum(item.units for item in items if isinstance(item, Superseded)) == 1
    assert sorted(item.document.locator.partition("#")[2] for item in items if isinstance(item, Removed)) == [
        "table=pages&row=1",
        "table=people&row=1",
        "table=text&row=2",
    ]
    assert "hash" not in repr(items)  # columns of a joined table that nothing names stay out
    assert units(items) == 7


def test_a_post_without_a_thread_opens_its_own() -> None:
    """Where questions name no parent (Stack Exchange), the question's id is the thread."""
    mapping = RowMapping(text="{body}", id="Id", threads=ThreadSettings(thread="ParentId", order=("Id",), author="who"))
    rows = [{"Id": "7", "ParentId": None, "who": "a", "body": "Q"}, {"Id": "9", "ParentId": "7", "who": "b", "body": "A"}]
    (document,) = collected(waiting("posts", rows), mapping)
    assert isinstance(document, Document)
    assert [message.content for message in document.messages or ()] == ["Q", "A"]
    assert document.locator == "dump.sql#table=posts&thread=7"
    assert document.meta["id"] == "7"


def test_the_accepted_answer_of_another_table() -> None:
    """The id of the accepted post may stand in a joined table."""
    how = ThreadSettings(thread="topic", assistant="accepted", accepted_id="answer")
    mapping = RowMapping(text="{body}", id="id", join={"topics": gathering.Join("topic")}, threads=how)
    rows = [{"id": str(n), "topic": "1", "body": f"post {n}"} for n in range(4)]
    items = collected([*waiting("posts", rows), *waiting("topics", [{"topic": "1", "answer": "2"}])], mapping)
    (document,) = [item for item in items if isinstance(item, Document)]
    assert [message.content for message in document.messages or ()] == ["post 0", "post 2"]
    assert units(items) == 5


def test_wrong_columns_and_tables_name_the_nearest() -> None:
    """A column that is in none of the tables and a table that is nowhere are told with the nearest name; columns as soon as they are known."""

    def endless() -> Iterator[Gathered]:
        yield from waiting("topics", [{"topic": "1", "name": "x"}])
        while True:
            yield from waiting("posts", [{"id": "1", "topic": "1", "time": "1", "author": "a", "body": "b"}])

    with pytest.raises(SettingsError, match="posts: has no column 'who'; known: "):
        collected(endless(), JOINED)
    with tempfile.TemporaryDirectory() as folder, pytest.raises(SettingsError, match=r"no table 'topics' was found; did you mean 'topic'\?"):
        rows = waiting("posts", [{"id": "1", "topic": "1", "time": "1", "who": "a", "body": "b"}])
        list(gathering.gathered(rows, {"posts": JOINED}, Path(folder) / "spill", lambda: ["posts", "topic"]))
    with pytest.raises(SettingsError, match="the table topics has a mapping of its own"):
        gathering.resolved({"posts": JOINED, "topics": RowMapping()})


def test_an_empty_joined_table_is_no_mistake() -> None:
    """A joined table that exists and holds no rows puts nothing beside a post."""
    rows = waiting("posts", [{"id": "1", "topic": "1", "time": "1", "who": "a", "body": "b"}])
    with tempfile.TemporaryDirectory() as folder:
        (document,) = gathering.gathered(rows, {"posts": JOINED}, Path(folder) / "spill", lambda: ["posts", "topics"])
    assert isinstance(document, Document)
