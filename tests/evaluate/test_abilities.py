"""What is said of the general questions: a planted loss is found and named, and none is invented."""

from __future__ import annotations

from dataclasses import replace

from espalier.core.records import Completion, Score
from espalier.evaluate.abilities import compared, judged, options_of, written
from espalier.evaluate.forgetting import RIGHT, fallen, sentence
from espalier.evaluate.scores import Scores
from espalier.tasks.abilities import abilities

EXAMPLES = abilities()


def verdicts(worse: str = "") -> dict[str, list[Score]]:
    """Judge a model that knows all, but for one kind of questions."""
    logprobs = [
        [-9.0 if example.task == worse else -1.0, *[-5.0] * (len(options) - 1)]
        for example, options in zip(EXAMPLES, options_of(EXAMPLES), strict=True)
    ]
    answers = {
        example.id: Completion(example.id, "" if example.task == worse else example.references[0])
        for example in written(EXAMPLES)
    }
    return judged(EXAMPLES, logprobs, answers)


def test_the_kind_that_was_forgotten_is_named_and_no_other() -> None:
    for kind in ("knowledge", "form"):
        scores = compared(EXAMPLES, {"tuned": verdicts(kind), "base": verdicts()}, 0)
        assert {group.name.split(":")[0] for group in fallen(scores)} == {kind, "micro"}
        assert f"on {kind} from 100.0 to 0.0 %" in sentence(scores)


def test_where_nothing_changed_it_says_how_much_would_have_been_seen() -> None:
    half = {RIGHT: [Score(float(place % 2)) for place in range(len(EXAMPLES))]}
    scores = compared(EXAMPLES, {"tuned": half, "base": half}, 0)
    assert not fallen(scores)
    assert sentence(scores).startswith("No forgetting can be seen: right answers changed by +0.0 points")
    assert "would mostly not be seen" in sentence(scores)


def test_options_that_are_as_likely_as_the_right_one_are_no_right_answer() -> None:
    flat = [[-1.0] * len(options) for options in options_of(EXAMPLES)]
    answers = {example.id: Completion(example.id, "") for example in EXAMPLES}
    assert {score.value for score in judged(EXAMPLES, flat, answers)[RIGHT]} == {0.0}


def test_they_are_read_back_as_they_were_written() -> None:
    asked = compared(EXAMPLES, {"tuned": verdicts("form"), "base": verdicts()}, 0)
    whole = replace(Scores(), abilities=asked)
    again = Scores.of(whole.plain()).abilities
    assert again is not None
    assert sentence(again) == sentence(asked)
    assert again["tuned"].keys() == asked["tuned"].keys()
