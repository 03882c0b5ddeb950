"""The few largest of many, with the first of equals, which torch's own topk does not promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def largest(scores: Tensor, count: int) -> Tensor:
    """Return the places of the `count` largest of each row, falling: [R, V] to [R, count].

    Of equals the first comes first, on any device and in bf16 too, where equals are common.
    """
    count = min(count, scores.shape[1])
    values, places = scores.topk(min(count + 1, scores.shape[1]))
    more = (values[:, count:] == values[:, count - 1 : count]).any(-1)  # which of them came in is by chance
    places, order = places[:, :count].sort(dim=-1)
    values, order = values.gather(1, order).sort(dim=-1, descending=True, stable=True)
    places = places.gather(1, order)
    for row in more.nonzero()[:, 0].tolist():
        among = (scores[row] >= values[row, -1]).nonzero()[:, 0]
        places[row] = among[scores[row, among].sort(descending=True, stable=True).indices[:count]]
    return places
