"""The posts of one thread become conversations: who is the assistant, which branches are followed, and what is left out.

Nothing is read here; ``gathering`` brings the posts of a thread together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import cycle
from typing import Literal

from pipeline.documents import Message

MAX_CHARS_OF_PATHS = 16_000_000
"""The paths of one tree repeat what stands above their forks; beyond so much text no further path is taken."""

Assistant = Literal["others", "starter", "staff", "accepted", "best", "alternate"]
Branches = Literal["paths", "accepted", "best"]


@dataclass(frozen=True)
class ThreadSettings:
    """Which posts make a conversation, in which order, and which of them are the assistant's."""

    thread: str
    """The column that names a post's thread. A post without one opens the thread that is called like its ``id``."""
    order: tuple[str, ...] = ()
    """Columns that posts are sorted by, numbers by their size; left out: the order in which they are read."""
    author: str | None = None
    """The column that names who wrote a post."""
    title: str | None = None
    """The column with the thread's title, which stands before its first post and in ``meta``."""
    assistant: Assistant = "others"
    """Whose posts are answers. ``others``: of all but the author of the first post; ``starter``: of that author; ``staff``: of the people
    in ``staff``; ``accepted``, ``best``: the first post is a question, and the accepted or best rated other one its answer;
    ``alternate``: user and assistant take turns."""
    staff: tuple[str, ...] = ()
    """The authors whose posts are answers, or what ``staff_column`` holds for them."""
    staff_column: str | None = None
    """The column that ``staff`` is looked up in (a group of users); left out: ``author``."""
    role: str | None = None
    """A column that tells the role of a post; then ``assistant`` is not asked."""
    score: str | None = None
    """The column with a post's rating."""
    accepted: str | None = None
    """A column that is true (1, t, true, yes) for an accepted post."""
    accepted_id: str | None = None
    """A column, of any post of the thread, that holds the id of the accepted one."""
    parent: str | None = None
    """The column with the id of the post that a post answers: threads are trees then."""
    branches: Branches = "paths"
    """What becomes of a tree: a conversation of each path to a post that none answers, of the path to the accepted post, or of the
    best rated path, which from each post goes to its best rated answer."""
    same_role: Literal["join", "keep"] = "join"
    """Whether neighbouring posts of one role become one turn, as its paragraphs, or a turn each."""
    system: str | None = None
    """A system prompt that every conversation begins with."""

    def __post_init__(self) -> None:
        by = self.assistant if self.role is None else ""
        accepted = self.accepted or self.accepted_id
        needs: list[tuple[bool, str, object]] = [
            (by in ("others", "starter"), "author, the column that names who wrote a post", self.author),
            (by == "staff", "staff, a list of authors (or of what staff_column holds)", self.staff),
            (by == "staff", "author or staff_column", self.author or self.staff_column),
            ("accepted" in (self.assistant, self.branches), "accepted or accepted_id, the column that tells the answer", accepted),
            ("best" in (self.assistant, self.branches), "score, the column with a post's rating", self.score),
            (self.branches != "paths", "parent, the column with the id of the post that is answered", self.parent),
        ]
        for is_needed, what, value in needs:
            if is_needed and not value:
                raise ValueError(f"these threads need {what}")
        if self.parent and self.assistant in ("accepted", "best"):
            raise ValueError(f"assistant: {self.assistant} does not go with parent; write branches: {self.assistant}, and who the assistant is")

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns named."""
        people = (self.author, self.staff_column, self.role)
        told = (self.thread, *self.order, *people, self.title, self.score, self.accepted, self.accepted_id, self.parent)
        return tuple(dict.fromkeys(name for name in told if name))


@dataclass(slots=True, eq=False)
class Post:
    """One post. ``number`` is its place in the order of reading; ``role`` is None where the settings decide."""

    number: int
    content: str
    author: str = ""
    id: str = ""
    parent: str = ""
    score: Decimal = Decimal("-Infinity")
    is_accepted: bool = False
    is_staff: bool = False
    role: str | None = None
    replies: list[Post] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation, and the posts it is made of."""

    posts: tuple[Post, ...]
    messages: tuple[Message, ...]


LEFT_OUT = {
    "no_text": "the post is empty",
    "not_accepted": "another post is the accepted answer",
    "not_best": "another answer is rated higher",
    "no_accepted_answer": "the thread has no accepted answer",
    "no_answer": "the thread has no answer",
    "other_branch": "the chosen branch of the thread does not pass here",
    "too_many_branches": "the paths through the thread before this one hold too much text already",
}
"""The rules by which posts are left out, each with its reason."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a thread: its conversations, and the rule for each post that is in none."""

    conversations: tuple[Conversation, ...]
    left_out: tuple[tuple[Post, str], ...]


def conversations_of(posts: Sequence[Post], settings: ThreadSettings, title: str = "") -> Outcome:
    """The conversations of one thread, whose ``posts`` stand in their order; linear, but for what the paths of a tree repeat."""
    if settings.parent:
        paths, other = _tree_paths(posts, settings), "other_branch"
    elif settings.assistant in ("accepted", "best"):
        paths, other = _question_and_answer(posts, settings, title)
    else:
        paths, other = iter([posts]), ""
    opener = posts[0]
    made: list[Conversation] = []
    num_chars = 0
    for path in paths:
        conversation = _conversation(path, opener, settings, title)
        if conversation is not None:
            num_chars += sum(len(message.content) for message in conversation.messages)
            if made and num_chars > MAX_CHARS_OF_PATHS:
                other = "too_many_branches"
                break
            made.append(conversation)
    used = {post.number for conversation in made for post in conversation.posts}
    return Outcome(tuple(made), tuple((post, other if post.content.strip() else "no_text") for post in posts if post.number not in used))


def _conversation(path: Sequence[Post], opener: Post, settings: ThreadSettings, title: str) -> Conversation | None:
    role_of = _roles(opener, settings)
    posts: list[Post] = []
    turns: list[tuple[str, list[str]]] = [("system", [settings.system])] if settings.system else []
    for post in path:
        content = _titled(title, post.content) if post is opener else post.content
        if not content.strip():
            continue
        role = role_of(post)
        if posts and turns[-1][0] == role and settings.same_role == "join":
            turns[-1][1].append(content)
        else:
            turns.append((role, [content]))
        posts.append(post)
    if not posts:
        return None
    return Conversation(tuple(posts), tuple(Message(role, "\n\n".join(contents)) for role, contents in turns))


def _titled(title: str, content: str) -> str:
    if not title.strip() or content.lstrip().startswith(title.strip()):
        return content
    return f"{title.strip()}\n\n{content}" if content.strip() else title.strip()


def _roles(opener: Post, settings: ThreadSettings) -> Callable[[Post], str]:
    """What tells the role of the posts of one path, asked in their order."""
    turn = cycle(("user", "assistant"))

    def role(post: Post) -> str:
        if post.role is not None:
            return post.role
        if settings.assistant == "alternate":
            return next(turn)
        if settings.assistant in ("accepted", "best"):
            return "user" if post is opener else "assistant"
        if settings.assistant == "staff":
            return "assistant" if post.is_staff else "user"
        is_starter = post is opener or (post.author != "" and post.author == opener.author)
        return "assistant" if is_starter == (settings.assistant == "starter") else "user"

    return role


def _question_and_answer(posts: Sequence[Post], settings: ThreadSettings, title: str) -> tuple[Iterator[Sequence[Post]], str]:
    """The first post and its answer, as the only path, and the rule for all other posts."""
    question, answers = posts[0], [post for post in posts[1:] if post.content.strip()]
    if settings.assistant == "accepted":
        answer = next((post for post in answers if post.is_accepted), None)
        other = "not_accepted" if answer else "no_accepted_answer"
    else:
        answer = max((post for post in answers if post.author != question.author or not post.author), key=lambda post: post.score, default=None)
        other = "not_best" if answer else "no_answer"
    is_asked = bool(question.content.strip() or title.strip())
    return iter([(question, answer)] if answer and is_asked else []), other if is_asked else "no_text"


def _tree_paths(posts: Sequence[Post], settings: ThreadSettings) -> Iterator[Sequence[Post]]:
    root, above = _tree(posts)
    if settings.branches == "accepted":
        chosen = next((post for post in posts if post.is_accepted), None)
        ends = [chosen] if chosen else []
    elif settings.branches == "best":
        end = root
        while end.replies:
            end = max(end.replies, key=lambda post: post.score)
        ends = [end]
    else:
        ends = _ends(posts, above)
    for end in ends:
        path = [end]
        while path[-1] is not root:
            path.append(above[path[-1].number])
        yield path[::-1]


def _ends(posts: Sequence[Post], above: dict[int, Post]) -> list[Post]:
    """The last filled post of each path, so that deleted answers begin no path of their own."""
    leads_on: set[int] = set()
    for post in posts:
        if not post.content.strip():
            continue
        up = above.get(post.number)
        while up is not None and up.number not in leads_on:
            leads_on.add(up.number)
            up = above.get(up.number)
    return [post for post in posts if post.content.strip() and post.number not in leads_on]


def _tree(posts: Sequence[Post]) -> tuple[Post, dict[int, Post]]:
    """The first post as the root of all, and for each other one what it answers: the first post where its parent is not there or in a circle."""
    root = posts[0]
    by_id: dict[str, Post] = {}
    for post in posts:
        by_id.setdefault(post.id, post)
    above = {post.number: by_id.get(post.parent, root) if post.parent else root for post in posts if post is not root}
    safe = {root.number}
    for post in posts:
        trail: dict[int, None] = {}
        at = post
        while at.number not in safe and at.number not in trail:
            trail[at.number] = None
            at = above[at.number]
        if at.number in trail:
            above[at.number] = root
        safe.update(trail)
    for post in posts:
        if post is not root:
            above[post.number].replies.append(post)
    return root, above


_NUMBER = re.compile(r"\s*[-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})\s*", re.ASCII)


def number_of(text: str) -> Decimal | None:
    """The number that a cell's text is, or None."""
    return Decimal(text.strip()) if _NUMBER.fullmatch(text) else None


def order_of(text: str) -> tuple[int, Decimal, str]:
    """Where a cell stands in an order: nothing at all, then numbers by their size, then text by code points."""
    number = number_of(text)
    if number is not None:
        return 1, number, ""
    return (2, Decimal(), text) if text.strip() else (0, Decimal(), "")


def is_true(text: str) -> bool:
    """Whether a cell's text says yes."""
    return text.strip().lower() in ("1", "t", "true", "y", "yes") or (number_of(text) or 0) > 0
