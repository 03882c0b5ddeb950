"""How the next token is chosen from a model's logits: greedy, or sampled.

A strategy is a function from logits to token ids, with the settings that go into a generation's key. Sampling
draws no numbers from a generator's state: each is a hash of seed, request and step. So what is sampled for a
prompt does not depend on which other prompts are decoded with it, nor on their order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from espalier.core.errors import RecipeError
from espalier.core.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    Pick = Callable[[Tensor, Sequence[str], int], Tensor]


@dataclass(frozen=True, slots=True)
class Strategy:
    """How answers are decoded.

    Attributes:
        settings: all that distinguishes this strategy from another, for the keys of generations.
        limit: most new tokens of an answer, its stop token included.
        samples: answers per prompt.
        pick: (logits [R, V], request key of each row, number of tokens generated before) to ids [R].
    """

    settings: Mapping[str, Any]
    limit: int
    samples: int
    pick: Pick


strategies: Registry[Strategy] = Registry("decoding strategy")


@strategies.register("greedy")
def greedy(*, limit: int = 64) -> Strategy:
    """Take the likeliest token each time: deterministic, and the best choice where one answer is right."""
    _require(limit >= 1, "limit", "must be at least 1", limit)
    return Strategy({"kind": "greedy", "limit": limit}, limit, 1, lambda logits, _, __: likeliest(logits))


@strategies.register("sample")
def sample(
    *, limit: int = 64, temperature: float = 1.0, top_p: float = 1.0, samples: int = 1, seed: int = 0
) -> Strategy:
    """Draw each token from the distribution, sharpened by `temperature` and cut to the nucleus `top_p`.

    The nucleus is the smallest set of likeliest tokens with at least the probability `top_p`
    (Holtzman et al. 2020, arXiv 1904.09751), after temperature.
    """
    _require(limit >= 1, "limit", "must be at least 1", limit)
    _require(samples >= 1, "samples", "must be at least 1", samples)
    _require(temperature > 0, "temperature", "must be above 0 (use kind = 'greedy' for 0)", temperature)
    _require(0 < top_p <= 1, "top_p", "must be above 0 and at most 1", top_p)

    def pick(logits: Tensor, requests: Sequence[str], step: int) -> Tensor:
        draws = [_uniform(seed, request, step) for request in requests]
        return _draw(logits.float() / temperature, top_p, torch.tensor(draws, device=logits.device))

    settings = {"kind": "sample", "limit": limit, "temperature": temperature, "top_p": top_p, "seed": seed}
    return Strategy(settings, limit, samples, pick)


def likeliest(logits: Tensor) -> Tensor:
    """Return the index of each row's largest logit, the first one of equals: [R, V] to [R]."""
    return logits.max(dim=-1).indices


def _draw(logits: Tensor, top_p: float, draws: Tensor) -> Tensor:
    """Return the token of each row at which the cumulated probability passes the row's draw from [0, 1)."""
    if top_p == 1:
        cumulated = logits.double().softmax(-1).cumsum(-1)
        return _passed(cumulated, draws)
    probabilities, tokens = logits.double().softmax(-1).sort(dim=-1, descending=True, stable=True)
    cumulated = probabilities.cumsum(-1)
    inside = cumulated - probabilities < top_p
    nucleus = (probabilities * inside).cumsum(-1)
    return tokens.gather(1, _passed(nucleus, draws)[:, None])[:, 0]


def _passed(cumulated: Tensor, draws: Tensor) -> Tensor:
    """Return the first index of each row whose cumulated weight is above draw × total."""
    wanted = (draws.double() * cumulated[:, -1])[:, None]
    return torch.searchsorted(cumulated, wanted, right=True)[:, 0].clamp(max=cumulated.shape[1] - 1)


def _uniform(seed: int, request: str, step: int) -> float:
    digest = hashlib.sha256(f"{seed}:{request}:{step}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _require(fits: bool, key: str, rule: str, value: object) -> None:
    if not fits:
        raise RecipeError(f"{key} = {value} does not fit: it {rule}.", where=f"decode.{key}")
