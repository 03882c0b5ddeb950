"""The task's cautions as scorers: each check is 1 (kept), 0 (broken) or not scored, with the reason."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.tasks.checks import Check, checks, set_checks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class CheckScorer:
    """Some checks at once: 1 where every one is kept, 0 where one is broken."""

    metric = Metric("Passes the checks named", phrase="the share of answers that pass the checks", unit="%")

    def __init__(self, kept: Mapping[str, Check]) -> None:
        self._checks = dict(kept)

    def each(self, example: Example, completion: Completion) -> dict[str, Score]:
        """Return the verdict of each check by its name."""
        verdicts = {name: check(example.input, completion.text) for name, check in self._checks.items()}
        return {
            name: Score(None if verdict.ok is None else float(verdict.ok), verdict.why)
            for name, verdict in verdicts.items()
        }

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return the verdict of all of them together on each answer; see `all_passed`."""
        return [all_passed(self.each(*pair)) for pair in zip(examples, completions, strict=True)]


def all_passed(scores: Mapping[str, Score]) -> Score:
    """Return 0 if a check is broken, else None if one could not judge, else 1; why joins their reasons."""
    why = "; ".join(f"{name}: {score.why}" for name, score in scores.items() if score.value != 1)
    values = [score.value for score in scores.values()]
    if 0 in values:
        return Score(0.0, why)
    return Score(None if None in values else 1.0, why)


def single(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of checks of one answer, without those of the whole set."""
    return tuple(name for name in names if name not in set_checks.names())


@lru_cache(maxsize=16)
def check_scorer(names: tuple[str, ...]) -> CheckScorer:
    """Return the scorer of the named checks. Raises RecipeError for an unknown name."""
    return CheckScorer({name: checks.build(name, {}, "checks") for name in names})


def build_checks(*, names: list[str]) -> Scorer:
    """1 where the answer keeps all the named checks, else 0."""
    return check_scorer(tuple(names))
