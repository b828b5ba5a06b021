r"""A person's own list of patterns: what matches is removed (``patterns``) or cut (``cut_patterns``).

The list is a text file of one RE2 pattern a line, which no input can hang. ``name: pattern`` gives a pattern a name; what follows ``#`` at the
start of a line or after a blank is a comment (``\#`` is the character itself).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from pipeline.documents import PLAIN, turns
from pipeline.errors import SettingsError
from pipeline.filters.edits import Replacement, apply, edit_pieces
from pipeline.filters.verdicts import Edits, Find, verdicts
from pipeline.settings import MAX_SETTINGS_BYTES, internal

GROUP = 32
"""So many patterns at once go through a whole column of texts; more at once make an automaton that does not fit RE2's memory."""

BLANKS = " \t\u00a0"

_COMMENT = re.compile(r"(^|\s)#.*")
_NAMED = re.compile(r"([A-Za-z_][\w-]*):\s+(.*)")


@dataclass(frozen=True)
class Pattern:
    """One line of a list: its name (``file:line`` where it has none) and the RE2 pattern."""

    id: str
    source: str


def read_patterns(path: Path) -> tuple[Pattern, ...]:
    """The patterns of a list file; raises SettingsError with every line that is not an RE2 pattern or matches an empty text."""
    try:
        if path.stat().st_size > MAX_SETTINGS_BYTES:
            raise SettingsError([f"{path}: is larger than {MAX_SETTINGS_BYTES:,} bytes; a list of patterns is a small file"])
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SettingsError([f"{path}: cannot be read ({reason}); make the file or mend its name"]) from None
    patterns: list[Pattern] = []
    problems = []
    for number, line in enumerate(lines, 1):
        text = _COMMENT.sub("", line).strip()
        if not text:
            continue
        named = _NAMED.fullmatch(text)
        name, source = named.groups() if named else (f"{path.stem}:{number}", text)
        problem = _problem(source)
        if name in {pattern.id for pattern in patterns}:
            problem = f"the name {name} stands twice; give one another"
        if problem:
            problems.append(f"{path}:{number}: {problem}")
        patterns.append(Pattern(name, source))
    if problems:
        raise SettingsError(problems)
    return tuple(patterns)


def _problem(source: str) -> str | None:
    try:
        empty = compiled(source, True).search("")
    except ValueError as error:
        return f"{source!r} is not an RE2 pattern ({error}); mend it"
    return f"{source!r} matches an empty text; make it say something" if empty else None


@lru_cache(maxsize=65536)
def compiled(source: str, ignore_case: bool) -> Any:
    """The compiled pattern; raises ValueError with RE2's words."""
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    try:
        return re2.compile(source, options)
    except re2.error as error:
        detail = error.args[0] if error.args else error
        raise ValueError(detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)) from None


def _read_all(files: Sequence[str], find: Find) -> tuple[Pattern, ...]:
    patterns = [pattern for name in files for pattern in read_patterns(find(name))]
    ids = [pattern.id for pattern in patterns]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise SettingsError([f"{', '.join(files)}: the pattern name {name} stands in two files; give one another" for name in twice])
    return tuple(patterns)


def hits(content: pa.LargeStringArray, patterns: Sequence[Pattern], ignore_case: bool) -> dict[int, list[Pattern]]:
    """For each text (by row) in which any pattern may match, the patterns to try there, in order; other texts are left out."""
    found: dict[int, list[Pattern]] = {}
    for start in range(0, len(patterns), GROUP):
        group = patterns[start : start + GROUP]
        for row in np.flatnonzero(_any_match(content, group, ignore_case)).tolist():
            found.setdefault(row, []).extend(group)
    return found


def _any_match(content: pa.LargeStringArray, group: Sequence[Pattern], ignore_case: bool) -> np.ndarray:
    """bool[texts]: whether one of the group matches; halves the group where together it is too large for RE2."""
    joined = "|".join(f"(?:{pattern.source})" for pattern in group)
    try:
        found = pc.match_substring_regex(content, joined, ignore_case=ignore_case)
        matched: np.ndarray = np.asarray(found.to_numpy(zero_copy_only=False), bool)
        return matched
    except pa.ArrowInvalid:
        if len(group) == 1:
            return np.ones(len(content), bool)
        half = len(group) // 2
        either: np.ndarray = _any_match(content, group[:half], ignore_case) | _any_match(content, group[half:], ignore_case)
        return either


@dataclass(frozen=True)
class Patterns:
    """Remove conversations and documents in which a pattern of a person's own list matches."""

    files: tuple[str, ...]
    """Lists of patterns, one RE2 pattern a line."""
    roles: tuple[str, ...] = ("assistant", PLAIN)
    """Which turns are searched; ``text`` stands for plain documents."""
    ignore_case: bool = True
    """Whether small and capital letters count as the same; ``(?-i)`` in a pattern has its own way."""
    found: tuple[Pattern, ...] = internal(())
    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """The same filter with its lists read in; raises SettingsError when one is missing or a line of it is wrong."""
        return replace(self, found=_read_all(self.files, find))

    def judge(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Verdicts: the first pattern of the lists that matches the first matching piece of text, and where."""
        view = turns(batch).of_roles(self.roles)
        found: list[tuple[int, dict[str, object]]] = []
        for piece, patterns in sorted(hits(view.content, self.found, self.ignore_case).items()):
            text = view.content[piece].as_py()
            match = next(((p, m) for p in patterns if (m := compiled(p.source, self.ignore_case).search(text))), None)
            if match:
                start, end = match[1].span()
                fields = {"rule_id": match[0].id, "reason": "matches a pattern", "message": int(view.message[piece]), "start": start, "end": end}
                found.append((int(view.document[piece]), fields))
        return verdicts(len(batch), found)


@dataclass(frozen=True)
class CutPatterns:
    """Cut what patterns of a person's own list match, with the blanks that would be left over."""

    files: tuple[str, ...]
    """Lists of patterns, one RE2 pattern a line."""
    roles: tuple[str, ...] = ("assistant", PLAIN)
    """Which turns are searched; ``text`` stands for plain documents."""
    ignore_case: bool = True
    """Whether small and capital letters count as the same; ``(?-i)`` in a pattern has its own way."""
    found: tuple[Pattern, ...] = internal(())
    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """The same editor with its lists read in; raises SettingsError when one is missing or a line of it is wrong."""
        return replace(self, found=_read_all(self.files, find))

    def edit(self, batch: pa.RecordBatch) -> Edits:
        """The batch with every match cut from its pieces of ``roles``, and the cuts (rule: the pattern's name)."""
        view = turns(batch).of_roles(self.roles)
        matching = hits(view.content, self.found, self.ignore_case)
        patterns = {view.content[row].as_py(): some for row, some in matching.items()}
        pieces = view.take(np.array(sorted(matching), np.int64))
        return edit_pieces(batch, pieces, lambda text, _: apply(text, self._cuts(text, patterns[text])))

    def _cuts(self, text: str, patterns: Sequence[Pattern]) -> list[Replacement]:
        """What the patterns match, from left to right; where two overlap the one that begins first counts, then the longer one."""
        spans = [(*match.span(), pattern.id) for pattern in patterns for match in compiled(pattern.source, self.ignore_case).finditer(text)]
        cuts: list[Replacement] = []
        floor = 0
        for start, end, name in sorted(spans, key=lambda span: (span[0], -span[1])):
            if floor <= start < end:
                start, end = _with_blanks(text, start, end, floor)
                cuts.append(Replacement(start, end, "", name))
                floor = end
        return cuts


def _with_blanks(text: str, start: int, end: int, floor: int) -> tuple[int, int]:
    """The span with the blanks that would else stand doubled, at the start or end of a line, or before a mark of punctuation."""
    after, before = end, start
    while after < len(text) and text[after] in BLANKS:
        after += 1
    if start == 0 or text[start - 1].isspace():
        end = after
    while before > floor and text[before - 1] in BLANKS:
        before -= 1
    return (before, after) if after == len(text) or text[after] in "\r\n.,;:!?" else (start, end)
