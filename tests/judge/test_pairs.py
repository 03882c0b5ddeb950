"""From verdicts to a win rate, the controls and two sentences: planted judges are seen for what they are."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binomtest

from espalier.judge.grades import Grades, Single, score_grades
from espalier.judge.lengths import RIDGE, length_control, separated
from espalier.judge.pairs import Pair, PairVerdicts, score_pairs, sign_test, winner_of
from espalier.judge.prompts import LEAST, PADDING, grade_prompt, padded, pair_prompt
from espalier.judge.words import told_of_grades, told_of_pairs

if TYPE_CHECKING:
    from espalier.judge.pairs import Orders

NAMES = ("ours", "theirs")
WINS: Orders = ("first", "second")
LOSES: Orders = ("second", "first")
TIE: Orders = ("tie", "tie")


def pairs(count: int, seed: int = 0, gold: bool = False) -> list[Pair]:
    rng = random.Random(seed)
    sizes = [(rng.randint(20, 400), rng.randint(20, 400)) for _ in range(count)]
    return [
        Pair(str(n), str(n), f"What is {n}?", ("x" * a, "y" * b), "first" if gold else None)
        for n, (a, b) in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("orders", "winner"),
    [
        (WINS, "first"), (LOSES, "second"), (("first", "first"), "tie"), (("second", "second"), "tie"),
        (("first", "tie"), "tie"), (("tie", "tie"), "tie"), (("first", None), None), ((None, None), None),
    ],
)  # fmt: skip
def test_who_wins_wins_in_both_orders(orders: Orders, winner: str | None) -> None:
    assert winner_of(orders) == winner


def test_a_rate_counts_ties_as_halves_and_sources_once() -> None:
    said = PairVerdicts([WINS] * 6 + [LOSES] * 2 + [("tie", "tie"), ("first", "first"), (None, "tie")])
    score = score_pairs(pairs(11, gold=True), said)
    assert score.counts == (6, 2, 2, 1)
    assert (score.rate.value, score.rate.n, score.rate.missing) == (0.7, 10, 1)
    assert score.flips.value == pytest.approx(0.1)
    assert score.held.value == pytest.approx(8 / 9)
    assert score.ties.value == pytest.approx(3 / 21)
    assert score.agreed is not None
    assert score.agreed[0].value == 0.6
    one = [Pair(str(n), "same", "?", ("a", "bb")) for n in range(10)]
    assert score_pairs(one, PairVerdicts([WINS] * 5 + [LOSES] * 5)).rate.low < 0.1  # as one row is worth


def test_the_test_of_places_is_the_binomial_one_by_source() -> None:
    leaning = [1] * 14 + [-1] * 5
    assert sign_test(leaning, list(map(str, range(19)))) == pytest.approx(binomtest(14, 19).pvalue)
    assert sign_test(leaning, ["a"] * 14 + ["b"] * 5) == 1.0
    assert sign_test([1, -1], ["a", "a"]) == 1.0  # the same winner in both orders is no evidence
    assert sign_test([], []) == 1.0


def test_the_controlled_rate_is_the_fit_of_a_slow_optimiser_and_knows_lengths_apart() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(50, 500, (150, 2))
    gaps = sizes[:, 0] - sizes[:, 1]
    x = np.tanh(gaps / gaps.std())
    y = (rng.random(150) < 1 / (1 + np.exp(-(0.9 * x)))).astype(float)
    y[::7] = 0.5

    def loss(at: tuple[float, float]) -> float:
        z = at[0] + at[1] * x
        return float((np.logaddexp(0, z) - y * z).sum() + RIDGE / 2 * at[1] ** 2)

    slow = minimize(loss, (0.0, 0.0), method="BFGS").x
    found = length_control(y.tolist(), [(int(a), int(b)) for a, b in sizes], list(map(str, range(150))))
    assert found.slope is not None
    assert found.controlled is not None
    assert found.slope.value == pytest.approx(slow[1], abs=1e-4)
    assert found.controlled.value == pytest.approx(1 / (1 + math.exp(-slow[0])), abs=1e-5)
    assert found.slope.low < 0.9 < found.slope.high
    assert found.controlled.low < 0.5 < found.controlled.high
    longer = length_control(
        y.tolist(), [(int(a) + 300, int(b)) for a, b in sizes], list(map(str, range(150)))
    )
    assert longer.controlled is None or longer.controlled.value != found.controlled.value


@pytest.mark.parametrize(
    ("outcomes", "lengths", "why"),
    [
        ([1, 0, 1, 0], [(5, 2), (2, 5), (9, 1), (1, 9)], "go by length"),
        ([0, 1, 0, 1], [(5, 2), (2, 5), (9, 1), (1, 9)], "go by length"),
        ([1, 0, 1, 0], [(5, 5)] * 4, "no two answers differ in length"),
        ([1, 1, 1], [(5, 2), (2, 5), (9, 1)], "all verdicts are the same"),
        ([1, 0, 0, 1, 0, 1], [(5, 2), (2, 5), (9, 1), (1, 9), (1, 3), (4, 2)], "too few verdicts"),
        ([], [], "no row has a verdict"),
    ],
)
def test_a_fit_that_fails_is_said_and_is_no_number(
    outcomes: list[float], lengths: list[tuple[int, int]], why: str
) -> None:
    found = length_control(outcomes, lengths, list(map(str, range(len(outcomes)))))
    assert (found.slope, found.controlled) == (None, None)
    assert why in found.why


def test_separation_is_where_a_threshold_parts_wins_from_losses() -> None:
    x = np.array([-2.0, -1.0, 1.0, 2.0])
    assert separated(x, np.array([0.0, 0.0, 1.0, 1.0]))
    assert separated(x, np.array([0.0, 0.5, 1.0, 1.0]))  # a tie on the border is on both sides
    assert not separated(x, np.array([0.0, 1.0, 0.0, 1.0]))
    assert not separated(x, np.array([0.5, 1.0, 0.0, 0.5]))


def controls(one: Orders, count: int = 30) -> dict[int, Orders]:
    return dict.fromkeys(range(count), one)


@pytest.mark.parametrize(
    ("said", "trust", "words"),
    [
        (PairVerdicts([("first", "first")] * 40), "none", "it prefers the first answer"),
        (PairVerdicts([("second", "second")] * 40), "none", "it prefers the second answer"),
        (PairVerdicts([("tie", "tie")] * 40), "none", "calls every pair a tie"),
        (PairVerdicts([(None, "first")] * 40), "none", "no verdict that can"),
        (PairVerdicts([("first", "tie")] * 40), "none", "names no winner in both orders"),
        (PairVerdicts([WINS, ("first",) * 2, LOSES, ("second",) * 2] * 10), "none", "half of a coin's"),
        (PairVerdicts([WINS] * 3 + [("tie", "tie")] * 37), "none", "half of a coin's"),  # too few to tell
        (PairVerdicts([WINS] * 30 + [LOSES] * 10, padded=controls(WINS)), "little", "sentences"),
        (PairVerdicts([WINS] * 40, blind=controls(WINS)), "little", "hardly looks"),
        (PairVerdicts([WINS] * 30 + [("first", "first")] * 10), "little", "leans to the first"),
        (PairVerdicts([WINS] * 40, same={n: "first" for n in range(30)}), "little", "ties an answer"),
        (PairVerdicts([WINS] * 30 + [LOSES] * 10, controls(LOSES), controls(TIE)), "some", "Nothing was"),
    ],
)  # fmt: skip
def test_planted_judges_are_told(said: PairVerdicts, trust: str, words: str) -> None:
    told = told_of_pairs(score_pairs(pairs(40), said), NAMES)
    assert told.trust == trust
    assert words in told.judge
    assert ("No winner can be called" in told.winner) >= (trust == "none")


def test_who_is_longer_and_wins_is_no_winner_unless_padding_does_not_win() -> None:
    all_longer = [Pair(str(n), str(n), "?", ("x" * (60 + n), "y" * 20)) for n in range(30)]
    alone = told_of_pairs(score_pairs(all_longer, PairVerdicts([WINS] * 30)), NAMES)
    assert "No winner can be called" in alone.winner
    assert "the longer answer wins" in alone.judge
    cleared = PairVerdicts([WINS] * 30, padded=controls(("tie", "tie")))
    told = told_of_pairs(score_pairs(all_longer, cleared), NAMES)
    assert told.winner.startswith("ours is judged better")


def test_grades_have_a_mean_a_slope_and_an_agreement() -> None:
    singles = [Single(str(n), str(n), "?", "x" * (10 + 7 * n), n % 9 + 1.0) for n in range(40)]
    score = score_grades(singles, Grades([n % 9 + 1 for n in range(39)] + [None], {0: 1, 1: 9}, {0: 3, 1: 5}))
    assert score.rate.value == pytest.approx(np.mean([n % 9 + 1 for n in range(39)]))
    assert (score.rate.missing, score.blind.value, score.padded.scale * score.padded.value) == (1, 0.5, 2.5)
    assert score.slope is not None
    x = np.array([10 + 7 * n for n in range(39)])
    slope = np.polyfit((x - x.mean()) / x.std(), [n % 9 + 1 for n in range(39)], 1)[0]
    assert score.slope.value == pytest.approx(slope)
    assert score.agreed is not None
    assert score.agreed.value == pytest.approx(1)
    same = told_of_grades(score_grades(singles, Grades([7] * 40)), "ours")
    assert (same.trust, "all 40 answers the same grade" in same.judge) == ("none", True)
    assert told_of_grades(score_grades(singles, Grades([None] * 40)), "ours").trust == "none"
    pads = Grades([5, 6] * 20, padded={n: 8 for n in range(20)})
    assert "raise its grade" in told_of_grades(score_grades(singles, pads), "ours").judge


def test_prompts_say_what_is_compared_and_a_blind_one_lacks_the_request() -> None:
    prompt = pair_prompt("WHY", "ONE {x}", "TWO", "how short it is")
    assert prompt.index("WHY") < prompt.index("ONE {x}") < prompt.index("TWO")
    assert "how short it is" in prompt
    assert "WHY" not in pair_prompt(None, "ONE", "TWO") + grade_prompt(None, "ONE")
    for text in ("", "short", "long " * 200):
        assert padded(text).startswith(text.rstrip())
        assert len(padded(text)) >= max(LEAST, 1.5 * len(text.rstrip()))
    assert not any(digit in "".join(PADDING) for digit in "0123456789")
