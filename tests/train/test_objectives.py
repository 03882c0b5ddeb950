"""Losses are sums with their weights, and steps divide them so that grouping biases nothing."""

from __future__ import annotations

import pytest
import torch

from espalier.core.errors import DataError, RecipeError
from espalier.core.records import Encoded
from espalier.encode.tree import build_tree
from espalier.train.objectives import LossSum, Objective, objectives, row_steps, sft


def test_sums_add_up():
    one = LossSum(torch.tensor(2.0), 3.0, {"a": 1.0})
    two = LossSum(torch.tensor(5.0), 4.0, {"a": 2.0, "b": 7.0})
    both = one + two
    assert (both.total.item(), both.weight, both.parts) == (7.0, 7.0, {"a": 3.0, "b": 7.0})


def test_sft_counts_a_shared_edge_once_per_row():
    rows = [
        Encoded((1, 2, 3, 4), (0.0, 0.0, 1.0, 0.5), 2, "a"),
        Encoded((1, 2, 3, 5), (0.0, 0.0, 2.0, 1.0), 2, "b"),
    ]
    tree = build_tree(rows)
    logprobs = torch.tensor([-1.0, -10.0, -100.0], dtype=torch.float64, requires_grad=True)  # 2→3, 3→4, 3→5
    loss = sft().loss(logprobs, tree)
    loss.total.backward()
    assert loss.total.item() == 3.0 * 1 + 0.5 * 10 + 1.0 * 100
    assert loss.weight == sft().weight(rows) == 4.5
    assert logprobs.grad.tolist() == [-3.0, -0.5, -1.0]


def test_objectives_are_found_by_name():
    assert objectives.names() == ["sft"]
    with pytest.raises(RecipeError, match="takes no 'beta'"):
        objectives.build("sft", {"beta": 1})


def test_every_token_weighs_the_same_over_an_epoch(tiny_rows: list[Encoded]):
    source = row_steps(tiny_rows, [(sft(), 1.0)], size=7, tokens=10_000, seed=0)
    steps = [source(number) for number in range(4)]
    assert sorted(row.example for step in steps for row in step.rows) == sorted(r.example for r in tiny_rows)
    divisors = {term.divisor for step in steps for _, terms in step.work for term in terms}
    total = sum(sum(row.weights) for row in tiny_rows)
    assert divisors == {total / 4}


def test_a_small_budget_gives_several_trees_of_the_same_rows(tiny_rows: list[Encoded]):
    whole = row_steps(tiny_rows, [(sft(), 1.0)], size=8, tokens=10_000, seed=0)(1)
    split = row_steps(tiny_rows, [(sft(), 1.0)], size=8, tokens=110, seed=0)(1)
    assert [len(whole.work), len(split.work) > 1] == [1, True]
    names = [name for tree, _ in split.work for name in tree.rows]
    assert sorted(names) == sorted(whole.work[0][0].rows)


def test_a_data_set_without_a_trained_token_is_refused_and_named(tiny_rows: list[Encoded]):
    masked = Objective(sft().loss, lambda rows: 0.0)
    with pytest.raises(DataError, match=r"None of the 24 rows has a trained token") as caught:
        row_steps(tiny_rows, [(masked, 1.0)], size=8, tokens=100, seed=0)
    assert caught.value.where.startswith("row-0, row-1")
