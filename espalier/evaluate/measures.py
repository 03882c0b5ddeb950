"""What is measured, by name: what a scorer says of itself, what is known of the rest, and the floors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.core.errors import DataError
from espalier.core.records import Measured, Metric, Scorer
from espalier.core.text import counted
from espalier.scorers.exact import EXACT_MATCH
from espalier.scorers.rouge import RougeL
from espalier.tasks.checks import checks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Completion, Example, Score

ALL = "all_checks"
AS_IS = "model"  # the system that is evaluated without training
# Systems that need no model, or see nothing, in words.
FLOORS = {
    "copy": "a copy of the input",
    "lead": "the first words of the input",
    "constant": "one constant answer",
    "majority": "the most frequent training answer",
    "random": "a label drawn at random",
    "example": "the first example's answer",
    "longer": "taking the longer answer",
    "question": "the best constant answer to each question",
    "blind": "the model itself without the media",
    "shuffled": "the model itself with another row's media",
}
# Of what no scorer measures, and for scores that do not say it themselves.
KNOWN = {
    "rouge_l": RougeL(official=True).metric,
    "exact_match": EXACT_MATCH,
    ALL: Metric(
        "Passes all checks",
        phrase="the share of answers that pass every check",
        unit="%",
        note="The share of answers that keep every caution of the task.",
    ),
    "pair_accuracy": Metric(
        "Pairs in the right order",
        phrase="the share of pairs in the right order",
        unit="%",
        note="The share of held-out pairs whose better answer is rated higher; guessing reaches 50. “base” "
        "takes the answer that it finds likelier, “longer” the longer one.",
        floors={"guessing": 0.5},
    ),
}


def scores_by(
    scorer: Scorer, examples: Sequence[Example], answers: Sequence[Completion], name: str = "The scorer"
) -> list[Score]:
    """Return what a scorer says of answers. Raises DataError where it gives more or fewer than there are."""
    found = scorer.score(examples, answers)
    if len(found) != len(answers):
        raise DataError(
            f"{name} gave {counted(len(found), 'score')} for {counted(len(answers), 'answer')}.",
            hint="`score` returns one for each, in their order, with None as value where it cannot judge.",
        )
    return found


def metric_of(measure: str, scorer: Scorer | None = None) -> Metric:
    """Return what a measure is: what its scorer says, or what is known of it, or what its name says."""
    if isinstance(scorer, Measured):
        return scorer.metric
    name = measure.rpartition(":")[2].replace("_", " ")
    own = Metric(name[:1].upper() + name[1:], unit="%" if measure in checks.names() else "")
    return KNOWN.get(measure, own)
