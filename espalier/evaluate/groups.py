"""What a run reached task by task, and over tasks: macro, each task alike, and micro, each row alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.records import Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.evaluate.scores import Scores

MACRO = "macro: the mean of the tasks"
MICRO = "micro: all rows together"


@dataclass(frozen=True, slots=True)
class Group:
    """What base and tuned model reach on a task's rows, or on those of all, and the paired difference."""

    name: str
    rows: int
    base: Estimate
    tuned: Estimate
    gap: Estimate


def by_task(scores: Scores, measure: str) -> list[Group]:
    """Return each task by a measure, the tuned model's worst first, then macro and micro.

    There is none where all rows are of one task.
    """
    if not scores.groups or not scores.judged or measure not in scores.systems["tuned"].estimates:
        return []
    found = [_group(name, one, measure) for name, one in scores.groups.items()]
    sign = scores.metric(measure).sign
    found.sort(key=lambda one: sign * one.tuned.value if one.tuned.known else math.inf)
    base, tuned, gap = (
        macro(column) for column in zip(*((one.base, one.tuned, one.gap) for one in found), strict=True)
    )
    return [*found, Group(MACRO, scores.rows, base, tuned, gap), _group(MICRO, scores, measure)]


def macro(found: Sequence[Estimate]) -> Estimate:
    """Return the mean of estimates of different rows, as far as they are known.

    Its interval squares and adds the arms of theirs (Zou and Donner 2008).
    """
    known = [one for one in found if one.known]
    rows, missing = sum(one.n for one in found), sum(one.missing for one in found)
    scale = found[0].scale
    if not known:
        return Estimate(math.nan, math.nan, math.nan, rows, missing, scale)
    value = sum(one.value for one in known) / len(known)
    below, above = (
        math.sqrt(sum((one.value - end) ** 2 for one, end in ends)) / len(known)
        for ends in ([(one, one.low) for one in known], [(one, one.high) for one in known])
    )
    return Estimate(value, value - below, value + above, rows, missing, scale)


def _group(name: str, scores: Scores, measure: str) -> Group:
    base, tuned = (scores.estimate(system, measure) for system in ("base", "tuned"))
    gap = scores.difference("base", measure)
    unknown = Estimate(math.nan, math.nan, math.nan, 0, scale=tuned.scale)
    return Group(name, scores.rows, base, tuned, gap.estimate if gap else unknown)
