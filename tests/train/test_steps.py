"""Several objectives in one step: their losses and gradients add up, and their rows share trees."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from espalier.core.errors import RecipeError
from espalier.core.records import Encoded
from espalier.encode.batches import groups_of
from espalier.encode.tokens import Unit
from espalier.models.forward import edge_logprobs
from espalier.train.loop import backward
from espalier.train.objectives import Resources, Sampled, sft
from espalier.train.preference import dpo, kto
from espalier.train.reinforcement import grpo
from espalier.train.steps import step_count
from espalier.train.verify import KeepDouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import LlamaForCausalLM

    from espalier.train.objectives import Objective
    from espalier.train.steps import Source, Step

    Shared = Sequence[tuple[Objective, float]]

REWARDS = {"rule": 1.0}


@pytest.fixture
def units(tiny_rows: list[Encoded]) -> list[Unit]:
    """Eight prompts: with an answer, with a rejected one or two, with both, and with neither."""
    rng = np.random.default_rng(1)
    found: list[Unit] = []
    for number, row in enumerate(tiny_rows[6:14]):
        rows = [row] if number % 4 < 2 else []
        for worse in range((0, 1, 2, 0)[number % 4]):
            ids = (*row.ids[: row.prompt], *rng.integers(3, 64, 3 + worse).tolist(), 2)
            weights = (0.0,) * row.prompt + (1.0,) * (len(ids) - row.prompt)
            rows.append(Encoded(ids, weights, row.prompt, row.example, "rejected", worse))
        found.append(Unit(row.example, row.ids[: row.prompt], tuple(rows)))
    return found


def answers(turn: int, taken: Sequence[Unit], samples: int, limit: int) -> list[list[Sampled]]:
    rng = np.random.default_rng(turn)
    lengths = rng.integers(1, limit + 1, (len(taken), samples))
    return [
        [
            Sampled(
                tuple(rng.integers(3, 64, size).tolist()),
                (-4.0,) * size,
                "",
                "stop",
                REWARDS,
                float(rng.normal()),
            )
            for size in sizes.tolist()
        ]
        for sizes in lengths
    ]


@pytest.fixture
def step_of(units: list[Unit], source_of: Callable[..., Source]) -> Callable[..., Step]:
    """Make the first step of the objectives; what a reference would say is invented."""

    def make(shared: Shared, *, tokens: int = 10_000) -> Step:
        def invented(rows: Sequence[Encoded]) -> list[float]:
            return [-4.0 * sum(row.weights) - len(row.ids) % 3 for row in rows]

        tools = Resources(1, invented, invented, lambda: pytest.fail("there is no KL"), lambda _: answers)
        return source_of(units, shared, tokens=tokens, tools=tools)(0)

    return make


def gradient(model: LlamaForCausalLM, step: Step) -> tuple[float, torch.Tensor]:
    """Return what a step minimises, and its gradient, in fp64."""
    model = copy.deepcopy(model).double()
    with KeepDouble():
        sums = backward(model, step, edge_logprobs, "fp32")
    loss = sum(float(found.total) * term.share / term.divisor for term, found in sums.items())
    return loss, torch.cat(
        [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    )


PARTS = {
    "sft": (sft(smoothing=0.1), 0.7),
    "dpo": (dpo(), 1.0),
    "kto": (kto(), 0.4),
    "grpo": (grpo(rewards=REWARDS, group=3, limit=5), 2.0),
}


@pytest.mark.parametrize(
    "names", [("sft", "grpo"), ("sft", "dpo"), ("kto", "grpo"), ("sft", "dpo", "kto", "grpo")], ids="+".join
)
@pytest.mark.parametrize("tokens", [10_000, 130])
def test_a_mixed_step_is_the_sum_of_its_parts(
    tiny_llama: LlamaForCausalLM, step_of: Callable[..., Step], names: tuple[str, ...], tokens: int
):
    """So rows of other roles, and those of other objectives, add nothing to an objective."""
    mixed = gradient(tiny_llama, step_of([PARTS[name] for name in names], tokens=tokens))
    alone = [gradient(tiny_llama, step_of([PARTS[name]])) for name in names]
    assert mixed[0] == pytest.approx(sum(loss for loss, _ in alone), rel=1e-12)
    wanted = sum(grad for _, grad in alone)
    assert float((mixed[1] - wanted).norm() / wanted.norm()) < 1e-10
    assert all(float(grad.norm()) > 1e-3 for _, grad in alone)


def test_an_answer_that_two_objectives_learn_from_is_laid_out_once(step_of: Callable[..., Step]):
    both = step_of([PARTS["dpo"], PARTS["sft"]])
    assert len(both.work) == 1
    ((tree, terms),) = both.work
    assert len(terms) == 2
    keys = [(row.example, row.role, row.number) for row in tree.rows]
    assert len(keys) == len(set(keys))
    apart = [step_of([PARTS[name]]).rows for name in ("dpo", "sft")]
    assert set(both.rows) == set(itertools.chain(*apart))
    assert len(both.rows) < sum(map(len, apart))


def test_what_a_loss_compares_is_in_one_tree(step_of: Callable[..., Step], units: list[Unit]):
    step = step_of([PARTS["dpo"], PARTS["kto"], PARTS["grpo"]], tokens=120)
    assert len(step.work) > 2
    for unit in units:
        homes = {
            number
            for number, (tree, _) in enumerate(step.work)
            for row in tree.rows
            if row.example == unit.example and row.role != "sample"
        }
        assert len(homes) == bool(unit.rows)


def test_samples_are_groups_of_their_own(step_of: Callable[..., Step]):
    step = step_of([PARTS["kto"], PARTS["grpo"]])
    groups = groups_of(step.rows)
    assert sum(len(group) == 1 and group[0].role == "sample" for group in groups) == 8 * 3
    assert sorted(len(group) for group in groups if group[0].role != "sample") == [1, 1, 2, 2, 2, 2]
    assert sorted(map(id, itertools.chain(*groups))) == sorted(map(id, step.rows))


def test_two_objectives_that_sample_are_refused(step_of: Callable[..., Step]):
    with pytest.raises(RecipeError, match="Two objectives of one stage sample") as caught:
        step_of([PARTS["grpo"], PARTS["grpo"]])
    assert caught.value.where == "train.objective"


@pytest.mark.parametrize(
    ("epochs", "shared", "steps"),
    [
        (1.0, [PARTS["sft"]], 3),
        (0.5, [PARTS["sft"]], 2),
        (0.01, [PARTS["sft"]], 1),
        (2.0, [PARTS["sft"], (grpo(rewards=REWARDS, updates=4), 1.0)], 24),
    ],
)
def test_steps_are_counted_in_epochs(epochs: float, shared: Any, steps: int):
    assert step_count(20, 8, epochs, shared) == steps
