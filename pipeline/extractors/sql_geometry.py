"""Well-known text of geometries (OGC 06-103r4) as MySQL stores and shows it: the SRID in four bytes, then well-known binary."""

from __future__ import annotations

import re
import struct

_KINDS = {"POINT": 1, "LINESTRING": 2, "POLYGON": 3, "MULTIPOINT": 4, "MULTILINESTRING": 5, "MULTIPOLYGON": 6}
_TOKEN = re.compile(r"\s*(?:([A-Za-z]+)|([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|([(),]))")
_LITTLE_ENDIAN = b"\x01"


class NotGeometryError(ValueError):
    """A text that is no geometry, or none of the kinds that are known here."""


def stored_geometry(text: str, srid: int = 0) -> bytes:
    """The bytes of a geometry in little-endian order; raises NotGeometryError."""
    tokens = _tokens(text)
    kind = _KINDS.get(tokens[0].upper())
    if kind is None or not 0 <= srid < 2**32:
        raise NotGeometryError
    nested, end = _nested(tokens, 1)
    if end != len(tokens):
        raise NotGeometryError
    return struct.pack("<I", srid) + _binary(kind, nested)


def _tokens(text: str) -> list[str]:
    tokens, pos = [], 0
    while pos < len(text.rstrip()):
        found = _TOKEN.match(text, pos)
        if found is None:
            raise NotGeometryError
        tokens.append(found[0].strip())
        pos = found.end()
    return tokens or [""]


def _nested(tokens: list[str], at: int) -> tuple[list[object], int]:
    """The list in brackets at ``at``: of points (tuples of two numbers) or of lists."""
    if tokens[at : at + 1] != ["("]:
        raise NotGeometryError
    items: list[object] = []
    while tokens[at : at + 1] in (["("], [","]):
        at += 1
        if tokens[at : at + 1] == ["("]:
            item, at = _nested(tokens, at)
            items.append(item)
        else:
            items.append(_point(tokens[at : at + 2]))
            at += 2
    if tokens[at : at + 1] != [")"]:
        raise NotGeometryError
    return items, at + 1


def _point(numbers: list[str]) -> tuple[float, float]:
    try:
        x, y = map(float, numbers)
    except ValueError:
        raise NotGeometryError from None
    return x, y


def _binary(kind: int, nested: list[object]) -> bytes:
    head = _LITTLE_ENDIAN + struct.pack("<I", kind)
    if kind == 1:
        return head + _points(nested, 1)
    if kind == 2:
        return head + struct.pack("<I", len(nested)) + _points(nested)
    if kind == 3:
        return head + struct.pack("<I", len(nested)) + b"".join(struct.pack("<I", len(_list(ring))) + _points(_list(ring)) for ring in nested)
    members: list[list[object]] = [[item] if isinstance(item, tuple) else _list(item) for item in nested]
    return head + struct.pack("<I", len(members)) + b"".join(_binary(kind - 3, member) for member in members)


def _points(items: list[object], count: int | None = None) -> bytes:
    if count not in (None, len(items)) or not all(isinstance(item, tuple) for item in items):
        raise NotGeometryError
    return b"".join(struct.pack("<dd", *item) for item in items if isinstance(item, tuple))


def _list(item: object) -> list[object]:
    if not isinstance(item, list):
        raise NotGeometryError
    return item
