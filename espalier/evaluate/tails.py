"""Groups of rows beside each other: which is worst, if any, what it is worth, and the mean of the worst rows.

The lowest of k groups is low by chance, too, however alike they are. So a group is named by a test that holds
for all that a page asks (Westfall and Young 1993, the single-step maximum over permutations), and its value
is shrunken towards the mean of the groups (empirical Bayes: Morris 1983; the spread between groups
as DerSimonian and Laird 1986 estimate it). The mean of the worst rows is CVaR
(Rockafellar and Uryasev 2000).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.records import Estimate
from espalier.evaluate.statistics import Floats, Z, refitted

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARE = 0.1  # of the rows, the worst ones, whose mean is CVaR
DRAWS = 2_000  # permutations
LEVEL = 0.025  # of a page, for all that it claims together: one side of 5 in 100
_HAIR = 1e-9  # what sums of the same numbers in another order may differ by
_AT_ONCE = 2_000_000  # permuted values at a time


@dataclass(frozen=True, slots=True)
class Shrunken:
    """Groups' values after shrinkage.

    Attributes:
        values: each with its interval.
        mean: of the groups, each weighted by what it is certain of.
        spread: the standard deviation of the groups' true values, as it is estimated; 0 where their noise
            explains all.
        weights: what of each group's own distance from the mean is left, 0 to 1.
    """

    values: tuple[Estimate, ...]
    mean: float
    spread: float
    weights: tuple[float, ...]


def shrunken(found: Sequence[Estimate]) -> Shrunken:
    """Return groups' values shrunken towards their mean, mean + w (value − mean).

    w = 1 − (k − 3) / (k − 1) · s² / (τ² + s²) (Morris 1983): s is a group's standard error, by its interval,
    τ² the variance between the k groups, 0 at least; three groups or fewer tell too little of it, and stay
    as they are. An interval adds what the mean and w are uncertain by. A value without an interval is taken
    to tell nothing. Those of measures from 0 to 1 stay there.
    """
    y = np.array([one.value for one in found])
    known = np.array([one.bounded and one.high > one.low for one in found], dtype=bool)
    if known.sum() < 2:
        return Shrunken(tuple(found), math.nan, math.nan, tuple(1.0 for _ in found))
    s2 = np.array([((one.high - one.low) / (2 * Z)) ** 2 for one in found])
    own, noise, count = y[known], s2[known], int(known.sum())
    fixed = 1 / noise
    centre = float((fixed * own).sum() / fixed.sum())
    moved = float((fixed * (own - centre) ** 2).sum()) - (count - 1)
    between = max(0.0, moved / float(fixed.sum() - (fixed**2).sum() / fixed.sum()))
    trust = 1 / (noise + between)
    mean = float((trust * own).sum() / trust.sum())
    held = np.where(known, s2, 1.0)
    pulled = held / (between + held) * max(0, count - 3) / (count - 1)
    weights = np.where(known, 1 - pulled, 0.0)
    away = np.where(known, y - mean, 0.0)
    middle = float(noise.mean() + between) / (held + between)
    variance = np.where(known, held * (1 - pulled * (count - 1) / count), 1 / trust.sum())
    variance += 2 / max(1, count - 3) * pulled**2 * away**2 * middle
    bounded = all(one.low >= 0 and one.high <= 1 for one in found if one.bounded)
    ends = (0.0, 1.0) if bounded else (-math.inf, math.inf)
    made = [
        replace(
            one,
            value=float(mean + w * step),
            low=float(max(ends[0], mean + w * step - Z * error)),
            high=float(min(ends[1], mean + w * step + Z * error)),
        )
        for one, w, step, error in zip(found, weights, away, np.sqrt(variance), strict=True)
    ]
    return Shrunken(tuple(made), mean, math.sqrt(between), tuple(map(float, weights)))


def chances(
    values: Sequence[float], contrasts: Floats, clusters: Sequence[str], seed: int = 0, draws: int = DRAWS
) -> list[float]:
    """Return how often chance makes a sum as high as each contrast's, for all of them together.

    Were the values the same whatever group a row is of, they could change places: those of whole sources do,
    among sources of as many rows.

    Args:
        values: of the rows [N].
        contrasts: weights of the rows [V, N]; a high sum of weight times value is what is tested.
        clusters: the source of each row.
        seed: of the permutations.
        draws: how many there are.
    """
    y = np.array(values, dtype=np.float64)
    y -= y.mean()
    weights = contrasts - contrasts.mean(1, keepdims=True)
    seen = weights @ y
    most, rng = np.empty(draws), np.random.default_rng(seed)
    blocks = _blocks(clusters)
    spread = np.zeros(len(weights))
    parts: list[Floats] = []
    for start in range(0, draws, size := max(1, _AT_ONCE // y.size)):
        moved = np.empty((min(size, draws - start), y.size))
        for block in blocks:
            order = rng.random((len(moved), len(block))).argsort(1)
            moved[:, block.ravel()] = y[block[order]].reshape(len(moved), -1)
        parts.append(moved @ weights.T)
    sums = np.concatenate(parts)
    spread = sums.std(0)
    usable = spread > _HAIR
    if not usable.any():
        return [1.0] * len(weights)
    most = (sums[:, usable] / spread[usable]).max(1)
    reached = np.where(usable, seen / np.where(usable, spread, 1.0), -math.inf)
    return [float((1 + (most >= one - _HAIR).sum()) / (1 + draws)) for one in reached]


def tail_means(columns: Sequence[Sequence[float]], clusters: Sequence[str], sign: int = 1) -> list[Estimate]:
    """Return of each column the mean of its worst tenth of rows, then the first's less each other's.

    The intervals are of a bootstrap by source (BCa), in which all columns have the same draws.

    Args:
        columns: values of the same rows, of one system each.
        clusters: the source of each row.
        sign: 1 where higher is better, −1 where lower is.
    """
    table = np.array(columns, dtype=np.float64)
    orders = (sign * table).argsort(1)

    def fit(weights: Floats) -> Floats:
        found: list[Floats] = []
        for values, order in zip(table, orders, strict=True):
            own = weights[:, order]
            room = SHARE * own.sum(1, keepdims=True)
            taken = np.minimum(own, np.maximum(0.0, room - (own.cumsum(1) - own)))
            found.append(taken @ values[order] / room[:, 0])
        return np.stack([*found, *(found[0] - other for other in found[1:])], 1)

    bounded = table.min() >= 0 and table.max() <= 1
    least = [0.0] * len(table) + [-1.0] * (len(table) - 1)
    return refitted(fit, clusters, least if bounded else [math.inf] * len(least))


def slopes(values: Sequence[float], x: Sequence[float], clusters: Sequence[str]) -> Estimate:
    """Return the slope of the least-squares line of values over x, with its interval over the clusters.

    It is not known where x is the same in all rows.
    """
    y, at = np.array(values, dtype=np.float64), np.array(x, dtype=np.float64)

    def fit(weights: Floats) -> Floats:
        total = weights.sum(1)
        middle = weights @ at / total
        away = at - middle[:, None]
        wide = (weights * away**2).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return ((weights * away) @ y / wide)[:, None]

    if np.ptp(at) == 0:
        return Estimate(math.nan, math.nan, math.nan, y.size)
    with np.errstate(invalid="ignore"):
        (found,) = refitted(fit, clusters, [math.inf])
    return found


def _blocks(clusters: Sequence[str]) -> list[np.ndarray]:
    """Return the places of rows, for each size of a source one array [sources, rows of each]."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(clusters):
        places.setdefault(name, []).append(place)
    sizes: dict[int, list[list[int]]] = {}
    for held in places.values():
        sizes.setdefault(len(held), []).append(held)
    return [np.array(held) for held in sizes.values()]
