"""Intervals: known values, degenerate data, and the coverage that 95 % promises, by simulation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest

from espalier.core.records import Estimate
from espalier.evaluate import statistics
from espalier.evaluate.statistics import bootstrap_mean, detectable, mean, paired_difference, plain, wilson


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
    assert mean([0.3, 0.3], ["a", "b"]) == Estimate(0.3, 0.3, 0.3, 2)
    assert mean([1.0], ["a"]).low == pytest.approx(0.2065, abs=1e-4)
    assert math.isnan(paired_difference([None], [1.0], ["a"]).value)


def test_total_success_against_total_failure_is_not_certain() -> None:
    clusters = [str(i) for i in range(60)]
    difference = paired_difference([1.0] * 60, [0.0] * 60, clusters)
    assert difference.value == 1.0
    assert 0.88 < difference.low < 0.95
    assert difference.high == 1.0


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(0)
    shared = rng.random(80)
    a, b, names = shared + 0.02 * rng.random(80), shared, [str(i) for i in range(80)]
    paired, alone = paired_difference(list(a), list(b), names), mean(list(a), names)
    assert paired.high - paired.low < (alone.high - alone.low) / 10
    assert paired.low > 0


def test_is_deterministic_for_a_seed() -> None:
    values, names = [math.sqrt(i) for i in range(30)], [str(i) for i in range(30)]
    assert bootstrap_mean(values, names, 1) == bootstrap_mean(values, names, 1)
    assert bootstrap_mean(values, names, 1) != bootstrap_mean(values, names, 2)


def test_detectable_is_what_a_standard_error_allows() -> None:
    assert detectable(Estimate(0.0, -1.959964, 1.959964, 100)) == pytest.approx(2.801585, abs=1e-5)


def coverage(draw: Callable[[], Estimate], truth: float, repetitions: int = 300) -> float:
    inside = [e.low <= truth <= e.high for e in (draw() for _ in range(repetitions))]
    return sum(inside) / repetitions


@pytest.mark.parametrize(("count", "size"), [(40, 1), (30, 3)])
def test_intervals_cover_the_truth(count: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources of `size` rows that resemble each other; 300 repetitions leave ±2.5 points of noise at 95 %."""
    monkeypatch.setattr(statistics, "RESAMPLES", 1_000)
    rng = np.random.default_rng(0)
    rows = count * size
    names = [str(i // size) for i in range(rows)]

    def rate() -> Estimate:
        chance = np.repeat(rng.beta(3.2, 0.8, count), size)
        return mean(list((rng.random(rows) < chance).astype(float)), names)

    def average() -> Estimate:
        source = np.repeat(rng.normal(0, 1, count), size)
        return bootstrap_mean(list(np.exp((source + rng.normal(0, 1, rows)) / 4)), names)

    def difference() -> Estimate:
        source = np.repeat(rng.random(count), size) * 0.7
        a, b = rng.random(rows) < source + 0.2, rng.random(rows) < source
        return paired_difference(list(a.astype(float)), list(b.astype(float)), names)

    assert coverage(rate, 0.8) >= 0.92
    assert coverage(average, math.exp(1 / 16)) >= 0.90
    assert coverage(difference, 0.2) >= 0.92
