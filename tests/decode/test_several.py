"""What is chosen among several samples: the best by some measure, or what most of them say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Score, message
from espalier.decode.engine import generate, stream
from espalier.decode.journal import Generations
from espalier.decode.picking import limited, picked
from espalier.decode.strategies.registry import strategies
from espalier.decode.strategies.several import last_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import LlamaForCausalLM

    from espalier.decode.strategy import Strategy
    from espalier.encode.template import Template

ROW = Example("row", "task", "row", (message("user", "How many?"),), references=("7",))


def chosen(strategy: Strategy, texts: Sequence[str], logprobs: Sequence[float] = ()) -> Completion:
    """Return which of these answers, of one token each, is chosen."""
    assert strategy.pick is not None
    rows = zip(texts, logprobs or [-1.0] * len(texts), strict=True)
    several = [Completion("row", text, (1,), n, one) for n, (text, one) in enumerate(rows)]
    (found,) = picked(lambda examples, of: several, [ROW], strategy.pick)
    assert found.sample == 0
    return found


def test_the_likeliest_by_token_is_the_best():
    strategy = strategies.build("best_of", {"n": 3})
    assert chosen(strategy, ["a", "b", "c"], [-2.0, -1.0, -3.0]).text == "b"
    assert strategy.pick is not None
    long = [
        Completion("row", str(n), (1,) * n, n - 1, total) for n, total in ((1, -1.0), (4, -3.0), (2, -2.5))
    ]
    (found,) = picked(lambda examples, of: long, [ROW], strategy.pick)
    assert found.text == "4"


def few_words(example: Example, text: str) -> float | None:
    assert not example.references
    assert example.answer == ""
    return None if text == "?" else -float(len(text.split()))


def test_a_reward_chooses_without_seeing_the_reference(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    strategy = strategies.build("best_of", {"n": 4, "by": "test_several:few_words"})
    assert chosen(strategy, ["a b c", "a b", "?", "b a"], [-1, -2, 0, -1.5]).text == "b a"
    assert chosen(strategy, ["?", "?", "?", "?"], [-1, -0.5, -2, -3]).logprob == -0.5
    exact = strategies.build("best_of", {"n": 2, "by": "exact_match"})
    assert chosen(exact, ["8", "7"], [-1, -2]).text == "8"


def test_a_reward_model_is_loaded_where_it_is_named():
    class Longer:
        metric = None

        def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
            return [Score(float(len(one.text))) for one in completions]

    strategy = strategies.build("best_of", {"n": 2, "by": "model:runs/reward"})
    assert strategy.pick is not None
    several = [Completion("row", text, (1,), n, -1.0) for n, text in enumerate(["a", "bb"])]
    asked: list[list[str]] = []

    def raters(names):
        asked.append([*names])
        return {"model:runs/reward": Longer()}

    (found,) = picked(lambda examples, of: several, [ROW], strategy.pick, raters)
    assert found.text == "bb"
    assert asked == [["model:runs/reward"]]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 3 and 4 make 7.", "7"),
        ("It costs $1,250.50", "1250.5"),
        ("-2", "-2"),
        ("07", "7"),
        ("7.0", "7"),
        ("#### 42\n", "42"),
        ("room B12", None),
        ("none", None),
        ("1,000,000", "1000000"),
    ],
)
def test_the_last_number_is_read_in_one_way(text: str, number: str | None):
    assert last_number(text) == number


def test_most_votes_win_and_of_as_many_the_likelier():
    strategy = strategies.build("self_consistency", {"n": 5})
    found = chosen(strategy, ["7", "it is 8", "8.0", "7", "none"], [-1, -0.1, -0.2, -1, 0])
    assert (found.text, found.votes) == ("it is 8", 2)
    found = chosen(strategy, ["7", "7", "7.0", "8", "8"], [-9, -8, -9, 0, 0])
    assert (found.text, found.votes) == ("7", 3)
    found = chosen(strategy, ["a", "b", "c", "d", "e"], [-9, -8, -1, -3, -5])
    assert (found.text, found.votes) == ("c", 0)
    exact = strategies.build("self_consistency", {"n": 3, "answer": "exact"})
    assert chosen(exact, ["Two  hours", "one", "two hours"]).votes == 2


@given(st.lists(st.tuples(st.sampled_from("1234"), st.floats(-9, 0)), min_size=2, max_size=12))
def test_nothing_has_more_votes_than_what_is_chosen(drawn: list[tuple[str, float]]):
    texts, logprobs = [text for text, _ in drawn], [one for _, one in drawn]
    found = chosen(strategies.build("self_consistency", {"n": len(drawn)}), texts, logprobs)
    assert found.votes == texts.count(found.text) == max(texts.count(text) for text in texts)
    sums = {text: sum(one for said, one in drawn if said == text) for text in texts}
    assert all(sums[text] <= sums[found.text] + 1e-9 for text in texts if texts.count(text) == found.votes)


def test_the_samples_are_kept_and_more_of_them_cost_only_the_difference(
    talker: LlamaForCausalLM, template: Template, questions: list[Example], tmp_path: Path, one_thread: None
):
    def write(kind: str, params: dict[str, object], journal: Generations) -> dict[str, Completion]:
        strategy = strategies.build(kind, {"limit": 6, "temperature": 1.0, **params})
        found = list(generate(talker, template, questions, strategy, journal=journal))
        assert len(found) == len(questions) * strategy.samples
        return {one.example: one for one in found}

    journal = Generations(tmp_path / "generations.jsonl")
    best = write("best_of", {"n": 3}, journal)
    made = journal.made
    assert made == 3 * (len(questions) - 1)  # two of them ask the same
    sampled = list(
        generate(
            talker,
            template,
            questions,
            strategies.build("sample", {"limit": 6, "samples": 3}),
            journal=journal,
        )
    )
    assert journal.made == made
    for example in questions:
        own = [one for one in sampled if one.example == example.id]
        likeliest = max(own, key=lambda one: (one.logprob or 0) / len(one.ids))
        assert best[example.id] == replace(likeliest, sample=0)
    write("self_consistency", {"n": 4}, journal)
    assert journal.made == made + len(questions) - 1
    one = questions[2]
    strategy = limited(strategies.build("best_of", {"limit": 9, "n": 3}), 6)
    assert "".join(stream(talker, template, one.prompt, strategy))


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("best_of", {"n": 1}, "decode.n: n = 1 does not fit: it must be at least 2"),
        ("best_of", {"by": "lenght"}, "decode.by: No reward is named 'lenght'"),
        (
            "self_consistency",
            {"answer": "numbers"},
            "decode.answer: No way .* 'numbers'.* Did you mean 'numeric'",
        ),
        ("self_consistency", {"temperature": 0.0}, "decode.temperature"),
    ],
)
def test_bad_settings_are_refused(kind: str, params: dict[str, object], message: str):
    with pytest.raises(RecipeError, match=message):
        strategies.build(kind, params, "decode")
