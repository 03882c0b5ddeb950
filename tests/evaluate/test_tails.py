"""Groups beside each other: nothing is claimed where they are alike, and what shrinkage and CVaR come to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.records import Estimate
from espalier.evaluate.statistics import Z, mean
from espalier.evaluate.tails import LEVEL, chances, shrunken, slopes, tail_means

ROWS = 80


def contrasts(kinds: np.ndarray) -> np.ndarray:
    own = (kinds[None, :] == np.unique(kinds)[:, None]).astype(float)
    return -own / own.sum(1, keepdims=True)


def test_the_worst_of_groups_that_are_alike_is_seldom_named() -> None:
    rng, named = np.random.default_rng(5), 0
    for table in range(200):
        kinds, pairs = rng.integers(8, size=ROWS), np.arange(ROWS) // (1 + table % 2)
        values = np.repeat(rng.random(ROWS) < 0.5, 1 + table % 2)[:ROWS].astype(float)
        found = chances(values.tolist(), contrasts(kinds), [str(one) for one in pairs], table, draws=300)
        named += min(found) < LEVEL
    assert named <= 10


def test_a_bad_group_is_named_and_no_other() -> None:
    rng = np.random.default_rng(1)
    kinds = np.repeat(np.arange(8), 10)
    values = (rng.random(ROWS) < 0.8).astype(float)
    values[kinds == 3] = 0
    found = chances(values.tolist(), contrasts(kinds), [str(n) for n in range(ROWS)])
    assert [place for place, chance in enumerate(found) if chance < LEVEL] == [3]


def test_rows_of_one_source_move_together() -> None:
    values = [1.0] * 40 + [0.0] * 8  # one source of eight rows is bad: that is no evidence on its kind
    kinds = np.array([n % 2 for n in range(40)] + [2] * 8)
    sources = [str(n) for n in range(40)] + ["one"] * 8
    assert min(chances(values, contrasts(kinds), sources)) == 1.0


def test_equal_values_tell_nothing() -> None:
    assert chances([0.5] * 6, contrasts(np.array([0, 0, 1, 1, 2, 2])), list("abcdef")) == [1.0] * 3


def _estimate(value: float, error: float) -> Estimate:
    return Estimate(value, value - Z * error, value + Z * error, 10)


def test_shrinkage_is_that_of_the_formula() -> None:
    values, error = [0.2, 0.5, 0.6, 0.7], 0.1
    found = shrunken([_estimate(value, error) for value in values])
    between = np.var(values, ddof=1) - error**2  # with equal errors DerSimonian and Laird's is the ANOVA one
    weight = 1 - error**2 / (between + error**2) / 3
    assert found.spread == pytest.approx(math.sqrt(between))
    assert [one.value for one in found.values] == pytest.approx([0.5 + weight * (v - 0.5) for v in values])
    alike = shrunken([_estimate(value, 0.3) for value in values])
    assert alike.spread == 0
    assert [one.value for one in alike.values] == pytest.approx([0.5 + (v - 0.5) * 2 / 3 for v in values])
    three = shrunken([_estimate(value, 0.3) for value in values[:3]])
    assert [one.value for one in three.values] == pytest.approx(values[:3])


def test_shrunken_intervals_hold_the_truth() -> None:
    rng, held = np.random.default_rng(2), []
    for _ in range(300):
        truth = rng.normal(0, 1, 12)
        errors = rng.uniform(0.5, 1.5, 12)
        seen = rng.normal(truth, errors)
        found = shrunken([_estimate(v + 9, e) for v, e in zip(seen, errors, strict=True)]).values
        held += [one.low <= t + 9 <= one.high for one, t in zip(found, truth, strict=True)]
    assert 0.92 <= np.mean(held) <= 0.98


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_shrunken_values_lie_between_their_own_and_the_mean(values: list[float]) -> None:
    found = shrunken([mean([value], ["a"]) if n % 5 == 4 else _estimate(value, 0.1 + n / 50)
                      for n, value in enumerate(values)])  # fmt: skip
    for own, one in zip(values, found.values, strict=True):
        if not math.isnan(found.mean):
            assert min(own, found.mean) - 1e-9 <= one.value <= max(own, found.mean) + 1e-9


def test_the_mean_of_the_worst_tenth() -> None:
    rising = [n / 40 for n in range(40)]
    sources = [str(n) for n in range(40)]
    ours, other, gap = tail_means([rising, [0.5] * 40], sources)
    assert ours.value == pytest.approx(np.mean(rising[:4]))
    assert (other.value, gap.value) == pytest.approx((0.5, ours.value - 0.5))
    assert ours.low < ours.value < ours.high
    assert gap.excludes_zero
    (lower,) = tail_means([rising], sources, sign=-1)
    assert lower.value == pytest.approx(np.mean(rising[-4:]))
    (part,) = tail_means([rising[:15]], sources[:15])  # 1.5 rows
    assert part.value == pytest.approx((0 + 0.5 / 40) / 1.5)


def test_a_slope_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    x = rng.random(60)
    y = 2 * x + rng.normal(0, 0.1, 60)
    found = slopes(y.tolist(), x.tolist(), [str(n // 2) for n in range(60)])
    assert found.value == pytest.approx(np.polyfit(x, y, 1)[0])
    assert found.low < 2 < found.high
    assert not slopes([1.0, 2.0], [3.0, 3.0], ["a", "b"]).known
