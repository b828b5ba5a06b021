"""What leaving something out does to the validation loss, beside what the seed alone does: the arithmetic, and the sentence. No torch here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WITH, WITHOUT = "with", "without"
ARMS = (WITH, WITHOUT)


@dataclass(frozen=True)
class Ablation:
    """The validation losses (nats a token) of both arms by seed, after training on ``tokens`` tokens each.

    The same seeds stand in both; ``what`` is the rule or source that one arm lacks.
    """

    what: str
    with_it: Mapping[int, float]
    without_it: Mapping[int, float]
    tokens: Mapping[str, int]
    by_source: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Of each source of the validation rows the mean loss with it and without it, where the rows name their sources."""

    @property
    def differences(self) -> dict[int, float]:
        """By seed: the loss without it minus the loss with it; above 0 it helps."""
        return {seed: self.without_it[seed] - loss for seed, loss in sorted(self.with_it.items())}

    @property
    def mean_difference(self) -> float:
        """The mean of the differences."""
        return statistics.fmean(self.differences.values())

    @property
    def spread(self) -> float | None:
        """How far seeds alone move the loss: the standard deviation between seeds, both arms pooled; None with one seed."""
        if len(self.with_it) < 2:
            return None
        variances = [statistics.variance(losses.values()) for losses in (self.with_it, self.without_it)]
        return math.sqrt(statistics.fmean(variances))

    @property
    def exceeds(self) -> bool | None:
        """Whether the mean difference is larger than the spread and of one sign for every seed; None with one seed."""
        if self.spread is None:
            return None
        signs = {value > 0 for value in self.differences.values()}
        return abs(self.mean_difference) > self.spread and len(signs) == 1

    def sentence(self) -> str:
        """The finding in plain words."""
        mean = self.mean_difference
        way = "higher" if mean > 0 else "lower"
        found = f"without {self.what} the validation loss is {abs(mean):.4f} nats a token {way}"
        if self.spread is None:
            return f"{found}; with one seed nobody can say whether that is more than chance: take --seeds 3"
        seeds = f"{found} (mean of {len(self.with_it)} seeds); seeds alone move it by {self.spread:.4f}"
        if not self.exceeds:
            return f"{seeds}, so this may be chance"
        return f"{seeds}: the difference exceeds the spread, so {self.what} {'helps' if mean > 0 else 'harms'}"

    def to_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "without": self.what,
            "losses": {WITH: _by_seed(self.with_it), WITHOUT: _by_seed(self.without_it)},
            "tokens": dict(self.tokens),
            "differences": _by_seed(self.differences),
            "mean_difference": self.mean_difference,
            "spread": self.spread,
            "exceeds_spread": self.exceeds,
            "by_source": {source: dict(zip(ARMS, losses, strict=True)) for source, losses in sorted(self.by_source.items())},
            "sentence": self.sentence(),
        }


def _by_seed(values: Mapping[int, float]) -> dict[str, float]:
    return {str(seed): values[seed] for seed in sorted(values)}
