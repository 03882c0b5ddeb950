"""The long tail as a page: for each facet the groups' values over what training had of them, and a table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from espalier.explain.tail.kinds import NEIGHBOUR
from espalier.explain.tail.record import seen
from espalier.report.charts import Tick, ticks
from espalier.report.layout import environment, page_of

if TYPE_CHECKING:
    from jinja2 import Environment

    from espalier.explain.tail.record import TailPage, Told

MARKS = 6  # labels below a plot, about


@dataclass(frozen=True)
class Dot:
    """A group in a box of 100 by 100, y downwards: where it stands and its interval's ends."""

    x: float
    y: float
    low: float
    high: float
    worse: bool


@dataclass(frozen=True)
class Plot:
    """Groups' values over training; `mean` is the height of all rows' value."""

    dots: list[Dot]
    mean: float
    x: list[Tick]
    y: list[Tick]


def render(found: TailPage) -> str:
    """Return the page."""
    shown = {
        "found": found,
        "parts": [(told, plot(found, told)) for told in found.facets],
        "neighbour": NEIGHBOUR,
    }
    return page_of(_layout(), "tail.html", shown)


def plot(found: TailPage, told: Told) -> Plot | None:
    """Return what is drawn of a facet; None where training is not known, or is the same for all groups."""
    groups = [one for one in told.groups if one.seen is not None and one.tuned.bounded]
    near = told.name == NEIGHBOUR
    at = [one.seen or 0.0 if near else math.log2(1 + (one.seen or 0.0)) for one in groups]
    if len({*at}) < 2:
        return None
    scale, end = found.metric.scale, max(at)
    heights = ticks(
        min(0.0, *(scale * one.tuned.low for one in groups)), max(scale * one.tuned.high for one in groups), 4
    )
    low, high = heights[0], heights[-1]

    def down(value: float) -> float:
        return 100 - 100 * (scale * value - low) / (high - low)

    def across(value: float) -> float:
        return 3 + 94 * value / end

    every = max(1, math.ceil(end / MARKS))
    x = (
        [Tick(across(mark), f"{100 * mark:g} %") for mark in ticks(0, end, 4) if mark <= end]
        if near
        else [Tick(across(step), f"{2**step - 1:,}") for step in range(0, math.floor(end) + 1, every)]
    )
    dots = [
        Dot(across(place), down(one.tuned.value), down(one.tuned.low), down(one.tuned.high), one.worse)
        for place, one in zip(at, groups, strict=True)
    ]
    return Plot(dots, down(found.tuned.value), x, [Tick(down(mark / scale), f"{mark:g}") for mark in heights])


@cache
def _layout() -> Environment:
    return environment({"seen": seen})
