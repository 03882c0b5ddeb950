"""Krippendorff's alpha: the worked examples of its author, a slow twin, and what it says of nothing."""

from __future__ import annotations

import math
import random
from itertools import permutations
from typing import Any

import pytest

from espalier.evaluate.agreement import Level, alpha


def columns(*observers: str) -> list[list[str]]:
    return [[label for label in unit if label != "."] for unit in zip(*observers, strict=True)]


# Krippendorff 2011, section C and following: four observers, twelve units; a dot is missing.
FOUR = columns("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


@pytest.mark.parametrize(
    ("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_four_observers_with_missing_values(level: Level, published: float) -> None:
    found = alpha(FOUR, level)
    assert found.value == pytest.approx(published, abs=5e-4)
    assert found.low < found.value < found.high
    assert (found.n, found.missing) == (11, 1)


def test_two_observers() -> None:
    assert alpha(columns("0100000010", "1110010000")).value == pytest.approx(0.095, abs=5e-4)
    assert alpha(columns("aabbdcccedda", "babbbcccEddd".lower())).value == pytest.approx(0.692, abs=5e-4)


def slow(rows: list[list[float]], level: Level) -> float:
    """Alpha by its definition: every pair of labels within rows, and every pair of all."""
    paired = [row for row in rows if len(row) > 1]
    every = [label for row in paired for label in row]

    def distance(a: float, b: float) -> float:
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return (a - b) ** 2
        low, high = sorted((a, b))
        between = sum(low <= label <= high for label in every)
        return (between - (every.count(a) + every.count(b)) / 2) ** 2 if a != b else 0.0

    within = sum(distance(a, b) / (len(row) - 1) for row in paired for a, b in permutations(row, 2))
    among = sum(distance(a, b) for a, b in permutations(every, 2))
    return 1 - (len(every) - 1) * within / among


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(6))
def test_as_the_definition_says(level: Level, seed: int) -> None:
    rng = random.Random(seed)
    rows = [[float(rng.choice([1, 1, 2, 3, 5])) for _ in range(rng.randrange(5))] for _ in range(25)]
    assert alpha(rows, level).value == pytest.approx(slow(rows, level), abs=1e-9)


def test_the_interval_covers() -> None:
    rng = random.Random(3)

    def draw(count: int) -> list[list[int]]:
        rows: list[list[int]] = []
        for _ in range(count):
            truth = rng.randrange(3)
            rows.append([truth if rng.random() < 0.8 else rng.randrange(3) for _ in range(3)])
        return rows

    truth = alpha(draw(20_000)).value
    inside = [found.low <= truth <= found.high for found in (alpha(draw(80)) for _ in range(40))]
    assert sum(inside) >= 34


def test_numbers_far_from_zero_lose_nothing() -> None:
    rows = [[1e9 + x for x in row] for row in ([1, 2], [3, 3], [5, 4])]
    assert alpha(rows, "interval").value == pytest.approx(slow([[1, 2], [3, 3], [5, 4]], "interval"))


@pytest.mark.parametrize("rows", [[], [[]], [["a"], ["b"]], [["a", "a"], ["a", "a"]]])
def test_where_nothing_can_be_said(rows: list[list[str]]) -> None:
    assert math.isnan(alpha(rows).value)


def test_perfect_agreement_and_less_than_chance() -> None:
    assert alpha([["a", "a"], ["b", "b"]]).value == 1
    assert alpha([["a", "b"], ["a", "b"]]).value < 0


def test_ranks_have_the_order_that_is_named() -> None:
    rows = [["low", "mid"], ["high", "high"], ["low", "low"], ["mid", "high"]]
    named = alpha(rows, "ordinal", ["low", "mid", "high"]).value
    assert named == pytest.approx(slow([[1, 2], [3, 3], [1, 1], [2, 3]], "ordinal"))
    assert named != pytest.approx(alpha(rows, "ordinal").value)


@pytest.mark.parametrize(
    ("level", "settings", "why"),
    [("interval", {}, "no number"), ("ordinal", {"order": ["a"]}, "none of the ranks")],
)
def test_labels_that_do_not_fit(level: Level, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        alpha([["a", "b"]], level, **settings)
