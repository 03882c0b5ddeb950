"""Intervals for several looks: of many models the best one's holds the truth as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.core.records import Estimate
from espalier.evaluate.statistics import wilson
from espalier.evaluate.widened import wide


@pytest.mark.parametrize(("looks", "unwidened"), [(5, 0.93), (20, 0.80)])
def test_the_best_of_many_is_held_by_its_interval(looks: int, unwidened: float) -> None:
    """Equal models are the worst case: whichever is chosen, was chosen for its luck."""
    rng, rows, rate, draws = np.random.default_rng(0), 300, 0.6, 2_000
    best = rng.binomial(rows, rate, (draws, looks)).max(1)
    plain = [wilson(int(count), rows) for count in best]
    held = np.mean([(e := wide(one, looks)).low <= rate <= e.high for one in plain])
    assert held >= 0.94
    assert np.mean([one.low <= rate <= one.high for one in plain]) < unwidened


def test_it_stays_within_what_is_possible() -> None:
    one = wide(Estimate(0.9, 0.8, 0.98, 50, 0), 10)
    assert one.high == 1.0
    assert one.low == pytest.approx(0.9 - 0.1 * 2.807 / 1.960, abs=1e-3)
    assert wide(Estimate(4.0, 3.0, 6.0, 50, 0, 1.0), 10).high > 6.5
