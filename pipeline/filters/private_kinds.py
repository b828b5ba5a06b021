r"""What a kind of private data is: how its values look, and what must hold before one is believed.

Each kind has an RE2 pattern, which finds candidates in linear time, and a check, which looks at one candidate and the few characters around
it. Patterns meet a text whose look-alike characters were folded to ASCII (``private_data.folded``); letters keep their case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

Span = tuple[int, int]
Check = Callable[[str, int, int], Iterable[Span]]
"""From the folded text and the candidate's span to the spans of the values in it: none, one, or several."""


@dataclass(frozen=True)
class Kind:
    """One kind of private data."""

    name: str
    group: str
    """``secrets``, ``finance`` or ``personal``."""
    placeholder: str
    pattern: str
    """RE2; the value is group 1, or the whole match where there is no group."""
    check: Check
    anchor: str = ""
    """RE2 for the bulk pass where a looser or tighter one than ``pattern`` is cheaper; each text with a value must match it."""
    random: bool = True
    """Values are drawn by a machine from at least 2**64, so that a short hash of one gives nothing away."""


def as_is(text: str, start: int, end: int) -> Iterable[Span]:
    """Everything that the pattern found."""
    return [(start, end)]


def apart(found: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Spans (start, end, number of the kind) in order, those that overlap made one, of the first of their kinds: no part of a value is left."""
    held: tuple[int, int, int] | None = None
    for start, end, kind in sorted(found):
        if held is not None and start < held[1]:
            held = held[0], max(held[1], end), min(held[2], kind)
            continue
        if held is not None:
            yield held
        held = start, end, kind
    if held is not None:
        yield held
