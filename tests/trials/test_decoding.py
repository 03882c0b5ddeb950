"""What is tried, what is seen in answers, and what is advised: on records made here, without a model."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from espalier.core.errors import RecipeError
from espalier.core.recipe import Choice
from espalier.core.records import Completion, Estimate, Metric, Score
from espalier.evaluate.compare import estimate
from espalier.trials.decoding_advice import advised
from espalier.trials.decoding_answers import repeated, seen_in
from espalier.trials.decoding_asking import together
from espalier.trials.decoding_gates import of_gates
from espalier.trials.decoding_page import log_ticks, render
from espalier.trials.decoding_record import Decodings, Outcome, spent
from espalier.trials.decoding_settings import parsed, settings_to_try

USUAL = Choice.model_validate({"kind": "greedy", "limit": 12})
METRIC = Metric("Right", phrase="the share of right answers", unit="%")


def names(kinds: dict[str, Any]) -> dict[str, list[str]]:
    return {kind: [one.name for one in several] for kind, several in kinds.items()}


def test_settings_are_written_as_in_a_recipe():
    assert parsed("beam").model_dump() == {"kind": "beam"}
    told = "beam beams=4  length_penalty = 0.5 early_stopping=never"
    assert parsed(told).params == {"beams": 4, "length_penalty": 0.5, "early_stopping": "never"}
    assert parsed('x:y words=["a b", "c"] on=true').params == {"words": ["a b", "c"], "on": True}
    assert parsed({"kind": "sample", "top_p": 0.9}).params == {"top_p": 0.9}


def test_kinds_have_as_many_settings_as_the_budget_and_the_recipe_is_one_of_them():
    found = settings_to_try((), USUAL, budget=2)
    assert names(found) == {
        "greedy": ["greedy", "greedy no_repeat=3"],
        "beam": ["beam beams=4", "beam beams=2"],
        "sample": ["sample temperature=0.7", "sample temperature=1.0 top_p=0.9"],
    }
    assert {one.limit for several in found.values() for one in several} == {12}
    assert [one.params["seed"] for one in found["sample"][0].choices] == [0, 1, 2]
    usual = Choice.model_validate({"kind": "sample", "top_k": 5, "samples": 4, "seed": 7})
    own = settings_to_try((), usual)["sample"]
    assert own[0].name == "sample top_k=5 seed=7"
    assert len(own) == 4
    assert [one.params["seed"] for one in own[0].choices] == [7, 8, 9, 10]
    assert all(one.params["samples"] == 1 for one in own[0].choices)


def test_what_is_the_same_is_tried_once():
    found = settings_to_try(["greedy", "greedy limit=12 no_repeat=0", "beam"], USUAL)
    assert names(found) == {"greedy": ["greedy"], "beam": ["beam"]}


@pytest.mark.parametrize("number", ["budget", "samples"])
def test_nothing_is_tried_no_times(number: str):
    with pytest.raises(RecipeError, match=number):
        settings_to_try((), USUAL, **{number: 0})


def test_repetition_is_of_runs_of_four_tokens():
    assert repeated([1, 2, 3]) is None
    assert repeated([1, 2, 3, 4]) == 0
    assert repeated([5] * 8) == pytest.approx(1 - 1 / 5)
    seen = seen_in(
        [
            [
                Completion("a", "one two one two", (1,) * 5, finish="length"),
                Completion("b", "One, two one two!", (1, 2, 3)),
            ]
        ],
        ["s", "t"],
    )
    assert (seen.tokens.value, seen.repetition.value, seen.cut.value) == (4.0, 0.5, 0.5)
    assert seen.repetition.missing == 1
    assert (seen.distinct, seen.distinct_2) == (1, pytest.approx(2 / 6))


def test_several_samples_of_a_row_are_their_mean():
    assert together([Score(1.0, parts=(2.0,)), Score(0.0, parts=(4.0,))]) == Score(0.5, parts=(3.0,))
    assert together([Score(1.0, parts=(2.0,)), Score(None)]) == Score(None)


def study(rounds: list[list[float]], *columns: list[float], metric: Metric = METRIC) -> Decodings:
    """Return what is said of settings with these values and times."""
    count = len(columns[0])
    sources = {str(i): f"s{i}" for i in range(count)}
    scored = {
        f"way {n}": [Score(None, parts=(v, 1.0)) if metric.fold else Score(v) for v in column]
        for n, column in enumerate(columns)
    }
    answers = [Completion(row, "text", (1, 2)) for row in sources]
    unknown = Estimate(float("nan"), float("nan"), float("nan"), 0)
    medians = np.median(rounds, axis=0)
    tested = tuple(
        Outcome(
            setting=name,
            decode={"kind": "greedy"},
            samples=1,
            scores={"right": estimate(metric, column, [*sources.values()])},
            best=None,
            seconds=replace(unknown, value=float(medians[n])),
            cpu=unknown,
            prompt=3.0,
            seen=seen_in([answers], [*sources.values()]),
        )
        for n, (name, column) in enumerate(scored.items())
    )
    found = Decodings(
        name="run", model="the tuned model", measure="right", metric=metric, metrics={"right": metric},
        tested=tested, tried=(), rows=count, sources=count, dev_rows=0, dev_sources=0, timed_rows=count,
        rounds=len(rounds), precision="fp32", gates={"beam 1 = greedy": ""},
    )  # fmt: skip
    return advised(found, scored, sources, np.array(rounds))


def test_of_two_that_are_equal_the_cheaper_is_named():
    right = [1.0] * 20 + [0.0] * 20
    found = study([[0.3, 0.1, 0.5], [0.32, 0.1, 0.5], [0.28, 0.11, 0.5]], right, right, [0.0] * 40)
    assert (found.best, found.advised) == ("way 0", "way 1")
    assert found["way 1"].tied
    assert found.sentence.startswith("Take way 1: the share of right answers is 50.0 % at 0.10 s a row. ")
    assert "No difference can be seen to way 0 (50.0 %, the same on every row; " in found.sentence
    assert "or more could mostly have been seen" in found.sentence
    assert re.search(r"which takes 3\.0 times as long \(2\.\d to 3\.\d\)\.$", found.sentence)
    assert [one.front for one in found.tested] == [False, True, False]
    assert [one.probability for one in found.tested] == [0, 1, 0]
    assert found.notes == ()


def test_what_is_surely_better_is_named_though_it_is_slow():
    found = study([[0.1, 0.9]] * 3, [0.0, 1.0] * 30, [1.0] * 60)
    assert found.advised == found.best == "way 1"
    assert not found["way 0"].tied
    assert found.sentence.endswith("and nothing that is faster is as good.")
    assert all(one.front for one in found.tested)


def test_of_what_should_be_low_the_lowest_is_best():
    found = study([[0.1, 0.1]] * 3, [0.2, 0.9] * 30, [0.1, 0.2] * 30, metric=Metric("Error", better="lower"))
    assert found.best == "way 1"


def test_times_that_are_alike_are_not_told_apart():
    right = [1.0, 0.0] * 20
    found = study([[0.11, 0.1], [0.1, 0.11], [0.12, 0.1]], right, [0.0, *right[1:]])
    assert found.advised == "way 1"
    assert found.sentence.endswith("which takes about as long.")


def test_a_measure_that_tells_nothing_apart_is_said_to():
    found = study([[0.2, 0.1]] * 3, [0.0] * 30, [0.0] * 30)
    assert found.advised == "way 1"
    assert "All settings are worth the same on every row" in found.sentence
    folds = Metric("Ratio", fold=lambda sums: sums[0] / sums[1])
    assert "on every row" not in study([[0.2, 0.1]] * 3, [0.5] * 30, [0.5] * 30, metric=folds).sentence


def test_few_sources_are_told_with_what_they_could_have_shown():
    found = study([[0.1, 0.2]] * 3, [1.0, 0.0] * 4, [1.0] * 6 + [0.0] * 2)
    (note,) = found.notes
    assert re.fullmatch(
        r"The test rows are of 8 sources: only differences of \d+ points or more could mostly .*",
        note,
    )


def test_what_gates_find_in_a_coarse_format_is_explained():
    local: Any = SimpleNamespace(loaded=SimpleNamespace(formats=SimpleNamespace(decoding="bf16")))
    assert of_gates({"beam 1 = greedy": ""}, local) == []
    (note,) = of_gates({"beam 1 = greedy": "2 of 8 prompts differ", "cached = uncached": ""}, local)
    assert note.startswith("Not the same in bf16: beam 1 = greedy (2 of 8 prompts differ). Rounding depends")


def test_where_nothing_was_judged_nothing_is_advised():
    found = study([[0.1, 0.2]] * 3, *[[None] * 5] * 2)  # pyright: ignore[reportArgumentType]
    assert found.advised == ""
    assert found.sentence == "Nothing can be said by the share of right answers: it judged no answer."
    assert "Nothing can be said" in render(found)
    assert found.plain()["tested"][0]["scores"]["right"]["value"] is None


def test_the_page_shows_every_setting_and_takes_nothing_from_elsewhere():
    found = study([[0.1, 0.2, 0.02]] * 3, [1.0, 0.0] * 20, [1.0] * 40, [0.0] * 40)
    hostile = replace(found, tested=(replace(found.tested[0], setting="<b>x</b>"), *found.tested[1:]))
    page = render(hostile)
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert page.count("0.00%;top:") + page.count("%;top:") >= 3
    assert not re.findall(r"<script|(?:src|href)=|https?://|nan", page)


def test_seconds_are_short_and_ticks_enclose():
    assert [spent(value) for value in (0.00123, 0.999, 12.34, 140.2, 0.0)] == [
        "0.0012",
        "1.00",
        "12",
        "140",
        "0",
    ]
    assert log_ticks([0.012, 0.7]) == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    assert log_ticks([1.0, 1.0]) == [1.0, 2.0]
