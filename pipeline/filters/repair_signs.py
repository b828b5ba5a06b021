"""Which kinds of repair each piece of a batch may need, told from its bytes for the whole batch at once."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import numpy as np
import pyarrow as pa

from pipeline.filters.batch_bytes import join, met, wide

MOJIBAKE, LINE_ENDS, CONTROLS, INVISIBLE, UNSTABLE, SPACE = (1 << n for n in range(6))
ALL = 63
_KNOWN = 64

_WIDE_LINE_ENDS = {0x85, 0x2028, 0x2029}
_INVISIBLE = [
    (0xAD, 0xAD),
    (0x180E, 0x180E),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0xE0000, 0xE007F),
]
_NARROW_LINE_ENDS = np.isin(np.arange(256), [11, 12, 13, 28, 29, 30])
_NARROW_CONTROLS = np.isin(np.arange(256), [*range(9), *range(14, 28), 31, 127])

_USUAL = ("latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "iso8859-2")
_RARE = ("mac-roman", "cp437")
"""Together the character sets that ftfy tries."""


def look(contents: pa.LargeStringArray) -> np.ndarray:
    """uint8[n]: the signs of each piece (large_string[n], no null), 0 for one that needs nothing; one may be seen without need, none is missed."""
    joined = join(contents)
    text = np.frombuffer(joined.text, np.uint8)
    signs = np.zeros(len(contents), np.uint8)

    def note(sign: int, places: np.ndarray) -> None:
        signs[joined.owners(places)] |= sign

    low = np.flatnonzero((text < 32) & (text != 10) & (text != 9) | (text == 127))
    note(LINE_ENDS, low[_NARROW_LINE_ENDS[text[low]]])
    note(CONTROLS, low[_NARROW_CONTROLS[text[low]]])
    ends = np.flatnonzero(text == 10)
    before = text[ends - 1]
    note(SPACE, ends[((before == 32) | (before == 9)) & (ends > 0)])
    note(SPACE, _long_gaps(ends, joined.starts))
    chars = wide(text)
    if len(chars.codes):
        kind = _kinds(chars.codes)
        for sign in (LINE_ENDS, CONTROLS, INVISIBLE, UNSTABLE):
            note(sign, chars.places[(kind & sign) > 0])
        leads, follows = _misread()
        next_to = (chars.places[:-1] + chars.widths[:-1]) == chars.places[1:]
        small = np.minimum(chars.codes, len(leads) - 1)
        note(MOJIBAKE, chars.places[:-1][next_to & ((leads[small[:-1]] & follows[small[1:]]) > 0)])
    return signs


def _long_gaps(ends: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Places of the first of four line ends in a row within one piece, ``ends`` being those of all."""
    first = ends[:-3][ends[3:] - ends[:-3] == 3]
    whole: np.ndarray = np.searchsorted(starts, first, side="right") == np.searchsorted(starts, first + 3, side="right")
    return np.asarray(first.compress(whole))


_TABLE = np.zeros(0x110000, np.uint8)
"""Signs of each character met so far, with ``_KNOWN``; it only ever fills."""


def _kinds(codes: np.ndarray) -> np.ndarray:
    for code in met(codes[_TABLE[codes] == 0]):
        char = chr(code)
        sign = _KNOWN
        if code in _WIDE_LINE_ENDS:
            sign |= LINE_ENDS
        elif 0x80 <= code < 0xA0 or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE:
            sign |= CONTROLS
        if any(low <= code <= high for low, high in _INVISIBLE):
            sign |= INVISIBLE
        if unicodedata.category(char)[0] == "M" or 0x1160 <= code <= 0x11FF or not unicodedata.is_normalized("NFC", char):
            sign |= UNSTABLE
        _TABLE[code] = sign
    return _TABLE.take(codes)


def _charset(name: str) -> list[str]:
    """The characters of bytes 128 to 255; where the set has none, Latin-1's."""
    return [bytes([n]).decode(name, "ignore") or chr(n) for n in range(128, 256)]


@lru_cache(maxsize=1)
def _misread() -> tuple[np.ndarray, np.ndarray]:
    """uint16[65536] twice: the character sets in which a character is the first byte of a UTF-8 character, or a later one; a bit each."""
    leads, follows = np.zeros(1 << 16, np.uint16), np.zeros(1 << 16, np.uint16)
    for bit, name in enumerate(_USUAL + _RARE):
        chars = _charset(name)
        leads[[ord(char) for char in chars[0x42:0x75]]] |= 1 << bit
        follows[[ord(char) for char in chars[:0x40]]] |= 1 << bit
    return leads, follows


@lru_cache(maxsize=2)
def misread_letters(rare: bool) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Two patterns for a UTF-8 character that was read as two, three or four of another set: one that is fast, one that is right.

    ``rare``: of Mac Roman and code page 437 too.
    """
    sets = [_charset(name) for name in (_USUAL + _RARE if rare else _USUAL)]
    leads, follows = ({char for chars in sets for char in chars[a:b]} for a, b in ((0x42, 0x75), (0, 0x40)))
    pairs = []
    for chars in sets:
        two, three, four, follow = (re.escape("".join(chars[a:b])) for a, b in ((0x42, 0x60), (0x60, 0x70), (0x70, 0x75), (0, 0x40)))
        pairs.append(f"[{two}][{follow}]|[{three}][{follow}]{{2}}|[{four}][{follow}]{{3}}")
    return re.compile("".join(f"[{re.escape(''.join(sorted(chars)))}]" for chars in (leads, follows))), re.compile("|".join(pairs))
