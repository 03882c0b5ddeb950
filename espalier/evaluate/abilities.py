"""What a model says to the bundled questions of general ability, judged, and compared before and after."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from espalier.core.records import Score
from espalier.evaluate.forgetting import LIKELY, METRICS, RIGHT
from espalier.evaluate.harness import estimated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.records import Completion, Example
    from espalier.evaluate.scores import Scores


def options_of(examples: Sequence[Example]) -> list[list[str]]:
    """Return what the likelihood is asked of: each question's options, or the one answer that is known."""
    return [[*example.facts.get("options", example.references[:1])] for example in examples]


def written(examples: Sequence[Example]) -> list[Example]:
    """Return the questions that are answered freely."""
    return [example for example in examples if "passes" in example.facts]


def judged(
    examples: Sequence[Example], logprobs: Sequence[Sequence[float]], answers: Mapping[str, Completion]
) -> dict[str, list[Score]]:
    """Return the verdicts on one model by measure.

    Args:
        examples: the questions.
        logprobs: of each question's options (see `options_of`), in nats; the first is the right one's.
        answers: to the questions that are answered freely, by example.
    """
    right = [
        _obeys(example, answers[example.id])
        if "passes" in example.facts
        else _chosen(example.facts["options"], values)
        for example, values in zip(examples, logprobs, strict=True)
    ]
    return {RIGHT: right, LIKELY: [Score(values[0]) for values in logprobs]}


def compared(
    examples: Sequence[Example], systems: Mapping[str, Mapping[str, Sequence[Score]]], seed: int
) -> Scores:
    """Return the scores of models on the questions, each kind's in `groups`; the first is compared."""
    return estimated(examples, systems, METRICS, (), seed)


def _chosen(options: Sequence[str], logprobs: Sequence[float]) -> Score:
    """Return whether the first option is the likeliest; where it has an equal, it is not."""
    best = max(range(len(options)), key=lambda place: (logprobs[place], place))
    return Score(float(best == 0), answer=options[best])


def _obeys(example: Example, completion: Completion) -> Score:
    text = completion.text.strip()
    return Score(float(re.fullmatch(example.facts["passes"], text) is not None), answer=text)
