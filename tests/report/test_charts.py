from __future__ import annotations

import math

import pytest

from espalier.report.charts import curve, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 3, [0, 1, 2, 3]),
        (0, 0.9, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 40, [0, 10, 20, 30, 40]),
        (2, 2, [2, 2.2, 2.4, 2.6, 2.8, 3]),
    ],
)
def test_ticks_are_round_and_enclose(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_the_curve_runs_from_the_first_step_to_the_last() -> None:
    line = curve([(1, 4.0), (3, 2.0), (5, 0.0)])
    assert line is not None
    assert line.raw == "0.00,0.00 50.00,50.00 100.00,100.00"
    assert line.smooth == ""
    assert [(t.place, t.label) for t in line.x] == [(0, "1"), (25, "2"), (50, "3"), (75, "4"), (100, "5")]


def test_many_steps_get_a_running_mean() -> None:
    line = curve([(s, 1.0 + s % 2) for s in range(60)])
    assert line is not None
    heights = [float(point.split(",")[1]) for point in line.smooth.split()]
    assert max(heights[5:-5]) - min(heights[5:-5]) < 15 < 49


def test_too_few_finite_losses_make_no_curve() -> None:
    assert curve([]) is None
    assert curve([(1, 2.0), (2, math.nan)]) is None
