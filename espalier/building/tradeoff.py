"""Coverage against accuracy: what a stricter threshold wins in right rows, and loses in kinds of rows.

A strict filter makes a data set cleaner and narrower. Its threshold is swept over the scores that it gave; at
each one stand the rows that stay, the share of them that pass (the task's checks, or what people kept of a
reviewed sample) with its interval, and the share of each facet's kinds that still has a row. The knee is the
threshold that lies furthest over the straight line from no threshold to all that is won at all that is lost:
before it strictness wins more than it loses, behind it less.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from espalier.core.errors import DataError
from espalier.evaluate.statistics import wilson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.records import Estimate

STEPS = 40  # thresholds at most
LEAST = 30  # judged rows, under which what a threshold leaves says too little for a knee
BEND = 0.1  # of the way from corner to corner: a knee stands out at least so far from the straight line


@dataclass(frozen=True, slots=True)
class Point:
    """What a threshold leaves.

    Attributes:
        threshold: the score that a row needs; None is no threshold.
        rows: how many stay.
        share: of all rows.
        passing: of those that stay and are judged, the share that passes.
        covered: for each facet, the share of its kinds that still has a row.
    """

    threshold: float | None
    rows: int
    share: float
    passing: Estimate
    covered: Mapping[str, float]

    @property
    def coverage(self) -> float:
        """The mean over the facets."""
        return sum(self.covered.values()) / len(self.covered)


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """A swept threshold.

    Attributes:
        points: from no threshold to the strictest.
        knee: the place of the knee among them; None where there is none.
        why: what makes it the knee, or why there is none, in a sentence.
        keep: whether scores over or under a threshold stay.
    """

    points: tuple[Point, ...]
    knee: int | None
    why: str
    keep: Literal["over", "under"]

    def as_json(self) -> dict[str, Any]:
        """Return the sweep as JSON holds it; a share of nothing is null."""
        found = asdict(self)
        for point in found["points"]:
            if not point["passing"]["n"]:
                point["passing"]["value"] = None
        return found


def tradeoff(
    scores: Sequence[float | None],
    passes: Sequence[bool | None],
    kinds: Mapping[str, Sequence[str]],
    *,
    keep: Literal["over", "under"] = "over",
) -> Tradeoff:
    """Sweep a threshold over scores.

    Args:
        scores: of each row; one without a score stays at every threshold.
        passes: whether each row is right; None is not judged, and counts for no share.
        kinds: for each facet the kind of each row, as `longtail.facets` tells them; '' is none.
        keep: whether rows with scores over or under the threshold stay; those at it do.

    Raises:
        DataError: no row has a score, none is judged, or no facet has a kind.
    """
    known = [score for score in scores if score is not None]
    if not known:
        raise DataError("No row has a score to sweep.", hint="Choose a filter that gives one.")
    if all(verdict is None for verdict in passes):
        raise DataError("No row is judged, so that nothing says which are right.", hint="Name checks.")
    facets = {name: _codes(found) for name, found in kinds.items() if any(found)}
    if not facets:
        raise DataError("No row has a kind, so that nothing can be covered.")
    sign = 1.0 if keep == "over" else -1.0
    values = np.array([np.inf if score is None else sign * score for score in scores])
    verdicts = np.array([-1 if verdict is None else int(verdict) for verdict in passes])
    points = tuple(
        _point(None if bound is None else sign * bound, stays, verdicts, facets)
        for bound in (None, *_bounds(sign * np.array(known)))
        for stays in [values >= (-np.inf if bound is None else bound)]
    )
    knee, why = _knee(points)
    return Tradeoff(points, knee, why, keep)


def _bounds(values: Any) -> list[float]:
    """Return thresholds that each leave out more rows, the last of them all but those of the best score."""
    every = np.unique(values)[1:]
    if len(every) <= STEPS:
        return [float(value) for value in every]
    drawn = np.quantile(values, np.linspace(0, 1, STEPS + 1)[1:], method="higher")
    return [float(value) for value in np.unique(drawn) if value > values.min()]


def _codes(found: Sequence[str]) -> Any:
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(filter(None, found)))}
    return np.array([numbers.get(kind, -1) for kind in found])


def _point(bound: float | None, stays: Any, verdicts: Any, facets: Mapping[str, Any]) -> Point:
    judged = verdicts[stays & (verdicts >= 0)]
    covered = {
        name: len(np.unique(codes[stays & (codes >= 0)])) / (int(codes.max()) + 1)
        for name, codes in facets.items()
    }
    rows = int(np.count_nonzero(stays))
    missing = rows - len(judged)
    return Point(bound, rows, rows / len(stays), wilson(int(judged.sum()), len(judged), missing), covered)


def _knee(points: Sequence[Point]) -> tuple[int | None, str]:
    """Return the place of the knee with a sentence, or None and why there is none."""
    first = points[0].passing
    least = max(1, min(LEAST, first.n // 10))
    told = [place for place, point in enumerate(points) if point.passing.n >= least]
    if len(told) < 3:
        return None, "There is no knee: fewer than three thresholds leave rows that are judged."
    better = [points[place].passing for place in told if points[place].passing.low > first.value]
    if not better:
        return None, "There is no knee: no threshold raises the share that passes beyond its interval."
    best = max(better, key=lambda one: one.value)
    spread = 1 - min(points[place].coverage for place in told)
    rise = best.value - first.value
    if not spread:
        return told[-1], "Nothing is lost: the strictest threshold covers all kinds."
    # From the loosest, at (0, 0), to where all that can be won is won and all that is lost is lost, (1, 1).
    heights = [
        (points[place].passing.value - first.value) / rise - (1 - points[place].coverage) / spread
        for place in told
    ]
    top = int(np.argmax(heights))
    if heights[top] < BEND:
        return None, "There is no knee: what is won and what is lost go along together."
    point = points[told[top]]
    return told[top], (
        f"The knee: {100 * point.passing.value:.1f} % of the rows pass (without a threshold "
        f"{100 * first.value:.1f} %), and {100 * point.coverage:.0f} % of the kinds are covered."
    )
