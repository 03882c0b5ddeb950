from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Score, message
from espalier.sandbox import patterns
from espalier.sandbox.patterns import Ask, Found, matched
from espalier.scorers.ifeval.official import OFFICIAL
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


EVIL, SLOW = r"(a+)+$", "a" * 40 + "!"


def test_a_pattern_that_would_never_end_leaves_its_answers_unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 0.2)
    monkeypatch.setattr(patterns, "LATE", 2)
    texts = ["aaa", SLOW, "b", SLOW, SLOW, "aaa"]
    row = Example("a", "t", "s", (message("user", "?"),), references=("x",))
    started = time.monotonic()
    scores = build_scorer("regex", {"pattern": EVIL}, "regex").score(
        [row] * len(texts), [Completion("a", text) for text in texts]
    )
    assert time.monotonic() - started < 10  # two that are late, and the process anew
    assert [score.value for score in scores] == [1.0, None, 0.0, None, None, None]
    assert "takes over" in scores[1].why
    row_of_its_own = judged(SLOW, EVIL)
    assert row_of_its_own.value is None


def test_a_keyword_of_ifevals_file_that_would_never_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 0.2)
    with pytest.raises(re.error, match="too long"):
        OFFICIAL["keywords:existence"](SLOW, {"keywords": [EVIL]})


@given(st.sampled_from(["(a|b)+c*", "a?b?", "(x|yy)*", "a+b"]), st.text("abcxy", max_size=12))
def test_the_process_finds_what_is_found_here(pattern: str, text: str) -> None:
    spans = [found.span() for found in re.finditer(pattern, text)]
    (every,) = matched([Ask(pattern, text, how="all")])
    assert every == Found(len(spans), *(spans[0] if spans else (0, 0)))
    (whole,) = matched([Ask(pattern, text, how="full")])
    assert whole.times == (re.fullmatch(pattern, text) is not None)
