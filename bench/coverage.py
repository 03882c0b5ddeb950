"""Do stated intervals hold the truth as often as they say? Simulations with plain numpy.

`python -m bench coverage` draws rows in sources (1, 3, 10 or 1 to 10 rows each, alike within a source), asks
`evaluate.statistics` for the 95 % interval, and counts how often it holds the truth. A rate of few rows takes
few values, so that no interval can hold it in just 95 of 100 repetitions: the coverages that any interval of
neighbouring counts can have (`attainable`) stand beside such a cell. Besides: how many rows an unpaired
comparison needs for the power of a paired one, and how often a comparison of seeds tells apart what is alike.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri
from scipy.stats import binom

from espalier.comparison.significance import Spread, retrained
from espalier.evaluate import statistics
from espalier.evaluate.statistics import mean, paired_difference, score_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from espalier.core.records import Estimate

    Draw = tuple[Estimate, float]  # the interval, and the truth

ROWS = (50, 100, 300, 1_000, 2_000)
SIZES = ("1", "3", "10", "1-10")
RATES = (0.02, 0.1, 0.3, 0.5, 0.8, 0.98)
SHAPES = ("beta", "exponential", "lognormal")
ALIKE = 0.3  # latent correlation of rows of one source
TOGETHER = 0.7  # latent correlation of two systems on a row
ASKED = (93.0, 97.0)


def sources(rows: int, size: str, rng: np.random.Generator) -> np.ndarray:
    """Return the number of each row's source."""
    if size == "1-10":
        sizes = rng.integers(1, 11, size=rows)
        return np.repeat(np.arange(rows), sizes)[:rows]
    return np.arange(rows) // int(size)


def latent(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a standard normal number for each row, alike within its source."""
    shared = rng.normal(size=int(groups.max()) + 1)[groups]
    return math.sqrt(ALIKE) * shared + math.sqrt(1 - ALIKE) * rng.normal(size=groups.size)


def pair(groups: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return two systems' numbers, correlated on a row."""
    common = latent(groups, rng)
    own = [latent(groups, rng) for _ in range(2)]
    a, b = (math.sqrt(TOGETHER) * common + math.sqrt(1 - TOGETHER) * one for one in own)
    return a, b


def shaped(numbers: np.ndarray, shape: str) -> tuple[np.ndarray, float]:
    """Return skewed scores of such numbers, and their mean."""
    if shape == "beta":  # from 0 to 1, most near 0
        return betaincinv(0.5, 2.0, ndtr(numbers)), 0.2
    if shape == "exponential":
        return -np.log1p(-ndtr(numbers)), 1.0
    return np.exp(0.75 * numbers), math.exp(0.75**2 / 2)


def single_rate(groups: np.ndarray, rate: float, rng: np.random.Generator) -> Draw:
    right = latent(groups, rng) < ndtri(rate)
    return mean(right.astype(float).tolist(), groups.astype(str).tolist()), rate


def rate_difference(groups: np.ndarray, rate: float, rng: np.random.Generator) -> Draw:
    other = rate + (0.05 if rate < 0.5 else -0.05)
    a, b = pair(groups, rng)
    sides = [(x < ndtri(share)).astype(float).tolist() for x, share in ((a, rate), (b, other))]
    return paired_difference(*sides, groups.astype(str).tolist()), rate - other


def shaped_mean(groups: np.ndarray, shape: str, rng: np.random.Generator) -> Draw:
    values, truth = shaped(latent(groups, rng), shape)
    return score_mean(values.tolist(), groups.astype(str).tolist()), truth


def shaped_difference(groups: np.ndarray, shape: str, rng: np.random.Generator) -> Draw:
    (x, truth), (y, other) = (shaped(one, shape) for one in pair(groups, rng))
    lift = 0.9 * x
    return paired_difference(lift.tolist(), y.tolist(), groups.astype(str).tolist()), 0.9 * truth - other


KINDS: dict[str, tuple[Callable[[np.ndarray, Any, np.random.Generator], Draw], tuple[Any, ...]]] = {
    "rate": (single_rate, RATES),
    "difference of rates": (rate_difference, RATES),
    "mean": (shaped_mean, SHAPES),
    "difference of means": (shaped_difference, SHAPES),
}


def cells(
    kinds: tuple[str, ...] = tuple(KINDS), rows: tuple[int, ...] = ROWS, sizes: tuple[str, ...] = SIZES
) -> Iterator[tuple[str, Any, int, str]]:
    for kind in kinds:
        for what in KINDS[kind][1]:
            for count in rows:
                yield from ((kind, what, count, size) for size in sizes)


def covered(cell: tuple[str, Any, int, str], repetitions: int, seed: int = 0) -> float:
    """Return in how many of 100 repetitions the interval holds the truth."""
    kind, what, rows, size = cell
    rng = np.random.default_rng([seed, rows, len(size)])
    inside = 0
    for _ in range(repetitions):
        estimate, truth = KINDS[kind][0](sources(rows, size, rng), what, rng)
        inside += estimate.low <= truth <= estimate.high
    return 100 * inside / repetitions


def attainable(rows: int, rate: float) -> list[float]:
    """Return the coverages nearest to 95 % that neighbouring counts of independent rows can have at all."""
    chances = binom.pmf(np.arange(rows + 1), rows, rate)
    best = int(chances.argmax())
    low = high = best
    reached = [float(chances[best])]
    while reached[-1] < 0.9999:
        down = chances[low - 1] if low else 0.0
        up = chances[high + 1] if high < rows else 0.0
        low, high = (low - 1, high) if down > up else (low, high + 1)
        reached.append(reached[-1] + float(max(down, up)))
    below = max((share for share in reached if share < 0.95), default=0.0)
    return [100 * below, 100 * min(share for share in reached if share >= 0.95)]


def rows_for_power(continuous: bool, repetitions: int = 4_000, seed: int = 0) -> dict[str, float]:
    """Return how many rows each kind of comparison needs for 80 % power, by simulation, and their ratio.

    Both systems are correlated at 0.7 on a row: as scores, or as the latent numbers behind right and wrong.
    """
    rng = np.random.default_rng(seed)
    gap = 0.2 if continuous else 0.1

    def power(rows: int, *, paired: bool) -> float:
        one, two, three, four = (rng.normal(size=(repetitions, rows)) for _ in range(4))
        common = one, one if paired else four  # unpaired: rows of its own for each
        a, b = (
            math.sqrt(TOGETHER) * x + math.sqrt(1 - TOGETHER) * y
            for x, y in zip(common, (two, three), strict=True)
        )
        x, y = (a + gap, b) if continuous else (a < ndtri(0.5 + gap), b < 0)
        found = x.mean(1) - y.mean(1)
        if paired:
            error = (x.astype(float) - y).std(1) / math.sqrt(rows)
        else:
            error = np.sqrt((x.var(1) + y.var(1)) / rows)
        return float((found > statistics.Z * error).mean())

    needed = {}
    for name, paired in (("paired", True), ("unpaired", False)):
        low, high = 10, 2_000
        while high - low > 2:
            middle = (low + high) // 2
            low, high = (low, middle) if power(middle, paired=paired) >= 0.8 else (middle, high)
        needed[name] = float(high)
    return {**needed, "ratio": needed["unpaired"] / needed["paired"]}


def false_alarms(
    trainings: int, rows: int = 300, spread: float = 0.04, repetitions: int = 2_000, seed: int = 0
) -> dict[str, float]:
    """Return in how many of 100 repetitions two alike recipes are told apart, by the three ways to do it.

    "ours" is the comparison of `espalier compare`; "normal" has the same standard errors and the normal
    quantile; "one seed" compares one training a side over rows, as if that said something of the recipes.
    """
    rng = np.random.default_rng(seed)
    alarms = {"ours": 0, "normal": 0, "one seed": 0}
    names = [str(row) for row in range(rows)]
    for _ in range(repetitions):
        easy = math.sqrt(TOGETHER) * rng.normal(size=rows)
        shift = rng.normal(size=(2, trainings, 1)) * spread / 0.3989  # in points around a rate of 50 %
        own = math.sqrt(1 - TOGETHER) * rng.normal(size=(2, trainings, rows))
        right = (easy + own + shift > 0).astype(float)
        reached = right.mean(2)
        found = paired_difference(right[1].mean(0).tolist(), right[0].mean(0).tolist(), names)
        error, freedom = retrained(reached.tolist())
        arms = found.value - found.low, found.high - found.value
        low, high = Spread(found.value, *arms, error, freedom).interval()
        alarms["ours"] += not low <= 0 <= high
        low, high = Spread(found.value, *arms, error, 10**9).interval()
        alarms["normal"] += not low <= 0 <= high
        one = paired_difference(right[1, 0].tolist(), right[0, 0].tolist(), names)
        alarms["one seed"] += one.excludes_zero
    return {name: 100 * count / repetitions for name, count in alarms.items()}


def main(say: Callable[[str], None], *, repetitions: int = 1_000, only: Sequence[str] = ()) -> dict[str, Any]:
    """Measure all of it; cells outside of what is asked are told one by one."""
    noise = 100 * 1.96 * math.sqrt(0.95 * 0.05 / repetitions)
    found: dict[str, Any] = {"repetitions": repetitions, "noise": round(noise, 2), "coverage": {}}
    for kind in only or KINDS:
        reached: dict[str, float] = {}
        for cell in cells((kind,)):
            share = covered(cell, repetitions)
            name = f"{cell[1]}, {cell[2]} rows, {cell[3]} a source"
            reached[name] = round(share, 1)
            if not ASKED[0] <= share <= ASKED[1]:
                lattice = kind == "rate" and cell[3] == "1"
                near = f"; possible are {attainable(cell[2], cell[1])}" if lattice else ""
                say(f"{kind}: {name}: {share:.1f}{near}")
        values = np.array(list(reached.values()))
        inside = (values >= ASKED[0]) & (values <= ASKED[1])
        say(
            f"{kind}: {inside.sum()} of {values.size} cells in {ASKED[0]:g} to {ASKED[1]:g}, "
            f"{values.min()} to {values.max()}, mean {values.mean():.1f}; noise {noise:.1f}"
        )
        found["coverage"][kind] = reached
    for name, continuous in (("scores", True), ("right and wrong", False)):
        found[f"rows for 80 % power, {name}"] = rows_for_power(continuous)
        say(f"rows for 80 % power, {name}: {found[f'rows for 80 % power, {name}']}")
    found["false alarms"] = {count: false_alarms(count) for count in (2, 3, 5)}
    say(f"false alarms of seeds, spread 4 points, 300 rows: {found['false alarms']}")
    return found
