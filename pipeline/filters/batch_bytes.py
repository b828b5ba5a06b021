"""All text of a batch as one array of bytes, and the characters in it that are not ASCII, for tests that see every byte only once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BETWEEN = "\n\n"
"""What stands after every piece, so that no word, pair of characters or paragraph lies in two."""


@dataclass(frozen=True)
class Joined:
    """The pieces of a batch, ``BETWEEN`` after each.

    text    bytes: UTF-8
    starts  int64[n]: where each piece begins in ``text``
    """

    text: bytes
    starts: np.ndarray

    def owners(self, places: np.ndarray) -> np.ndarray:
        """bool[n]: whether one of the byte offsets ``places`` lies in each piece."""
        owned = np.zeros(len(self.starts), bool)
        owned[np.searchsorted(self.starts, places, side="right") - 1] = True
        return owned


def join(contents: pa.LargeStringArray) -> Joined:
    """The pieces (large_string[n], no null) in one run."""
    apart = pc.binary_join_element_wise(contents, pa.scalar("", pa.large_string()), pa.scalar(BETWEEN, pa.large_string()))
    offsets = np.frombuffer(apart.buffers()[1], np.int64)[apart.offset : apart.offset + len(apart) + 1]
    whole = apart.buffers()[2].slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    return Joined(whole.to_pybytes(), offsets[:-1] - offsets[0])


@dataclass(frozen=True)
class Wide:
    """The characters of a text that are not ASCII, in order.

    places  int64[n]: offset of the first byte
    widths  int64[n]: how many bytes, 2 to 4
    codes   int32[n]: the code point
    """

    places: np.ndarray
    widths: np.ndarray
    codes: np.ndarray


def wide(text: np.ndarray) -> Wide:
    """The characters of ``text`` (uint8, UTF-8) that are not ASCII."""
    places = np.flatnonzero(text >= 0xC0)
    first = text[places]
    widths = np.where(first < 0xE0, 2, np.where(first < 0xF0, 3, 4))
    codes = (first & np.where(widths == 2, 0x1F, np.where(widths == 3, 0x0F, 0x07))).astype(np.int32)
    for n in (1, 2, 3):
        more = widths > n
        codes[more] = codes[more] << 6 | (text[places[more] + n] & 0x3F)
    return Wide(places, widths, codes)


def distinct(places: np.ndarray) -> np.ndarray:
    """The ``places`` (int64) ascending, each once."""
    places = np.sort(places, kind="stable")  # they are nearly in order
    first: np.ndarray = np.concatenate([np.ones(min(len(places), 1), bool), places[1:] != places[:-1]])
    return places.compress(first)


def met(codes: np.ndarray) -> list[int]:
    """The code points among ``codes``, each once, ascending."""
    seen = np.zeros(0x110000, bool)
    seen[codes] = True
    return np.flatnonzero(seen).tolist()
