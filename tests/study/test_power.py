"""What a study could see: promises hold in simulation, and more of anything never sees less."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import studies
from espalier.comparison.records import Side, Training
from espalier.comparison.sides import compare_sides
from espalier.core.errors import RecipeError
from espalier.core.records import Metric, Score
from espalier.study.power import Assumed, promised

MANY = 50


def test_promised_differences_are_found_and_no_others() -> None:
    rng, seeds, spread = np.random.default_rng(1), 3, 2.0
    groups = studies.sources(100, "1", rng)
    said = promised([1] * 100, seeds, 1, Assumed(seeds=spread))
    found = studies._share(groups, seeds, spread, MANY, rng, said.detectable(), studies.WON)
    assert 65 <= found <= 95  # 80 are promised; so few repetitions are off by 11
    assert studies._share(groups, seeds, spread, MANY, rng, 0.0, studies.WON) <= 12


@pytest.mark.parametrize("seeds", [2, 5])
def test_intervals_of_few_seeds_hold_the_truth(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    groups = studies.sources(60, "1", rng)
    inside = 0
    for _ in range(MANY):
        (one,) = studies.judged(studies.answers(groups, np.zeros(2), seeds, 0.0, rng), groups)
        inside += one.difference.low <= 0 <= one.difference.high
    assert inside >= 0.88 * MANY  # 95 are asked for


def test_trainings_of_one_score_on_other_rows_leave_no_certainty() -> None:
    rows = [str(row) for row in range(40)]

    def side(name: str, turn: int) -> Side:
        trainings = tuple(
            Training(f"{seed}", {"m": {row: Score(float((int(row) + seed) % 2 == turn)) for row in rows}})
            for seed in range(2)
        )
        return Side(name, trainings, {row: row for row in rows}, {"m": Metric("M")})

    found = compare_sides([side("a", 0), side("b", 1)], ["m"])["m"]
    assert found.difference.value == 0
    assert found.difference.low < 0 < found.difference.high


def test_folds_are_judged_as_the_means_that_they_are() -> None:
    rng = np.random.default_rng(0)
    right = studies.answers(studies.sources(80, "1", rng), np.array([0.0, 0.6]), 3, 3.0, rng).astype(float)
    mean, fold = Metric("M"), Metric("M", fold=lambda sums: sums[0] / sums[1])

    def compared(metric: Metric) -> float:
        sides = [
            Side(
                str(n),
                tuple(
                    Training(str(s), {"m": {str(i): Score(v, parts=(v, 1.0)) for i, v in enumerate(row)}})
                    for s, row in enumerate(side.tolist())
                ),
                {str(i): str(i) for i in range(80)},
                {"m": metric},
            )
            for n, side in enumerate(right)
        ]
        gap = compare_sides(sides, ["m"])["m"].difference
        return gap.high - gap.low

    assert compared(fold) == pytest.approx(compared(mean), rel=0.1)


@settings(max_examples=40)
@given(
    rows=st.integers(10, 500),
    seeds=st.integers(1, 6),
    trainings=st.integers(1, 4),
    spread=st.floats(0, 6),
    correlation=st.floats(0, 0.95),
    paired=st.booleans(),
)
def test_more_rows_seeds_and_trainings_see_no_less(
    rows: int, seeds: int, trainings: int, spread: float, correlation: float, paired: bool
) -> None:
    assumed = Assumed(seeds=spread, correlation=correlation)

    def least(n: int, many: int, cells: int, group: int = 1) -> float:
        return promised([group] * (n // group), many, cells, assumed, paired=paired).detectable()

    now = least(rows, seeds, trainings)
    assert now > 0
    assert least(2 * rows, seeds, trainings) <= now * (1 + 1e-6)
    assert least(rows, seeds, 2 * trainings) <= now * (1 + 1e-6)
    assert seeds == 1 or least(rows, seeds + 1, trainings) <= now * (1 + 1e-6)
    assert rows % 2 or least(rows, seeds, trainings, 2) >= now * (1 - 1e-6)


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_power_is_what_it_says_where_it_says_so(level: float) -> None:
    said = promised([1] * 200, 3, 1, Assumed())
    assert said.power(said.detectable(level), level) == pytest.approx(0.8, abs=1e-6)
    assert said.power_of_equality(said.provable(level), level) == pytest.approx(0.8, abs=1e-6)
    assert said.power(0.0, level) == pytest.approx(level, abs=0.01)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("seed=3", "Did you mean 'seeds'"),
        ("alike=2", "0.999"),
        ("spread=0", "does not fit"),
        ("seeds=few", "'few'"),
    ],
)
def test_what_cannot_be_assumed_is_told(said: str, told: str) -> None:
    with pytest.raises(RecipeError) as error:
        Assumed().told([said])
    assert told in str(error.value)
