"""Tests of differences: against the slow way, against scipy, and by what they promise in simulation."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from bench.coverage import attainable, covered, false_alarms, rows_for_power
from espalier.comparison.records import Side, Training
from espalier.comparison.sides import compare_sides
from espalier.comparison.significance import Spread, holm, retrained, swapped, swapped_folds
from espalier.core.records import Metric, Score


def slow(gaps: list[float], clusters: list[str]) -> float:
    """Swap every source in every way and count how often the sum is as far from zero."""
    names = sorted(set(clusters))
    sums = [sum(g for g, c in zip(gaps, clusters, strict=True) if c == name) for name in names]
    totals = [
        abs(sum(s * x for s, x in zip(signs, sums, strict=True)))
        for signs in product((-1, 1), repeat=len(sums))
    ]
    return float(np.mean([total >= abs(sum(sums)) - 1e-9 for total in totals]))


NAMES = st.sampled_from("abcdefgh")
ROWS = st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 1.0]), NAMES), min_size=1, max_size=25)
SCORES = st.lists(st.tuples(st.integers(-99, 99).map(lambda x: x / 100), NAMES), min_size=1, max_size=15)


@given(ROWS | SCORES)
@settings(max_examples=40)
def test_sources_are_swapped_in_every_way(rows: list[tuple[float, str]]) -> None:
    gaps, clusters = [gap for gap, _ in rows], [name for _, name in rows]
    assert swapped(gaps, clusters).p == pytest.approx(slow(gaps, clusters), abs=1e-12)


@pytest.mark.parametrize(("won", "lost"), [(15, 0), (12, 4), (7, 7), (160, 140), (1, 0)])
def test_rows_of_their_own_make_it_mcnemars_test(won: int, lost: int) -> None:
    gaps = [1.0] * won + [-1.0] * lost + [0.0] * 30
    found = swapped(gaps, [str(i) for i in range(len(gaps))])
    assert found.p == pytest.approx(binomtest(won, won + lost).pvalue, abs=1e-12)
    assert found.test == "McNemar's exact test"


def test_what_is_thrown_comes_near_to_what_is_counted() -> None:
    rng = np.random.default_rng(0)
    gaps, names = rng.choice([-1.0, 0.0, 0.0, 1.0, 1.0], 90), [str(i // 3) for i in range(90)]
    exact = swapped(gaps.tolist(), names)
    thrown = swapped((gaps * 0.5).tolist(), names)
    assert "10,000" in thrown.test
    assert thrown.p == pytest.approx(exact.p, abs=0.02)
    assert swapped((gaps * 0.5).tolist(), names) == thrown


def test_a_fold_is_tested_as_its_mean_is() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 11))
    groups, ones = np.arange(11), np.ones(11)
    tables = np.stack([b, ones], 1), np.stack([a, ones], 1)
    found = swapped_folds(tables, groups, lambda sums: sums[0] / sums[1], float((b - a).mean()))
    assert found.p == pytest.approx(swapped((b - a).tolist(), [str(i) for i in range(11)]).p)


def test_nothing_to_test() -> None:
    assert math.isnan(swapped([], []).p)
    assert swapped([0.0, 0.0], ["a", "b"]).p == 1.0


def test_holm_is_the_published_one() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.01}, looks=5) == pytest.approx({"a": 0.05})
    some = holm({"a": math.nan, "b": 0.02})
    assert some["b"] == 0.02
    assert math.isnan(some["a"])


@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 0.5), st.integers(1, 8))
@settings(max_examples=30)
def test_p_is_the_level_at_which_the_interval_reaches_zero(value, below, above, error, freedom) -> None:
    spread = Spread(value, below, above, error, freedom)
    p = spread.chance()
    if p > 1e-6:
        low, high = spread.interval(p)
        assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-6)
    if abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == (not spread.interval()[0] <= 0 <= spread.interval()[1])


def test_one_part_alone_is_itself() -> None:
    rows = Spread(0.5, 0.2, 0.3)
    assert rows.interval() == pytest.approx((0.3, 0.8))
    seeds = Spread(0.5, 0.0, 0.0, 0.1, 4)
    assert seeds.interval() == pytest.approx((0.5 - 0.2776445, 0.5 + 0.2776445))
    assert rows.detectable() == pytest.approx(0.25 * 2.801585 / 1.959964, abs=1e-5)
    assert rows.interval(0.01)[0] < 0.3


def test_as_good_as_needs_more_than_no_difference() -> None:
    wide, narrow = Spread(0.0, 0.1, 0.1), Spread(0.0, 0.01, 0.01)
    assert wide.chance() > 0.9
    assert wide.within(0.02) > 0.05
    assert narrow.within(0.02) < 0.001
    assert narrow.within(0.005) > 0.05
    assert Spread(0.03, 0.001, 0.001).within(0.02) == 1.0


def test_seeds_are_pooled_and_few_are_worth_little() -> None:
    error, freedom = retrained([[0.5, 0.54], [0.6, 0.6, 0.66]])
    assert freedom == 3
    pooled = (0.0008 + 0.0024) / 3
    assert error == pytest.approx(math.sqrt(pooled * (1 / 2 + 1 / 3)))
    assert retrained([[0.5], [0.7]]) == (0.0, 0)


def test_alike_recipes_are_seldom_told_apart() -> None:
    """Three seeds a side, 4 points apart: asked are 5 of 100, and 300 repetitions leave 1.3 of noise."""
    found = false_alarms(3, repetitions=300)
    assert found["ours"] <= 6
    assert found["one seed"] > 20
    assert found["normal"] > found["ours"]


@pytest.mark.parametrize(
    "cell",
    [
        ("rate", 0.3, 100, "3"),
        ("difference of rates", 0.5, 100, "1-10"),
        ("mean", "exponential", 50, "10"),
        ("mean", "beta", 50, "1-10"),
        ("difference of means", "beta", 100, "3"),
    ],
    ids=str,
)
def test_intervals_hold_the_truth(cell) -> None:
    """400 repetitions leave ±2.1 points of noise around the 93 to 97 of the whole simulation."""
    assert 91 <= covered(cell, 400) <= 99


def test_no_interval_of_few_rare_rows_can_hold_95() -> None:
    below, above = attainable(50, 0.02)
    assert below < 93
    assert above > 97


def test_pairs_need_fewer_rows() -> None:
    found = rows_for_power(continuous=False, repetitions=600)
    assert found["unpaired"] > 1.5 * found["paired"]


def test_many_sources_of_many_rows_are_counted_quickly() -> None:
    gaps, names = [1.0, 1.0, -1.0] * 2_000, [str(i // 10) for i in range(6_000)]
    assert 0 < swapped(gaps, names).p < 1e-6


def test_seeds_pair_where_both_sides_are_answers_of_the_same_models() -> None:
    # Seeds move both sides alike, by ten rows; the other side has four rows more, whatever the seed.
    def side(name: str, right: tuple[int, ...], models: tuple[str, ...]) -> Side:
        trainings = tuple(
            Training(f"{name}{n}", {"m": {str(i): Score(float(i < count)) for i in range(100)}}, model)
            for n, (count, model) in enumerate(zip(right, models, strict=True))
        )
        return Side(name, trainings, {str(i): str(i) for i in range(100)}, {"m": Metric("M")})

    models = ("one", "two", "three")
    first = side("first", (40, 50, 60), models)
    other = (44, 54, 64)
    same = compare_sides([first, side("other", other, models)], ["m"])["m"]
    apart = compare_sides([first, side("other", other, ("four", "five", "six"))], ["m"])["m"]
    assert same.difference.value == apart.difference.value == pytest.approx(0.04)
    assert same.difference.excludes_zero
    assert not apart.difference.excludes_zero
    assert "Student's t of 3 trainings" in same.test
    assert "Student's t of 3 and 3 trainings" in apart.test
