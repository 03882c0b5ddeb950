"""Runs that must coincide over several steps, in fp64: one tree, several, row by row, shared or not."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

from espalier.encode.tree import build_tree
from espalier.models.adapters import methods
from espalier.models.forward import edge_logprobs
from espalier.train.loop import Settings, train
from espalier.train.objectives import sft
from espalier.train.steps import Step
from espalier.train.verify import KeepDouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import LlamaForCausalLM

    from espalier.core.records import Encoded
    from espalier.train.steps import Source

STEPS = 5
by_row = partial(edge_logprobs, shared=False)


@pytest.fixture(params=["full", "lora"])
def trajectory(
    request: pytest.FixtureRequest,
    tiny_llama: LlamaForCausalLM,
    tiny_rows: list[Encoded],
    source_of: Callable[..., Source],
    tmp_path: Path,
) -> Callable[..., torch.Tensor]:
    """Train a fresh copy of the tiny model in fp64; return losses, norms and final weights in one vector."""

    def run(tokens: int, *, change: Callable[[Source], Source] | None = None, forward=edge_logprobs):
        torch.manual_seed(0)
        model = methods.build(request.param, {})(copy.deepcopy(tiny_llama)).double()
        source = source_of(tiny_rows, [(sft(), 1.0)], tokens=tokens)
        source = change(source) if change else source
        settings = Settings(steps=STEPS, rate=1e-2, precision="fp32", decay=0.1)
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        with KeepDouble():
            events = list(train(model, source, settings, folder, recipe={}, forward=forward))
        numbers = [(e["loss"], e["norm"]) for e in events if e["event"] == "step"]
        assert len(numbers) == STEPS
        weights = [weight.detach().flatten() for weight in model.parameters()]
        return torch.cat([torch.tensor(numbers, dtype=torch.float64).flatten(), *weights])

    return run


def row_by_row(source: Source) -> Source:
    """Give each row a tree of its own: accumulation over 8 batches of 1."""

    def change(number: int) -> Step:
        step = source(number)
        terms = step.work[0][1]
        return Step(step.rows, [(build_tree([row]), terms) for row in step.rows])

    return change


def backwards(source: Source) -> Source:
    """Take the rows of each step in the opposite order."""

    def change(number: int) -> Step:
        step = source(number)
        return Step(step.rows, [(build_tree(list(step.rows)[::-1]), step.work[0][1])])

    return change


def assert_equal(one: torch.Tensor, two: torch.Tensor) -> None:
    assert torch.linalg.vector_norm(one - two) <= 1e-9 * torch.linalg.vector_norm(one)


def test_one_tree_of_eight_is_eight_of_one(trajectory):
    assert_equal(trajectory(10_000), trajectory(10_000, change=row_by_row))


def test_packs_under_a_small_budget_are_one_tree(trajectory):
    assert_equal(trajectory(10_000), trajectory(110))


def test_shared_prefixes_are_rows_one_by_one(trajectory):
    assert_equal(trajectory(10_000), trajectory(10_000, change=row_by_row, forward=by_row))


def test_the_order_inside_a_step_does_not_matter(trajectory):
    assert_equal(trajectory(10_000), trajectory(10_000, change=backwards))


def test_a_trajectory_moves(trajectory):
    """The bound above means something only if the weights go somewhere: another seed of rows must differ."""

    def later(source: Source) -> Source:
        return lambda number: source(number + 1)

    one, two = trajectory(10_000), trajectory(10_000, change=later)
    assert torch.linalg.vector_norm(one - two) > 1e-3 * torch.linalg.vector_norm(one)
