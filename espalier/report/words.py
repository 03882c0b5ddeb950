"""Notes, verdicts, durations and sizes as a person reads them; findings are in `evaluate/findings.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.evaluate.measures import FLOORS
from espalier.evaluate.sheet import between, detectable, shown

if TYPE_CHECKING:
    from espalier.core.records import Metric
    from espalier.evaluate.score_records import Difference
    from espalier.evaluate.scores import Scores


def note(metric: Metric) -> str:
    """Return what a reader should know of a measure."""
    return metric.note + (" Lower is better." if metric.better == "lower" else "")


def reward(value: float | None) -> str:
    """Return what an answer was rewarded with as '0.50', and a dash where nothing could judge it."""
    return "–" if value is None or value != value else f"{value:.2f}"


def duration(seconds: float) -> str:
    """Return seconds as '4.2 s', '3 min 05 s' or '2 h 07 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: float) -> str:
    """Return bytes as '812 MB' or '2.31 GB'."""
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"


def verdict(gap: Difference) -> str:
    """Return what a difference's interval lets one say."""
    if not gap.estimate.bounded:
        return "There are too few different rows for an interval, so nothing can be said about others."
    if gap.estimate.excludes_zero:
        return "The 95 % interval of the difference from the base excludes zero."
    said = "The 95 % interval of the difference from the base includes zero: tuning may have changed nothing."
    found = detectable(gap)
    return f"{said} So many rows would reliably show {found} or more." if found else said


def against_floors(scores: Scores, measure: str) -> str:
    """Return what each floor reaches, best first, how far the tuned model is from it, and where it stands
    between the best of them and the best possible value.
    """
    told: list[tuple[float, str]] = []
    metric = scores.metric(measure)
    for name in FLOORS:
        gap = scores.difference(name, measure)
        if gap and gap.estimate.known:
            reached = scores.estimate(name, measure)
            text = f"{FLOORS[name]} {shown(reached)} ({between(gap.estimate)})"
            told.append((metric.sign * reached.value, text))
    if not told:
        return ""
    texts = [text for _, text in sorted(told, reverse=True)]
    best, tuned = metric.sign * max(told)[0], scores.estimate("tuned", measure)
    said = f"Floors, and how far the tuned model is from them: {'; '.join(texts)}."
    if tuned.known and metric.ceiling != best:
        way = 100 * (tuned.value - best) / (metric.ceiling - best)
        said += f" It is {way:.0f} % of the way from the best of them to the best possible value."
    return said
