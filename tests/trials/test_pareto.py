"""The front and how sure it is: the fast way against the plain one, and against planted truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.records import Metric, Score
from espalier.evaluate.statistics import folded
from espalier.trials.pareto import median_draws, on_front, quality_draws, within

few = st.sampled_from([0.0, 0.5, 1.0, 2.0, math.nan])
RATIO = Metric("Ratio", fold=lambda sums: sums[0] / sums[1])


def plain_front(quality: list[float], seconds: list[float]) -> list[bool]:
    """Ask every other setting whether it is at least as good in both, and better in one."""
    q = [-math.inf if math.isnan(value) else value for value in quality]
    return [
        not any(
            q[j] >= q[i] and seconds[j] <= seconds[i] and (q[j] > q[i] or seconds[j] < seconds[i])
            for j in range(len(q))
        )
        for i in range(len(q))
    ]


@given(st.lists(st.tuples(few, st.sampled_from([0.1, 0.2, 0.3])), min_size=1, max_size=6))
def test_the_front_is_what_the_definition_says(points: list[tuple[float, float]]):
    quality, seconds = (list(column) for column in zip(*points, strict=True))
    found = on_front(np.array([quality] * 2), np.array([seconds] * 2))
    assert found.tolist() == [plain_front(quality, seconds)] * 2
    assert found.any()


@pytest.mark.parametrize("metric", [Metric("Mean"), Metric("Error", better="lower"), RATIO])
def test_draws_are_of_whole_sources_and_the_same_for_all(metric: Metric):
    rng = np.random.default_rng(1)
    sources = [f"s{i // 2}" for i in range(24)]
    values = rng.random(24).round(2)
    column = [Score(float(v), parts=(float(v), 1.0)) for v in values]
    shifted = [Score(float(v) + 0.25, parts=(float(v) + 0.25, 1.0)) for v in values]
    draws = quality_draws([column, shifted], sources, metric)
    assert draws[:, 1] - draws[:, 0] == pytest.approx(metric.sign * 0.25)
    spread = folded([score.parts for score in column], sources, RATIO.fold or sum)
    low, high = np.quantile(metric.sign * draws[:, 0], (0.025, 0.975))
    assert (low, high) == pytest.approx((spread.low, spread.high), abs=0.03)


def test_rows_that_are_not_scored_are_left_out():
    column = [Score(1.0), Score(None), Score(None), Score(1.0)]
    draws = quality_draws([column, [Score(None)] * 4], list("abcd"), Metric("m"))
    assert set(np.unique(draws[~np.isnan(draws[:, 0]), 0])) == {1.0}
    assert np.isnan(draws[:, 1]).all()


def test_what_is_slow_and_bad_is_never_on_the_front_and_a_close_race_is_open():
    rng = np.random.default_rng(0)
    good = (rng.random(60) < 0.7).astype(float)
    near = good.copy()
    near[[*np.flatnonzero(good == 1)[:3], *np.flatnonzero(good == 0)[:3]]] = [0, 0, 0, 1, 1, 1]
    columns = [[Score(float(v)) for v in values] for values in (good, near, good * 0)]
    rounds = 0.1 * np.array([[1.0, 1.3, 2.0], [1.1, 1.2, 2.1], [0.9, 1.4, 1.9]])
    often = on_front(
        quality_draws(columns, [str(i) for i in range(60)], Metric("m")), median_draws(rounds)
    ).mean(0)
    assert often[0] == 1.0
    assert 0.02 < often[1] < 0.98
    assert often[2] == 0.0


def test_a_median_has_its_interval_but_of_a_single_round_none():
    rounds = np.array([[1.0], [2.0], [9.0]])
    found = within(2.0, median_draws(rounds)[:, 0], 3)
    assert (found.low, found.high) == (1.0, 9.0)
    assert not within(1.0, median_draws(rounds[:1])[:, 0], 1).bounded
