"""The same rows asked in several ways: what of the spread is of what, and who is ahead how often.

Parts of variance are those of a random-effects model y = μ + Σ effects + rest. They are estimated by the
method of moments on squared sums over levels, MIVQUE(0) (Rao 1971; Hartley, Rao and LaMotte 1978): unbiased
whether or not the table is balanced, and the analysis of variance where it is. Estimates below 0 are 0.
Draws of two things at once, wordings and rows, are those of the pigeonhole bootstrap (Owen 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.records import Estimate
from espalier.evaluate.statistics import Floats, Ints, wilson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DRAWS = 2_000
REST = "rest"


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the variance: what it is of, as estimated, its share, and whether it came out below 0."""

    name: str
    variance: float
    share: float
    negative: bool


def components(values: Sequence[float], factors: Mapping[str, Sequence[object]]) -> list[Component]:
    """Return the parts of the variance of values, and the rest.

    Args:
        values: [N].
        factors: by name the level of each value; of one with a single level nothing is seen, and it is left
            out, and so is one that has the same levels as another, or one for each value.
    """
    y = np.array(values, dtype=np.float64)
    y -= y.mean()
    levels = {name: _numbered(of) for name, of in factors.items()}
    told: dict[str, Ints] = {}
    for name, own in levels.items():
        alike = any(_pairs(own, other) == max(_count(own), _count(other)) == _count(own) == _count(other)
                    for other in told.values())  # fmt: skip
        if 1 < _count(own) < y.size and not alike:
            told[name] = own
    every: dict[str, Ints] = {**told, REST: np.arange(y.size, dtype=np.int64)}
    squares = np.array([float((np.bincount(own, weights=y) ** 2).sum()) for own in every.values()])
    expected = np.array([[_crossed(a, b) for b in every.values()] for a in every.values()])
    found = np.linalg.lstsq(expected, squares, rcond=None)[0]
    kept = np.maximum(found, 0.0)
    total = float(kept.sum())
    return [
        Component(name, float(one), float(one) / total if total else 0.0, bool(raw < -1e-12))
        for name, one, raw in zip(every, kept, found, strict=True)
    ]


def noise_of_spread(
    table: Floats, clusters: Sequence[str], seed: int = 0, draws: int = DRAWS
) -> tuple[float, float, float]:
    """Return what largest less smallest mean of a table's rows [K, N] chance alone makes, and its p-value.

    Where the way of asking made no difference, the values of a source could change places among the ways:
    (mean, the 95th of 100, and how often it is as large as what is there).
    """
    rng, groups = np.random.default_rng(seed), _numbered(clusters)
    sums = np.stack([np.bincount(groups, weights=row) for row in table]) / table.shape[1]
    apart = sums[:, np.ptp(sums, axis=0) > 0]  # the others add the same to all
    if not apart.size:
        return 0.0, 0.0, 1.0
    made = np.array([np.ptp(rng.permuted(apart, axis=0).sum(1)) for _ in range(draws)])
    reached = float((1 + (made >= np.ptp(apart.sum(1)) - 1e-12).sum()) / (1 + draws))
    return float(made.mean()), float(np.quantile(made, 0.95)), reached


def ahead(gaps: Floats, clusters: Sequence[str], sign: int = 1, seed: int = 0) -> tuple[Estimate, Estimate]:
    """Return in what share of the ways of asking a is ahead of b, and the mean of a − b.

    Both intervals count ways and rows: both are drawn anew. That of the share is at least Wilson's of as many
    ways, so that a few that agree do not claim certainty. A tie is half.

    Args:
        gaps: a − b [K, N] of each way and row.
        clusters: the source of each row; these are drawn.
        sign: 1 where higher is better.
    """
    ways, groups, rng = len(gaps), _numbered(clusters), np.random.default_rng(seed)
    count = _count(groups)
    sums = np.stack([np.bincount(groups, weights=row, minlength=count) for row in gaps])
    sizes = np.bincount(groups, minlength=count).astype(np.float64)
    rows = rng.multinomial(count, np.full(count, 1 / count), DRAWS).astype(np.float64)
    asked = rng.multinomial(ways, np.full(ways, 1 / ways), DRAWS).astype(np.float64)
    means = rows @ sums.T / (rows @ sizes)[:, None]

    def won(values: Floats) -> Floats:
        return (np.sign(np.round(sign * values, 12)) + 1) / 2

    share = float(won(gaps.mean(1)).mean())
    low, high = np.quantile((asked * won(means)).sum(1) / ways, (0.025, 0.975))
    least = wilson(share * ways, ways)
    middle = np.quantile((asked * means).sum(1) / ways, (0.025, 0.975))
    if np.ptp(gaps) == 0:  # no draw could differ
        middle = np.full(2, np.nan)
    return (
        Estimate(share, min(float(low), least.low), max(float(high), least.high), ways),
        Estimate(float(gaps.mean()), float(middle[0]), float(middle[1]), gaps.size),
    )


def _numbered(levels: Sequence[object]) -> Ints:
    return np.unique(np.array([str(one) for one in levels], dtype=np.str_), return_inverse=True)[1].astype(
        np.int64
    )


def _count(levels: Ints) -> int:
    return int(levels.max()) + 1


def _pairs(a: Ints, b: Ints) -> int:
    return np.unique(a * _count(b) + b).size


def _crossed(a: Ints, b: Ints) -> float:
    """Return the squared norm of Za' M Zb, M taking the mean out, without a matrix of all levels."""
    pairs, counts = np.unique(a * _count(b) + b, return_counts=True)
    of_a, of_b = np.bincount(a).astype(np.float64), np.bincount(b).astype(np.float64)
    both = counts.astype(np.float64)
    mixed = float((both * of_a[pairs // _count(b)] * of_b[pairs % _count(b)]).sum())
    return float((both**2).sum()) - 2 * mixed / a.size + float((of_a**2).sum() * (of_b**2).sum()) / a.size**2
