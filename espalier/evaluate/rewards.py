"""What answers are rewarded for while a model learns from its own: checks, scorers, and being different.

A reward is a scorer: it judges all answers of a round at once, because some can be judged only together.
Whatever is rewarded is learned, also what nobody meant: leave some of a task's checks out of the rewards, and
look at those in the report (`docs/training.md`).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

from espalier.core.errors import RecipeError, nearest
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.core.registry import imported
from espalier.core.text import folded
from espalier.scorers.by_row import ByRow
from espalier.scorers.checks import check_scorer
from espalier.scorers.registry import build_scorer, scorers
from espalier.tasks.checks import checks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NONE: Mapping[str, Scorer] = {}
MODEL = "model:"  # before the folder of a reward model's run, as the name of a reward


class Diversity:
    """The share of answers to *other* prompts that say something else.

    One constant answer to everything has 0. Upper and lower case and spaces make no difference.
    """

    metric = Metric("Diversity", phrase="the share of other answers that say something else", unit="%")

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return the share for each; not scored where there are no answers to other prompts."""
        said = [folded(answer.text) for answer in completions]
        everywhere = Counter(said)
        here = Counter((example.id, text) for example, text in zip(examples, said, strict=True))
        own = Counter(example.id for example in examples)
        found: list[Score] = []
        for example, text in zip(examples, said, strict=True):
            others = len(said) - own[example.id]
            same = everywhere[text] - here[example.id, text]
            found.append(Score(1 - same / others if others else None))
        return found


def reward_of(name: str, where: str, raters: Mapping[str, Scorer] = NONE) -> Scorer:
    """Return the reward of that name: "diversity", a check, a scorer, or "module:function".

    A function of one's own takes an `Example` and the answer's text, and returns a number, or None where it
    cannot judge. `raters` are further ones by their names: reward models, which this room knows nothing of.

    Raises:
        RecipeError: there is none.
    """
    if name in raters:
        return raters[name]
    if name == "diversity":
        return Diversity()
    if name in checks.names():
        return check_scorer((name,))
    if name in scorers.names():
        return build_scorer(name, {}, where)
    if ":" in name:
        function = cast("Callable[[Example, str], float | None]", imported(name, where))

        def judge(example: Example, completion: Completion) -> Score:
            value = function(example, completion.text)
            return Score(None if value is None else float(value))

        return ByRow(judge, Metric(name))
    known = ["diversity", *checks.names(), *scorers.names()]
    raise RecipeError(f"No reward is named '{name}'.", where=where, hint=nearest(name, known))


def rewarded(
    names: Mapping[str, float],
    examples: Sequence[Example],
    answers: Sequence[Completion],
    where: str,
    raters: Mapping[str, Scorer] = NONE,
) -> tuple[list[dict[str, float | None]], list[float]]:
    """Return what each reward says of each answer, and the sums by the rewards' weights.

    A sum is nan where one of its rewards could not judge.
    """
    columns = {name: reward_of(name, where, raters).score(examples, answers) for name in names}
    rows = [{name: column[place].value for name, column in columns.items()} for place in range(len(answers))]
    sums = [
        sum(
            weight * (float("nan") if (value := row[name]) is None else value)
            for name, weight in names.items()
        )
        for row in rows
    ]
    return rows, sums
