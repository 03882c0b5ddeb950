from __future__ import annotations

import math

import pytest

from espalier.report.charts import curve, histograms, ticks


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


def test_histograms_share_their_axes_and_keep_every_value() -> None:
    few, many = histograms([[0, 1, 1, 3], [2] * 99 + [400]])
    assert few.x == many.x
    assert few.y == many.y
    assert [tick.label for tick in many.x] == ["0", "1", "2", "3+"]
    for drawn, heights in ((few, [25, 50, 25]), (many, [99, 1])):
        assert [bar[3] for bar in drawn.bars] == pytest.approx(heights)
        assert all(top + height == pytest.approx(100) for _, top, _, height in drawn.bars)
    (left, *_), *_ = many.bars
    assert left == 50


@pytest.mark.parametrize("sample", [[0], [7], [1, 90_000], list(range(1_000))])
def test_any_sample_has_a_histogram(sample: list[float]) -> None:
    (drawn,) = histograms([sample])
    assert 1 <= len(drawn.bars) <= 21
    assert sum(bar[3] for bar in drawn.bars) == pytest.approx(10_000 / float(drawn.y[-1].label))
    assert all(0 <= tick.place <= 100 for tick in (*drawn.x, *drawn.y))
