"""What the parts of prompts add, as a page: bars with intervals, deletion curves, a few rows in colour."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.attribution.parts.record import SAYS, nats
from espalier.report.charts import Tick, ticks
from espalier.report.layout import environment, page_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment

    from espalier.attribution.parts.record import Attribution, Faith, Told
    from espalier.core.records import Estimate

SHOWN = 4  # rows in colour
WORDS = 600  # characters of a part that are shown
CURVES = ("random", "control", "method")


@dataclass(frozen=True)
class Bar:
    """A value's bar and its interval in a box of 100 wide: `left` and `width`, and the interval's ends."""

    system: str
    left: float
    width: float
    low: float
    high: float
    words: str


@dataclass(frozen=True)
class Bars:
    """A method's parts with their bars, and where zero is; `marks` are the axis."""

    rows: list[tuple[str, list[Bar], str]]
    zero: float
    marks: list[Tick]


@dataclass(frozen=True)
class Lines:
    """Deletion curves in a box of 100 by 100, y downwards, by whose order it is."""

    lines: list[tuple[str, str]]
    y: list[Tick]


@functools.cache
def _pages() -> Environment:
    return environment({"nats": nats})


def render(found: Attribution) -> str:
    """Return the page."""
    best = shown_method(found)
    shown = {
        "found": found,
        "says": SAYS,
        "bars": {one.method: bars(found, one.method) for one in found.faith},
        "curves": {one.method: curves(one) for one in found.faith},
        "best": best,
        "rows": [(row, coloured(row, best)) for row in found.told[:SHOWN]],
    }
    return page_of(_pages(), "parts.html", shown)


def shown_method(found: Attribution) -> str:
    """Return by which method rows are coloured: of those that beat random order by the largest area."""
    good = [one for one in found.faith if one.beats]
    return max(good, key=lambda one: one.deletion.value).method if good else ""


def bars(found: Attribution, method: str) -> Bars:
    """Return a method's bars, both models' on one axis."""
    lines = found.of(method)
    ends = [end for line in lines for one in (line.tuned, line.base) for end in _ends(one) if end == end]
    marks = ticks(min([0.0, *ends]), max([0.0, *ends]), 5)
    low, span = marks[0], (marks[-1] - marks[0]) or 1.0

    def across(value: float) -> float:
        return 100 * (value - low) / span

    def bar(system: str, one: Estimate) -> Bar:
        left, right = sorted([across(0.0), across(one.value)])
        interval = [across(end) for end in _ends(one)]
        return Bar(system, left, right - left, interval[0], interval[1], nats(one))

    rows = [
        (
            line.part,
            [bar(system, one) for system, one in (("tuned", line.tuned), ("base", line.base)) if one.known],
            nats(line.moved),
        )
        for line in lines
    ]
    return Bars(rows, across(0.0), [Tick(across(mark), f"{mark:g}") for mark in marks])


def _ends(one: Estimate) -> tuple[float, float]:
    return (one.low, one.high) if one.bounded else (one.value, one.value)


def curves(one: Faith) -> Lines | None:
    """Return the deletion curves of a method, of random orders and of random weights; None without any."""
    known = {name: one.curves[name] for name in CURVES if one.curves[name]}
    if not known:
        return None
    values = [value for curve in known.values() for value in curve]
    marks = ticks(min([0.0, *values]), max([0.0, *values]), 4)
    top, span = marks[-1], (marks[-1] - marks[0]) or 1.0

    def down(value: float) -> float:
        return 100 * (top - value) / span

    lines = [(name, _path([*map(down, curve)])) for name, curve in known.items()]
    return Lines(lines, [Tick(down(mark), f"{mark:g}") for mark in marks])


def _path(heights: Sequence[float]) -> str:
    last = len(heights) - 1
    return " ".join(f"{100 * step / last:.2f},{height:.2f}" for step, height in enumerate(heights))


def coloured(row: Told, method: str) -> list[tuple[str, str, float, str]]:
    """Return a row's parts with their words, a warmth from -100 to 100, and the score in words."""
    scores = row.scores.get(method, (None,) * len(row.parts))
    most = max((abs(score) for score in scores if score is not None), default=0.0) or 1.0
    return [
        (
            name,
            text if len(text) <= WORDS else f"{text[:WORDS]} …",
            100 * (score or 0.0) / most,
            "" if score is None else f"{score:+.2f}".replace("-", "−"),
        )
        for (name, text), score in zip(row.parts, scores, strict=True)
    ]
