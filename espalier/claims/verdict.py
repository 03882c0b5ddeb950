"""The verdict on a claim, by a rule that was fixed before the run.

*reproduced*: the interval lies on the claimed side, and the effect is half of the published one or more.
*not*: the interval excludes the claimed side. *under-powered*: the smallest effect that could mostly have
been seen exceeds the published one. Else *open*. A claim that two are alike is on its side within the margin:
shown by two one-sided tests, never by a large p.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from espalier.claims.claim import Rule
    from espalier.claims.measures import Measured

Verdict: TypeAlias = Literal["reproduced", "not", "under-powered", "open"]
SURE = 0.05


def judged(rule: Rule, found: Measured) -> tuple[Verdict, str]:
    """Return the verdict on a number, and why, in a sentence."""
    if math.isnan(found.value + found.low + found.high):
        return "open", "There are too few rows for an interval."
    return _alike(rule, found) if rule.direction == "within" else _sided(rule, found)


def _sided(rule: Rule, found: Measured) -> tuple[Verdict, str]:
    sign = 1 if rule.direction == "above" else -1
    gap = sign * (found.value - rule.origin)
    near, far = sorted(sign * (end - rule.origin) for end in (found.low, found.high))
    side = f"{rule.direction} {_number(rule.origin)}"
    half = f"half of the published {rule.effect:g}"
    if near > 0 and gap >= rule.effect / 2:
        return "reproduced", f"The interval lies {side}, and the effect of {_number(gap)} is {half} or more."
    if far < 0:
        return "not", f"The interval excludes all that is {side}."
    if found.visible > rule.effect:
        return "under-powered", unseen(rule, found.visible)
    if near > 0:
        return "open", f"The interval lies {side}, but the effect of {_number(gap)} is less than {half}."
    return "open", f"The interval holds values on both sides of {_number(rule.origin)}."


def _alike(rule: Rule, found: Measured) -> tuple[Verdict, str]:
    low, high = found.low - rule.origin, found.high - rule.origin
    inside = -rule.effect < low and high < rule.effect
    within = f"within {rule.effect:g} points of {_number(rule.origin)}"
    if inside or (found.equal is not None and found.equal < SURE):
        how = "The interval lies" if inside else f"Two one-sided tests (p = {found.equal:.3f}) show it to lie"
        return "reproduced", f"{how} {within}."
    if low > rule.effect or high < -rule.effect:
        return "not", f"The interval excludes all that is {within}."
    if (high - low) / 2 > rule.effect:
        return "under-powered", f"The interval is wider than the margin of {rule.effect:g} points either way."
    return "open", f"The interval holds values {within}, and others."


def unseen(rule: Rule, visible: float) -> str:
    """Return in a sentence what could mostly have been seen, against what was published."""
    if rule.direction == "within":
        return f"Equality could mostly be shown within {visible:.1f} points; the margin is {rule.effect:g}."
    seen = f"Only an effect of {visible:.1f} points could mostly be seen"
    return f"{seen}, and the published one is {rule.effect:g}."


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
