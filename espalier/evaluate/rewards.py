"""What answers are rewarded for while a model learns from its own: checks, scorers, and being different.

A reward judges all answers of a round at once, because some can be judged only together. Whatever is
rewarded is learned, also what nobody meant: leave some of a task's checks out of the rewards, and look at
those in the report (`docs/training.md`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

from espalier.core.errors import RecipeError, nearest
from espalier.core.registry import imported
from espalier.core.text import folded
from espalier.evaluate.scorers.registry import scorers
from espalier.tasks.checks import checks

if TYPE_CHECKING:
    from espalier.core.records import Completion, Example

# From examples and an answer to each, several in turn to the same one, to what each is worth; None: unknown.
Reward: TypeAlias = "Callable[[Sequence[Example], Sequence[Completion]], list[float | None]]"
NONE: Mapping[str, Reward] = {}


def diversity(examples: Sequence[Example], answers: Sequence[Completion]) -> list[float | None]:
    """Return for each answer the share of answers to *other* prompts that say something else.

    One constant answer to everything has 0. Upper and lower case and spaces make no difference.
    """
    said = [folded(answer.text) for answer in answers]
    everywhere = Counter(said)
    here = Counter((example.id, text) for example, text in zip(examples, said, strict=True))
    own = Counter(example.id for example in examples)
    found: list[float | None] = []
    for example, text in zip(examples, said, strict=True):
        others = len(said) - own[example.id]
        same = everywhere[text] - here[example.id, text]
        found.append(1 - same / others if others else None)
    return found


def reward_of(name: str, where: str, raters: Mapping[str, Reward] = NONE) -> Reward:
    """Return the reward of that name: "diversity", a check, a scorer, or "module:function".

    A function of one's own takes an `Example` and the answer's text, and returns a number, or None where it
    cannot judge. `raters` are further ones by their names: reward models, which this room knows nothing of.

    Raises:
        RecipeError: there is none.
    """
    if name in raters:
        return raters[name]
    if name == "diversity":
        return diversity
    if name in checks.names():
        check = checks.build(name, {})
        return _each(lambda example, answer: check(example.input, answer.text).ok)
    if name in scorers.names():
        scorer = scorers.build(name, {}, where)
        return _each(lambda example, answer: scorer.score(example, answer).value)
    if ":" in name:
        function = cast("Callable[[Example, str], float | None]", imported(name, where))
        return _each(lambda example, answer: function(example, answer.text))
    known = ["diversity", *checks.names(), *scorers.names()]
    raise RecipeError(f"No reward is named '{name}'.", where=where, hint=nearest(name, known))


def rewarded(
    names: Mapping[str, float],
    examples: Sequence[Example],
    answers: Sequence[Completion],
    where: str,
    raters: Mapping[str, Reward] = NONE,
) -> tuple[list[dict[str, float | None]], list[float]]:
    """Return what each reward says of each answer, and the sums by the rewards' weights.

    A sum is nan where one of its rewards could not judge.
    """
    columns = {name: reward_of(name, where, raters)(examples, answers) for name in names}
    rows = [{name: column[place] for name, column in columns.items()} for place in range(len(answers))]
    sums = [
        sum(
            weight * (float("nan") if (value := row[name]) is None else value)
            for name, weight in names.items()
        )
        for row in rows
    ]
    return rows, sums


def _each(judge: Callable[[Example, Completion], float | bool | None]) -> Reward:
    def reward(examples: Sequence[Example], answers: Sequence[Completion]) -> list[float | None]:
        found = [judge(example, answer) for example, answer in zip(examples, answers, strict=True)]
        return [None if value is None else float(value) for value in found]

    return reward
