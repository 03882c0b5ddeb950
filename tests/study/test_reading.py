"""What designs say of scores: planted truths are found, and where there is none nothing is claimed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.comparison.records import Side, Training
from espalier.comparison.sides import compare_pairs
from espalier.core.errors import RecipeError
from espalier.core.records import Metric, Score
from espalier.design.blocks import Cell, Reading
from espalier.design.designs import Layout, designs
from espalier.design.factors import Varied
from espalier.design.mixtures import chance
from espalier.design.nested import fitted, left_out
from espalier.design.record import Effect

ROWS, SEEDS = 240, 3
METRIC = Metric("score")
Make = Callable[[list[int]], list[Varied]]


def right(share: float, seed: int) -> np.ndarray:
    """Rows of which a share is right: those with a low number, but for a few that the seed turns."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return (np.arange(ROWS) / ROWS + rng.normal(0, 0.02, ROWS) < share).astype(float)


def read(layout: Layout, shares: Mapping[Cell, float], margin: float | None = None) -> Reading:
    """Make a reading of what each cell's share of right answers is; () is the untuned model's."""
    rows = {
        cell: np.array([right(share, 31 * n + seed) for seed in range(SEEDS)])
        for n, (cell, share) in enumerate(shares.items())
    }
    ids = [str(n) for n in range(ROWS)]

    def side(name: str, cells: Sequence[Cell]) -> Side:
        cell = cells[0] if cells else ()
        told = tuple(
            Training("", {"m": {i: Score(float(v)) for i, v in zip(ids, row, strict=True)}})
            for row in rows[cell]
        )
        return Side(name, told, {i: i for i in ids}, {"m": METRIC})

    pairs = [(side(f"{n}-", one.minus), side(f"{n}+", one.plus)) for n, one in enumerate(layout.contrasts)]
    found = compare_pairs(pairs, ["m"], margin=margin).pairs
    effects = tuple(Effect("f", "", "", "main", one.measures["m"], (), (), False) for one in found)
    reached = {cell: list(each.mean(1)) for cell, each in rows.items()}
    return Reading(effects, reached, lambda cells: ({c: rows[c] for c in cells}, ids), METRIC, margin)


def test_a_source_that_harms_and_one_that_adds_nothing_are_named(factors_of: Make) -> None:
    layout = designs.build("leave_one_out", {})(factors_of([5]))
    assert layout.factors[0].labels == ("all", *(f"without {n}" for n in range(5)))
    shares = {(0,): 0.5, (1,): 0.3, (2,): 0.4, (3,): 0.5, (4,): 0.35, (5,): 0.7}
    (block,) = layout.read(read(layout, shares, margin=6.0))
    assert block.said[0].startswith("Harmful: 4 (−2")
    assert block.said[1].startswith("Of use: 0 (+2")
    assert block.said[2].startswith("Of no use: 2 (")
    roles = [one["role"] for one in block.numbers["sources"]]
    assert roles == ["helps", "helps", "adds nothing", "helps", "harms"]
    assert block.numbers["sources"][4]["high"] < 0
    (alike,) = layout.read(read(layout, dict.fromkeys(shares, 0.5)))
    assert len(alike.said) == 1
    assert alike.said[0].startswith("No effect can be seen of 0 (could see")


def test_both_arms_leave_out_each_source(factors_of: Make) -> None:
    layout = designs.build("leave_one_out", {"arms": "both"})(factors_of([3]))
    assert layout.factors[0].labels[3:5] == ("without 2, equal epochs", "without 0, equal steps")
    assert len(layout.cells) == 7
    blocks = layout.read(read(layout, {cell: 0.5 for cell in layout.cells}))
    assert [one.numbers["arm"] for one in blocks] == ["epochs", "steps"]
    (factor,) = factors_of([3])
    own = designs.build("leave_one_out", {"own": True})([replace(factor, group=lambda _: lambda _: "")])
    assert [(one.names, one.only) for one in own.contrasts][1] == (("all, on 1", "without 1, on 1"), "1")
    with pytest.raises(RecipeError, match="'stps' is no arm"):
        designs.build("leave_one_out", {"arms": "stps"})


def test_transfer_that_harms_is_flagged_and_nothing_else(factors_of: Make) -> None:
    (factor,) = factors_of([3])
    with pytest.raises(RecipeError, match="which rows are of which level"):
        designs.build("transfer", {})([factor])
    layout = designs.build("transfer", {})([replace(factor, group=lambda _: lambda _: "")])
    assert [one.only for one in layout.contrasts] == [*"012"] * 3
    (block,) = layout.read(read(layout, {(): 0.5, (0,): 0.5, (1,): 0.5, (2,): 0.2}))
    assert block.said[0].startswith("Negative transfer: 2 on 0 (−")
    assert "2 on 1" in block.said[0]
    assert block.said[1].startswith("No positive transfer")
    assert [row[2] < 0 for row in block.shades][2]


def test_a_law_is_found_where_scores_follow_it() -> None:
    sizes = [32, 64, 128, 256, 512]
    values = np.array([[80 - 300 * n**-0.8 + d for n in sizes] for d in (-0.1, 0.0, 0.1)])
    power, line = (fitted(sizes, values, law) for law in ("power", "log"))
    assert power.aicc + 2 < line.aicc
    assert power.missed < line.missed < left_out(sizes, values.mean(0), "mean")
    assert power.a == pytest.approx(80, abs=1)
    assert power.saturation(1.0) == pytest.approx(300 ** (1 / 0.8), rel=0.2)
    straight = np.array([[10 + 8 * np.log(n) + d for n in sizes] for d in (-0.1, 0.0, 0.1)])
    assert fitted(sizes, straight, "log").aicc < fitted(sizes, straight, "power").aicc
    assert np.isinf(fitted(sizes, values[:1], "power").aicc)  # five points, four numbers


def test_where_a_curve_levels_off_is_said_with_its_interval_or_not_at_all(factors_of: Make) -> None:
    (factor,) = factors_of([5])
    sizes = (32, 64, 128, 256, 512)
    layout = designs.build("nested", {"within": 8.0})([replace(factor, levels=sizes)])
    assert len(layout.cells) == 9  # the largest stands in both arms
    assert layout.contrasts[4].names == ("32 rows, equal steps", "64 rows, equal steps")
    law = [0.7 - 30 * n**-1.3 for n in (512, 32, 64, 128, 256)]
    shares = {(n,): law[n if n < 5 else n - 4] if n < 5 else 0.5 for n in range(9)}
    epochs, steps = layout.read(read(layout, {**shares, (0,): law[0]}))
    assert "points of its end from" in epochs.said[0]
    assert epochs.numbers["low"] < epochs.numbers["saturation"] < epochs.numbers["high"] < 512
    assert steps.numbers["arm"] == "steps"
    flat, _ = layout.read(read(layout, dict.fromkeys(shares, 0.5)))
    assert flat.said[0].endswith("cannot be said: no size is seen to be better than the smallest.")
    assert flat.numbers["saturation"] is None


def test_a_surface_is_believed_where_shares_tell_the_score() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    shares = rng.dirichlet(np.ones(4), 10)
    told = shares @ np.array([10.0, 60.0, 30.0, 30.0])
    error, p = chance(told + rng.normal(0, 0.5, 10), shares, "linear")
    assert error < 5
    assert p <= 0.005
    claimed = [chance(rng.normal(size=10), shares, "linear")[1] < 0.05 for _ in range(40)]
    assert sum(claimed) <= 6  # 2 expected


@settings(max_examples=25)
@given(st.integers(4, 17), st.integers(0, 5), st.integers(0, 100))
def test_halving_keeps_the_best_and_two_whole(count: int, seed: int, best: int) -> None:
    factor = Varied("f", tuple(range(20)), tuple(map(str, range(20))), "train", lambda r, *_: r, "factor.0")
    layout = designs.build("halving", {"settings": count, "seed": seed})([factor])
    last = len(layout.factors[-1].levels) - 2
    drawn = [cell for cell in layout.cells if cell[1] == 0]
    assert len(drawn) == count
    controls = [cell for cell in layout.cells if cell[1] == last != 0]
    assert last == 0 or len(controls) == 2
    first = drawn[best % count][0]
    while layout.next:
        before = layout
        layout = layout.next({cell: float(cell[0] == first) for cell in layout.cells})
        assert {*before.cells} <= {*layout.cells}
    alive = [sum(cell[1] == n for cell in layout.cells) for n in range(last)]
    assert all(2 * after >= one for one, after in pairwise(alive))
    tests = [cell for cell in layout.cells if cell not in layout.once]
    assert [cell[1] for cell in tests] == [last + 1] * 2
    assert tests[1][0] == first
    assert tests[0][0] in {cell[0] for cell in controls} - {first} or last == 0
    assert layout.contrasts[0].plus == (tests[1],)
