"""Plots as files of their own: a swept threshold, and how uneven kinds are; SVG without a script."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.text import counted
from espalier.report.charts import Tick, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.building.longtail import LongTail
    from espalier.building.tradeoff import Tradeoff

LEFT, RIGHT, TOP, BOTTOM = 50, 450, 50, 350  # of the box that lines are drawn in
LABEL = 15  # between two names of lines
COLOURS = ("#14694a", "#b0703a", "#3b6ea5", "#8e5aa8", "#a63b2a", "#6b7f1d", "#2a8c94", "#8a8f94")


@dataclass(frozen=True)
class Line:
    """A line as it is drawn: its points, its colour, its name and where that stands."""

    name: str
    points: str
    colour: str
    label: float
    main: bool = False


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    def marks(self) -> list[Tick]:
        found = (value for value in ticks(self.low, self.high) if self.low <= value <= self.high)
        return [Tick(self.place(value), f"{value:g}") for value in found]


def tradeoff_plot(sweep: Tradeoff, title: str) -> str:
    """Return the share of rows that pass over the share of kinds that are covered, as SVG, knee and all."""
    told = [point for point in sweep.points if point.passing.n]
    names = [*told[0].covered] if told else []
    curves = [("all", [(100 * point.coverage, 100 * point.passing.value) for point in told])]
    curves += [
        (name, [(100 * point.covered[name], 100 * point.passing.value) for point in told]) for name in names
    ]
    heights = [y for _, line in curves for _, y in line]
    span = ticks(min(heights, default=0), max(heights, default=100))
    x, y = _Axis(0, 100, LEFT, RIGHT), _Axis(span[0], span[-1], BOTTOM, TOP)
    mark = None
    if sweep.knee is not None:
        knee = sweep.points[sweep.knee]
        mark = (x.place(100 * knee.coverage), y.place(100 * knee.passing.value))
    return _drawn(
        title,
        ("kinds that are covered, %", "rows that pass, %", sweep.why),
        (x, y),
        curves,
        mark=mark,
    )


def tail_plot(report: LongTail, title: str) -> str:
    """Return the share of rows that the smallest kinds of each facet hold (Lorenz), as SVG."""
    curves = [
        (tail.facet, [(100 * a, 100 * b) for a, b in tail.lorenz])
        for tail in report.tails
        if len(tail.kinds) > 1
    ]
    x, y = _Axis(0, 100, LEFT, RIGHT), _Axis(0, 100, BOTTOM, TOP)
    words = (
        "kinds, the smallest first, %",
        "rows that they hold, %",
        f"{counted(report.rows, 'row')}. On the dashes all kinds are as large.",
    )
    even = f"{LEFT},{BOTTOM} {RIGHT},{TOP}"
    return _drawn(title, words, (x, y), curves, even=even)


def _drawn(
    title: str,
    words: tuple[str, str, str],
    axes: tuple[_Axis, _Axis],
    curves: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    *,
    mark: tuple[float, float] | None = None,
    even: str = "",
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    x, y = axes
    lines = [
        Line(
            name,
            " ".join(f"{x.place(a):.1f},{y.place(b):.1f}" for a, b in points),
            COLOURS[number % len(COLOURS)],
            TOP + 8 + LABEL * number,
            main=name == "all",
        )
        for number, (name, points) in enumerate(curves)
        if points and all(math.isfinite(b) for _, b in points)
    ]
    page = Environment(
        loader=PackageLoader("espalier.report"), undefined=StrictUndefined, autoescape=True, trim_blocks=False
    ).get_template("plot.svg")
    return page.render(
        title=title,
        x_title=words[0],
        y_title=words[1],
        note=words[2],
        x=x.marks(),
        y=y.marks(),
        lines=lines,
        mark=mark,
        even=even,
    )
