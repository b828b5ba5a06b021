"""Replaces secrets, account numbers and personal data by placeholders, and removes the documents that hold them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2
from numpy.typing import NDArray

from pipeline.documents import PLAIN, Turns, turns
from pipeline.errors import nearest
from pipeline.filters.edits import Replacement, apply, edit_pieces
from pipeline.filters.private_kinds import Kind, apart, as_is
from pipeline.filters.private_numbers import NUMBERS
from pipeline.filters.private_secrets import SECRETS
from pipeline.filters.verdicts import Edits, Find, verdicts
from pipeline.text import Rows

KINDS = (*SECRETS, *NUMBERS)
"""All kinds, in the order in which one of them is named where two find the same stretch."""

GROUPS = {
    "all": tuple(kind.name for kind in KINDS),
    **{group: tuple(kind.name for kind in KINDS if kind.group == group) for group in ("secrets", "finance", "personal")},
}
"""Names that stand for several kinds."""

ROLES = ("system", "developer", "user", "assistant", "tool", PLAIN)

_INVISIBLE = r"[\x{ad}\x{34f}\x{61c}\x{180e}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{206f}\x{fe00}-\x{fe0f}\x{feff}\x{e0000}-\x{e007f}]"
_APART = r"[\x{a0}\x{2000}-\x{200a}\x{2010}-\x{2015}\x{202f}\x{205f}\x{2212}\x{3000}]"
_ODD = (
    rf"[!-~]{_INVISIBLE}+\S"
    r"|[\x{660}-\x{669}\x{6f0}-\x{6f9}\x{966}-\x{96f}\x{ff10}-\x{ff19}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{1d400}-\x{1d7ff}\x{24b6}-\x{24e9}]"
    r"|[0-9A-Za-z@+][\x{fe58}\x{fe63}\x{ff0d}\x{ff0e}\x{ff1a}\x{ff20}]"
    rf"|[0-9+@][0-9A-Za-z]{{0,6}}{_APART}[0-9A-Za-z]{{0,40}}[0-9]"
    rf"|[A-Za-z]{_APART}[0-9A-Za-z]{{7,40}}[0-9]|\b[A-Za-z]{{2}}{_APART}[0-9]{{2}}(?: |{_APART})"
)
"""RE2: text that could hold a value in other than plain ASCII; it is looked at in the folded view. Invisible characters, and odd blanks and
dashes, stand in ordinary text everywhere (``Section 3`` with a blank that does not break): the former count between visible ones, the latter
between groups of digits, before what is long enough for a key, and after the country of an account number."""


_COUNTED = re.compile(r"\{[0-9]{2,}(?:,[0-9]*)?\}")
"""Repetitions of ten and more: in the bulk pass eight are enough to look twice, and RE2 compiles its pattern anew for every batch."""

_GONE, _UNKNOWN = 0x110000, 0x110001
"""Stands in the table of the folding for a character that leaves nothing."""


@dataclass(frozen=True)
class Finding:
    """A value: characters ``start`` to ``end`` of the text are of this kind."""

    start: int
    end: int
    kind: Kind


@dataclass(frozen=True)
class PrivateData:
    """Replace secrets, account numbers and personal data by placeholders such as [API_KEY]; the values are stored nowhere.

    It belongs first in ``edit``: another editor's cuts hold what they cut, which may be part of a value. In ``__edited`` the field ``before``
    holds no value: ``length:23`` for what a person could guess from a hash (telephone numbers, account numbers, passwords), and
    ``sha256:1a2b3c4d length:40`` for tokens and keys, whose owner can find the one to revoke by it.
    """

    kinds: tuple[str, ...] = ("secrets", "finance")
    """Kinds or groups: secrets, finance, personal, all. Personal data stays by default, since good documents hold public addresses."""
    roles: tuple[str, ...] = ROLES
    """Which turns are searched; ``text`` stands for plain documents."""
    placeholders: Mapping[str, str] = field(default_factory=dict)
    """What stands for a kind instead of its own placeholder: ``email: <EMAIL>``."""
    allow: tuple[str, ...] = ()
    """RE2 patterns; a value that one of them matches as a whole stays."""
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Raise ValueError for a kind or a pattern that is none."""
        _check(self.kinds, self.placeholders, self.allow)

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def edit(self, batch: pa.RecordBatch) -> Edits:
        """The batch with values replaced in the pieces of ``roles``, and the cuts (rule: the kind), which hold no value."""
        scanner = Scanner.of(self.kinds, self.allow)
        view = turns(batch).of_roles(self.roles)
        return edit_pieces(batch, scanner.worth_a_look(view), lambda text, role: self.redact(text, scanner))

    def redact(self, text: str, scanner: Scanner) -> tuple[str, list[tuple[int, str, str, str]]]:
        """The text with placeholders, and the cuts in the order of the text, each ``start`` counted where the cuts before it were made."""
        found = scanner.findings(text)
        new, cuts = apply(text, [Replacement(f.start, f.end, self._placeholder(f.kind), f.kind.name) for f in found])
        guessable = {f.kind.name for f in found if not f.kind.random} | ({f.kind.name for f in found} if len(cuts) < len(found) else set())
        marked, shift = [], 0
        for start, before, after, rule in reversed(cuts):
            marked.append((start + shift, _mark(before, rule in guessable), after, rule))
            shift += len(after) - len(before)
        return new, marked

    def _placeholder(self, kind: Kind) -> str:
        return self.placeholders.get(kind.name, kind.placeholder)


@dataclass(frozen=True)
class HoldsPrivateData:
    """Remove documents that hold secrets, account numbers or personal data, or a placeholder that stands for one.

    A removed document is kept whole beside the dataset. With the editor of the same name and kinds in ``edit`` what is kept there has
    placeholders, which this filter knows; without it the values stand in the removed document.
    """

    kinds: tuple[str, ...] = ("secrets", "finance")
    """Kinds or groups: secrets, finance, personal, all."""
    roles: tuple[str, ...] = ROLES
    """Which turns are searched; ``text`` stands for plain documents."""
    placeholders: Mapping[str, str] = field(default_factory=dict)
    """The editor's, where it has its own."""
    allow: tuple[str, ...] = ()
    """RE2 patterns; a value that one of them matches as a whole counts for nothing."""
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Raise ValueError for a kind or a pattern that is none."""
        _check(self.kinds, self.placeholders, self.allow)

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def judge(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Verdicts: the first value or placeholder, its kind as rule (null: a placeholder), as score their number; never a value."""
        scanner = Scanner.of(self.kinds, self.allow, self._marks())
        view = scanner.worth_a_look(turns(batch).of_roles(self.roles))
        found: dict[int, list[dict[str, object]]] = {}
        for document, message, content in zip(view.document.tolist(), view.message.tolist(), view.content.to_pylist(), strict=True):
            for f in scanner.findings(content):
                rule = f.kind.name if f.kind.name in GROUPS["all"] else None
                fields = {"rule_id": rule, "reason": f"holds private data: {f.kind.name}", "message": message, "start": f.start, "end": f.end}
                found.setdefault(document, []).append(fields)
        return verdicts(len(batch), [(row, fields[0] | {"score": float(len(fields))}) for row, fields in found.items()])

    def _marks(self) -> tuple[str, ...]:
        """The placeholders of these kinds."""
        kinds = [KINDS[number] for number in _numbers(self.kinds)]
        return tuple(sorted({self.placeholders.get(kind.name, kind.placeholder) for kind in kinds} - {""}))


class Scanner:
    """Kinds compiled for a process; ``Scanner.of`` keeps one for each set of kinds."""

    def __init__(self, kinds: Sequence[Kind], allow: Sequence[str], marks: Sequence[str]) -> None:
        """Compile ``kinds``; each of ``marks``, texts that stand for values, is looked for as a kind of that name."""
        self.kinds = (*kinds, *(Kind(mark, "", mark, re2.escape(mark), as_is) for mark in marks))
        self._patterns = [_compile(kind.pattern) for kind in self.kinds]
        self._allow = _compile("|".join(f"(?:{pattern})" for pattern in allow)) if allow else None
        self._set = re2.Set.SearchSet(_options())
        anchors = [kind.anchor or _COUNTED.sub("{8,}", kind.pattern) for kind in self.kinds]
        for anchor in anchors:
            self._set.Add(anchor)
        self._set.Compile()
        self._bulk = "|".join(f"(?:{source})" for source in [*anchors, _ODD])

    @staticmethod
    @lru_cache(maxsize=16)
    def of(kinds: tuple[str, ...], allow: tuple[str, ...] = (), marks: tuple[str, ...] = ()) -> Scanner:
        """The scanner for these names of kinds, made once a process."""
        return Scanner([KINDS[number] for number in _numbers(kinds)], allow, marks)

    def worth_a_look(self, view: Turns) -> Turns:
        """The pieces in which a value may stand: one pass of RE2 over the column."""
        return view.take(np.flatnonzero(pc.match_substring_regex(view.content, self._bulk).to_numpy(zero_copy_only=False)))

    def findings(self, text: str) -> list[Finding]:
        """The values in one text, in order, without overlaps."""
        seen, origin = folded(text)
        numbers = self._set.Match(seen) or ()
        spans = apart(span for number in sorted(numbers) for span in self._spans(seen, number))
        return [Finding(*_back(start, end, origin), self.kinds[number]) for start, end, number in spans]

    def _spans(self, seen: str, number: int) -> Iterator[tuple[int, int, int]]:
        check = self.kinds[number].check
        for match in self._patterns[number].finditer(seen):
            group = next((n for n, value in enumerate(match.groups(), 1) if value), 0)
            for start, end in check(seen, *match.span(group)):
                if self._allow is None or not self._allow.fullmatch(seen[start:end]):
                    yield start, end, number


_FOLDING = np.full(0x110000, _UNKNOWN, np.uint32)
"""What each code point is in the folded view, ``_GONE`` for nothing; it fills as characters are met."""


def _folds(codes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    for code in set(codes[_FOLDING[codes] == _UNKNOWN].tolist()):
        new = _fold_char(chr(code))
        _FOLDING[code] = ord(new) if new else _GONE
    return _FOLDING[codes]


def _fold_char(char: str) -> str:
    """Invisible: nothing. Blanks, dashes and digits of any script, full-width and mathematical letters: the ASCII character. Else itself."""
    category = unicodedata.category(char)
    if category == "Cf" or "\ufe00" <= char <= "\ufe0f" or char == "\u034f":
        return ""
    if category == "Zs":
        return " "
    if category == "Pd" or char == "\u2212":
        return "-"
    if category == "Nd":
        return str(unicodedata.decimal(char))
    normal = unicodedata.normalize("NFKC", char) if unicodedata.decomposition(char) else char
    return normal if len(normal) == 1 and normal.isascii() else char


def folded(text: str) -> tuple[str, Rows | None]:
    """The view of ``text`` in which values are looked for, and the offset of each of its characters (None: the same)."""
    if text.isascii():
        return text, None
    codes = _folds(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32))
    kept = np.flatnonzero(codes != _GONE)
    seen = codes[kept].tobytes().decode("utf-32-le", "surrogatepass")
    return seen, None if len(kept) == len(codes) else kept


def _back(start: int, end: int, origin: Rows | None) -> tuple[int, int]:
    return (start, end) if origin is None else (int(origin[start]), int(origin[end - 1]) + 1)


def _mark(value: str, guessable: bool) -> str:
    """What is written down instead of a value."""
    length = f"length:{len(value)}"
    return length if guessable else f"sha256:{hashlib.sha256(value.encode()).hexdigest()[:8]} {length}"


def _numbers(names: Sequence[str]) -> list[int]:
    wanted = {kind for name in names for kind in GROUPS.get(name, (name,))}
    return [number for number, kind in enumerate(KINDS) if kind.name in wanted]


def _check(kinds: Sequence[str], placeholders: Iterable[str], allow: Sequence[str]) -> None:
    """Raise ValueError for a name or a pattern that is none."""
    single = GROUPS["all"]
    for setting, names, known in (("kinds", kinds, (*GROUPS, *single)), ("placeholders", placeholders, single)):
        for name in names:
            if name not in known:
                raise ValueError(f"{setting}: {name!r} is no kind of private data; {nearest(name, known)}")
    for pattern in allow:
        try:
            _compile(pattern)
        except re2.error:
            raise ValueError(f"allow: {pattern!r} is not an RE2 pattern; mend it") from None


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 26
    return options


@lru_cache(maxsize=256)
def _compile(source: str) -> Any:
    return re2.compile(source, _options())
