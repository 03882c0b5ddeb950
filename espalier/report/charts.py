"""The geometry of the plots, in per cent of their boxes, so that they fit any width; the templates draw."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Estimate, Metric


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in per cent of the box, and its label."""

    place: float
    label: str


@dataclass(frozen=True)
class Axis:
    """From 0 to `end`, in a measure's own values, with its ticks as they are shown."""

    end: float
    ticks: list[Tick]


@dataclass(frozen=True)
class Curve:
    """A line in a box of 100 by 100, y downwards: all values, and their running mean if there are many.

    `beside` is another one over the same axes, with a `mark` at the place of its lowest value.
    """

    raw: str
    smooth: str
    x: list[Tick]
    y: list[Tick]
    beside: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Histogram:
    """Bars in a box of 100 by 100, y downwards: (left, top, width, height) of each that is not empty."""

    bars: list[tuple[float, float, float, float]]
    x: list[Tick]
    y: list[Tick]


def curve(values: Sequence[tuple[float, float]], beside: Sequence[tuple[float, float]] = ()) -> Curve | None:
    """Return a value over the steps, or None for fewer than two; values that are not finite are left out.

    So it is with those `beside` it, which are of some of the same steps.
    """
    points = [(step, value) for step, value in values if math.isfinite(value)]
    others = [(step, value) for step, value in beside if math.isfinite(value)]
    if len(points) < 2:
        return None
    first, last = points[0][0], points[-1][0]
    heights = [value for _, value in points]
    every = [*heights, *(value for _, value in others)]
    y = ticks(min(0.0, min(every)), max(every))
    bottom, top = y[0], y[-1]

    def place(step: float, value: float) -> tuple[float, float]:
        return 100 * (step - first) / (last - first), 100 * (top - value) / (top - bottom)

    window = len(points) // 12
    smooth = [
        (step, sum(part) / len(part))
        for (step, _), part in zip(points, _windows(heights, window), strict=True)
    ]
    return Curve(
        raw=_path([place(*point) for point in points]),
        smooth=_path([place(*point) for point in smooth]) if window > 1 else "",
        x=[
            Tick(place(v, bottom)[0], f"{v:g}")
            for v in ticks(first, last)
            if v == round(v) and first <= v <= last
        ],
        y=[Tick(place(first, v)[1], f"{v:g}") for v in y],
        beside=_path([place(*point) for point in others]),
        mark=_path([place(*min(others, key=lambda point: point[1]))] * 2) if others else "",
    )


def axis(metric: Metric, estimates: Sequence[Estimate]) -> Axis:
    """Return the axis of a measure: up to 1, where that can be reached, or as far as intervals go beyond."""
    ends = [end for one in estimates for end in (one.value, one.high) if math.isfinite(end)]
    most = metric.scale * max([*ends, min(1.0, metric.ceiling)])
    marks = (
        [v for v in ticks(0.0, most, 4)] if most > metric.scale else [metric.scale * v / 4 for v in range(5)]
    )
    return Axis(marks[-1] / metric.scale, [Tick(100 * mark / marks[-1], f"{mark:g}") for mark in marks])


def histograms(samples: Sequence[Sequence[float]], bins: int = 20) -> list[Histogram]:
    """Return how samples of whole numbers, none of them empty, are distributed, all over the same axes.

    Heights are shares of a sample, in per cent. Values above nearly all of each sample stand in the last bin.
    """
    last = max(sorted(sample)[math.ceil(0.95 * len(sample)) - 1] for sample in samples)
    width = max(1, math.ceil((last + 1) / bins))
    count = math.floor(last / width) + 1
    end = count * width
    shares = [
        [tally[number] / len(sample) for number in range(count)]
        for sample in samples
        for tally in [Counter(min(math.floor(value / width), count - 1) for value in sample)]
    ]
    heights = ticks(0.0, 100 * max(map(max, shares)), 4)
    over, left = max(map(max, samples)) >= end, end - width
    marks = [v for v in ticks(0, end) if v == round(v) and v <= (left - 0.15 * end if over else end)]
    x = [Tick(100 * v / end, f"{v:g}") for v in marks]
    x += [Tick(100 * left / end, f"{left:g}+")] if over else []
    y = [Tick(100 - 100 * v / heights[-1], f"{v:g}") for v in heights]
    return [Histogram(_bars(share, 100 / heights[-1]), x, y) for share in shares]


def _bars(shares: Sequence[float], scale: float) -> list[tuple[float, float, float, float]]:
    width = 100 / len(shares)
    tops = [100 - 100 * share * scale for share in shares]
    return [(i * width, top, width, 100 - top) for i, top in enumerate(tops) if top < 100]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round values that enclose low to high."""
    if high <= low:
        high = low + 1
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(start, end + 1)]


def _windows(values: Sequence[float], width: int) -> list[Sequence[float]]:
    """Return the values around each place, fewer at the ends."""
    return [values[max(0, i - width // 2) : i + width // 2 + 1] for i in range(len(values))]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
