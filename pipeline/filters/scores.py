"""Removes documents by thresholds on their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.documents import SCORES
from pipeline.errors import SettingsError, nearest
from pipeline.filters.verdicts import Find, verdicts
from pipeline.settings import Builder, Key

_KEYS = ("min", "max", "is")


@dataclass(frozen=True)
class Threshold:
    """What a score must be for its document to stay: at least ``min``, at most ``max``, one of ``one_of`` (``is`` in settings)."""

    min: float | None = None
    max: float | None = None
    one_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scores:
    """Remove documents whose scores miss a threshold: ``column: {min: .., max: ..}`` for numbers, ``column: {is: [..]}`` for names.

    A score that is null does not apply to its document and removes nothing. The first column that speaks is the one named.
    """

    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    version: ClassVar[int] = 1

    @classmethod
    def from_settings(cls, builder: Builder, value: Any, key: Key) -> Self | None:
        """The filter from ``{column: {min, max, is}}``; notes every problem with the builder and gives None when there is one."""
        before = len(builder.problems)
        if not isinstance(value, dict) or not value:
            builder.problem(key, "names no score; write for example gopher_mean_word_chars: {min: 3, max: 10}")
            return None
        thresholds = {str(name): _threshold(builder, limits, (*key, str(name))) for name, limits in value.items()}
        return None if len(builder.problems) > before else cls(thresholds)

    def problems(self, fields: Mapping[str, pa.DataType]) -> dict[str, str]:
        """What is wrong, by column, when the settings' scorers give ``fields``."""
        return {name: wrong for name, limit in self.thresholds.items() if (wrong := _wrong(name, limit, fields))}

    def resolve(self, find: Find) -> Self:
        """Itself: it reads no file."""
        return self

    def judge(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Verdicts with the column as rule and its value as score; raises SettingsError for a column that no scorer gave."""
        given = batch.schema.field(SCORES).type if SCORES in batch.schema.names else pa.struct([])
        problems = self.problems({one.name: one.type for one in given})
        if problems:
            raise SettingsError([f"remove.scores.{name}: {wrong}" for name, wrong in problems.items()])
        found: list[tuple[int, dict[str, object]]] = []
        for name, limit in self.thresholds.items():
            column = batch.column(SCORES).field(name)
            missing = np.flatnonzero(pc.fill_null(_misses(column, limit), False).to_numpy(zero_copy_only=False)).tolist()
            found.extend((row, {"rule_id": name, **_reason(name, column[row].as_py(), limit)}) for row in missing)
        return verdicts(len(batch), found)


def _threshold(builder: Builder, limits: Any, key: Key) -> Threshold:
    if not isinstance(limits, dict) or not limits:
        builder.problem(key, f"is {limits!r}; expected {{min: .., max: ..}} for a number or {{is: [..]}} for a name")
        return Threshold()
    for name in sorted(set(limits) - set(_KEYS)):
        builder.problem((*key, name), f"unknown key; {nearest(name, _KEYS)}")
    low, high = (builder.convert(float | None, limits.get(name), (*key, name)) for name in ("min", "max"))
    if low is not None and high is not None and low > high:
        builder.problem(key, f"min {low:g} is above max {high:g}, which would remove everything")
    return Threshold(low, high, builder.convert(tuple[str, ...], limits.get("is", []), (*key, "is")))


def _wrong(name: str, limit: Threshold, fields: Mapping[str, pa.DataType]) -> str:
    if name not in fields:
        hint = nearest(name, fields) if fields else "the section score names no scorer"
        return f"no scorer of the section score gives this column; {hint}"
    is_text = pa.types.is_string(fields[name]) or pa.types.is_large_string(fields[name])
    if is_text and (limit.min is not None or limit.max is not None):
        return "is a name; use is: [..]"
    if not is_text and limit.one_of:
        return "is a number; use min and max"
    return ""


def _misses(column: pa.Array, limit: Threshold) -> pa.Array:
    """bool[documents]: whether a score misses the threshold; null where it is null. A limit is as exact as the column is."""
    misses = pa.array(np.zeros(len(column), np.bool_))
    if limit.min is not None:
        misses = pc.or_(misses, pc.less(column, pa.scalar(limit.min).cast(column.type, safe=False)))
    if limit.max is not None:
        misses = pc.or_(misses, pc.greater(column, pa.scalar(limit.max).cast(column.type, safe=False)))
    if limit.one_of:
        other = pc.invert(pc.is_in(column, pa.array(limit.one_of, column.type)))
        misses = pc.or_(misses, pc.if_else(pc.is_valid(column), other, pa.scalar(None, pa.bool_())))
    return misses


def _reason(name: str, value: Any, limit: Threshold) -> dict[str, object]:
    if limit.one_of:
        return {"reason": f"{name} is {value}, not {', '.join(limit.one_of)}"}
    low = limit.min is not None and value < np.float32(limit.min)
    return {"reason": f"{name} is below {limit.min:g}" if low else f"{name} is above {limit.max:g}", "score": float(value)}
