"""Intervals that hold for several looks together: what is stated of rows that choices are made on.

Of k models that are looked at on the same rows the best one seems better than it is. Where each interval
holds at 1 − 0.05 / k by itself, all k hold together at 95 % whatever the models have in common, and so does
that of the chosen one (Bonferroni). Arms grow by the ratio of the normal quantiles, as those of a comparison
do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.evaluate.score_records import Differences

if TYPE_CHECKING:
    from espalier.core.records import Estimate
    from espalier.evaluate.score_records import Difference
    from espalier.evaluate.scores import Scores

POWER = 0.8416212335729143  # the normal quantile at 0.8


def widened(scores: Scores, looks: int) -> Scores:
    """Return scores whose intervals hold for so many looks together."""
    if looks == 1:
        return scores
    systems = {
        name: replace(
            one,
            scores={measure: wide(found, looks) for measure, found in one.scores.items()},
            checks={measure: wide(found, looks) for measure, found in one.checks.items()},
            all_checks=wide(one.all_checks, looks) if one.all_checks else None,
        )
        for name, one in scores.systems.items()
    }
    pairs = [
        Differences(pair.a, pair.b, {name: _wide_difference(gap, looks) for name, gap in pair.values.items()})
        for pair in scores.differences
    ]
    groups, kinds = (
        {name: widened(part, looks) for name, part in parts.items()}
        for parts in (scores.groups, scores.kinds)
    )
    return replace(scores, systems=systems, differences=tuple(pairs), groups=groups, kinds=kinds)


def wide(estimate: Estimate, looks: int, least: float = 0.0) -> Estimate:
    """Return an estimate whose interval holds for so many looks together.

    Of a measure that goes from 0 to 1 it stays within `least` and 1.
    """
    by = _quantile(looks) / _quantile(1)
    low, high = (estimate.value + by * (end - estimate.value) for end in (estimate.low, estimate.high))
    if estimate.scale == 100 and least <= estimate.low and estimate.high <= 1:
        low, high = max(least, low), min(1.0, high)
    return replace(estimate, low=low, high=high)


def _wide_difference(gap: Difference, looks: int) -> Difference:
    by = (_quantile(looks) + POWER) / (_quantile(1) + POWER)
    return replace(gap, estimate=wide(gap.estimate, looks, -1.0), detectable=by * gap.detectable)


def _quantile(looks: int) -> float:
    from statistics import NormalDist  # takes a while to load, and help needs none

    return NormalDist().inv_cdf(1 - 0.025 / looks)
