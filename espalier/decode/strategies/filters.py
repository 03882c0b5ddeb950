"""What of the distribution a token is drawn from: the sets of likely tokens that samplers cut it to.

Filters come in the order of transformers' warpers, each on the distribution that the one before leaves:
`top_k`, `top_p`, `min_p`, `typical`, `epsilon`, `eta`. Chances are in double precision, and only those of the
few tokens that are left are sorted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from espalier.decode.draws import Draw


def filtered(scores: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
    """Return the weights of the tokens that are left, and which tokens these are: [R, V] to twice [R, K].

    Weights are in proportion to chances, with zeros for what is left out. Without tokens they are those of
    the whole vocabulary in its order.

    Args:
        scores: logits over temperature.
        draw: which filters, as `strategies.sample` explains them; its temperature is not looked at.
    """
    chances, tokens = scores.double().softmax(-1), None
    if draw.top_k:
        least = scores.topk(min(draw.top_k, scores.shape[1])).values[:, -1:]
        chances, tokens = _few(chances, (scores >= least) & (chances > 0), tokens)  # equals of the last stay
        chances = chances / chances.sum(-1, keepdim=True)
    if draw.top_p < 1:
        # All others together have at most half of what the nucleus leaves out.
        chances, tokens = _few(chances, chances > (1 - draw.top_p) / (2 * chances.shape[1]), tokens)
        chances, order = chances.sort(dim=-1, descending=True, stable=True)
        tokens = tokens.gather(1, order)
        chances = chances * (chances.cumsum(-1) - chances < draw.top_p)
    if draw.min_p:
        chances = chances * (chances >= draw.min_p * chances.amax(-1, keepdim=True))
    if draw.typical < 1:
        chances = _typical(chances / chances.sum(-1, keepdim=True), draw.typical)
    if draw.epsilon:
        chances = chances / chances.sum(-1, keepdim=True)
        chances = _at_least(chances, torch.full_like(chances[:, :1], draw.epsilon))
    if draw.eta:
        chances = chances / chances.sum(-1, keepdim=True)
        by_entropy = draw.eta**0.5 * (-_entropy(chances)).exp()
        chances = _at_least(chances, by_entropy.clamp(max=draw.eta))
    return chances, tokens


def _few(chances: Tensor, inside: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the chances inside and their tokens, in their order; rows of fewer are filled up with 0."""
    counts = inside.sum(-1)
    rows, found = inside.nonzero(as_tuple=True)
    places = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    left = chances.new_zeros(len(counts), max(1, int(counts.max())))
    left[rows, places] = chances[rows, found]
    named = torch.zeros_like(left, dtype=torch.long)
    named[rows, places] = found if tokens is None else tokens[rows, found]
    return left, named


def _typical(chances: Tensor, mass: float) -> Tensor:
    """Keep the tokens whose information is nearest to the entropy, until they have the mass."""
    away = (-chances.log() - _entropy(chances)).abs()
    ordered, order = away.sort(dim=-1, stable=True)
    last = (chances.gather(1, order).cumsum(-1) < mass).sum(-1, keepdim=True)
    return chances * (away <= ordered.gather(1, last.clamp(max=away.shape[1] - 1)))


def _entropy(chances: Tensor) -> Tensor:
    """Return the entropy of each row in nats [R, 1]."""
    return torch.special.entr(chances).sum(-1, keepdim=True)


def _at_least(chances: Tensor, least: Tensor) -> Tensor:
    """Keep the tokens of at least this chance, and the likeliest whatever it is."""
    return chances * ((chances >= least) | (chances == chances.amax(-1, keepdim=True)))
