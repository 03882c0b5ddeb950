"""The superficiality card as a page: lines, the cross as a heat map, the shift by place, the sentences."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.records import Estimate
from espalier.explain.record import KINDS
from espalier.report.charts import Tick, ticks
from espalier.report.layout import environment, page_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment

    from espalier.explain.record import Card, Cell, Explanation, Place, Shift

MOST_MARKS = 9  # labels below a plot


@dataclass(frozen=True)
class Heat:
    """A cell of the cross, and how warm it is, 0 to 100."""

    cell: Cell | None
    warmth: float


@dataclass(frozen=True)
class Cross:
    """A model's cells: a row for each definition, a column for each way to show examples."""

    system: str
    columns: list[str]
    rows: list[tuple[str, list[Heat]]]


@dataclass(frozen=True)
class Plots:
    """KL by place with its band, and the shares of ranks, in boxes of 100 by 100, y downwards.

    `bars` are (kind, left, top, width, height).
    """

    line: str
    band: str
    y: list[Tick]
    x: list[Tick]
    bars: list[tuple[str, float, float, float, float]]


@functools.cache
def _pages() -> Environment:
    return environment({"number": number, "ends": ends})


def render(found: Explanation) -> str:
    """Return the page."""
    shown = {
        "found": found,
        "crosses": crosses(found.card) if found.card else [],
        "plots": plots(found.shift) if found.shift and found.shift.places else None,
        "kinds": KINDS,
    }
    return page_of(_pages(), "explain.html", shown)


def number(estimate: Estimate, digits: int = 2) -> str:
    """Return a value as it is, or a dash where there is none."""
    return f"{estimate.value:.{digits}f}" if estimate.known else "–"


def ends(estimate: Estimate, digits: int = 2) -> str:
    """Return the ends of its interval as they are."""
    return f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}" if estimate.bounded else ""


def crosses(card: Card) -> list[Cross]:
    """Return the cross of each model that was asked; warmer is a higher value, over both models alike."""
    values = [cell.reached.value for cell in card.cells if cell.reached.known]
    low, high = min(values, default=0.0), max(values, default=1.0)

    def heat(cell: Cell | None) -> Heat:
        if cell is None or not cell.reached.known:
            return Heat(cell, 0.0)
        return Heat(cell, 100 * (cell.reached.value - low) / (high - low) if high > low else 0.0)

    made: list[Cross] = []
    for system in dict.fromkeys(cell.system for cell in card.cells):
        rows, columns = card.levels(system)
        table = [(row, [heat(card.cell(system, row, column)) for column in columns]) for row in rows]
        made.append(Cross(system, columns, table))
    return made


def plots(shift: Shift) -> Plots:
    """Return what is drawn by place."""
    places, count = shift.places, len(shift.places)
    highs = [end for one in places for end in (one.kl.value, one.kl.high) if end == end]
    marks = ticks(0.0, max(highs, default=1.0), 4)
    width = 100 / count

    def down(value: float) -> float:
        return 100 - 100 * min(max(value, 0.0), marks[-1]) / marks[-1]

    def across(place: int) -> float:
        return width * (place + 0.5)

    bounded = [(i, one.kl) for i, one in enumerate(places) if one.kl.bounded]
    above = [(across(i), down(kl.high)) for i, kl in bounded]
    below = [(across(i), down(kl.low)) for i, kl in reversed(bounded)]
    every = -(-count // MOST_MARKS)
    return Plots(
        line=_path([(across(i), down(one.kl.value)) for i, one in enumerate(places)]),
        band=_path([*above, *below]),
        y=[Tick(down(mark), f"{mark:g}") for mark in marks],
        x=[Tick(across(i), one.label) for i, one in enumerate(places) if i % every == 0],
        bars=[bar for i, one in enumerate(places) for bar in _bars(one, width * i, width)],
    )


def _bars(place: Place, left: float, width: float) -> list[tuple[str, float, float, float, float]]:
    made: list[tuple[str, float, float, float, float]] = []
    top = 100.0
    for kind in KINDS:
        height = 100 * place.shares[kind].value
        top -= height
        if height > 0:
            made.append((kind, left, top, width, height))
    return made


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
