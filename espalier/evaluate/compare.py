"""From scores to estimates: of one system, and of two compared row by row, with the interval by source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.core.errors import DataError
from espalier.evaluate.score_records import Difference
from espalier.evaluate.statistics import detectable, folded, folded_difference, mean, paired_difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.records import Estimate, Metric, Score

    Values = Sequence[float | None]


def estimate(metric: Metric, scores: Sequence[Score], sources: Sequence[str], seed: int = 0) -> Estimate:
    """Return what a system's scores come to: their mean, or what the metric folds; `sources` are clusters."""
    if metric.fold:
        found = folded([score.parts for score in scores], sources, metric.fold, seed)
    else:
        found = mean([score.value for score in scores], sources)
        if metric.leans:
            found = _around(found, mean(_leaning(scores), sources))
    return replace(found, scale=metric.scale)


def compare_scores(
    a: Mapping[str, Score], b: Mapping[str, Score], sources: Mapping[str, str], metric: Metric, seed: int = 0
) -> Difference:
    """Compare two systems' scores, each keyed by example id; `sources` gives the cluster of each example.

    Better is what the metric says; the difference is a − b all the same.

    Raises:
        DataError: the two were not scored on the same examples; an example that only one has is named.
    """
    if a.keys() != b.keys():
        alone = sorted(a.keys() ^ b.keys())
        raise DataError(
            f"The two systems answered different examples: {len(a)} and {len(b)}, {len(alone)} not shared.",
            where=f"example {alone[0]}",
            hint="Score both on the same test rows.",
        )
    clusters = [sources[i] for i in a]
    x, y = [one.value for one in a.values()], [b[i].value for i in a]
    if metric.fold:
        ours, theirs = ([scores[i].parts for i in a] for scores in (a, b))
        found = folded_difference(ours, theirs, clusters, metric.fold, seed)
    else:
        found = paired_difference(x, y, clusters)
        if metric.leans:
            ours, theirs = (_leaning([scores[i] for i in a]) for scores in (a, b))
            found = _around(found, paired_difference(ours, theirs, clusters))
    gaps = [metric.sign * (p - q) for p, q in zip(x, y, strict=True) if p is not None and q is not None]
    return Difference(
        replace(found, scale=metric.scale),
        better=sum(gap > 0 for gap in gaps),
        worse=sum(gap < 0 for gap in gaps),
        same=sum(gap == 0 for gap in gaps),
        detectable=detectable(found),
    )


def _leaning(scores: Sequence[Score]) -> Values:
    """Return the values of a mean that leans, each with what its row moves the others by: pseudo-values.

    Their spread over sources is that of the mean, where the rows are drawn that its values depend on.
    """
    return [score.value + sum(score.parts) if score.value is not None else None for score in scores]


def _around(found: Estimate, spread: Estimate) -> Estimate:
    """Return an estimate with the interval of another one, moved to its value: of a part of the rows, what
    they move the mean of all by is not nothing together.
    """
    shift = found.value - spread.value
    return replace(found, low=spread.low + shift, high=spread.high + shift)
