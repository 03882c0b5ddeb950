"""Trees are dealt by cost: nothing is lost or done twice, groups stay whole, and nobody waits for long."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.core.errors import CheckpointError
from espalier.core.records import ALONE, Encoded, Ranks
from espalier.encode.batches import build_trees, groups_of
from espalier.encode.tree import build_tree
from espalier.models.forward import edge_logprobs
from espalier.train.loop import backward
from espalier.train.objectives import LossSum
from espalier.train.parallel import add_up, cost, dealt, gathered, on_all, on_first, share_of, split
from espalier.train.steps import Step, Term
from espalier.train.verify import KeepDouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import LlamaForCausalLM

    from espalier.encode.tree import Tree
    from espalier.models.forward import Edges


def negative(edges: Edges, tree: Tree) -> LossSum:
    """Return minus the log-probability of all edges."""
    return LossSum(-edges.logprobs.sum(), float(len(tree.sources)), {})


TERM = Term(negative, 1.0, 10.0)


def step_of(groups: Sequence[Sequence[Encoded]], tokens: int = 10_000) -> Step:
    rows = [row for group in groups for row in group]
    return Step(rows, [(tree, [TERM]) for tree in build_trees(groups, tokens)])


def rows_in(steps: Sequence[tuple[Tree, object]]) -> list[tuple[str, str]]:
    return sorted((row.example, row.role) for tree, _ in steps for row in tree.rows)


@st.composite
def grouped_rows(draw: st.DrawFn) -> list[list[Encoded]]:
    """Groups of one or two rows with a common prompt; some prompts begin alike."""
    head = draw(st.lists(st.integers(3, 9), max_size=40))
    groups: list[list[Encoded]] = []
    for number in range(draw(st.integers(1, 9))):
        prompt = (1, *(head if draw(st.booleans()) else ()), *draw(st.lists(st.integers(3, 9), max_size=30)))
        roles = ("answer", "rejected")[: draw(st.integers(1, 2))]
        groups.append([])
        for role in roles:
            answer = (*draw(st.lists(st.integers(3, 9), max_size=5)), 2)
            weights = (0.0,) * len(prompt) + (1.0,) * len(answer)
            groups[-1].append(Encoded((*prompt, *answer), weights, len(prompt), f"row-{number}", role))
    return groups


@settings(max_examples=60)
@given(groups=grouped_rows(), size=st.integers(2, 4), budget=st.integers(80, 300))
def test_every_row_is_computed_once_with_its_group(groups: list[list[Encoded]], size: int, budget: int):
    step = step_of(groups, budget)
    parts = split(step, size)
    shares = dealt(parts, size)
    assert len(shares) == size
    assert rows_in([work for share in shares for work in share]) == rows_in(step.work)
    for tree, _ in parts.work:
        assert len(tree.ids) <= budget
        for group in groups_of(tree.rows):
            assert len(group) == len(groups[int(group[0].example.removeprefix("row-"))])
    loads = [sum(cost(tree) for tree, _ in share) for share in shares]
    before = [sum(cost(tree) for tree, _ in share) for share in dealt(step, size)]
    assert max(loads) <= max(before)
    # The costliest-first rule: the busiest rank is at most one tree above the mean.
    assert max(loads) <= sum(loads) / size + max(cost(tree) for tree, _ in parts.work)


@settings(max_examples=30)
@given(groups=grouped_rows(), size=st.integers(2, 4))
def test_with_sharded_weights_all_ranks_run_as_many_forwards(groups: list[list[Encoded]], size: int):
    step = split(step_of(groups), size)
    shares = [share_of(step, Ranks(rank, size, sharded=True)).work for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    counted = [work for share in shares for work in share if all(term.share for term in work[1])]
    assert rows_in(counted) == rows_in(step.work)
    alone = [share_of(step, Ranks(rank, size)).work for rank in range(size)]
    assert rows_in([work for share in alone for work in share]) == rows_in(step.work)


def test_trees_are_dealt_by_cost_and_not_by_count():
    def tree(length: int) -> Tree:
        ids = tuple(np.arange(length) % 50 + 3)
        return build_tree([Encoded(ids, (0.0,) * (length - 1) + (1.0,), length - 1, f"row-{length}")])

    sizes = [900, 300, 300, 300, 20]
    shares = dealt(Step([], [(tree(length), [TERM]) for length in sizes]), 2)
    assert [[len(tree.ids) + 1 for tree, _ in share] for share in shares] == [[900], [300, 300, 300, 20]]


def test_one_process_is_left_alone(tiny_rows: list[Encoded]):
    step = step_of([[row] for row in tiny_rows])
    assert split(step, 1) is step
    assert share_of(step, ALONE) is step
    sums = {TERM: LossSum(torch.tensor(1.0), 2.0, {})}
    assert add_up(torch.nn.Linear(1, 1), sums, step, ALONE) is sums
    assert gathered("here", ALONE) == ["here"]
    assert on_first(lambda: 7, ALONE) == 7
    with pytest.raises(CheckpointError):
        on_all(_fail, ALONE)


def _fail() -> None:
    raise CheckpointError("No.")


def gradient(model: LlamaForCausalLM, steps: Sequence[Step], *, shared: bool = True) -> torch.Tensor:
    """Return the gradients that ranks would find, added up by hand, in fp64."""
    total = 0
    for step in steps:
        backward(model, step, lambda model, tree: edge_logprobs(model, tree, shared=shared), "fp32")
        found = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
        total = total + torch.cat([grad.flatten() for grad in found])
        model.zero_grad()
    return total.double()


@pytest.mark.parametrize("size", [2, 3])
def test_gradients_of_the_ranks_add_up(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], size: int):
    step = step_of([[row] for row in tiny_rows])
    parts = split(step, size)
    shares = [share_of(parts, Ranks(rank, size, sharded=True)) for rank in range(size)]
    rows = Step(tiny_rows, [(build_tree([row]), [TERM]) for row in tiny_rows])
    double = copy.deepcopy(tiny_llama).double()
    with KeepDouble():
        exact = gradient(double, [rows], shared=False)
        assert (gradient(double, shares) - exact).norm() < 1e-12 * exact.norm()
    by_row = (gradient(tiny_llama, [rows], shared=False) - exact).norm()
    assert (gradient(tiny_llama, shares) - exact).norm() <= 1.5 * by_row
