"""The page of a study: the question, the verdict, effects and cells drawn, and what could not be seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.comparison.page import differences, pages
from espalier.evaluate import sheet
from espalier.evaluate.measures import FLOORS
from espalier.report.charts import Tick, ticks
from espalier.report.layout import page_of

if TYPE_CHECKING:
    from espalier.core.records import Estimate
    from espalier.design.record import CellScore, Findings


@dataclass(frozen=True)
class Dot:
    """A cell as it is drawn: places of its interval's ends and of its value in per cent of the box."""

    cell: CellScore
    low: float
    high: float
    place: float


@dataclass(frozen=True)
class Scores:
    """All cells over one axis, in points, with a line for each floor."""

    dots: list[Dot]
    ticks: list[Tick]
    floors: list[tuple[str, str, float]]


def render(found: Findings) -> str:
    """Return the page."""
    shown = {
        "found": found,
        "forest": differences([(one.name, one.compared) for one in found.effects], found.margin),
        "scores": scores(found),
        "cells": {cell.name: cell for cell in found.cells},
    }
    return page_of(pages(), "study.html", shown)


def scores(found: Findings) -> Scores:
    """Return where each cell's score lies, and the floors: of several cells each floor's highest."""
    scale = found.metric.scale
    floors: dict[str, Estimate] = {}
    for cell in found.cells:
        for name, one in cell.floors.items():
            if one.known and (name not in floors or found.metric.sign * (one.value - floors[name].value) > 0):
                floors[name] = one
    ends = [
        scale * end for cell in found.cells for end in (cell.score.value, cell.score.low, cell.score.high)
    ]
    ends += [scale * one.value for one in floors.values()]
    known = [end for end in ends if math.isfinite(end)]
    marks = ticks(min([0.0, *known]), max(known, default=1.0), 6)

    def place(value: float) -> float:
        return 100 * (scale * value - marks[0]) / (marks[-1] - marks[0])

    dots = [
        Dot(cell, *map(place, (cell.score.low, cell.score.high, cell.score.value))) for cell in found.cells
    ]
    lines = [
        (
            FLOORS.get(name, f"the {name} model" if name == "base" else name),
            sheet.shown(one),
            place(one.value),
        )
        for name, one in floors.items()
    ]
    return Scores(dots, [Tick(100 * (m - marks[0]) / (marks[-1] - marks[0]), f"{m:g}") for m in marks], lines)
