"""The rate over the steps, what decays, and clipping."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from espalier.core.errors import ModelError
from espalier.train.optimizer import SCHEDULES, make_optimizer, rate_at, update


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_the_rate_rises_to_its_peak_and_never_reaches_zero(schedule: str):
    rates = [rate_at(step, 20, peak=1.0, warmup=0.2, schedule=schedule) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert all(0 < after <= before for before, after in pairwise(rates[4:]))


def test_the_falls_are_a_line_and_half_a_cosine():
    middle = 10
    assert rate_at(middle, 20, peak=2.0, warmup=0.0, schedule="linear") == pytest.approx(1.0)
    assert rate_at(middle, 20, peak=2.0, warmup=0.0, schedule="cosine") == pytest.approx(1.0)
    assert rate_at(5, 20, peak=2.0, warmup=0.0, schedule="linear") == pytest.approx(1.5)
    assert rate_at(5, 20, peak=2.0, warmup=0.0, schedule="cosine") == pytest.approx(1 + 0.5**0.5)


@pytest.mark.parametrize("warmup", [0.0, 0.01, 1.0])
def test_a_run_of_one_step_moves(warmup: float):
    assert rate_at(0, 1, peak=1.0, warmup=warmup, schedule="cosine") == 1.0


def test_matrices_decay_and_biases_do_not():
    model = torch.nn.Linear(3, 3)
    torch.nn.init.ones_(model.weight)
    torch.nn.init.ones_(model.bias)
    optimizer = make_optimizer(model, decay=0.5)
    model.weight.grad, model.bias.grad = torch.zeros(3, 3), torch.zeros(3)
    update(optimizer, rate=0.1, clip=1.0)
    assert torch.allclose(model.weight, torch.full((3, 3), 0.95))
    assert torch.equal(model.bias, torch.ones(3))


def test_frozen_weights_are_not_in_it():
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 3).requires_grad_(False), torch.nn.Linear(3, 2, bias=False)
    )
    groups = make_optimizer(model, 0.1).param_groups
    assert [group["params"] for group in groups] == [[model[1].weight]]
    with pytest.raises(ModelError, match="No weight"):
        make_optimizer(model.requires_grad_(False), 0.1)


def test_gradients_are_clipped_by_their_common_norm():
    model = torch.nn.Linear(1, 1)
    optimizer = make_optimizer(model, 0.0)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0]]), torch.tensor([4.0])
    weight_grad, bias_grad = model.weight.grad, model.bias.grad
    assert update(optimizer, rate=0.1, clip=1.0) == pytest.approx(5.0)
    assert weight_grad.item() == pytest.approx(0.6)
    assert bias_grad.item() == pytest.approx(0.8)
    assert model.weight.grad is None
    model.weight.grad, model.bias.grad = torch.tensor([[0.3]]), torch.tensor([0.4])
    weight_grad = model.weight.grad
    assert update(optimizer, rate=0.1, clip=1.0) == pytest.approx(0.5)
    assert weight_grad.item() == pytest.approx(0.3)


def test_nothing_moves_on_a_gradient_that_is_not_finite():
    model = torch.nn.Linear(1, 1)
    before = model.weight.item()
    optimizer = make_optimizer(model, 0.0)
    model.weight.grad, model.bias.grad = torch.tensor([[float("inf")]]), torch.tensor([0.0])
    assert update(optimizer, rate=0.1, clip=1.0) == float("inf")
    assert model.weight.item() == before
