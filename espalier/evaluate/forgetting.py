"""What a model forgot besides its task, said of its scores on the bundled questions before and after.

Two measures: *right*, the share of questions whose likeliest option is the right one or whose answer obeys,
and the log-probability of the right answer, which sees smaller changes, as no answer has to tip over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.core.records import Metric
from espalier.evaluate.groups import MACRO, MICRO, by_task
from espalier.evaluate.sheet import between, detectable, shown

if TYPE_CHECKING:
    from espalier.evaluate.groups import Group
    from espalier.evaluate.scores import Scores

RIGHT, LIKELY = "right", "likelihood"
METRICS = {
    RIGHT: Metric(
        "Right answers",
        phrase="the share of general questions answered rightly",
        unit="%",
        note="The likeliest of four options is the right one, or the answer obeys the instruction.",
    ),
    LIKELY: Metric(
        "Log-probability of the right answer",
        note="In nats, of the whole answer: it moves before answers do.",
        ceiling=0.0,
        scale=1.0,
    ),
}


def fallen(scores: Scores) -> list[Group]:
    """Return the kinds of questions, and all together, of which right answers became fewer for sure."""
    return [
        group
        for group in by_task(scores, RIGHT)
        if group.name != MACRO and group.gap.excludes_zero and group.gap.value < 0
    ]


def sentence(scores: Scores) -> str:
    """Return in a sentence what was forgotten, or how much would have been seen."""
    gap = scores.difference("base", RIGHT)
    lost = [f"{_called(one)} from {shown(one.base)} to {shown(one.tuned)} %" for one in fallen(scores)]
    if lost:
        return f"It forgot: right answers fell {'; '.join(lost)}."
    if gap is None or not gap.estimate.bounded:
        return "Whether it forgot anything cannot be told."
    least = f"a fall of under {detectable(gap)} would mostly not be seen" if gap.detectable > 0 else ""
    change = f"right answers changed by {between(gap.estimate)}"
    return f"No forgetting can be seen: {change}{f'; {least}' if least else ''}."


def _called(group: Group) -> str:
    return "over all" if group.name == MICRO else f"on {group.name}"
