"""What length has to do with verdicts: the slope, and the win rate between answers of equal length.

After length-controlled AlpacaEval (Dubois et al. 2024, arXiv 2404.04475): a logistic regression of the
verdicts on tanh of the difference of lengths in standard deviations, whose prediction at no difference is
the controlled rate. Its third term, how difficult a request is, is estimated there from many systems; with
one pair there is nothing to tell it by, and it is left out. A slight ridge holds the slope in draws where
longer and shorter answers are told apart without exception; where that is so of the rows themselves, or of
more draws than an interval leaves out, there is no number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.records import Estimate
from espalier.evaluate.statistics import Floats, refitted

if TYPE_CHECKING:
    from collections.abc import Sequence

RIDGE = 0.1  # on the slope: a normal prior of 3.2 log-odds, the weight of less than a row
STEPS, FAR, STILL = 60, 2.0, 1e-6  # of Newton's method: most, the farthest, and what counts as none
SPARED = 0.05  # of the draws may be held by the ridge alone


@dataclass(frozen=True, slots=True)
class Lengths:
    """What length has to do with verdicts.

    Attributes:
        slope: log-odds by which an answer wins that is longer by far; 0 where length does not matter.
        controlled: the win rate at equal length; both None where they cannot be told.
        why: the reason then; '' else.
    """

    slope: Estimate | None
    controlled: Estimate | None
    why: str = ""


def length_control(
    outcomes: Sequence[float], lengths: Sequence[tuple[int, int]], sources: Sequence[str], seed: int = 0
) -> Lengths:
    """Return slope and controlled win rate, each with the interval of a bootstrap that refits both.

    Args:
        outcomes: of each row: 1 where the first system wins, 0 where it loses, a half for a tie.
        lengths: characters of both systems' answers.
        sources: what rows share; these are drawn.
        seed: of the draws.
    """
    y = np.array(outcomes, dtype=np.float64)
    gaps = np.array([a - b for a, b in lengths], dtype=np.float64)
    if not y.size or not gaps.any():
        return Lengths(None, None, "no two answers differ in length" if y.size else "no row has a verdict")
    if not y.max() > y.min():
        return Lengths(None, None, "all verdicts are the same")
    spread = float(gaps.std()) or float(np.abs(gaps).max())
    x = np.tanh(gaps / spread)
    if separated(x, y):
        return Lengths(None, None, "the verdicts go by length without exception, or nearly so")
    held: list[bool] = []
    begin = _fitted(x, y, np.ones((1, y.size)), (0.0, 0.0))[0]
    begin = (math.log(begin[0] / (1 - begin[0])), float(begin[1]))

    def fit(weights: Floats) -> Floats:
        held.extend(separated(x[row > 0], y[row > 0]) for row in weights)
        return _fitted(x, y, weights, begin)

    controlled, slope = refitted(fit, sources, (0.0, np.inf), seed)
    if np.mean(held) > SPARED or not (controlled.bounded and slope.bounded):
        return Lengths(None, None, "there are too few verdicts against the length, or too few in all")
    return Lengths(Estimate(slope.value, slope.low, slope.high, slope.n, scale=1.0), controlled)


def separated(x: Floats, y: Floats) -> bool:
    """Say whether a threshold of x parts what wins from what loses, so that no finite slope fits best.

    Ties are on both sides (Albert and Anderson 1984, for one variable with its constant).
    """
    won, lost = x[y > 0], x[y < 1]
    if not won.size or not lost.size:
        return True
    return bool(lost.max() <= won.min() or won.max() <= lost.min())


def _fitted(x: Floats, y: Floats, weights: Floats, begin: tuple[float, float]) -> Floats:
    """Return the controlled rate and the slope [D, 2] for each row of weights [D, N], by Newton's method.

    `begin` is the constant and the slope that it begins with. Where all that is drawn has won, or lost, the
    rate is 1, or 0, and the slope 0. NaN did not converge.
    """
    rate = (weights @ y) / weights.sum(1)
    constant, slope = (np.full_like(rate, one) for one in begin)
    moved = np.full_like(rate, np.inf)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-(constant[:, None] + slope[:, None] * x)))
        error, curve = weights * (y - p), weights * p * (1 - p)
        by_constant, by_slope = error.sum(1), error @ x - RIDGE * slope
        a, b, c = curve.sum(1) + 1e-12, curve @ x, curve @ (x * x) + RIDGE
        steps = np.stack([c * by_constant - b * by_slope, a * by_slope - b * by_constant])
        steps = np.clip(steps / (a * c - b * b), -FAR, FAR)
        constant, slope, moved = constant + steps[0], slope + steps[1], np.abs(steps).max(0)
        if (moved[(rate > 0) & (rate < 1)] < STILL).all():
            break
    found = np.stack([1 / (1 + np.exp(-constant)), slope], axis=1)
    found[moved >= STILL] = np.nan
    found[rate <= 0], found[rate >= 1] = (0.0, 0.0), (1.0, 0.0)
    return found
