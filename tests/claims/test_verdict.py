"""Verdicts: each is reached by planted numbers, by the rule and in its order."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.claims.claim import Rule
from espalier.claims.measures import Measured, tilted
from espalier.claims.verdict import judged
from espalier.comparison.entries import Entry
from espalier.comparison.records import Side, Training
from espalier.comparison.significance import Spread
from espalier.core.records import Metric, Score

ABOVE: dict[str, Any] = {"direction": "above", "effect": 10.0}
WITHIN: dict[str, Any] = {"direction": "within", "effect": 5.0}


def rule(table: dict[str, Any]) -> Rule:
    return Rule(**table, why="planted")


def found(
    low: float, value: float, high: float, visible: float = 4.0, equal: float | None = None
) -> Measured:
    return Measured(value, low, high, visible, "points", "page", equal)


@pytest.mark.parametrize(
    ("asked", "measured", "verdict", "why"),
    [
        (ABOVE, found(2, 6, 10), "reproduced", "half of the published 10 or more"),
        (ABOVE, found(2, 6, 10, visible=20), "reproduced", "above 0"),  # seen is seen
        (ABOVE, found(1, 4, 7), "open", "less than half"),
        (ABOVE, found(-9, -5, -1), "not", "excludes all that is above 0"),
        (ABOVE, found(-9, -5, -1, visible=20), "not", "excludes"),
        (ABOVE, found(-9, 2, 13, visible=20), "under-powered", "Only an effect of 20.0 points"),
        (ABOVE, found(-2, 2, 6), "open", "on both sides of 0"),
        (ABOVE, found(math.nan, 2, math.nan), "open", "too few rows"),
        ({**ABOVE, "direction": "below"}, found(-10, -6, -2), "reproduced", "below 0"),
        ({**ABOVE, "direction": "below"}, found(2, 6, 10), "not", "below 0"),
        ({"direction": "below", "origin": 50.0, "effect": 42.2}, found(20, 25, 29), "reproduced", "below 50"),
        ({"direction": "below", "origin": 50.0, "effect": 42.2}, found(30, 35, 40), "open", "less than half"),
        ({"direction": "below", "origin": 50.0, "effect": 42.2}, found(60, 65, 70), "not", "below 50"),
        (WITHIN, found(-3, 0, 3), "reproduced", "within 5 points of 0"),
        (WITHIN, found(-5.5, -1, 3.5, equal=0.04), "reproduced", "Two one-sided tests (p = 0.040)"),
        (WITHIN, found(-5.5, -1, 3.5, equal=0.06), "open", "and others"),
        (WITHIN, found(6, 8, 10), "not", "excludes all that is within 5 points"),
        (WITHIN, found(-14, -10, -6), "not", "excludes"),
        (WITHIN, found(-7, 0, 7), "under-powered", "wider than the margin"),
        (WITHIN, found(1, 4, 7), "open", "and others"),
    ],
)
def test_each_verdict_is_reached(asked: dict[str, Any], measured: Measured, verdict: str, why: str) -> None:
    said = judged(rule(asked), measured)
    assert said[0] == verdict
    assert why in said[1]


numbers = st.floats(-100, 100)


@given(
    numbers, st.floats(0.1, 50), st.floats(0.1, 50), st.floats(0.1, 99), st.sampled_from(["above", "within"])
)
def test_a_claim_turned_round_gets_the_same_verdict(
    value: float, arm: float, visible: float, effect: float, direction: str
) -> None:
    other = {"above": "below", "within": "within"}[direction]
    one = found(value - arm, value, value + 2 * arm, visible)
    turned = found(-value - 2 * arm, -value, -value + arm, visible)
    here = judged(rule({"direction": direction, "effect": effect}), one)[0]
    there = judged(rule({"direction": other, "effect": effect}), turned)[0]
    assert here == there
    if here == "reproduced" and direction == "above":
        assert value - arm > 0


def entry(shift: float, noise: int) -> Entry:
    rows = {str(i): Score(shift + 0.01 * ((i * 7 + noise) % 11)) for i in range(50)}
    side = Side("", (Training("", {"m": rows}),), {row: row for row in rows}, {"m": Metric("M")})
    return Entry(Path(), side, ["m"], {}, {})


def test_a_planted_slope_is_found_with_rows_and_seeds_in_its_interval() -> None:
    weights = (-0.3, -0.1, 0.1, 0.3)  # of four doublings
    seeds = [
        [(w, entry(0.05 * x + 0.01 * seed * (x - 1.5), seed)) for x, w in enumerate(weights)]
        for seed in range(3)
    ]
    spread, title, scale = tilted(seeds)
    assert (title, scale) == ("M", 100.0)
    assert spread.value == pytest.approx(0.06)  # 0.05, and the mean of the seeds' 0, 0.01, 0.02
    assert spread.retraining == pytest.approx(0.01 / math.sqrt(3))
    assert spread.freedom == 2
    one, _, _ = tilted(seeds[:1])
    assert one.value == pytest.approx(0.05)
    assert (one.retraining, one.freedom) == (0.0, 0)


def test_the_margin_that_is_promised_is_shown_four_times_of_five() -> None:
    width = 1.0
    margin = Spread(0.0, width, width).provable()
    drawn = np.random.default_rng(0).normal(0, width / 1.959964, 400)
    shown = sum(Spread(float(value), width, width).within(margin) < 0.05 for value in drawn) / 400
    assert 0.75 < shown < 0.85
