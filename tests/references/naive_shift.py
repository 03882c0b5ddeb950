"""The slow twin of `explain/token_shift.py`: every row by itself, all logits of all tokens, and a sort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from espalier.core.records import Encoded


@torch.no_grad()
def naive_shift(tuned: Any, base: Any, row: Encoded) -> list[tuple[int, int, float]]:
    """Return of each token of a row's answer its id, its rank under the base, and KL(tuned || base)."""
    ids = torch.tensor([row.ids])
    ours, theirs = (model(input_ids=ids).logits[0].double().log_softmax(-1) for model in (tuned, base))
    found: list[tuple[int, int, float]] = []
    for place in range(row.prompt, len(row.ids)):
        token = row.ids[place]
        p, q = ours[place - 1], theirs[place - 1]
        ranked = sorted(q.tolist(), reverse=True)
        found.append((token, 1 + ranked.index(q[token].item()), float((p.exp() * (p - q)).sum())))
    return found
