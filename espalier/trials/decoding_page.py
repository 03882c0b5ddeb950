"""The page that answers "which decoding?": the sentence, quality against time, and all numbers."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.evaluate import sheet
from espalier.report.charts import Tick, ticks
from espalier.report.layout import environment, page_of
from espalier.trials.decoding_record import gap_of, span, spent

if TYPE_CHECKING:
    from jinja2 import Environment

    from espalier.trials.decoding_record import Decodings, Outcome

MARKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Point:
    """A setting as it is drawn: its letter, and places in per cent of the box, y downwards."""

    mark: str
    one: Outcome
    x: float
    y: float
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True)
class Plot:
    """Quality over seconds a row on a logarithmic axis, with the front as steps."""

    points: list[Point]
    x: list[Tick]
    y: list[Tick]
    front: str


@functools.cache
def _pages() -> Environment:
    return environment(
        {
            "share": share,
            "spent": spent,
            "span": span,
            "gap": gap_of,
        }
    )


def render(found: Decodings) -> str:
    """Return the page."""
    shown = {
        "found": found,
        "marks": {one.setting: mark for mark, one in _marked(found)},
        "plot": pareto(found),
        "decode": {one.setting: _recipe(one) for one in found.tested},
    }
    return page_of(_pages(), "decoding.html", shown)


def share(value: float, digits: int = 1) -> str:
    """Return a share as '12.5 %', or a dash where there is none."""
    return f"{sheet.percent(value, digits)} %".replace("– %", "–")


def pareto(found: Decodings) -> Plot | None:
    """Return where each setting lies that was judged; None where none was."""
    metric = found.metric
    told = [(mark, one, one.scores[found.measure]) for mark, one in _marked(found)]
    told = [each for each in told if each[2].known and each[1].seconds.value > 0]
    if not told:
        return None
    times = [t for _, one, _ in told for t in (one.seconds.value, one.seconds.low, one.seconds.high)]
    heights = [metric.scale * end for _, _, q in told for end in (q.value, q.low, q.high)]
    xs, ys = (
        log_ticks([t for t in times if math.isfinite(t) and t > 0]),
        [h for h in heights if math.isfinite(h)],
    )
    marks = ticks(min(ys), max(ys), 5)
    low, high = math.log(xs[0]), math.log(xs[-1])

    def across(seconds: float) -> float:
        return 100 * (math.log(seconds) - low) / (high - low)

    def down(value: float) -> float:
        return 100 * (marks[-1] - metric.scale * value) / (marks[-1] - marks[0])

    def point(mark: str, one: Outcome) -> Point:
        q, t = one.scores[found.measure], one.seconds
        x, y = across(t.value), down(q.value)
        left, right = (across(t.low), across(t.high)) if t.bounded and t.low > 0 else (x, x)
        top, bottom = (down(q.high), down(q.low)) if q.bounded else (y, y)
        return Point(mark, one, x, y, left, right, top, bottom)

    points = [point(mark, one) for mark, one, _ in told]
    return Plot(
        points,
        [Tick(across(value), f"{value:g}") for value in xs],
        [Tick(down(value / metric.scale), f"{value:g}") for value in marks],
        _steps(sorted((p.x, p.y) for p in points if p.one.front)),
    )


def log_ticks(values: list[float]) -> list[float]:
    """Return values of 1, 2 and 5 times powers of ten that enclose others, all above 0."""
    first, last = (math.floor(math.log10(end)) for end in (min(values), max(values)))
    every = [float(f"{m}e{power}") for power in range(first, last + 2) for m in (1, 2, 5)]
    low = max(value for value in every if value <= min(values) * (1 + 1e-9))
    high = min(value for value in every if value >= max(values) and value > low)
    return [value for value in every if low <= value <= high]


def _steps(points: list[tuple[float, float]]) -> str:
    """Return the line below which all is dominated: right to the next point, then up to it."""
    path: list[tuple[float, float]] = []
    for x, y in points:
        if path:
            path.append((x, path[-1][1]))
        path.append((x, y))
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in path)


def _marked(found: Decodings) -> list[tuple[str, Outcome]]:
    ordered = found.ordered
    return [(MARKS[i] if i < len(MARKS) else str(i + 1), one) for i, one in enumerate(ordered)]


def _recipe(one: Outcome) -> str:
    """Return the setting as a recipe has it."""
    import tomli_w

    return tomli_w.dumps({"decode": dict(one.decode)}).strip()
