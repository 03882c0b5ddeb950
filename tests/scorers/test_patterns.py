from __future__ import annotations

import pytest

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Score, message
from espalier.scorers.registry import build_scorer


def judged(text: str, own: str = "", **settings: object) -> Score:
    facts = {"pattern": own} if own else {"none": 1}
    row = Example("a", "t", "s", (message("user", "?"),), references=("x",), facts=facts)
    return build_scorer("regex", settings, "regex").score([row], [Completion("a", text)])[0]


def test_a_pattern_of_the_recipe_or_of_the_row() -> None:
    assert judged("It was 12 days.", r"\d+ days") == Score(1.0, "", "12 days")
    assert judged("It was twelve days.", pattern=r"\d+").value == 0.0
    assert judged("", pattern=r"\d+").value == 0.0
    assert judged("12 days", pattern=r"\d+", match="full").value == 0.0
    assert judged(" 12\n", pattern=r"\d+", match="full").value == 1.0
    assert judged("YES", pattern="yes").value == 0.0
    assert judged("YES", pattern="yes", ignore_case=True).value == 1.0
    assert judged("x").value is None


def test_a_pattern_that_cannot_fail_or_is_none_is_refused() -> None:
    with pytest.raises(RecipeError, match="no answer would fail it"):
        judged("x", pattern=r"\d*")
    with pytest.raises(RecipeError, match=r"cannot be used: missing \)"):
        judged("x", pattern="(")
    assert judged("x", "(").value is None
    assert "no answer would fail it" in judged("x", "a?").why
