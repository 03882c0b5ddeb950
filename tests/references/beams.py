"""A beam search as one writes it outside the package: a recipe names it by `kind = "beams:beam_search"`."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import torch

from espalier.decode.strategy import Row, Step, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def beam_search(*, beams: int = 3, limit: int = 64) -> Strategy:
    """The answer of the highest mean log-probability that the likeliest `beams` beginnings lead to."""

    def step(rows: Sequence[Row], logits: torch.Tensor) -> Step:
        scores = logits.log_softmax(-1)
        taken: list[tuple[int, int]] = []
        for _, places in groupby(range(len(rows)), key=lambda place: rows[place].number):
            group = list(places)
            first = rows[group[0]]
            sums = torch.tensor([sum(rows[place].logprobs) for place in group])
            flat = (scores[group] + sums[:, None]).flatten()
            best = flat.topk(min(2 * beams, len(flat))).indices.tolist()
            found = [(group[place // scores.shape[1]], place % scores.shape[1]) for place in best]
            last = len(first.ids) + 1 == first.limit
            ending = [one for one in found[:beams] if last or one[1] in first.stop_ids]
            going = [one for one in found if one[1] not in first.stop_ids][:beams]
            full = last or len(first.ended) + len(ending) >= beams
            taken += ending if full else ending + going
        parents, ids = torch.tensor(taken).T
        return Step(ids, parents)

    def choose(ended: Sequence[Row]) -> Row:
        return max(ended, key=lambda row: sum(row.logprobs) / len(row.ids))

    settings = {"kind": "beam_search", "beams": beams, "limit": limit}
    return Strategy(settings, limit, 1, step, rows=2 * beams, choose=choose)
