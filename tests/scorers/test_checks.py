from __future__ import annotations

import pytest

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Score, Scorer, message
from espalier.scorers.checks import CheckScorer, all_passed
from espalier.scorers.registry import scorers
from espalier.tasks.checks import Verdict

ROW = Example("a", "t", "s", (message("user", "prompt"),), references=("r",), input="four words in here")


def judged(scorer: Scorer, row: Example, completion: Completion) -> Score:
    return scorer.score([row], [completion])[0]


def short(task_input: str, output: str | None) -> Verdict:
    return Verdict(len(output or "") <= len(task_input), "It is longer than the input.")


def shy(task_input: str, output: str | None) -> Verdict:
    return Verdict(None if output == "hm" else True, "It cannot be told.")


def test_each_check_is_a_score_with_its_reason() -> None:
    scorer = CheckScorer({"short": short, "shy": shy})
    assert judged(scorer, ROW, Completion("a", "ok")).value == 1.0
    assert judged(scorer, ROW, Completion("a", "hm")) == Score(None, "shy: It cannot be told.")
    assert judged(scorer, ROW, Completion("a", "x" * 40)) == Score(0.0, "short: It is longer than the input.")
    assert scorer.each(ROW, Completion("a", "hm"))["short"].value == 1.0


def test_a_broken_check_outweighs_one_that_cannot_judge() -> None:
    assert all_passed({"a": Score(None, "?"), "b": Score(0.0, "no")}).value == 0.0
    assert all_passed({}).value == 1.0


def test_an_unknown_check_is_named() -> None:
    with pytest.raises(RecipeError, match="No check is named 'no such check'"):
        scorers.build("checks", {"names": ["no such check"]})
