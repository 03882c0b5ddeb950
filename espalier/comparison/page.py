"""The page of a comparison: the sentence, the numbers, a forest plot, and the rows side by side."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from espalier.comparison.records import least, shown_p
from espalier.report import browse
from espalier.report.charts import Tick, ticks
from espalier.report.layout import environment, page_of
from espalier.report.page import unbroken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment

    from espalier.comparison.entries import Entry
    from espalier.comparison.records import Compared, Comparison

ORDERS = (("gap", "differ most first"), ("row", "as in the data"))


@dataclass(frozen=True)
class Whisker:
    """A difference as it is drawn: its names and numbers, and places in per cent of the box."""

    name: str
    one: Compared
    low: float
    high: float
    place: float


@dataclass(frozen=True)
class Forest:
    """All differences over one axis, in points, with zero at `zero` and the margin as a band."""

    rows: list[Whisker]
    ticks: list[Tick]
    zero: float
    band: tuple[float, float] | None


@functools.cache
def pages() -> Environment:
    """Return what lays out the pages that compare, here and in a study."""
    return environment(
        {
            "whole": unbroken,
            "probability": shown_p,
            "least": least,
        }
    )


def render(comparison: Comparison, groups: Sequence[Sequence[Entry]]) -> str:
    """Return the page; its rows show the answers of each side's first training."""
    names = [comparison.pairs[0].first, *(pair.other for pair in comparison.pairs)]
    shown = {
        "comparison": comparison,
        "names": names,
        "said": [next(iter(pair.measures.values())).said for pair in comparison.pairs],
        "forest": forest(comparison),
        "orders": ORDERS,
        "listed": Markup(browse.embedded(listed(comparison, groups, names))),
    }
    return page_of(pages(), "comparison.html", shown, "browse.js")


def forest(comparison: Comparison) -> Forest:
    """Return where each difference of a comparison lies."""
    several = len(comparison.pairs) > 1
    named = [
        (f"{pair.other}: {one.metric.title}" if several else one.metric.title, one)
        for pair in comparison.pairs
        for one in pair.measures.values()
    ]
    return differences(named, comparison.margin)


def differences(named: Sequence[tuple[str, Compared]], margin: float | None = None) -> Forest:
    """Return where each difference lies, by its name, on an axis that holds them all and zero."""
    every = [(name, one) for name, one in named if one.difference.known]
    ends = [
        one.metric.scale * end
        for _, one in every
        for end in (one.difference.value, one.difference.low, one.difference.high)
        if math.isfinite(end)
    ]
    margin = margin or 0.0
    marks = ticks(min([0.0, -margin, *ends]), max([0.0, margin, *ends]), 6)
    low, high = marks[0], marks[-1]

    def place(value: float) -> float:
        return 100 * (value - low) / (high - low)

    def whisker(name: str, one: Compared) -> Whisker:
        gap = one.difference
        places = [place(one.metric.scale * end) for end in (gap.low, gap.high, gap.value)]
        return Whisker(name, one, *places)

    rows = [whisker(name, one) for name, one in every]
    band = (place(-margin), place(margin)) if margin else None
    return Forest(
        rows, [Tick(place(mark), f"{mark:g}".replace("-", "−")) for mark in marks], place(0.0), band
    )


def listed(comparison: Comparison, groups: Sequence[Sequence[Entry]], names: Sequence[str]) -> dict[str, Any]:
    """Return the rows as browse.js reads them, see `browse.py`; won and lost are by what leads."""
    measures = list(comparison)
    metrics = [comparison[name].metric for name in measures]
    firsts = [group[0] for group in groups]
    rows: list[dict[str, Any]] = []
    for row in (name for name in firsts[0].side.sources if all(name in e.side.sources for e in firsts)):
        example = next((entry.examples[row] for entry in firsts if row in entry.examples), None)
        answers = [_answer(entry, row, measures) for entry in firsts]
        a, b = (answer["values"][0] for answer in answers[:2])
        gap = metrics[0].sign * (b - a) if a is not None and b is not None else 0.0
        best = metrics[0].ceiling if metrics[0].sign > 0 else 0.0
        rows.append(
            {
                "input": (example.input or example.prompt[-1].text) if example else f"example {row}",
                "references": list(example.references) if example else [],
                "rejected": [],
                "answers": answers,
                "won": [gap < 0, gap > 0],
                "wrong": all(answer["values"][0] not in (None, best) for answer in answers),
                "gap": -abs(gap),
            }
        )
    return {
        "systems": list(names),
        "measures": [metric.title for metric in metrics],
        "scales": [metric.scale for metric in metrics],
        "checked": False,
        "wrong": "",
        "filters": [
            ["all", "all"],
            ["first", f"won by {names[0]}"],
            ["second", f"won by {names[1]}"],
            ["wrong", "no side is right"],
        ],
        "cut": browse.cut(rows, []),
        "trained": [],
        "rows": rows,
    }


def _answer(entry: Entry, row: str, measures: Sequence[str]) -> dict[str, Any]:
    scores = entry.side.trainings[0].scores
    found = [scores[name].get(row) for name in measures]
    return {
        "text": entry.texts.get(row),
        "finish": "",
        "values": [browse.number(score.value if score else None) for score in found],
        "why": [
            (name, score.why)
            for name, score in zip(measures, found, strict=True)
            if score and score.why and not score.value
        ],
    }
