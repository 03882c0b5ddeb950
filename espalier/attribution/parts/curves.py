"""Is an attribution true of the model? Deletion and insertion curves, against random orders.

Pieces are taken away in the order of a method's scores, the highest first, and the answer is weighed after
each (deletion; Samek et al. 2017, arXiv 1509.06321; Petsiuk et al. 2018, arXiv 1806.07421); or they are put
into a prompt that has none, in that order (insertion). The area between the curve of random orders and the
method's, in nats a step, is above 0 where the method finds what the answer hangs on.

The control is the same method on the same architecture with random weights (Adebayo et al. 2018, arXiv
1810.03292): its order is drawn from the text alone, and is followed on the tuned model. Where that beats
random order too, the method's area says little of what was learned.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.files import content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.attribution.parts.attribute import Case, Refusals, Row
    from espalier.attribution.parts.reading import Reader

    Order = tuple[int, ...]
    Curve = tuple[float, ...]

PAIRS = 3  # random orders of each row, each with its reverse


@dataclass(frozen=True, slots=True)
class Followed:
    """A row's curves for an order: the log-probability after 0, 1, … pieces were taken away, or put in."""

    deletion: Curve
    insertion: Curve


def order_of(scores: Row, seed: str) -> Order | None:
    """Return the pieces from the highest score to the lowest, equals as drawn; None where one has none."""
    known = [score for score in scores if score is not None]
    if len(known) < max(2, len(scores)):
        return None
    drawn = random.Random(seed)
    return tuple(sorted(range(len(known)), key=lambda place: (-known[place], drawn.random())))


def random_orders(count: int, seed: str) -> list[Order]:
    """Return `PAIRS` random orders of the pieces, and each reversed: no place is early on average.

    The insertion curve of an order goes over the same prompts as the deletion curve of its reverse.
    """
    if count < 2:
        return []
    drawn = random.Random(seed)
    orders = [tuple(drawn.sample(range(count), count)) for _ in range(PAIRS)]
    return [order for one in orders for order in (one, one[::-1])]


def seed_of(case: Case, *more: object) -> str:
    """Return the seed of what is drawn for a row."""
    return content_hash([case.prompt.example.id, *more])


def follow(
    reader: Reader, cases: Sequence[Case], orders: Sequence[Sequence[Order | None]], refusals: Refusals
) -> list[list[Followed | None]]:
    """Return each row's curves of each of its orders; all prompts of all rows are weighed together.

    None stands where there is no order, or a prompt on the way is refused.
    """
    wanted: dict[tuple[int, frozenset[int]], tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for row, (case, own) in enumerate(zip(cases, orders, strict=True)):
        sets = {taken for order in own if order for taken in (*_taken(order), *_taken(order[::-1]))}
        for taken in sorted(sets, key=sorted):
            messages = case.prompt.without(taken)
            if messages and (asked := refusals.asked(messages, case.answer, reader.loaded.template)):
                wanted[row, taken] = asked
    weighed = dict(zip(wanted, reader.weigh(list(wanted.values())), strict=True))
    return [[_followed(order, row, weighed) for order in own] for row, own in enumerate(orders)]


def _followed(
    order: Order | None, row: int, weighed: Mapping[tuple[int, frozenset[int]], float]
) -> Followed | None:
    if order is None:
        return None
    curves = [[weighed.get((row, taken)) for taken in _taken(way)] for way in (order, order[::-1])]
    deletion, left = ([value for value in curve if value is not None] for curve in curves)
    if len(deletion) + len(left) < 2 * (len(order) + 1):
        return None
    return Followed(tuple(deletion), tuple(left[::-1]))


def _taken(order: Order) -> list[frozenset[int]]:
    return [frozenset(order[:count]) for count in range(len(order) + 1)]


def height(curve: Curve) -> float:
    """Return the mean of a curve between its ends, which all orders share."""
    return sum(curve[1:-1]) / (len(curve) - 2 or 1)


def mean_height(curves: Sequence[Curve]) -> float:
    """Return the mean height of several curves of one row."""
    return sum(map(height, curves)) / len(curves)


def along(curve: Curve, steps: int) -> list[float]:
    """Return a curve at so many even steps from its beginning to its end, interpolated."""
    last = len(curve) - 1
    made: list[float] = []
    for step in range(steps + 1):
        at = step * last / steps
        low = min(int(at), last - 1)
        made.append(curve[low] + (at - low) * (curve[low + 1] - curve[low]))
    return made
