"""Which of several settings are worth their time: the front, and how sure one can be of it.

A setting is on the front where none is as good and as fast, and better in one of the two. Rows and timings
are a sample, so that the front is one, too: sources of rows and rounds of timing are drawn anew together, the
same ones for all settings, and what is counted is how often a setting is on the front of the draw.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.records import Estimate
from espalier.core.scoring import value_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from espalier.core.records import Metric, Score
    from espalier.evaluate.statistics import Floats

DRAWS = 2_000


def on_front(quality: Floats, seconds: Floats) -> NDArray[np.bool_]:
    """Return which settings no other dominates: [..., S] and [..., S] to [..., S].

    Higher quality is better; one that is not known (NaN) is worse than any.
    """
    q = np.where(np.isnan(quality), -np.inf, quality)
    as_good = q[..., None, :] >= q[..., :, None]  # [..., S, S]: whether the second is as good as the first
    as_fast = seconds[..., None, :] <= seconds[..., :, None]
    better = (q[..., None, :] > q[..., :, None]) | (seconds[..., None, :] < seconds[..., :, None])
    return np.asarray(~(as_good & as_fast & better).any(-1))


def quality_draws(
    columns: Sequence[Sequence[Score]], sources: Sequence[str], metric: Metric, seed: int = 0
) -> Floats:
    """Return what settings reach over sources drawn anew, the same for all: [DRAWS, S], higher is better.

    Args:
        columns: of each setting, a score of each row.
        sources: of the rows.
        metric: what the scores are of.
        seed: of the draws.
    """
    _, groups = np.unique(np.array(sources, dtype=np.str_), return_inverse=True)
    count = int(groups.max()) + 1
    rng = np.random.default_rng(seed)
    weights = np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(DRAWS)])
    found = [
        metric.sign * _folded(weights @ _sums(column, groups, count, metric), metric) for column in columns
    ]
    return np.stack(found, axis=1)


def _sums(column: Sequence[Score], groups: NDArray[np.int64], count: int, metric: Metric) -> Floats:
    """Return of each source the sums that its rows are counted by: parts, or values and how many."""
    rows = [_parts(score, metric) for score in column]
    width = max((len(row) for row in rows), default=0)
    table = np.array([row or (0.0,) * width for row in rows], dtype=np.float64).reshape(len(rows), width)
    sums = np.zeros((count, width))
    np.add.at(sums, groups, table)
    return sums


def _parts(score: Score, metric: Metric) -> tuple[float, ...]:
    if metric.fold:
        return score.parts
    return () if score.value is None else (score.value, 1.0)


def _folded(sums: Floats, metric: Metric) -> Floats:
    """Return a value for each draw of sums [DRAWS, W]; NaN where there is none."""
    if not sums.shape[1]:
        return np.full(len(sums), math.nan)
    if metric.fold is None:
        return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), math.nan), where=sums[:, 1] > 0)
    return np.array([value_of(metric.fold, row) for row in sums.tolist()])


def median_draws(rounds: Floats, seed: int = 0) -> Floats:
    """Return medians over rounds drawn anew, the same for all settings: [R, S] to [DRAWS, S]."""
    drawn = np.random.default_rng(seed).integers(len(rounds), size=(DRAWS, len(rounds)))
    return np.median(rounds[drawn], axis=1)


def within(value: float, draws: Floats, n: int) -> Estimate:
    """Return a value with the interval that holds 95 % of the draws; without one for a single observation."""
    if n < 2:
        return Estimate(value, math.nan, math.nan, n, scale=1.0)
    low, high = np.quantile(draws, (0.025, 0.975))
    return Estimate(value, float(low), float(high), n, scale=1.0)
