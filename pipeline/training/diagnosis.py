"""What a run's losses say in words: underfit, overfit, well fit, a learning rate too high or too low, each with its evidence.

Losses are those of metrics.jsonl, in nats a token. Validation is measured on the same rows each time, so its moves count as they are;
training losses jump from batch to batch, so they are compared as means, against the noise seen between neighbouring lines.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

from pipeline.commits import write_json
from pipeline.training.metrics import Line, evaluations, training

NAME = "diagnosis.json"

TOO_SHORT, TOO_HIGH, TOO_LOW = "too short to say", "learning rate too high", "learning rate too low"
UNDERFIT, OVERFIT, WELL_FIT, NOT_VALIDATED = "underfit", "overfit", "well fit", "not validated"

MIN_LINES = 8
"""Two for each quarter of the run, whose means are compared; ours."""

TURNED = 0.02
"""Validation has turned when it ends this share above its best: the class GL_2 of Prechelt 1998, Early stopping - but when?"""

TIME_CONSTANTS = 2.0
"""A loss that falls as exp(-t) is called flat once the run lasted so many time constants: 86% of the way is behind it; ours."""

STILL = 0.005
"""A loss that moved by a smaller share than this has not moved; ours."""

SLIGHT = 0.05
"""A fall by a smaller share, straight as a line, is blamed on the learning rate; ours."""

STRAIGHT = 0.7
"""A fall is straight when the second half of the learning rate that was spent brought this share of what the first did; ours."""

ROSE = 0.05
"""Training loss that ends this share, and NOISE errors, above an earlier quarter of the run has risen; ours."""

NOISE = 4.0

ADVICE = {
    TOO_SHORT: "train for more steps, or log and validate more often",
    TOO_HIGH: "lower learning_rate to a third, or lengthen the warm-up, and look whether max_grad_norm is set",
    TOO_LOW: "raise learning_rate threefold; if that changes nothing, the model has nothing to learn from these rows",
    UNDERFIT: "train longer (num_epochs, max_steps), or raise learning_rate or lora_r",
    OVERFIT: "stop at the best step (early_stopping_patience), take fewer epochs or more rows, or raise lora_dropout or weight_decay",
    WELL_FIT: "keep it; more rows, not more epochs, would carry it further",
    NOT_VALIDATED: "set validation_share in stages/tokenize.yaml: without validation rows nobody sees overfitting",
}


@dataclass(frozen=True)
class Diagnosis:
    """A verdict (one of ADVICE) with the sentences it rests on.

    ``best_step`` and ``best_loss`` are the evaluation with the lowest loss, step 0 being the base model; ``turned_at`` is the step from
    which validation rose, of an overfit run; ``gap`` is validation minus training loss at the end. None where there is none.
    """

    verdict: str
    evidence: tuple[str, ...]
    advice: str
    best_step: int | None
    best_loss: float | None
    turned_at: int | None
    gap: float | None


def record(lines: Sequence[Line], out: Path) -> list[str]:
    """Write ``out/diagnosis.json`` for the lines of metrics.jsonl; gives what to say about it, a line each."""
    found = diagnose(lines)
    write_json(out / NAME, dataclasses.asdict(found))
    return [f"{found.verdict}: {'; '.join(found.evidence)}", f"next time: {found.advice}"]


def diagnose(lines: Sequence[Line]) -> Diagnosis:
    """The diagnosis of a run from its metrics lines."""
    curve = _Curve.of(lines)
    for verdict, look in _LOOKS:
        evidence = look(curve)
        if evidence:
            return _found(verdict, evidence, curve)
    raise AssertionError("the last look always finds")


def _found(verdict: str, evidence: list[str], curve: _Curve) -> Diagnosis:
    best = min((check for check in curve.checks if math.isfinite(check[1])), key=lambda check: check[1], default=None)
    if best is not None:
        evidence = [*evidence, f"best validation loss {best[1]:.4g} at step {best[0]}"]
    turned_at = best[0] if best is not None and verdict == OVERFIT else None
    step, loss = best or (None, None)
    return Diagnosis(verdict, tuple(evidence), ADVICE[verdict], step, loss, turned_at, curve.gap)


@dataclass(frozen=True)
class _Curve:
    """Losses in the order of their steps: ``losses`` of training with ``steps`` and learning ``rates``, ``checks`` of validation."""

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    rates: tuple[float, ...]
    checks: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, lines: Sequence[Line]) -> _Curve:
        trained = training(lines)
        return cls(
            tuple(line["step"] for line in trained),
            tuple(float(line["loss"]) for line in trained),
            tuple(float(line.get("learning_rate") or 0.0) for line in trained),
            tuple((line["step"], float(line["eval_loss"])) for line in evaluations(lines)),
        )

    @property
    def quarters(self) -> list[float]:
        """Mean training loss of each quarter of the lines."""
        edges = [len(self.losses) * i // 4 for i in range(5)]
        return [fmean(self.losses[start:end]) for start, end in pairwise(edges)]

    @property
    def error(self) -> float:
        """Standard error of the difference of two quarters' means, from the median step between neighbouring lines."""
        steps = [abs(after - before) for before, after in pairwise(self.losses)]
        # 0.6745: median of the absolute value of a normal variable; a difference of two varies by the root of 2 more than one
        deviation = median(steps) / 0.6745 / math.sqrt(2)
        return deviation * math.sqrt(2 / (len(self.losses) // 4))

    @property
    def gap(self) -> float | None:
        """Validation loss minus training loss at the end."""
        if not self.checks or len(self.losses) < MIN_LINES:
            return None
        gap = self.checks[-1][1] - self.quarters[-1]
        return gap if math.isfinite(gap) else None

    @property
    def validated(self) -> bool:
        """Whether there are a beginning and an end to compare."""
        return len(self.checks) > 1

    def halves(self) -> tuple[float, float] | None:
        """What each half of the learning rate spent took off the validation loss; None where it was measured too rarely."""
        if len(self.checks) < 3:
            return None
        spent, total = {0: 0.0}, 0.0
        for step, rate in zip(self.steps, self.rates, strict=True):
            total += rate
            spent[step] = total
        points = [(spent.get(step, total), loss) for step, loss in self.checks]
        (start, first), (end, last) = points[0], points[-1]
        if end <= start:
            return None
        middle = _interpolate(points, (start + end) / 2)
        return first - middle, middle - last


def _interpolate(points: Sequence[tuple[float, float]], at: float) -> float:
    """The height at ``at`` of the line through points that ascend."""
    for (left, low), (right, high) in pairwise(points):
        if at <= right:
            return high if right == left else low + (high - low) * (at - left) / (right - left)
    return points[-1][1]


def _diverged(curve: _Curve) -> list[str]:
    values = [*zip(curve.steps, curve.losses, strict=True), *curve.checks]
    broken = min((step for step, loss in values if not math.isfinite(loss)), default=None)
    if broken is not None:
        return [f"the loss is not a number at step {broken}"]
    if len(curve.losses) < MIN_LINES:
        return []
    first, *_, last = curve.quarters
    lowest = min(curve.quarters[:3])
    if last - lowest > max(ROSE * abs(lowest), NOISE * curve.error):
        return [f"training loss rose from {lowest:.4g} to {last:.4g} (means of quarters of the run)"]
    if curve.validated and curve.checks[-1][1] > curve.checks[0][1] * (1 + TURNED) and last > first - 2 * curve.error:
        return [f"validation loss rose from {curve.checks[0][1]:.4g} to {curve.checks[-1][1]:.4g}, and training loss did not fall"]
    return _oscillation(curve)


def _oscillation(curve: _Curve) -> list[str]:
    """Validation that went up and down again at least twice, by more than TURNED each time, once training had begun."""
    turns, extreme, direction = [], None, 0
    for step, loss in curve.checks:
        if extreme is None:
            extreme = loss
        elif direction >= 0 and loss < extreme * (1 - TURNED):
            turns.append((step, -1))
            extreme, direction = loss, -1
        elif direction <= 0 and loss > extreme * (1 + TURNED):
            turns.append((step, 1))
            extreme, direction = loss, 1
        elif (direction > 0 and loss > extreme) or (direction < 0 and loss < extreme):
            extreme = loss
    rises = [step for step, way in turns if way > 0]
    falls = [step for step, way in turns if way < 0 and rises and step > rises[0]]
    if len(rises) >= 2 and len(falls) >= 2:
        return [f"validation loss swings: it rose by more than {TURNED:.0%} up to steps {', '.join(map(str, rises))} and fell in between"]
    return []


def _short(curve: _Curve) -> list[str]:
    if len(curve.losses) >= MIN_LINES:
        return []
    return [f"{len(curve.losses)} lines of training loss, and {MIN_LINES} are needed"]


def _overfit(curve: _Curve) -> list[str]:
    if not curve.validated:
        return []
    (step, best), (_, last) = min(curve.checks, key=lambda check: check[1]), curve.checks[-1]
    if last <= best * (1 + TURNED):
        return []
    before, *_, after = curve.quarters
    return [
        f"validation loss turned at step {step} and rose from {best:.4g} to {last:.4g} ({last / best - 1:+.1%})",
        f"training loss went from {before:.4g} to {after:.4g} meanwhile, {curve.gap or 0:.2g} below validation",
    ]


def _too_low(curve: _Curve) -> list[str]:
    if not curve.validated:
        return []
    first, last = curve.checks[0][1], curve.checks[-1][1]
    moved = (first - last) / first if first else 0.0
    if abs(moved) < STILL:
        return [f"validation loss moved by {-moved:+.2%} only, from {first:.4g} to {last:.4g}"]
    halves = curve.halves()
    if moved < SLIGHT and halves is not None and halves[0] > 0 and halves[1] > STRAIGHT * halves[0]:
        return [
            f"validation loss fell by {moved:.1%} only, from {first:.4g} to {last:.4g}",
            f"in a straight line: {halves[0]:.2g} in the first half of the learning rate spent, {halves[1]:.2g} in the second",
        ]
    return []


def _underfit(curve: _Curve) -> list[str]:
    """Still falling when the run ended: the last quarter brought more than it does of a loss that is nearly flat."""
    if len(curve.checks) > 3:
        first, last = curve.checks[0][1], curve.checks[-1][1]
        before = _interpolate(curve.checks, curve.checks[-1][0] * 3 / 4)
        enough, what = _share_of_last_quarter(points=True), "validation"
        is_real = before - last > STILL * last
    else:
        first, _, before, last = curve.quarters
        enough, what = _share_of_last_quarter(points=False), "training"
        is_real = before - last > max(STILL * last, 2 * curve.error)
    if first <= last or not is_real or (before - last) / (first - last) <= enough:
        return []
    return [
        f"{what} loss was still falling: {(before - last) / (first - last):.0%} of its fall from {first:.4g} to {last:.4g} is of the last quarter"
    ]


def _share_of_last_quarter(points: bool) -> float:
    """The part of its fall that exp(-t) has in the last quarter of TIME_CONSTANTS: at points in time, or as means of quarters."""
    if points:
        return (math.exp(-0.75 * TIME_CONSTANTS) - math.exp(-TIME_CONSTANTS)) / (1 - math.exp(-TIME_CONSTANTS))
    ratio = math.exp(-TIME_CONSTANTS / 4)
    return (ratio**2 - ratio**3) / (1 - ratio**3)


def _not_validated(curve: _Curve) -> list[str]:
    if curve.validated:
        return []
    return [f"training loss went from {curve.quarters[0]:.4g} to {curve.quarters[-1]:.4g}, and was not compared with rows held back"]


def _well_fit(curve: _Curve) -> list[str]:
    first, last = curve.checks[0][1], curve.checks[-1][1]
    gap = curve.gap or 0.0
    return [f"validation loss fell from {first:.4g} to {last:.4g} and has flattened", f"it ends {gap:+.2g} from training loss ({gap / last:+.1%})"]


_LOOKS = (
    (TOO_HIGH, _diverged),
    (TOO_SHORT, _short),
    (OVERFIT, _overfit),
    (TOO_LOW, _too_low),
    (UNDERFIT, _underfit),
    (NOT_VALIDATED, _not_validated),
    (WELL_FIT, _well_fit),
)
"""Asked in this order; the first that finds evidence names the run."""
