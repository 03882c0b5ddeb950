"""Greedy takes the first largest; sampling follows the distribution, by request and step alone."""

from __future__ import annotations

import math

import pytest
import torch

from espalier.core.errors import RecipeError
from espalier.decode.strategies import strategies


def test_greedy_takes_the_first_of_the_largest():
    pick = strategies.build("greedy", {"limit": 3}).pick
    logits = torch.tensor([[0.0, 2.0, 2.0], [5.0, 1.0, 4.0]])
    assert pick(logits, ["a", "b"], 0).tolist() == [1, 0]


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
    picked = strategy.pick(logits.expand(count, 4), [f"request-{i}" for i in range(count)], 0)
    shares = torch.bincount(picked, minlength=4) / count
    for share, weight in zip(shares.tolist(), weights.tolist(), strict=True):
        assert abs(share - weight) <= 4 * math.sqrt(weight * (1 - weight) / count)


def test_a_draw_depends_on_seed_request_and_step():
    logits = torch.zeros(6, 1000)
    names = [f"request-{i}" for i in range(6)]
    first = strategies.build("sample", {"seed": 1})
    assert torch.equal(first.pick(logits, names, 0).flip(0), first.pick(logits, names[::-1], 0))
    assert not torch.equal(first.pick(logits, names, 0), first.pick(logits, names, 1))
    other = strategies.build("sample", {"seed": 2})
    assert not torch.equal(first.pick(logits, names, 0), other.pick(logits, names, 0))
    assert first.settings != other.settings


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
