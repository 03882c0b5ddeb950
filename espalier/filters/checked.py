"""The task's own checks (`tasks/checks.py`) as a filter: does an answer heed what the task cautions of?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.core.errors import RecipeError, nearest
from espalier.data.judgement import Judgement, filters
from espalier.tasks.checks import Verdict, checks, set_checks
from espalier.tasks.event_duration import cautions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from espalier.core.records import Example
    from espalier.data.judgement import Filter

_REGISTERS = (cautions,)


@filters.register("checks")
def task_checks(*, names: tuple[str, ...]) -> Filter:
    """The checks of a task, by their names; its score is the share of them that an answer passes."""
    alone = {name: checks.build(name, {}) for name in names if name in checks.names()}
    together = {name: set_checks.build(name, {}) for name in names if name in set_checks.names()}
    for name in names:
        if name not in alone and name not in together:
            known = [*checks.names(), *set_checks.names()]
            raise RecipeError(
                f"No check is named '{name}'.", where="filter.checks.names", hint=nearest(name, known)
            )
    if not names:
        raise RecipeError("No check is named.", where="filter.checks.names", hint='Write names = ["…"].')

    def judge(rows: Iterable[Example]) -> Iterator[Judgement]:
        shared: dict[str, Verdict] = {}
        if together:
            pairs = [(example.input, example.answer) for example in rows]
            inputs, answers = [one for one, _ in pairs], [other for _, other in pairs]
            shared = {name: check(inputs, answers) for name, check in together.items()}
        for example in rows:
            own = {name: check(example.input, example.answer) for name, check in alone.items()}
            yield _judged([*own.items(), *shared.items()])

    return judge


def _judged(verdicts: Sequence[tuple[str, Verdict]]) -> Judgement:
    failed = [f"{name}: {verdict.why}" for name, verdict in verdicts if verdict.ok is False]
    known = [verdict for _, verdict in verdicts if verdict.ok is not None]
    if not known:
        return Judgement(None, " ".join(f"{name}: {verdict.why}" for name, verdict in verdicts))
    score = sum(verdict.ok is True for verdict in known) / len(known)
    return Judgement(not failed, " ".join(failed), score)
