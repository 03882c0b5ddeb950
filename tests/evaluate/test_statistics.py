"""Intervals: known values, degenerate data, and the coverage that 95 % promises, by simulation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, sem, t

from espalier.core.records import Estimate
from espalier.evaluate.score_records import plain
from espalier.evaluate.statistics import (
    detectable,
    folded,
    folded_difference,
    mean,
    paired_difference,
    score_mean,
    wilson,
)


@pytest.mark.parametrize(("successes", "n"), [(8, 10), (0, 10), (10, 10), (1, 1), (15, 50), (997, 1000)])
def test_wilson_is_that_of_scipy(successes: int, n: int) -> None:
    estimate, oracle = wilson(successes, n), binomtest(successes, n).proportion_ci(method="wilson")
    assert estimate.value == successes / n
    assert (estimate.low, estimate.high) == pytest.approx((oracle.low, oracle.high), abs=1e-12)


def test_wilson_has_the_published_values() -> None:
    assert (wilson(8, 10).low, wilson(8, 10).high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10).high == pytest.approx(0.2775, abs=1e-4)


def test_a_rate_of_rows_without_shared_sources_is_wilsons() -> None:
    values = [1.0] * 8 + [0.0] * 2
    estimate, expected = mean(values, [str(i) for i in range(10)]), wilson(8, 10)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.8, expected.low, expected.high))


def test_rows_of_one_source_that_agree_count_once() -> None:
    tenfold = mean([1.0, 0.0, 1.0, 1.0] * 10, ["a", "b", "c", "d"] * 10)
    once = mean([1.0, 0.0, 1.0, 1.0], ["a", "b", "c", "d"])
    assert tenfold.n == 40
    assert tenfold.high - tenfold.low >= once.high - once.low


def test_what_is_not_scored_is_left_out_and_counted() -> None:
    estimate = mean([0.2, None, 0.4], ["a", "b", "c"])
    assert (estimate.value, estimate.n, estimate.missing) == (pytest.approx(0.3), 2, 1)
    difference = paired_difference([1.0, None, 0.5], [0.5, 1.0, None], ["a", "b", "c"])
    assert (difference.value, difference.n, difference.missing) == (0.5, 1, 2)


def test_degenerate_data_claims_nothing() -> None:
    nothing = mean([], [])
    assert math.isnan(nothing.value)
    assert json.loads(json.dumps(plain(nothing))) == {
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
        "missing": 0,
    }
    assert (
        wilson(0, 0) == pytest.approx(Estimate(math.nan, 0.0, 1.0, 0), nan_ok=True)
        or wilson(0, 0).high == 1.0
    )
    one = mean([0.3], ["a"])
    assert one.value == 0.3
    assert math.isnan(one.low)
    two = mean([0.3, 0.3], ["a", "b"])
    assert (two.value, two.n) == (0.3, 2)
    assert two.low < 0.15 < 0.7 < two.high, "two equal rows say little of others"
    assert math.isnan(mean([3.0, 3.0], ["a", "b"]).low), "nobody knows how far such a measure goes"
    assert math.isnan(paired_difference([3.0, 3.0], [1.0, 1.0], ["a", "b"]).low)
    assert mean([1.0], ["a"]).low == pytest.approx(0.2065, abs=1e-4)
    assert math.isnan(paired_difference([None], [1.0], ["a"]).value)


def test_total_success_against_total_failure_is_not_certain() -> None:
    clusters = [str(i) for i in range(60)]
    difference = paired_difference([1.0] * 60, [0.0] * 60, clusters)
    assert difference.value == 1.0
    assert 0.88 < difference.low < 0.95
    assert difference.high == 1.0


def test_zeros_are_as_uncertain_in_any_measure() -> None:
    names = [str(i // 2) for i in range(80)]
    nothing, something = [0.0] * 80, [0.5 + 0.4 * math.sin(i) for i in range(80)]
    zero, tuned = mean(nothing, names), mean(something, names)
    assert zero.high == wilson(0, 40).high
    apart = paired_difference(something, nothing, names)
    assert apart.value == pytest.approx(tuned.value)
    assert apart.low == pytest.approx(tuned.value - math.hypot(tuned.value - tuned.low, zero.high))
    assert apart.high == pytest.approx(tuned.high)
    against = paired_difference(nothing, something, names)
    assert (against.low, against.high) == pytest.approx((-apart.high, -apart.low))
    whole = paired_difference([1.0] * 80, something, names)
    assert whole.high - whole.value <= tuned.value - tuned.low + 1e-12
    assert whole.value - whole.low > tuned.high - tuned.value


def test_systems_that_never_differ_are_not_equal_for_certain() -> None:
    names = [str(i) for i in range(40)]
    rates, shares = [float(i % 2) for i in range(40)], [0.3 + 0.01 * i for i in range(40)]
    for same in (rates, shares, [1.0] * 40, [0.0] * 40, [0.3] * 40):
        difference = paired_difference(same, same, names)
        assert difference.value == 0
        assert difference.high == pytest.approx(-difference.low)
        assert 0.03 < difference.high < 0.1, "about three of forty: none in forty was seen"
    few, many = (paired_difference(rates[:n], rates[:n], names[:n]) for n in (10, 40))
    assert few.high > many.high


def test_a_measure_beyond_one_is_known_by_its_differences() -> None:
    names = [str(i) for i in range(30)]
    found = paired_difference([float(i % 5 + 1) for i in range(30)], [1.0] * 30, names)
    assert found.value == 2.0
    assert 1 < found.low < 2 < found.high < 3


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=2, max_size=9
    )
)
def test_no_interval_of_several_rows_is_a_point(rows: list[tuple[float, float]]) -> None:
    a, b = ([row[side] for row in rows] for side in (0, 1))
    names = [str(i) for i in range(len(rows))]
    for found in (mean(a, names), mean(b, names), paired_difference(a, b, names)):
        assert found.low < found.high
        assert found.low <= found.value <= found.high


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(0)
    shared = rng.random(80)
    a, b, names = shared + 0.02 * rng.random(80), shared, [str(i) for i in range(80)]
    paired, alone = paired_difference(list(a), list(b), names), mean(list(a), names)
    assert paired.high - paired.low < (alone.high - alone.low) / 10
    assert paired.low > 0


def test_a_fold_is_deterministic_for_a_seed() -> None:
    values, names = [(math.sqrt(i), 1.0) for i in range(30)], [str(i) for i in range(30)]
    assert folded(values, names, _mean_of, 1) == folded(values, names, _mean_of, 1)
    assert folded(values, names, _mean_of, 1) != folded(values, names, _mean_of, 2)


def test_halls_interval_is_students_where_nothing_is_skewed() -> None:
    values = [0.1 * i for i in range(-10, 11)]
    found = score_mean(values, [str(i) for i in range(21)])
    low, high = t.interval(0.95, 20, loc=np.mean(values), scale=sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_a_long_tail_reaches_further_on_its_side() -> None:
    values, names = [0.01 * i**2 for i in range(40)], [str(i) for i in range(40)]
    found, mirrored = score_mean(values, names), score_mean([-v for v in values], names)
    assert found.high - found.value > 1.1 * (found.value - found.low)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_sources_of_one_row_each_are_worth_more_than_one_large_one() -> None:
    values = [float(i % 7) for i in range(60)]
    even, uneven = [str(i // 6) for i in range(60)], [str(max(0, i - 50)) for i in range(60)]
    assert score_mean(values, uneven).high - score_mean(values, uneven).low > 0
    assert score_mean(values, even).n == score_mean(values, uneven).n == 60


def test_what_goes_from_0_to_1_is_not_said_to_go_beyond() -> None:
    found = score_mean([0.0, 0.0, 0.9, 0.0], list("abcd"))
    assert (found.low, found.high <= 1) == (0.0, True)


def test_detectable_is_what_a_standard_error_allows() -> None:
    assert detectable(Estimate(0.0, -1.959964, 1.959964, 100)) == pytest.approx(2.801585, abs=1e-5)


def coverage(draw: Callable[[], Estimate], truth: float, repetitions: int = 300) -> float:
    inside = [e.low <= truth <= e.high for e in (draw() for _ in range(repetitions))]
    return sum(inside) / repetitions


@pytest.mark.parametrize(("count", "size"), [(40, 1), (30, 3)])
def test_intervals_cover_the_truth(count: int, size: int) -> None:
    """Sources of `size` rows that resemble each other; 300 repetitions leave ±2.5 points of noise at 95 %."""
    rng = np.random.default_rng(0)
    rows = count * size
    names = [str(i // size) for i in range(rows)]

    def rate() -> Estimate:
        chance = np.repeat(rng.beta(3.2, 0.8, count), size)
        return mean(list((rng.random(rows) < chance).astype(float)), names)

    def average() -> Estimate:
        source = np.repeat(rng.normal(0, 1, count), size)
        return score_mean(list(np.exp((source + rng.normal(0, 1, rows)) / 4)), names)

    def difference() -> Estimate:
        source = np.repeat(rng.random(count), size) * 0.7
        a, b = rng.random(rows) < source + 0.2, rng.random(rows) < source
        return paired_difference(list(a.astype(float)), list(b.astype(float)), names)

    def alike() -> Estimate:
        source = np.repeat(rng.random(count), size) < 0.9
        differs = np.repeat(rng.random(count), size) < 0.06
        up = np.repeat(rng.random(count), size) < 0.5
        a = np.where(differs, up, source)
        b = np.where(differs, ~up, source)
        return paired_difference(list(a.astype(float)), list(b.astype(float)), names)

    def high() -> Estimate:
        chance = np.repeat(rng.beta(19.4, 0.6, count), size)
        return mean(list((rng.random(rows) < chance).astype(float)), names)

    assert coverage(alike, 0.0) >= 0.92
    assert coverage(high, 0.97) >= 0.92
    assert coverage(rate, 0.8) >= 0.92
    assert coverage(average, math.exp(1 / 16)) >= 0.92
    assert coverage(difference, 0.2) >= 0.92


def _mean_of(sums: Sequence[float]) -> float:
    return sums[0] / sums[1]


def test_a_mean_that_is_folded_is_the_mean_and_about_its_interval():
    values = np.random.default_rng(1).random(120).tolist()
    clusters = [f"s{i // 3}" for i in range(120)]
    found = folded([(v, 1.0) for v in values], clusters, _mean_of)
    known = score_mean(values, clusters)
    assert found.value == pytest.approx(known.value)
    assert found.low == pytest.approx(known.low, abs=0.006)
    assert found.high == pytest.approx(known.high, abs=0.006)
    assert (found.n, found.missing) == (120, 0)


def test_the_interval_of_a_fold_holds_the_truth_as_often_as_it_says():
    """A ratio of sums over 40 clusters of 1 to 5 rows: 0.5 whatever the sizes."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(60):
        sizes = rng.integers(1, 6, size=40)
        clusters = [f"s{i}" for i, size in enumerate(sizes) for _ in range(size)]
        parts = [(float(rng.random() * b), float(b)) for b in rng.integers(1, 20, size=len(clusters))]
        found = folded(parts, clusters, _mean_of)
        held += found.low <= 0.5 <= found.high
    assert held >= 52


def test_a_difference_of_folds_uses_the_same_draws_for_both():
    rng = np.random.default_rng(2)
    base = [(float(v), 1.0) for v in rng.random(60)]
    better = [(v + 0.1, n) for v, n in base]
    clusters = [str(i) for i in range(60)]
    gap = folded_difference(better, base, clusters, _mean_of)
    assert gap.value == pytest.approx(0.1)
    assert folded_difference(base, base, clusters, _mean_of).value == 0
    noisy = [(v + float(e), n) for (v, n), e in zip(base, rng.normal(0.1, 0.02, 60), strict=True)]
    paired = folded_difference(noisy, base, clusters, _mean_of)
    alone = folded(noisy, clusters, _mean_of)
    assert paired.high - paired.low < (alone.high - alone.low) / 4, "what rows share cancels out"
    means = paired_difference([v for v, _ in noisy], [v for v, _ in base], clusters)
    assert paired.low == pytest.approx(means.low, abs=0.002)


def test_a_fold_that_sees_no_spread_claims_no_certainty():
    clusters = [str(i) for i in range(30)]
    zeros, ones = [(0.0, 1.0)] * 30, [(float(i % 2), 1.0) for i in range(30)]
    still = folded(zeros, clusters, _mean_of)
    assert (still.value, still.low) == (0.0, 0.0)
    assert still.high == pytest.approx(score_mean([0.0] * 30, clusters).high)
    gap = folded_difference(ones, zeros, clusters, _mean_of)
    assert gap.low < folded(ones, clusters, _mean_of).low, "as uncertain as its zeros"


def test_what_cannot_be_folded_is_not_known():
    none = folded([(), ()], ["a", "b"], _mean_of)
    assert math.isnan(none.value)
    assert (none.n, none.missing) == (0, 2)
    assert math.isnan(folded([(1.0, 0.0)] * 3, ["a", "b", "c"], _mean_of).value)
    alone = folded([(1.0, 2.0)], ["a"], _mean_of)
    assert alone.value == 0.5
    assert math.isnan(alone.low)
    half = folded_difference([(1.0, 2.0), ()], [(1.0, 4.0), (1.0, 4.0)], ["a", "b"], _mean_of)
    assert (half.value, half.n, half.missing) == (0.25, 1, 1)
