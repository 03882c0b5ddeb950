from __future__ import annotations

import pytest

from espalier.core.errors import DataError
from espalier.core.records import Example, Score, message
from espalier.evaluate.pairs import evaluate_pairs, pairs_of


def _pair(number: int, *rejected: str, answer: str = "good") -> Example:
    turns = (message("user", f"q{number}"), message("assistant", answer, trained=True))
    return Example(f"id{number}", "t", f"source {number}", turns, (), rejected)


def test_only_pairs_can_be_scored() -> None:
    pair, alone = _pair(0, "bad"), _pair(1)
    down = Example("id2", "t", "s", (message("user", "q"),), (), ("bad",))
    assert pairs_of([alone, pair, down]) == [pair]
    with pytest.raises(DataError, match="None of the 2 test rows has both"):
        pairs_of([alone, down])


def test_the_share_of_pairs_in_order_with_its_interval_and_its_difference() -> None:
    examples = [_pair(0, "bad"), _pair(1, "bad", "worse"), _pair(2, "bad"), _pair(3, "bad")]
    tuned = [[2.0, 1.0], [0.0, 1.0, -1.0], [1.0, 1.0], [3.0, -3.0]]
    longer = [[1.0, 2.0]] * 1 + [[1.0, 2.0, 3.0]] + [[1.0, 2.0]] * 2
    scores = evaluate_pairs(examples, {"tuned": tuned, "longer": longer})
    share = scores["tuned"]["pair_accuracy"]
    assert share.value == pytest.approx((1 + 0.5 + 0.5 + 1) / 4)
    assert share.low < share.value < share.high
    gap = scores.differences[0]
    assert (gap.a, gap.b) == ("tuned", "longer")
    assert gap.values["pair_accuracy"].estimate.value == pytest.approx(0.75)
    assert (scores.rows, scores.sources) == (4, 4)
    assert scores.examples[1].systems["tuned"] == {"pair_accuracy": Score(0.5)}
