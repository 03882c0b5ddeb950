"""Greedy decoding and sampling: a token for each row, from its own logits and settings.

Sampling draws no numbers from a generator's state: each is a hash of seed, request and step. So what is
sampled for a prompt does not depend on which other prompts are decoded with it, nor on their order.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

import torch

from espalier.decode.requests import Draw
from espalier.decode.strategy import Step, Strategy, require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from espalier.decode.strategy import Row


def greedy(*, limit: int = 64) -> Strategy:
    """Take the likeliest token each time: deterministic, and the best choice where one answer is right."""
    require(limit >= 1, "limit", "must be at least 1", limit)
    return Strategy({"kind": "greedy", "limit": limit}, limit, 1, _taking(Draw(temperature=0.0)))


def sample(
    *, limit: int = 64, temperature: float = 1.0, top_p: float = 1.0, samples: int = 1, seed: int = 0
) -> Strategy:
    """Draw each token from the distribution, sharpened by `temperature` and cut to the nucleus `top_p`.

    The nucleus is the smallest set of likeliest tokens with at least the probability `top_p`
    (Holtzman et al. 2020, arXiv 1904.09751), after temperature.
    """
    require(limit >= 1, "limit", "must be at least 1", limit)
    require(samples >= 1, "samples", "must be at least 1", samples)
    require(temperature > 0, "temperature", "must be above 0 (use kind = 'greedy' for 0)", temperature)
    require(0 < top_p <= 1, "top_p", "must be above 0 and at most 1", top_p)

    settings = {"kind": "sample", "limit": limit, "temperature": temperature, "top_p": top_p, "seed": seed}
    return Strategy(settings, limit, samples, _taking(Draw(temperature, top_p, seed)))


def _taking(usual: Draw) -> Callable[[Sequence[Row], Tensor], Step]:
    """Return the step of a strategy whose rows each take a token as their request says, or as usual."""

    def step(rows: Sequence[Row], logits: Tensor) -> Step:
        alike: dict[tuple[float, float], list[int]] = defaultdict(list)
        draws = [row.request.draw or usual for row in rows]
        for place, draw in enumerate(draws):
            alike[draw.temperature, draw.top_p].append(place)
        if len(alike) == 1:
            return Step(_take(rows, draws, logits))
        ids = torch.empty(len(rows), dtype=torch.long, device=logits.device)
        for places in alike.values():
            some = [rows[place] for place in places]
            ids[places] = _take(some, [draws[place] for place in places], logits[places])
        return Step(ids)

    return step


def _take(rows: Sequence[Row], draws: Sequence[Draw], logits: Tensor) -> Tensor:
    """Return the token of each row [R], for rows of one temperature and one nucleus."""
    temperature, top_p = draws[0].temperature, draws[0].top_p
    if temperature == 0:
        return likeliest(logits)
    numbers = [
        _uniform(draw.seed, row.request.key, len(row.ids)) for draw, row in zip(draws, rows, strict=True)
    ]
    return _draw(logits.float() / temperature, top_p, torch.tensor(numbers, device=logits.device))


def likeliest(logits: Tensor) -> Tensor:
    """Return the index of each row's largest logit, the first one of equals: [R, V] to [R]."""
    return logits.max(dim=-1).indices


def _draw(logits: Tensor, top_p: float, draws: Tensor) -> Tensor:
    """Return the token of each row at which the cumulated probability passes the row's draw from [0, 1)."""
    if top_p == 1:
        cumulated = logits.double().softmax(-1).cumsum(-1)
        return _passed(cumulated, draws)
    probabilities, tokens = _likely(logits.double().softmax(-1), top_p)
    probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
    cumulated = probabilities.cumsum(-1)
    inside = cumulated - probabilities < top_p
    nucleus = (probabilities * inside).cumsum(-1)
    return tokens.gather(1, order.gather(1, _passed(nucleus, draws)[:, None]))[:, 0]


def _likely(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Return what of each row can be in its nucleus, with its tokens, in their order: [R, V] to twice [R, K].

    All others together have at most half of what the nucleus leaves out. To sort the few that are left spares
    most of the time; a row of fewer than K is filled up with 0.
    """
    inside = probabilities > (1 - top_p) / (2 * probabilities.shape[1])
    counts = inside.sum(-1)
    rows, tokens = inside.nonzero(as_tuple=True)
    places = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    found = probabilities.new_zeros(len(counts), max(1, int(counts.max())))
    found[rows, places] = probabilities[rows, tokens]
    named = torch.zeros_like(found, dtype=torch.long)
    named[rows, places] = tokens
    return found, named


def _passed(cumulated: Tensor, draws: Tensor) -> Tensor:
    """Return the first index of each row whose cumulated weight is above draw × total."""
    wanted = (draws.double() * cumulated[:, -1])[:, None]
    return torch.searchsorted(cumulated, wanted, right=True)[:, 0].clamp(max=cumulated.shape[1] - 1)


def _uniform(seed: int, request: str, step: int) -> float:
    digest = hashlib.sha256(f"{seed}:{request}:{step}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
