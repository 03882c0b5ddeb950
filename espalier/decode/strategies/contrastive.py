"""Contrastive search: of the likeliest tokens the one that leads to something else than was said before.

The model is run on the likeliest few tokens of a row at once, each behind what the row holds; the one that is
taken has its logits then, so that there is one run for each token, of as many tokens as are looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import normalize

from espalier.decode.strategies.sampling import greedy
from espalier.decode.strategy import Look, Strategy, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from espalier.decode.strategy import Row


def contrastive(*, limit: int = 64, top_k: int = 4, penalty: float = 0.6) -> Strategy:
    """Take of the `top_k` likeliest tokens the one that repeats least, weighed against how likely it is.

    A token's score is (1 - penalty) times its probability, less penalty times its largest cosine similarity,
    in the last layer, to a token before (Su et al. 2022, arXiv 2202.06417). With penalty 0 it is greedy.
    """
    require(limit >= 1, "limit", "must be at least 1", limit)
    require(top_k >= 1, "top_k", "must be at least 1", top_k)
    require(0 <= penalty <= 1, "penalty", "must be from 0 to 1", penalty)

    def take(rows: Sequence[Row], probabilities: Tensor, hidden: Tensor) -> Tensor:
        like = torch.stack(
            [
                (normalize(states.float(), dim=-1) @ normalize(row.state.float(), dim=-1).T).amax(-1)
                for row, states in zip(rows, hidden, strict=True)
            ]
        )
        return ((1 - penalty) * probabilities - penalty * like).argmax(-1)

    settings = {"kind": "contrastive", "limit": limit, "top_k": top_k, "penalty": penalty}
    return Strategy(settings, limit, 1, greedy(limit=limit).step, look=Look(top_k, take))
