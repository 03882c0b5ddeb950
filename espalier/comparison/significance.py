"""How easily chance makes a difference: tests by source, Holm's correction, and what seeds add.

Under the null hypothesis two systems could be swapped on any source, so the sign of a source's difference is
a coin. Of right and wrong answers all coins are counted; where no two rows share a source, that is McNemar's
exact test. Of other measures coins are thrown.

McNemar 1947; Fisher 1935 and Noreen 1989 (randomisation); Holm 1979; Schuirmann 1987 (two one-sided tests);
Zou and Donner 2008 (arms of independent parts of a variance, squared and added); Cameron, Gelbach and
Miller 2011 (rows and trainings, what both count taken off once).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.scoring import value_of
from espalier.evaluate.statistics import Floats, Ints, Z

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from espalier.core.scoring import Fold

THROWS = 10_000
_ALL = 12  # sources up to which every throw of the coins is made: 4,096
POWER = 0.8
REPEATED = 200  # repetitions, at equal shares of what trainings' spread is distributed by
_HAIR = 1e-12  # what sums of the same numbers in another order may differ by, relative to their size


@dataclass(frozen=True, slots=True)
class Chance:
    """The probability of a difference at least as large if both were alike, and the test that says so."""

    p: float
    test: str


def swapped(gaps: Sequence[float], clusters: Sequence[str], seed: int = 0) -> Chance:
    """Test whether the mean of paired differences is zero, by swapping both systems source by source."""
    if not gaps:
        return Chance(math.nan, "no row to test on")
    groups = _numbered(clusters)
    sums = np.bincount(groups, weights=np.array(gaps, dtype=np.float64))
    moved = np.abs(sums[np.abs(sums) > _HAIR])
    observed = abs(float(sums.sum()))
    if not moved.size:
        return Chance(1.0, "all rows tie")
    if set(gaps) <= {-1.0, 0.0, 1.0}:
        alone = len(gaps) == sums.size
        name = "McNemar's exact test" if alone else "exact test, sources swapped"
        return Chance(_counted(np.rint(moved).astype(np.int64), observed), name)
    return _thrown(lambda signs: signs @ moved, moved.size, observed, seed)


def swapped_folds(
    tables: tuple[Floats, Floats], groups: Ints, fold: Fold, observed: float, seed: int = 0
) -> Chance:
    """Test the difference of two folds by swapping their rows source by source, and folding anew.

    Args:
        tables: the parts of both systems' rows, each (rows, parts).
        groups: the number of each row's source.
        fold: from sums of parts to a value.
        observed: the difference that was found.
        seed: of the coins.
    """
    count = int(groups.max()) + 1
    sums = [np.zeros((count, table.shape[1])) for table in tables]
    for total, table in zip(sums, tables, strict=True):
        np.add.at(total, groups, table)
    middle, half = (sums[0] + sums[1]).sum(0) / 2, (sums[0] - sums[1]) / 2

    def values(signs: Floats) -> Floats:
        leaning = signs @ half
        pairs = zip((middle + leaning).tolist(), (middle - leaning).tolist(), strict=True)
        return np.array([value_of(fold, one) - value_of(fold, other) for one, other in pairs])

    return _thrown(values, count, abs(observed), seed, THROWS // 5)


def holm(found: Mapping[str, float], looks: int = 1) -> dict[str, float]:
    """Return p-values that hold for all tests together (Holm 1979); what is not known is not counted.

    With so many looks at the rows each is worth that many tests (Bonferroni).
    """
    known = sorted((p, name) for name, p in found.items() if p == p)
    least, corrected = 0.0, dict(found)
    for place, (p, name) in enumerate(known):
        least = max(least, min(1.0, (len(known) - place) * looks * p))
        corrected[name] = least
    return corrected


@dataclass(frozen=True, slots=True)
class Spread:
    """A value with what it is uncertain by: the arms of its rows' 95 % interval, and that of retraining.

    What is a training's own on the rows makes both rows and trainings differ. It is counted with the
    trainings, whose spread Student's t knows, and taken off the rows. Trainings that come to the same by luck
    would leave nothing then: no interval is narrower than half of that of the rows. How often such intervals
    hold the truth, and how often what `power` promises is found, `python -m bench studies` tells.

    Attributes:
        value: a mean or a difference.
        below: how far the interval over rows reaches down from it.
        above: how far it reaches up.
        retraining: the standard error of the trainings' mean; 0 where it is not known.
        freedom: degrees of freedom of that.
        own: the share of the rows' variance that is the trainings' own, from 0 to 1.
    """

    value: float
    below: float
    above: float
    retraining: float = 0.0
    freedom: int = 0
    own: float = 0.0

    def arms(self, level: float = 0.05) -> tuple[float, float]:
        """Return how far the interval that misses `level` of the time reaches down and up."""
        rows, seeds = self._quantiles(1 - level / 2)
        return _arm(self.below * rows, seeds, self.own), _arm(self.above * rows, seeds, self.own)

    def interval(self, level: float = 0.05) -> tuple[float, float]:
        """Return both ends."""
        below, above = self.arms(level)
        return self.value - below, self.value + above

    def chance(self, at: float = 0.0) -> float:
        """Return the level at which the interval just reaches `at`: the two-sided p-value of that."""
        if math.isnan(self.below + self.above + self.value):
            return math.nan
        side, gap = int(at > self.value), abs(self.value - at)
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self.arms(middle or 1e-300)[side] > gap else (low, middle)
        return high

    def within(self, margin: float) -> float:
        """Return the p-value of two one-sided tests: small where the value is surely nearer to 0 than so."""
        if not abs(self.value) < margin:
            return 1.0 if self.value == self.value else math.nan
        return max(self.chance(margin), self.chance(-margin)) / 2

    def power(self, truth: float, level: float = 0.05) -> float:
        """Return how often a difference that is truly so large is told from none, at this level."""
        return _found(truth, *self._repeated(level))

    def power_of_equality(self, margin: float, level: float = 0.05) -> float:
        """Return how often no difference is shown to be within the margin, by two tests at this level."""
        return _shown(margin, *self._repeated(2 * level))

    def detectable(self, level: float = 0.05) -> float:
        """Return the true difference that a test at this level would find in 80 of 100 repetitions."""
        return self._least(_found, level)

    def provable(self, level: float = 0.05) -> float:
        """Return the margin within which no difference would be shown to lie in 80 of 100 repetitions."""
        return self._least(_shown, 2 * level)

    def _least(self, power: Callable[[float, Floats, float], float], level: float) -> float:
        """Return where a power that grows reaches 80 %; NaN where the spread is not known."""
        low, high = 0.0, self.below + self.above + self.retraining
        if not 0 < high < math.inf:
            return high if high == 0 else math.nan
        arms, error = self._repeated(level)
        while power(high, arms, error) < POWER:
            low, high = high, 2 * high
        while high - low > 1e-9 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if power(middle, arms, error) < POWER else (low, middle)
        return high

    def _repeated(self, level: float) -> tuple[Floats, float]:
        """Return the arms that repetitions would have at this level, and the standard error of the value.

        Rows have the same spread each time; that of a few trainings is another one each time.
        """
        from scipy.special import chdtri  # pyright: ignore[reportMissingTypeStubs]

        width = (self.below + self.above) / 2
        rows = width * self._quantiles(1 - level / 2)[0]
        apart = math.sqrt(1 - self.own) * width / Z
        if not self.freedom:
            return np.array([rows]), width / Z
        # What trainings are on their rows they differ by, whatever few of them say.
        spread = max(self.retraining, math.sqrt(self.own) * width / Z)
        shares = (np.arange(REPEATED) + 0.5) / REPEATED
        drawn = spread * np.sqrt(chdtri(self.freedom, shares) / self.freedom)
        seeds = self._student(1 - level / 2) * drawn
        arms = np.maximum(np.hypot(rows * math.sqrt(1 - self.own), seeds), rows / 2)
        return arms, math.hypot(apart, spread)

    def _quantiles(self, share: float) -> tuple[float, float]:
        """Return the arms' factor, and the seeds' own arm, at a quantile."""
        from scipy.special import ndtri  # pyright: ignore[reportMissingTypeStubs]

        return float(ndtri(share)) / Z, self.retraining * self._student(share) if self.retraining else 0.0

    def _student(self, share: float) -> float:
        from scipy.special import stdtrit  # pyright: ignore[reportMissingTypeStubs]

        return float(stdtrit(self.freedom, share))


def _arm(rows: float, seeds: float, own: float) -> float:
    return max(math.hypot(rows * math.sqrt(1 - own), seeds), rows / 2)


def _found(truth: float, arms: Floats, error: float) -> float:
    """Return how often an interval of such arms, around what is drawn by the error, leaves zero out."""
    from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs]

    return float((ndtr((truth - arms) / error) + ndtr((-truth - arms) / error)).mean())


def _shown(margin: float, arms: Floats, error: float) -> float:
    """Return how often such an interval, around a difference that is none, lies within the margin."""
    from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs]

    return float(np.maximum(2 * ndtr((margin - arms) / error) - 1, 0).mean())


def retrained(sides: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the standard error that retraining adds to a sum or difference of sides' means, and its freedom.

    Args:
        sides: of each, what every training reached. The spread is taken to be the same on all, and pooled; a
            side of one training has that of the others. (0, 0) where no side has two.
    """
    freedom = sum(len(side) - 1 for side in sides)
    if not freedom:
        return 0.0, 0
    squares = sum(float(((np.array(side) - np.mean(side)) ** 2).sum()) for side in sides)
    return math.sqrt(squares / freedom * sum(1 / len(side) for side in sides)), freedom


def own_share(sides: Sequence[Floats], gap: Floats) -> float:
    """Return which share of the rows' variance is the trainings' own, from 0 to 1.

    Args:
        sides: of each, how far every source (columns) moves what every training (rows) reached, as a
            jackknife has it; pooled as in `retrained`.
        gap: how far every source moves the sum or difference of the sides' means.
    """
    freedom = sum(len(side) - 1 for side in sides)
    whole = float(gap @ gap)
    if not freedom or not whole > 0:
        return 0.0
    squares = sum(float(((side - side.mean(0)) ** 2).sum()) for side in sides)
    return min(1.0, squares / freedom * sum(1 / len(side) for side in sides) / whole)


def _numbered(clusters: Sequence[str]) -> Ints:
    _, groups = np.unique(np.array(clusters, dtype=np.str_), return_inverse=True)
    return groups.astype(np.int64)


def _counted(sizes: Ints, observed: float) -> float:
    """Return the share of all throws whose sum is as far from zero, from the distribution of the sum."""
    total = int(sizes.sum())
    shares = np.zeros(2 * total + 1)
    shares[0], length = 1.0, 1
    for size in sizes.tolist():
        before = shares[:length] / 2
        shares[:length] = before
        shares[2 * size : 2 * size + length] += before
        length += 2 * size
    away = np.abs(np.arange(2 * total + 1) - total)
    return min(1.0, float(shares[away >= round(observed)].sum()))


def _thrown(
    call: Callable[[Floats], Floats], count: int, observed: float, seed: int, throws: int = THROWS
) -> Chance:
    """Return the share of throws that come as far from zero; the observed one counts as a throw."""
    if count <= _ALL:
        every = np.array(list(product((-1.0, 1.0), repeat=count)), dtype=np.float64)
        found = np.abs(call(every))
        return Chance(float((found >= observed * (1 - _HAIR)).mean()), "exact test, sources swapped")
    rng = np.random.default_rng(seed)
    rows = max(1, 4_000_000 // count)
    far = 0
    for start in range(0, throws, rows):
        signs = rng.choice(np.array([-1.0, 1.0]), size=(min(rows, throws - start), count))
        far += int((np.abs(call(signs)) >= observed * (1 - _HAIR)).sum())
    return Chance((1 + far) / (1 + throws), f"sources swapped at random, {throws:,} times")
