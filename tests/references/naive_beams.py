"""Beam search in the plain way: each beginning is run whole, and all that could follow it is ranked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from transformers import PreTrainedModel

    # Tokens of an answer, and the sum of their log-probabilities.
    Scored = tuple[tuple[int, ...], float]


def searched(
    model: PreTrainedModel,
    prompt: Sequence[int],
    stops: Collection[int],
    limit: int,
    *,
    size: int,
    groups: int = 1,
    diversity: float = 0.0,
    length_penalty: float = 1.0,
) -> list[tuple[int, ...]]:
    """Return the answers of `groups` times `size` beams, the best first."""

    def worth(one: Scored) -> float:
        return one[1] / len(one[0]) ** length_penalty

    going: list[list[Scored]] = [[((), 0.0)] for _ in range(groups)]
    ended: list[list[Scored]] = [[] for _ in range(groups)]
    for length in range(1, limit + 1):
        fines: dict[int, float] = {}
        for group in (group for group in range(groups) if going[group]):
            ranked: list[tuple[float, Scored]] = []
            for ids, total in going[group]:
                with torch.no_grad():
                    logits = model(torch.tensor([[*prompt, *ids]])).logits[0, -1]
                for token, one in enumerate(logits.log_softmax(-1).tolist()):
                    fine = fines.get(token, 0.0)
                    ranked.append((total + one - fine, ((*ids, token), total + one)))
            ranked.sort(key=lambda one: -one[0])
            last = [one for _, one in ranked[:size] if one[0][-1] in stops or length == limit]
            ended[group] = sorted([*ended[group], *last], key=worth, reverse=True)[:size]
            going[group] = [one for _, one in ranked if one[0][-1] not in stops][:size]
            best = max(worth(one) for one in going[group])
            if length == limit or (len(ended[group]) == size and best <= worth(ended[group][-1])):
                going[group] = []
            for ids, _ in going[group]:
                fines[ids[-1]] = fines.get(ids[-1], 0.0) + diversity
    return [ids for ids, _ in sorted((one for group in ended for one in group), key=worth, reverse=True)]
