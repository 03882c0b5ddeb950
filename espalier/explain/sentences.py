"""Three sentences that the numbers bear: on format, on what tuning moved, and on the definition.

Each is true by rule: a thing is said where its interval allows it, and else that it cannot be seen with so
many rows. That something is *equal* is never said: no margin was stated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.core.text import counted, some
from espalier.evaluate.sheet import between, detectable, interval, percent, shown
from espalier.tasks.variants import DEFINITIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Estimate
    from espalier.evaluate.score_records import Difference
    from espalier.explain.record import Card, Cell, Explanation, Line, Shift

ASKED = {
    "labels": "with the label space alone",
    "shuffled": "with its words in another order",
    "empty": "without it",
    "another": "with another task's in its place",
}


def sentences(found: Explanation) -> tuple[str, ...]:
    """Return the sentences of the parts that were asked for."""
    made: list[str] = []
    if found.card:
        made.append(format_sentence(found, found.card.lines))
    if found.shift:
        made.append(shift_sentence(found.shift))
    if found.card:
        made.append(definition_sentence(found, found.card))
    return tuple(made)


def format_sentence(found: Explanation, lines: Sequence[Line]) -> str:
    """Say what of the gain a floor has, too: it never reads what is asked, so it can only know the format."""
    metric, rows = found.metric, counted(found.rows, "row")
    gain = next((one.gap for one in lines if one.name == "base"), None)
    if gain is None or not gain.estimate.bounded:
        return f"What of the gain is format cannot be told: there is no gain with an interval on {rows}."
    if not gain.estimate.excludes_zero:
        return (
            f"What of the gain is format cannot be seen with {rows}: there is no gain to be seen, "
            f"{metric.within} changed by {between(gain.estimate)}{_unseen(gain)}."
        )
    if metric.sign * gain.estimate.value < 0:
        return (
            f"There is no gain whose format could be told: tuning made {metric.within} worse, by "
            f"{between(gain.estimate)}."
        )
    told = f"Tuning changed {metric.within} by {between(gain.estimate)}"
    floors = [one for one in lines if one.floor and one.gap and one.reached.known]
    if not floors:
        return f"{told}; what of it is format cannot be told without a floor."
    best = max(floors, key=lambda one: metric.sign * one.reached.value)
    assert best.gap
    ahead = best.gap.estimate
    if not ahead.excludes_zero:
        return (
            f"{told}, but that this is more than format cannot be seen with {rows}: to {best.name}, which "
            f"needs no model, the difference is {between(ahead)}{_unseen(best.gap)}."
        )
    if metric.sign * ahead.value < 0:
        return (
            f"{told}, and all of it may be format: {best.name}, which needs no model, is better still "
            f"({between(ahead)})."
        )
    return (
        f"{told}, and not all of it is format: to {best.name} ({shown(best.reached)}), the best that needs "
        f"no model, it still is {between(ahead)}."
    )


def shift_sentence(shift: Shift) -> str:
    """Say at how many tokens the base model would have gone on otherwise, and where in the answer."""
    if not shift.moved:
        return (
            f"Tuning moved nothing that can be seen: at all {counted(shift.tokens, 'token')} of "
            f"{counted(shift.rows, 'answer')} both models have the same distribution."
        )
    first, beyond = shift.shares["unshifted"], shift.shares["shifted"]
    told = (
        f"Of {counted(shift.tokens, 'token')} of the tuned model's answers {_percent(first)} are the base "
        f"model's own first choice too, and {_percent(beyond)} lie beyond its third"
    )
    gap = shift.early
    if not gap.excludes_zero:
        return (
            f"{told}; that tuning acts more on the beginning of answers than on the rest cannot be seen with "
            f"{counted(shift.rows, 'answer')}."
        )
    ends = f"{gap.value:+.2f} nats a token, {gap.low:+.2f} to {gap.high:+.2f}".replace("-", "−")
    where = "most at the beginning" if gap.value > 0 else "more after the beginning"
    return f"{told}; it acts {where}: the first {shift.first} tokens against the others, KL {ends}."


def definition_sentence(found: Explanation, card: Card) -> str:
    """Say what changes where the tuned model is asked with other definitions, or that nothing can be seen."""
    cells = [
        cell
        for level in DEFINITIONS[1:]
        if (cell := card.cell("tuned", level, "good")) and cell.change and cell.change.estimate.bounded
    ]
    metric, rows = found.metric, counted(card.rows, "row")
    if not cells:
        reasons = [card.left[level] for level in (*DEFINITIONS[1:], "all variants") if level in card.left]
        why = f" {reasons[0]}" if reasons else " No change has an interval."
        return f"What the definition does cannot be told.{why}"
    seen = [cell for cell in cells if cell.apart]
    if seen:
        told = some([f"{ASKED[c.definition]} by {between(_of(c).estimate)}" for c in seen], len(seen))
        rest = "; of the other definitions no effect can be seen" if len(seen) < len(cells) else ""
        return f"The definition matters to the tuned model: {metric.within} changes {told} ({rows}{rest})."
    most = max(cells, key=lambda cell: abs(_of(cell).estimate.value))
    return (
        f"That the definition matters to the tuned model cannot be seen with {rows}: the largest change is "
        f"{between(_of(most).estimate)}, {ASKED[most.definition]}{_unseen(_of(most))}."
    )


def _of(cell: Cell) -> Difference:
    assert cell.change
    return cell.change


def _unseen(gap: Difference) -> str:
    least = detectable(gap)
    return f"; less than {least} would mostly not be seen" if least else ""


def _percent(share: Estimate) -> str:
    ends = interval(share)
    return f"{percent(share.value)} %{f' ({ends})' if ends else ''}"
