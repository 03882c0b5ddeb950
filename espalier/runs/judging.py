"""What will judge the answers, tried before any is written: a run must not find out at its end.

Each scorer, check and reward judges the rows' own references. One that can say nothing of any row is refused;
what somebody else's scorer raises later, on an answer, leaves that answer unscored and the run whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, cast

from espalier.core.errors import EspalierError, RecipeError
from espalier.core.records import Completion, Measured, Metric, Score, message
from espalier.core.text import counted
from espalier.evaluate.rewards import reward_of
from espalier.evaluate.scorers.checks import check_scorer, single
from espalier.evaluate.scorers.registry import scorers
from espalier.evaluate.scorers.rouge import RougeL
from espalier.evaluate.sheet import metric
from espalier.evaluate.symptoms import of_limit
from espalier.runs.events import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.recipe import Choice
    from espalier.core.records import Example, Scorer
    from espalier.encode.template import Template
    from espalier.runs.plan import Choices

ROWS = 200  # whose references try a check
ENOUGH = 5  # references that fail a check for it to be of another task


@dataclass(frozen=True, slots=True)
class Guarded:
    """Somebody else's scorer: where it fails, or gives what is no score, the answer is not scored."""

    scorer: Scorer
    metric: Metric

    def score(self, example: Example, completion: Completion) -> Score:
        """Return the verdict; None as value, with the reason, where there is none."""
        try:
            found = cast("object", self.scorer.score(example, completion))
        except Exception as error:
            reason = str(error).split("\n", 1)[0]
            return Score(None, f"it raised {type(error).__name__}{f': {reason}' if reason else ''}")
        if not isinstance(found, Score):
            return Score(None, f"it returned {type(found).__name__}, not a Score")
        value = cast("object", found.value)
        if value is None or (isinstance(value, int | float) and math.isfinite(value)):
            return found
        return Score(None, f"it gave {value!r}")


def build_scorers(choices: Sequence[Choice]) -> dict[str, Scorer]:
    """Return the recipe's scorers by name; one that is there twice is numbered. Raises RecipeError."""
    built: dict[str, Scorer] = {}
    for index, choice in enumerate(choices):
        scorer = scorers.build(choice.kind, choice.params, f"evaluate.{index}")
        before = sum(other.kind == choice.kind for other in choices[:index])
        name = f"{choice.kind} {before + 1}" if before else choice.kind
        own = choice.kind in scorers.names()
        built[name] = scorer if own else Guarded(scorer, _metric(scorer, name, f"evaluate.{index}"))
    return built


def _metric(scorer: Scorer, name: str, where: str) -> Metric:
    """Return what somebody else's scorer measures. Raises RecipeError where it says that in another form."""
    if not isinstance(scorer, Measured):
        return metric(name)
    told = cast("object", scorer.metric)
    if not isinstance(told, Metric):
        raise RecipeError(
            f"The scorer's `metric` is {type(told).__name__}.",
            where=where,
            hint="Make it an espalier.core.records.Metric, or leave it out.",
        )
    return told


def try_judges(choices: Choices) -> None:
    """Let every scorer, check and reward judge what it will be given.

    Raises:
        RecipeError: one cannot judge any row, or a check fails every reference.
    """
    recipe, prepared, objectives = choices.recipe, choices.prepared, choices.objectives
    for index, (name, scorer) in enumerate(choices.scorers.items()):
        _try_scorer(name, scorer, prepared.test, f"evaluate.{index}")
    own = recipe.task.checks is None
    names = choices.checks
    for name in single(names):
        if name not in choices.rewarded:  # what is rewarded may be what no reference does
            _try_check(name, names, [*prepared.test, *prepared.train], prepared.task.origin if own else "")
    for number, stage in enumerate(objectives):
        where = f"train.{number}" if len(objectives) > 1 else "train"
        for place, (objective, _) in enumerate(stage):
            for name in objective.rewards:
                rows = [] if recipe.train[number].data else prepared.train
                _try_reward(name, rows, f"{where}.objective.{place}.rewards")


def answer_limit(test: Sequence[Example], template: Template, tokens: int) -> dict[str, int]:
    """Return how many test rows have no reference of that many tokens, stop token included.

    As "limit" of `scores.json`: "tokens", "too_long", and "needed", a limit under which each row has one.
    """
    needed = [size for example in test if (size := _shortest(example, template))]
    return {"tokens": tokens, "too_long": sum(n > tokens for n in needed), "needed": max(needed, default=0)}


def say_limit(test: Sequence[Example], template: Template, tokens: int) -> dict[str, int]:
    """Return the same, and say it where references do not fit: their right answers will be cut."""
    limit = answer_limit(test, template, tokens)
    for finding in of_limit({"rows": len(test), "limit": limit}):
        say(f"Note: {finding.text}")
    return limit


def _shortest(example: Example, template: Template) -> int:
    """Return the tokens of the shortest reference as an answer; 0 for none, or if it cannot be rendered."""
    from espalier.encode.tokens import encode

    if not example.references:
        return 0
    prompt = (replace(turn, trained=False) for turn in example.prompt)
    answer = message("assistant", min(example.references, key=len), trained=True)
    try:
        row = encode(replace(example, messages=(*prompt, answer), rejected=()), template)
    except EspalierError:
        return 0
    return sum(weight > 0 for weight in row.weights[row.prompt :])


def _try_scorer(name: str, scorer: Scorer, test: Sequence[Example], where: str) -> None:
    scorer = scorer.fitted(test) if isinstance(scorer, RougeL) else scorer
    verdicts = (scorer.score(example, Completion(example.id, example.answer)) for example in test)
    why = ""
    for verdict in verdicts:
        if verdict.value is not None:
            break
        why = why or verdict.why
    else:
        raise RecipeError(
            f"The scorer '{name}' can judge none of the {counted(len(test), 'test row')}"
            f"{f': {why}' if why else ''}.",
            where=where,
            hint="Mend it, or leave it out; the scorers are those of [[evaluate]].",
        )


def _try_check(name: str, names: Sequence[str], rows: Sequence[Example], origin: str) -> None:
    check = check_scorer((name,))
    answered = islice((row for row in rows if row.references), ROWS)
    verdicts = [
        [check.score(row, Completion(row.id, reference)) for reference in row.references] for row in answered
    ]
    failed = [scores[0].why for scores in verdicts if not any(score.value for score in scores)]
    if len(failed) == len(verdicts) >= ENOUGH:
        others = ", ".join(f'"{other}"' for other in names if other != name)
        raise RecipeError(
            f"The check '{name}' fails the references of all {len(failed)} rows that it was tried on, as one "
            f"of another task does. Of the first: {failed[0].removeprefix(f'{name}: ')}",
            where=origin or "task.checks",
            hint=f"Leave it out: -o 'task.checks=[{others}]'.",
        )


def _try_reward(name: str, rows: Sequence[Example], where: str) -> None:
    if name.startswith("model:"):  # loaded when its stage begins
        return
    reward = reward_of(name, where)
    if name == "diversity" or not rows:  # diversity says something of any two answers
        return
    for row in rows[:ROWS]:
        try:
            (value,) = reward([row], [Completion(row.id, row.answer)])
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise RecipeError(
                f"The reward '{name}' failed on {row.answer!r}: {told}.", where=where
            ) from error
        if value is not None:
            return
    raise RecipeError(
        f"The reward '{name}' can judge none of {counted(len(rows[:ROWS]), 'row')}: it gave None for the "
        "reference of each.",
        where=where,
    )
