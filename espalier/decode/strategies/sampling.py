"""Greedy decoding and sampling: a token for each row, from its own logits and settings.

Sampling draws no numbers from a generator's state: each is a hash of seed, request and step. So what is
sampled for a prompt does not depend on which other prompts are decoded with it, nor on their order.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from espalier.decode.draws import USUAL, Draw, Penalties
from espalier.decode.strategies.filters import filtered
from espalier.decode.strategies.penalties import penalised
from espalier.decode.strategy import Step, Strategy, require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from espalier.decode.strategy import Row


def greedy(*, limit: int = 64, repetition_penalty: float = 1.0, no_repeat: int = 0) -> Strategy:
    """Take the likeliest token each time: deterministic, and the best choice where one answer is right.

    `repetition_penalty` and `no_repeat` are as for `sample`.
    """
    penalties = Penalties(repetition_penalty, no_repeat=no_repeat)
    return drawn(limit, Draw(temperature=0.0, penalties=penalties))


def sample(*, limit: int = 64, draw: Draw = USUAL, samples: int = 1) -> Strategy:
    """Draw each token from the distribution, sharpened by `temperature` and cut to likely tokens.

    Args:
        limit: most new tokens of an answer.
        draw: see `Draw`; its fields are keys of the recipe.
        samples: answers to each prompt.

    Raises:
        RecipeError: a setting that does not fit.
    """
    heat = draw.temperature
    require(heat > 0, "temperature", "must be above 0 (use kind = 'greedy' for 0)", heat)
    return drawn(limit, draw, samples)


def drawn(limit: int, draw: Draw, samples: int = 1) -> Strategy:
    """Return the strategy that draws so, or at temperature 0 takes the likeliest token each time.

    Raises:
        RecipeError: a setting that does not fit.
    """
    require(limit >= 1, "limit", "must be at least 1", limit)
    require(samples >= 1, "samples", "must be at least 1", samples)
    require(samples == 1 or draw.temperature > 0, "samples", "is 1 at temperature 0", samples)
    settings: dict[str, Any] = {"kind": "greedy", "limit": limit}
    if draw.temperature:
        told = {"temperature": draw.temperature, "top_p": draw.top_p, "seed": draw.seed}
        settings = {"kind": "sample", "limit": limit, **told}
    return Strategy({**settings, **draw.settings}, limit, samples, _taking(draw))


def _taking(usual: Draw) -> Callable[[Sequence[Row], Tensor], Step]:
    """Return the step of a strategy whose rows each take a token as their request says, or as usual."""

    def step(rows: Sequence[Row], logits: Tensor) -> Step:
        alike: dict[Draw, list[int]] = defaultdict(list)
        draws = [row.request.draw or usual for row in rows]
        for place, draw in enumerate(draws):
            alike[draw if draw is usual else replace(draw, seed=usual.seed)].append(place)
        if len(alike) == 1:
            return Step(_take(rows, draws, logits))
        ids = torch.empty(len(rows), dtype=torch.long, device=logits.device)
        for places in alike.values():
            some = [rows[place] for place in places]
            ids[places] = _take(some, [draws[place] for place in places], logits[places])
        return Step(ids)

    return step


def _take(rows: Sequence[Row], draws: Sequence[Draw], logits: Tensor) -> Tensor:
    """Return the token of each row [R], for rows that draw alike but for their seeds."""
    draw = draws[0]
    if draw.penalties:
        logits = penalised(rows, logits.float(), draw.penalties)
    if draw.temperature == 0:
        return likeliest(logits)
    numbers = [
        _uniform(one.seed, row.request.key, len(row.ids)) for one, row in zip(draws, rows, strict=True)
    ]
    weights, tokens = filtered(logits.float() / draw.temperature, draw)
    places = _passed(weights.cumsum(-1), torch.tensor(numbers, device=logits.device))
    return places if tokens is None else tokens.gather(1, places[:, None])[:, 0]


def likeliest(logits: Tensor) -> Tensor:
    """Return the index of each row's largest logit, the first one of equals: [R, V] to [R]."""
    return logits.max(dim=-1).indices


def _passed(cumulated: Tensor, draws: Tensor) -> Tensor:
    """Return the first index of each row whose cumulated weight is above draw × total."""
    wanted = (draws.double() * cumulated[:, -1])[:, None]
    return torch.searchsorted(cumulated, wanted, right=True)[:, 0].clamp(max=cumulated.shape[1] - 1)


def _uniform(seed: int, request: str, step: int) -> float:
    digest = hashlib.sha256(f"{seed}:{request}:{step}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
