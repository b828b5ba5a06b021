"""Drawings as inline SVG in the page's own colours, each with a title that says the same in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.reporting.markup import Markup, tag

WIDTH = 640
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 28


def histogram(bins: Mapping[str, int], unit: str) -> Markup:
    """Bars over log2 bins, whose keys are their lower bounds; empty bins between the first and the last are kept."""
    counts = {int(low): number for low, number in bins.items()}
    if not counts:
        return Markup("")
    lows = [2**i for i in range(min(counts).bit_length() - 1, max(counts).bit_length())]
    most, step, height = max(counts.values()), 22, 44
    said = f"{sum(counts.values()):,} documents of {lows[0]:,} to {2 * lows[-1] - 1:,} {unit}; most of them, {most:,}, from {_peak(counts):,} on"
    drawn = []
    for i, low in enumerate(lows):
        tall = round(counts.get(low, 0) / most * height, 1)
        drawn.append(tag("rect", x=i * step, y=round(height - tall, 1), width=step - 3, height=tall, class_="bar"))
    ends = [
        tag("text", f"{lows[0]:,}", x=0, y=height + 13, class_="tick"),
        tag("text", f"{lows[-1]:,}+", x=len(lows) * step - 3, y=height + 13, class_="tick end") if len(lows) > 2 else None,
    ]
    width = max(len(lows) * step, 60)
    return tag("svg", tag("title", said), drawn, ends, viewBox=f"0 0 {width} {height + 18}", width=width, height=height + 18, role="img")


def _peak(counts: Mapping[int, int]) -> int:
    return max(counts, key=lambda low: (counts[low], -low))


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], unit: str, title: str) -> Markup:
    """One line a name (its class is ``line-N``), points as (step, value); the axes begin at the least value."""
    points = [point for line in lines.values() for point in line]
    if not points:
        return Markup("")
    height = 240
    least_x, most_x = min(x for x, _ in points), max(x for x, _ in points)
    least_y, most_y = min(y for _, y in points), max(y for _, y in points)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - least_x) / ((most_x - least_x) or 1)
        up = (y - least_y) / ((most_y - least_y) or 1)
        return round(_LEFT + across * (WIDTH - _LEFT - _RIGHT), 1), round(height - _BOTTOM - up * (height - _TOP - _BOTTOM), 1)

    drawn: list[Markup] = []
    for share in (0, 0.5, 1):
        value = least_y + share * (most_y - least_y)
        left, y = at(least_x, value)
        drawn.append(tag("line", x1=left, y1=y, x2=WIDTH - _RIGHT, y2=y, class_="grid"))
        drawn.append(tag("text", f"{value:.2f}", x=_LEFT - 5, y=y + 4, class_="tick end"))
    ends = ((least_x, "tick"), (most_x, "tick end"))[: 1 + (most_x > least_x)]
    drawn += [tag("text", f"step {x:g}", x=at(x, least_y)[0], y=height - 8, class_=kind) for x, kind in ends]
    for number, line in enumerate(lines.values()):
        placed = [at(x, y) for x, y in line]
        drawn.append(tag("polyline", points=" ".join(f"{x:g},{y:g}" for x, y in placed), class_=f"line-{number}"))
        if len(placed) <= 60 and number:
            drawn += [tag("circle", cx=x, cy=y, r=3, class_=f"dot-{number}") for x, y in placed]
    said = "; ".join(f"{name} {line[0][1]:.3f} to {line[-1][1]:.3f} {unit}" for name, line in lines.items() if line)
    return tag("svg", tag("title", f"{title}: {said}"), drawn, viewBox=f"0 0 {WIDTH} {height}", role="img", class_="curves")
