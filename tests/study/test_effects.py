"""Effects: cells become sides, whose difference is that of the cells' means, whatever the measure."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from espalier.comparison.entries import Entry
from espalier.comparison.records import Side, Training
from espalier.comparison.sides import compare_pairs
from espalier.core.records import Metric, Score
from espalier.design.designs import designs
from espalier.design.factors import Varied
from espalier.design.recipe import as_study
from espalier.study.cells import Planned
from espalier.study.effects import averaged, sides_of

SEEDS, ROWS = 3, 40
# Of each cell how many of ten rows are right: the first factor adds 2, the second 1, both together 3 more.
RIGHT: dict[tuple[int, ...], int] = {(0, 0): 2, (0, 1): 3, (1, 0): 4, (1, 1): 8}
MEAN = Metric("M")
RATIO = Metric("R", fold=lambda sums: sums[0] / sums[1])


def entry(right: int, seed: int) -> Entry:
    rows = {
        str(i): Score(float(right > (i + seed) % 10), parts=(2.0 * (right > (i + seed) % 10), 2.0))
        for i in range(ROWS)
    }
    side = Side("", (Training("", {"m": rows}),), {row: row for row in rows}, {"m": MEAN})
    return Entry(Path(), side, ["m"], {}, {})


@pytest.mark.parametrize("metric", [MEAN, RATIO])
def test_effects_are_differences_of_means_and_of_differences(
    factors_of: Callable[[list[int]], list[Varied]], metric: Metric
) -> None:
    table = {"recipe": "r", "seeds": SEEDS, "factor": [{"kind": "rate", "levels": [1, 2]}]}
    factors = tuple(factors_of([2, 2]))
    layout = designs.build("grid", {})(factors)
    plan = Planned(as_study(table), factors, layout, ())
    entries = {(cell, seed): entry(RIGHT[cell], seed) for cell, seed in product(layout.cells, range(SEEDS))}
    models = {
        (cell, seed): f"{cell[0]} {seed}" for cell, seed in entries
    }  # the second acts at test time only
    sides = [sides_of(plan, one, entries, models, ("m", metric)) for one in layout.contrasts]
    found = [pair.measures["m"] for pair in compare_pairs(sides, ["m"]).pairs]
    shown = [one.metric.scale * one.difference.value for one in found]
    assert shown == pytest.approx([35.0, 25.0, 30.0])  # (12 − 5) / 2, (11 − 6) / 2, (8 − 4) − (3 − 2)
    assert ["and 3 trainings" in one.test for one in found] == [True, False, False]


def test_a_row_that_a_cell_has_no_verdict_on_has_none() -> None:
    one, other = entry(5, 0), entry(5, 0)
    scores = {"m": {**other.side.trainings[0].scores["m"], "3": Score(None)}}
    lacking = Entry(Path(), Side("", (Training("", scores),), {}, {}), ["m"], {}, {})
    found = averaged([one, lacking], "m")
    assert found["3"] == Score(None)
    assert found["4"] == Score(1.0, parts=(2.0, 2.0, 2.0, 2.0))


def test_a_measure_that_no_scorer_gives_is_known_by_its_name() -> None:
    """Runs of tasks with checks lead with all of them, which is no scorer's."""
    side = Side("a", (), {}, {})
    assert side.metric("all_checks").title == "Passes all checks"
