"""What an answer is worth: by a check, a scorer, a function of one's own, and by being different."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, message
from espalier.evaluate.rewards import Diversity, reward_of, rewarded

if TYPE_CHECKING:
    from pathlib import Path


def example(name: str, *references: str, given: str = "The meeting began at noon.") -> Example:
    return Example(name, "task", name, (message("user", given),), references or ("x",), input=given)


def said(name: str, text: str) -> Completion:
    return Completion(name, text)


def values(reward, *pairs: tuple[str, str]) -> list[float | None]:
    scores = reward.score([example(name) for name, _ in pairs], [said(*pair) for pair in pairs])
    return [score.value for score in scores]


def test_diversity_by_hand():
    found = values(
        Diversity(),
        ("a", "How long?"),
        ("a", "how  LONG? "),
        ("b", "How long?"),
        ("b", "When?"),
        ("c", "Why?"),
    )
    assert found == [1 - 1 / 3, 1 - 1 / 3, 1 - 2 / 3, 1.0, 1.0]


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=12), st.text(max_size=5))
def test_one_constant_answer_is_worth_nothing_everywhere(names: list[str], text: str):
    found = values(Diversity(), *((name, text) for name in names))
    assert set(found) == ({0.0} if len(set(names)) > 1 else {None})


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", "Y", "z"])), min_size=2))
def test_diversity_compares_each_answer_with_those_to_other_prompts(pairs: list[tuple[str, str]]):
    for (name, text), found in zip(pairs, values(Diversity(), *pairs), strict=True):
        others = [other.lower() != text.lower() for prompt, other in pairs if prompt != name]
        assert found == (pytest.approx(sum(others) / len(others)) if others else None)


def test_answers_to_one_prompt_cannot_be_compared():
    assert values(Diversity(), ("a", "x"), ("a", "y")) == [None, None]


def test_a_check_a_scorer_and_a_function_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "short_rules.py").write_text(
        "def short(example, text):\n    return None if not text else len(text) < len(example.input)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    questions = [example("a", "How long did it last?"), example("b", "How long did it last?")]
    answers = [said("a", "How long did it last?"), said("b", "")]
    found = {
        name: [score.value for score in reward_of(name, "here").score(questions, answers)]
        for name in ("asks_duration", "exact_match", "rouge_l", "short_rules:short")
    }
    assert found == {
        "asks_duration": [1.0, 0.0],
        "exact_match": [1.0, 0.0],
        "rouge_l": [1.0, 0.0],
        "short_rules:short": [1.0, None],
    }
    assert all(type(value) in (float, type(None)) for column in found.values() for value in column)


def test_rewards_add_up_by_their_weights_and_what_is_not_judged_is_unknown():
    questions = [example(name, "x") for name in "ab"]
    answers = [said("a", "x"), said("b", "y")]
    parts, sums = rewarded({"exact_match": 2.0, "diversity": -0.5}, questions, answers, "here")
    assert parts == [{"exact_match": 1.0, "diversity": 1.0}, {"exact_match": 0.0, "diversity": 1.0}]
    assert sums == [1.5, -0.5]
    parts, sums = rewarded({"exact_match": 2.0, "diversity": 1.0}, questions[:1], answers[:1], "here")
    assert parts == [{"exact_match": 1.0, "diversity": None}]
    assert math.isnan(sums[0])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("diversty", "No reward is named 'diversty'. Did you mean 'diversity'?"),
        ("ask_duration", "Did you mean 'asks_duration'?"),
        ("no_such_module:f", "'no_such_module:f' cannot be imported"),
        ("json:lods", "'json' has no function 'lods'. Did you mean 'loads'?"),
    ],
)
def test_an_unknown_reward_is_named(name: str, said: str):
    with pytest.raises(RecipeError) as caught:
        reward_of(name, "train.objective.rewards")
    assert said in str(caught.value)
    assert caught.value.where == "train.objective.rewards"
