"""The rows of one thread as posts, and its conversations as documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from pipeline.documents import Document, Extracted
from pipeline.extractors import rows, threads
from pipeline.extractors.rows import RowMapping, RowPlan
from pipeline.extractors.spills import Record, hash_of
from pipeline.extractors.templates import Row, text_at
from pipeline.extractors.threads import LEFT_OUT, Conversation, Post, ThreadSettings

MAX_KEY_CHARS = 200
"""Of a longer key the locator holds a hash."""


def thread_of(row: Row, settings: ThreadSettings, mapping: RowMapping) -> str:
    """The thread of a post: its own id where it names none; nothing where it has neither."""
    return text_at(row, settings.thread) or text_at(row, mapping.id)


def thread_items(key: str, table: str, settings: ThreadSettings, plan: RowPlan, records: list[Record]) -> Iterator[Extracted]:
    """What the posts of one thread become. ``records``: number, locator, extractor, columns and cells of each, in the order of the number."""
    raw = {record[0]: (str(record[1]), dict(zip(record[3], record[4], strict=True))) for record in records}
    if not key:
        yield from (rows.removed(locator, row, "no_thread", "the row names no thread") for locator, row in raw.values())
        return
    found: list[tuple[int, Row]] = []
    for number, (locator, cells) in raw.items():
        if reason := plan.unwanted(cells):
            yield rows.removed(locator, cells, "where", reason)
        else:
            found.append((number, plan.converted(cells)))
    if settings.order:
        found.sort(key=lambda post: [threads.order_of(text_at(post[1], name)) for name in (*settings.order, plan.mapping.id)])
    accepted = {text_at(row, settings.accepted_id) for _, row in found} - {""}
    posts = []
    for number, row in found:
        post = _post(number, row, settings, plan, accepted)
        if isinstance(post, str):
            yield rows.skipped(raw[number][0], post, raw[number][1])
        else:
            posts.append(post)
    if not posts:
        return
    opener = dict(found)[posts[0].number]
    title = text_at(opener, settings.title)
    outcome = threads.conversations_of(posts, settings, title)
    meta = {**plan.meta_of(opener), "title": title, "table": table, "extractor": f"{records[0][2]} threads".strip()}
    whole = Document(_locator(raw[posts[0].number][0], table, key), text="", group=plan.group_of(opener) or key, meta=meta)
    yield from _documents(whole, outcome.conversations, bool(settings.parent), raw)
    for post, rule in outcome.left_out:
        yield rows.removed(*raw[post.number], rule, LEFT_OUT[rule])


def _documents(whole: Document, made: tuple[Conversation, ...], is_tree: bool, raw: dict[int, tuple[str, dict[str, Any]]]) -> Iterator[Extracted]:
    """A document a conversation, each like ``whole``. A post of several conversations is merged into the first."""
    seen: set[int] = set()
    for index, conversation in enumerate(made):
        fresh = [post.number for post in conversation.posts if post.number not in seen]
        seen.update(fresh)
        locator = f"{whole.locator}&path={index}" if is_tree else whole.locator
        document = replace(whole, locator=locator, text=None, messages=conversation.messages, merged=len(fresh) - 1)
        try:
            rows.check_unicode(document)
            yield document
        except UnicodeEncodeError:
            yield from (rows.skipped(raw[number][0], rows.NO_UNICODE, raw[number][1]) for number in fresh)


def _locator(first: str, table: str, key: str) -> str:
    """The locator of a thread: the file (or database) of its first post, its table where the posts' locators name it, and its key."""
    place = f"table={quote(table, safe='-_.~')}&" if "#table=" in first else ""
    name = key if len(key) <= MAX_KEY_CHARS else f"{hash_of(key):015x}"
    return f"{first.split('#')[0]}#{place}thread={quote(name.encode('utf-8', 'replace'), safe='-_.~')}"


def _post(number: int, row: Row, settings: ThreadSettings, plan: RowPlan, accepted: set[str]) -> Post | str:
    """One post, or why it is none."""
    content = plan.text_of(row)
    try:
        content.encode()
    except UnicodeEncodeError:
        return rows.NO_UNICODE
    role = None
    if settings.role:
        told = text_at(row, settings.role)
        role = plan.mapping.spelling.role_of(told)
        if role is None:
            return f"malformed conversation: the role {told!r} is not known"
    score = threads.number_of(text_at(row, settings.score))
    author, name = text_at(row, settings.author), text_at(row, plan.mapping.id)
    return Post(
        number,
        content,
        author,
        name,
        text_at(row, settings.parent),
        Decimal("-Infinity") if score is None else score,
        is_accepted=threads.is_true(text_at(row, settings.accepted)) or (name != "" and name in accepted),
        is_staff=text_at(row, settings.staff_column or settings.author) in settings.staff,
        role=role,
    )
