"""What will judge the answers, tried before any is written: a run must not find out at its end.

Each scorer, check and reward judges the rows' own references. One that can say nothing of any row is refused;
what somebody else's scorer raises later, on an answer, leaves that answer unscored and the run whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, cast

from espalier.core.errors import EspalierError, RecipeError
from espalier.core.records import Completion, Example, Metric, Score, Scorer, message
from espalier.core.scoring import Weighing
from espalier.core.text import counted
from espalier.evaluate.measures import metric_of
from espalier.evaluate.rewards import reward_of
from espalier.evaluate.score_records import Limit
from espalier.evaluate.symptoms import of_limit
from espalier.runs.events import say
from espalier.scorers.by_row import ByRow
from espalier.scorers.checks import check_scorer, single
from espalier.scorers.registry import LISTS, fitted, named_scorers, scorers
from espalier.tasks.options import options_of, right_option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from espalier.core.recipe import Choice
    from espalier.encode.template import Template
    from espalier.runs.plan import Choices

ROWS = 200  # whose references try a check
ENOUGH = 5  # references that fail a check for it to be of another task


@dataclass(frozen=True, slots=True)
class Guarded:
    """Somebody else's scorer: where it fails, or gives what are no scores, the answers are not scored."""

    scorer: Scorer
    metric: Metric

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return the verdicts; None as value, with the reason, where there is none."""
        try:
            found = cast("object", self.scorer.score(examples, completions))
        except Exception as error:
            return [Score(None, _raised(error))] * len(completions)
        if not isinstance(found, list):
            return [Score(None, f"it returned {type(found).__name__}, not a list")] * len(completions)
        scores = [_valid(one) for one in cast("list[object]", found)]
        lengths = {len(score.parts) for score in scores if score.parts}
        if len(scores) == len(completions) and len(lengths) <= 1:
            return scores
        what = f"{len(scores)} scores for" if len(lengths) <= 1 else "different numbers of parts to"
        return [Score(None, f"it gave {what} {counted(len(completions), 'answer')}")] * len(completions)

    def fitted(self, examples: Sequence[Example]) -> Scorer:
        """Return the scorer for these rows, as guarded."""
        scorer = fitted(self.scorer, examples)
        return self if scorer is self.scorer else guarded(scorer, self.metric)


def guarded(scorer: Scorer, metric: Metric) -> Scorer:
    """Return somebody else's scorer so that what it raises stops no run; of one by row, row by row."""
    if metric.fold:
        metric = replace(metric, fold=partial(_folded, metric.fold))
    if isinstance(scorer, ByRow):
        return ByRow(partial(_judged, scorer.judge), metric)
    return Guarded(scorer, metric)


def _judged(judge: Callable[..., object], example: Example, completion: Completion) -> Score:
    try:
        return _valid(judge(example, completion))
    except Exception as error:
        return Score(None, _raised(error))


def _valid(found: object) -> Score:
    """Return a verdict, or in its place what is wrong with it."""
    if not isinstance(found, Score):
        return Score(None, f"it returned {type(found).__name__}, not a Score")
    for value in cast("list[object]", [*([] if found.value is None else [found.value]), *found.parts]):
        if not isinstance(value, int | float) or not math.isfinite(value):
            return Score(None, f"it gave {value!r}")
    return found


def _folded(fold: Callable[[Sequence[float]], float], sums: Sequence[float]) -> float:
    try:
        return float(fold(sums))
    except Exception:
        return math.nan


def _raised(error: Exception) -> str:
    reason = str(error).split("\n", 1)[0]
    return f"it raised {type(error).__name__}{f': {reason}' if reason else ''}"


def build_scorers(choices: Sequence[Choice]) -> dict[str, Scorer]:
    """Return the recipe's scorers by name (see `named_scorers`), others' guarded. Raises RecipeError."""
    built = named_scorers(choices)
    own = scorers.names()
    return {
        name: scorer if choice.kind in own else guarded(scorer, _metric(scorer, name, f"evaluate.{index}"))
        for index, (choice, (name, scorer)) in enumerate(zip(choices, built.items(), strict=True))
    }


def _metric(scorer: Scorer, name: str, where: str) -> Metric:
    """Return what somebody else's scorer measures. Raises RecipeError where it says that in another form."""
    told = cast("object", metric_of(name, scorer))
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
        DataError: rows are to be answered by choice, and the options of one cannot be chosen from.
    """
    recipe, prepared, objectives = choices.recipe, choices.prepared, choices.objectives
    if choices.strategy.weighs is not None:
        for row in prepared.test:
            right_option(row, options_of(row))
    for index, (name, scorer) in enumerate(choices.scorers.items()):
        if weighs(scorer):
            _try_weighing(name, prepared.test, f"evaluate.{index}")
        else:
            _try_scorer(name, scorer, prepared.test, f"evaluate.{index}")
    names, own = choices.checks, choices.checks_of
    for name in single(names):
        if name not in choices.rewarded:  # what is rewarded may be what no reference does
            rows = [row for row in (*prepared.test, *prepared.train) if name in own.get(row.task, ())]
            files = [str(part.place.path) for part in prepared.parts if name in part.checks]
            _try_check(name, names, rows, ", ".join(files) if recipe.task.checks is None else "")
    for number, stage in enumerate(objectives):
        where = f"train.{number}" if len(objectives) > 1 else "train"
        for place, (objective, _) in enumerate(stage):
            for name in objective.rewards:
                rows = [] if recipe.train[number].data else prepared.train
                _try_reward(name, rows, f"{where}.objective.{place}.rewards")


def weighs(scorer: Scorer) -> bool:
    """Say whether a scorer asks how likely the model holds references."""
    return isinstance(scorer, Weighing) and scorer.weighs


def answer_limit(test: Sequence[Example], template: Template, tokens: int) -> Limit:
    """Return how many test rows have no reference of that many tokens, stop token included."""
    needed = [size for example in test if (size := _shortest(example, template))]
    return Limit(tokens, sum(n > tokens for n in needed), max(needed, default=0))


def say_limit(test: Sequence[Example], template: Template, tokens: int) -> Limit:
    """Return the same, and say it where references do not fit: their right answers will be cut."""
    limit = answer_limit(test, template, tokens)
    for finding in of_limit(limit, len(test)):
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
    scorer = fitted(scorer, test)
    scores = _first_scores(scorer, test)
    why = next((score.why for score in scores if score.why), "")
    fold, said = metric_of(name, scorer).fold, any(score.scored for score in scores)
    if said and fold:  # which all rows together may need
        answers = [Completion(row.id, row.answer) for row in test]
        parts = [score.parts for score in scorer.score(test, answers) if score.parts]
        said = bool(parts) and math.isfinite(fold([sum(column) for column in zip(*parts, strict=True)]))
        why = "its fold makes no number of the sums of their parts"
    if not said:
        raise RecipeError(
            f"The scorer '{name}' can judge none of the {counted(len(test), 'test row')}"
            f"{f': {why}' if why else ''}.",
            where=where,
            hint=f"Mend it, or leave it out; the scorers are those of [[evaluate]]. {LISTS}",
        )


def _try_weighing(name: str, test: Sequence[Example], where: str) -> None:
    if not any(row.references for row in test):
        raise RecipeError(
            f"The scorer '{name}' can judge none of the {counted(len(test), 'test row')}: no reference.",
            where=where,
        )


def _first_scores(scorer: Scorer, rows: Sequence[Example]) -> list[Score]:
    """Return what a scorer says of the references of some rows: as few as it can say something of."""
    scores: list[Score] = []
    while not any(score.scored for score in scores) and len(scores) < len(rows):
        part = rows[: max(2, 2 * len(scores))]  # who gives one for all is seen
        scores = scorer.score(part, [Completion(row.id, row.answer) for row in part])
    return scores


def _try_check(name: str, names: Sequence[str], rows: Sequence[Example], origin: str) -> None:
    check = check_scorer((name,))
    answered = islice((row for row in rows if row.references), ROWS)
    verdicts = [
        check.score([row] * len(row.references), [Completion(row.id, text) for text in row.references])
        for row in answered
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
    reward, rows = reward_of(name, where), rows[:ROWS]
    try:
        found = _first_scores(reward, rows)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise RecipeError(f"The reward '{name}' failed on references: {told}.", where=where) from error
    if rows and not any(score.scored for score in found):
        raise RecipeError(
            f"The reward '{name}' can judge none of {counted(len(rows), 'row')}: it gave None for the "
            "reference of each.",
            where=where,
        )
