"""Greedy takes the first largest; sampling follows the distribution, by request and step alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from espalier.core.errors import RecipeError
from espalier.decode.draws import Draw
from espalier.decode.requests import Request
from espalier.decode.strategies.registry import strategies
from espalier.decode.strategies.sampling import _uniform, greedy, sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.decode.strategy import Strategy


def taken(
    strategy: Strategy,
    logits: torch.Tensor,
    keys: Sequence[str],
    *,
    step: int = 0,
    draws: Sequence[Draw] = (),
) -> torch.Tensor:
    """Return the tokens that rows with these keys take after `step` others."""
    requests = [Request(key, (1,), 0, ()) for key in keys]
    if draws:
        requests = [replace(one, draw=draw) for one, draw in zip(requests, draws, strict=True)]
    rows = [strategy.begin(number, request, ()) for number, request in enumerate(requests)]
    for row in rows:
        row.ids = [0] * step
    found = strategy.step(rows, logits)
    assert found.parents is None  # a row continues itself: nothing is copied
    return found.ids


def test_greedy_takes_the_first_of_the_largest():
    logits = torch.tensor([[0.0, 2.0, 2.0], [5.0, 1.0, 4.0]])
    assert taken(strategies.build("greedy", {"limit": 3}), logits, ["a", "b"]).tolist() == [1, 0]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.7), (1.0, 1e-9)])
def test_samples_follow_the_distribution(temperature: float, top_p: float):
    logits = torch.tensor([1.0, 3.0, -1.0, 2.5])
    weights = (logits.double() / temperature).softmax(-1)
    order = weights.argsort(descending=True)
    before = weights[order].cumsum(-1) - weights[order]
    weights[order[before >= top_p]] = 0
    weights /= weights.sum()
    count = 4000
    strategy = strategies.build("sample", {"temperature": temperature, "top_p": top_p})
    picked = taken(strategy, logits.expand(count, 4), [f"request-{i}" for i in range(count)])
    shares = torch.bincount(picked, minlength=4) / count
    for share, weight in zip(shares.tolist(), weights.tolist(), strict=True):
        assert abs(share - weight) <= 4 * math.sqrt(weight * (1 - weight) / count)


@pytest.mark.parametrize("spread", [0.0, 1.0, 6.0])
@pytest.mark.parametrize("top_p", [1e-9, 0.5, 0.9, 1 - 1e-9])
def test_the_nucleus_is_that_of_all_tokens_sorted(top_p: float, spread: float):
    torch.manual_seed(0)
    logits = (torch.randn(40, 500) * spread * torch.rand(40, 1)).round(decimals=1)  # many are equal
    names = [f"request-{i}" for i in range(40)]
    seen = taken(strategies.build("sample", {"top_p": top_p}), logits, names).tolist()
    probabilities, tokens = logits.double().softmax(-1).sort(dim=-1, descending=True, stable=True)
    cumulated = probabilities.cumsum(-1)
    nucleus = (probabilities * (cumulated - probabilities < top_p)).cumsum(-1)
    draws = torch.tensor([[_uniform(0, name, 0)] for name in names]) * nucleus[:, -1:]
    places = torch.searchsorted(nucleus, draws, right=True)
    assert seen == tokens.gather(1, places)[:, 0].tolist()


def test_a_draw_depends_on_seed_request_and_step():
    logits = torch.zeros(6, 1000)
    names = [f"request-{i}" for i in range(6)]
    first = strategies.build("sample", {"seed": 1})
    assert torch.equal(taken(first, logits, names).flip(0), taken(first, logits, names[::-1]))
    assert not torch.equal(taken(first, logits, names), taken(first, logits, names, step=1))
    other = strategies.build("sample", {"seed": 2})
    assert not torch.equal(taken(first, logits, names), taken(other, logits, names))
    assert first.settings != other.settings


def test_rows_of_one_batch_draw_as_their_own_requests_say():
    torch.manual_seed(0)
    logits = torch.randn(6, 50)
    names = [f"request-{i}" for i in range(6)]
    hot, cold, none = Draw(1.5, 0.8, 1), Draw(0.5, 1.0, 2), Draw(temperature=0.0)
    draws = [hot, none, cold, hot, replace(hot, seed=9), cold]
    mixed = taken(greedy(), logits, names, draws=draws)
    for place, draw in enumerate(draws):
        strategy = sample(draw=draw) if draw != none else greedy()
        assert mixed[place] == taken(strategy, logits[place : place + 1], names[place : place + 1])


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("greedy", {"limit": 0}, "decode.limit: limit = 0 does not fit: it must be at least 1"),
        ("sample", {"temperature": 0.0}, r"decode.temperature: .*use kind = 'greedy'"),
        ("sample", {"top_p": 1.5}, "decode.top_p"),
        ("sample", {"samples": 0}, "decode.samples"),
        ("gredy", {}, "Did you mean 'greedy'"),
    ],
)
def test_bad_settings_are_refused(kind: str, params: dict[str, object], message: str):
    with pytest.raises(RecipeError, match=message):
        strategies.build(kind, params, "decode")


@pytest.mark.parametrize("kind", ["sample", "best_of", "self_consistency", "constrained"])
def test_whatever_draws_takes_every_key_of_a_draw(kind: str) -> None:
    own = {"choices": ["a"]} if kind == "constrained" else {}
    keys = {"temperature": 0.7, "top_p": 0.9, "seed": 3, "top_k": 5, "min_p": 0.1, "typical": 0.9}
    keys |= {"epsilon": 0.01, "eta": 0.02, "repetition_penalty": 1.1, "presence_penalty": 0.5}
    keys |= {"frequency_penalty": 0.25, "no_repeat": 3}
    found = strategies.build(kind, {**own, **keys}, "decode").settings
    assert {key: found[key] for key in keys} == keys
    assert set(keys) < set(strategies.describe(kind)[1])
