"""Where sentences begin and end in a view, and which stretches are quoted or code and so nobody's own words."""

from __future__ import annotations

import re
from bisect import bisect_right

Span = tuple[int, int]

_CLOSING = r"[\"')\]\u300d\u300f\u3011]*"
_EAST = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_STOP = rf"(?<![.!?])[.!?]+{_CLOSING}(?=\s|$)|[\u3002\uff61]+{_CLOSING}|(?<![.!?])[!?]+{_CLOSING}(?=[{_EAST}])"
_BREAK = re.compile(rf"{_STOP}|\n[ \t\r]*(?P<blank>\n\s*)?")
_SHORT = r"mr|mrs|ms|dr|prof|st|vs|etc|approx|fig|no|inc|ltd|co|sr|jr|bzw|ca|usw|nr|sra|т\.д"
_ABBREVIATION = re.compile(rf"(?:^|[\s(\"'])(?:[a-z]|(?:[a-z]\.)+[a-z]|{_SHORT})$")
_MARKER = re.compile(r"(?:[-+*\u2022\u25cf#>|]|\d{1,3}[.)]|```|~~~)")
_OPEN_END = re.compile(r"(?:[,;(]|(?:^|\s)(?:an?|the|to|of|as|by|and|or|but|i|in|on|at|is|am|not|with|that|for|my|your|large|was|not))$")

_FENCE = re.compile(r"^[ \t]*(```|~~~)[^\n]*\n(?:.*?(?:^[ \t]*\1|\Z)|\Z)", re.M | re.S)
_INLINE = re.compile(r"`[^`\n]+`|^[ \t]*>[^\n]*|\u300c[^\u300d\n]*\u300d|\u300e[^\u300f\n]*\u300f", re.M)
_INDENTED = re.compile(r"(?:^|\n)[ \t]*\n(?:(?: {4}|\t)[^\n]*(?:\n|$))+")
_QUOTE = re.compile(r'"|\n\s*\n')


def split(text: str) -> list[Span]:
    """Spans of the sentences of a view's ``text``, without the white space around them; a line of a list or a heading is one too."""
    spans: list[Span] = []
    start = 0
    for match in _BREAK.finditer(text):
        end = match.end() if match.group()[0] != "\n" else match.start()
        if match.end() <= start or not _ends(text, start, match):
            continue
        _add(text, spans, start, end)
        start = match.end()
    _add(text, spans, start, len(text))
    return spans


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    mark = match.group()
    if mark[0] == "\n":
        return bool(match.group("blank")) or not _runs_on(text, start, match.start(), match.end())
    after = text[match.end() : match.end() + 2].lstrip()
    if mark == "." and _ABBREVIATION.search(text, max(start, match.start() - 12), match.start()):
        return not after
    return not (mark == "." and text[start : match.start()].strip().isdigit())


def _runs_on(text: str, start: int, end: int, next_line: int) -> bool:
    """Whether the line that ends at ``end`` goes on in the next one: text wrapped at some width, or one word a line."""
    if _MARKER.match(text, next_line):
        return False
    line = text[max(start, text.rfind("\n", 0, end) + 1) : end].rstrip()
    if not line or line[-1] in ".!?:\u3002":
        return False
    return bool(_OPEN_END.search(line)) or len(line.split()) <= 2


def _add(text: str, spans: list[Span], start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start == end:
        return
    if spans and not any(char.isalnum() for char in text[start:end]) and "\n\n" not in text[spans[-1][1] : start]:
        spans[-1] = (spans[-1][0], end)
    else:
        spans.append((start, end))


class Protected:
    """The stretches of a view that are code or quoted: no rule speaks about what begins inside one."""

    def __init__(self, text: str, indented_code: bool) -> None:
        """Find them in ``text``; ``indented_code``: four blanks at the start of a line mean code."""
        spans = [match.span() for match in _FENCE.finditer(text)] if "```" in text or "~~~" in text else []
        spans += [match.span() for match in _INLINE.finditer(text)]
        if indented_code:
            spans += [match.span() for match in _INDENTED.finditer(text)]
        spans += _quotations(text)
        self.spans = _merged(spans)
        self._starts = [start for start, _ in self.spans]
        bare = text.strip()
        if not indented_code and len(self.spans) == 1 and bare and self.spans[0][1] - self.spans[0][0] >= len(bare) and bare[0] == '"':
            self.spans, self._starts = [], []

    def covers(self, position: int) -> bool:
        """Whether ``position`` lies inside a quotation or code."""
        k = bisect_right(self._starts, position) - 1
        return k >= 0 and position < self.spans[k][1]


def _quotations(text: str) -> list[Span]:
    """Double quotation marks taken in pairs within a paragraph; one left open lasts to the paragraph's end."""
    spans: list[Span] = []
    opened = -1
    for match in _QUOTE.finditer(text):
        if match.group() != '"':
            if opened >= 0:
                spans.append((opened, match.start()))
            opened = -1
        elif opened < 0:
            opened = match.start()
        else:
            spans.append((opened, match.end()))
            opened = -1
    return [*spans, (opened, len(text))] if opened >= 0 else spans


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
