"""The rate over the steps, what decays, clipping, and that every optimizer learns and resumes bitwise."""

from __future__ import annotations

import copy
import importlib.util
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch

from espalier.core.errors import CheckpointError, MissingExtra, ModelError, RecipeError
from espalier.encode.tree import build_tree
from espalier.models.forward import edge_logprobs
from espalier.models.memory import recompute_activations
from espalier.train.checkpoint import restore, save
from espalier.train.optimizer import SCHEDULES, Updater, adamw, make_updater, optimizers, rate_at

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import LlamaForCausalLM

    from espalier.core.records import Encoded

HAVE_8BIT = importlib.util.find_spec("bitsandbytes") is not None
without_8bit = pytest.mark.skipif(not HAVE_8BIT, reason="bitsandbytes is not installed (the extra qlora)")
pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = [
    pytest.param(kind, marks=without_8bit) if kind == "adamw8bit" else kind for kind in optimizers.names()
]


def updater_of(model: torch.nn.Module, kind: str = "adamw", *, decay: float = 0.0) -> Updater:
    return make_updater(model, optimizers.build(kind, {}), decay=decay, clip=1.0)


def update(updater: Updater, rate: float, loss: float = 0.0) -> float:
    """Take a step with the gradients that are there."""
    updater.start(rate, trees=1)
    return updater.finish(loss)


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
    updater = updater_of(model, decay=0.5)
    model.weight.grad, model.bias.grad = torch.zeros(3, 3), torch.zeros(3)
    update(updater, rate=0.1)
    assert torch.allclose(model.weight, torch.full((3, 3), 0.95))
    assert torch.equal(model.bias, torch.ones(3))


def test_frozen_weights_are_not_in_it():
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 3).requires_grad_(False), torch.nn.Linear(3, 2, bias=False)
    )
    groups = updater_of(model).optimizer.param_groups
    assert [group["params"] for group in groups] == [[model[1].weight]]
    with pytest.raises(ModelError, match="No weight"):
        updater_of(model.requires_grad_(False))


def test_gradients_are_clipped_by_their_common_norm():
    model = torch.nn.Linear(1, 1)
    updater = updater_of(model)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0]]), torch.tensor([4.0])
    weight_grad, bias_grad = model.weight.grad, model.bias.grad
    assert update(updater, rate=0.1) == pytest.approx(5.0)
    assert weight_grad.item() == pytest.approx(0.6)
    assert bias_grad.item() == pytest.approx(0.8)
    assert model.weight.grad is None
    model.weight.grad, model.bias.grad = torch.tensor([[0.3]]), torch.tensor([0.4])
    weight_grad = model.weight.grad
    assert update(updater, rate=0.1) == pytest.approx(0.5)
    assert weight_grad.item() == pytest.approx(0.3)


@pytest.mark.parametrize(("gradient", "loss"), [(float("inf"), 1.0), (1.0, float("nan"))])
def test_nothing_moves_on_a_loss_or_a_gradient_that_is_not_finite(gradient: float, loss: float):
    model = torch.nn.Linear(1, 1)
    before = model.weight.item()
    updater = updater_of(model)
    model.weight.grad, model.bias.grad = torch.tensor([[gradient]]), torch.tensor([0.0])
    assert update(updater, 0.1, loss) == abs(gradient)
    assert model.weight.item() == before


def small() -> torch.nn.Module:
    """Two layers whose first matrix is large enough for 8-bit state, with a weight that is used twice."""
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(80, 80), torch.nn.Tanh(), torch.nn.Linear(80, 80))
    model[2].weight = model[0].weight
    return model


def learn(model: torch.nn.Module, updater: Updater, steps: range) -> list[float]:
    """Return the losses of the steps; a rate that is relative to the weights' size must be larger."""
    factored = isinstance(updater.optimizer, torch.optim.Adafactor)
    rate = 0.1 if factored else 0.02
    losses = []
    for step in steps:
        numbers = torch.randn(16, 80, generator=torch.Generator().manual_seed(step % 4))
        updater.start(rate if step else rate / 2, trees=1)
        loss = (model(numbers) - numbers.roll(1, 1)).square().mean()
        loss.backward()
        losses.append(loss.item())
        updater.finish(losses[-1])
    return losses


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns(kind: str):
    model = small()
    losses = learn(model, updater_of(model, kind), range(40))
    assert losses[-1] < losses[0] / 2
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_it_resumes_bitwise(kind: str, tmp_path: Path):
    whole = small()
    learn(whole, updater_of(whole, kind, decay=0.1), range(9))
    first, second = small(), small()
    updater = updater_of(first, kind, decay=0.1)
    learn(first, updater, range(4))
    path = save(tmp_path, 4, first, updater.optimizer, {})
    updater = updater_of(second, kind, decay=0.1)
    assert restore(path, second, updater.optimizer, {}) == 4
    learn(second, updater, range(4, 9))
    pairs = zip(whole.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_lomo_is_adafactor_without_gradients_to_keep():
    models = {kind: small() for kind in ("adafactor", "lomo")}
    losses = {}
    most = {}
    for kind, model in models.items():
        kept: list[int] = []
        for weight in model.parameters():
            weight.register_post_accumulate_grad_hook(
                lambda _, kept=kept, model=model: kept.append(
                    sum(weight.grad is not None for weight in model.parameters())
                )
            )
        # No clipping: it changes how much a step's gradient weighs in the second moments.
        losses[kind] = learn(
            model, make_updater(model, optimizers.build(kind, {}), decay=0.0, clip=1e9), range(9)
        )
        most[kind] = max(kept)
    assert most == {"adafactor": 3, "lomo": 1}
    assert losses["lomo"] == losses["adafactor"]


def test_lomo_keeps_what_a_gradient_that_is_not_finite_belongs_to():
    model = torch.nn.Linear(2, 2)
    before = model.weight.clone()
    updater = updater_of(model, "lomo")
    updater.start(0.1, trees=1)
    model(torch.tensor([[float("inf"), 1.0]])).sum().backward()
    assert updater.finish(1.0) == float("inf")
    assert torch.equal(model.weight, before)
    model(torch.ones(1, 2)).sum().backward()  # nothing is left that would move the weights
    assert model.weight.grad is not None


def test_lomo_refuses_to_add_up_trees():
    with pytest.raises(RecipeError, match=r"train\.tokens: A step has 3 trees.*Raise train\.tokens"):
        updater_of(torch.nn.Linear(2, 2), "lomo").start(0.1, trees=3)


@pytest.mark.skipif(HAVE_8BIT, reason="bitsandbytes is installed")
def test_a_missing_package_is_named():
    with pytest.raises(MissingExtra, match=r"espalier-lm\[qlora\]"):
        updater_of(torch.nn.Linear(2, 2), "adamw8bit")


def test_a_state_that_cannot_be_saved_is_refused(tmp_path: Path):
    model = torch.nn.Linear(2, 2)
    updater = make_updater(model, adamw(), decay=0.0, clip=1.0)
    updater.optimizer.state[model.weight]["levels"] = [1, 2]
    with pytest.raises(CheckpointError, match="keeps a list as 'levels'"):
        save(tmp_path, 1, model, updater.optimizer, {})


def test_lomo_moves_no_weight_that_is_computed_with_again(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]
):
    tree = build_tree(tiny_rows)
    trained = []
    for recompute in (False, True):
        model = copy.deepcopy(tiny_llama).train()
        if recompute:
            recompute_activations(model)
        updater = updater_of(model, "lomo")
        for _ in range(3):
            updater.start(0.1, trees=1)
            loss = -edge_logprobs(model, tree).logprobs.mean()
            loss.backward()
            updater.finish(loss.item())
        trained.append(model.state_dict())
    assert all(torch.equal(weight, trained[1][name]) for name, weight in trained[0].items())
    assert not torch.equal(trained[0]["lm_head.weight"], tiny_llama.lm_head.weight)
