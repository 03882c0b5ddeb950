"""Losses are sums with their weights, and steps divide them so that grouping biases nothing."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch

from espalier.core.errors import DataError, RecipeError
from espalier.core.records import Encoded
from espalier.encode.tokens import Unit
from espalier.encode.tree import Tree, build_tree
from espalier.models.forward import Edges
from espalier.train.objectives import (
    LossSum,
    Objective,
    Part,
    check_units,
    objectives,
    of_role,
    row_sums,
    sft,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from espalier.train.steps import Source


def test_sums_add_up():
    one = LossSum(torch.tensor(2.0), 3.0, {"a": 1.0})
    two = LossSum(torch.tensor(5.0), 4.0, {"a": 2.0, "b": 7.0})
    both = one + two
    assert (both.total.item(), both.weight, both.parts) == (7.0, 7.0, {"a": 3.0, "b": 7.0})


ROWS = [
    Encoded((1, 2, 3, 4), (0.0, 0.0, 1.0, 0.5), 2, "a"),
    Encoded((1, 2, 3, 5), (0.0, 0.0, 2.0, 1.0), 2, "b"),
]


def edges() -> Edges:
    """Of `ROWS`: 2→3, 3→4 and 3→5."""
    logprobs = torch.tensor([-1.0, -10.0, -100.0], dtype=torch.float64, requires_grad=True)
    return Edges(logprobs, torch.tensor([-4.0, -4.5, -4.5], dtype=torch.float64, requires_grad=True))


def test_sft_counts_a_shared_edge_once_per_row(source_of: Callable[..., Source]):
    ((tree, (term,)),) = source_of(ROWS, [(sft(), 1.0)])(0).work
    said = edges()
    loss = term.loss(said, tree)
    loss.total.backward()
    assert loss.total.item() == 3.0 * 1 + 0.5 * 10 + 1.0 * 100
    assert loss.weight == term.divisor == 4.5
    assert said.logprobs.grad.tolist() == [-3.0, -0.5, -1.0]
    assert said.means.grad is None


def test_smoothing_spreads_the_weight_over_the_vocabulary(source_of: Callable[..., Source]):
    ((tree, (term,)),) = source_of(ROWS, [(sft(smoothing=0.1), 1.0)])(0).work
    said = edges()
    loss = term.loss(said, tree)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(0.9 * 108 + 0.1 * (3 * 4 + 1.5 * 4.5))
    assert said.means.grad.tolist() == pytest.approx([-0.3, -0.05, -0.1])
    for wrong in (-0.1, 1.0):
        with pytest.raises(RecipeError, match="must be at least 0 and below 1"):
            sft(smoothing=wrong)


def test_rows_of_other_roles_add_nothing_to_sft(source_of: Callable[..., Source]):
    ((_, (term,)),) = source_of(ROWS, [(sft(), 1.0)])(0).work
    tree = build_tree([ROWS[0], replace(ROWS[1], role="rejected"), replace(ROWS[1], role="sample")])
    said = edges()
    loss = term.loss(said, tree)
    loss.total.backward()
    assert (loss.total.item(), loss.weight) == (6.0, 1.5)
    assert said.logprobs.grad.tolist() == [-1.0, -0.5, 0.0]
    assert of_role(tree, "rejected").tolist() == [False, True, False]


def test_sums_of_rows_are_weighted():
    tree = build_tree(ROWS)
    assert row_sums(edges(), tree).tolist() == [-1.0 - 5.0, -2.0 - 100.0]


def test_objectives_are_found_by_name():
    assert {"dpo", "grpo", "kto", "sft"} <= set(objectives.names())
    with pytest.raises(RecipeError, match="takes no 'beta'"):
        objectives.build("sft", {"beta": 1})


def test_every_token_weighs_the_same_over_an_epoch(
    tiny_rows: list[Encoded], source_of: Callable[..., Source]
):
    source = source_of(tiny_rows, [(sft(), 1.0)], size=7)
    steps = [source(number) for number in range(4)]
    assert sorted(row.example for step in steps for row in step.rows) == sorted(r.example for r in tiny_rows)
    divisors = {term.divisor for step in steps for _, terms in step.work for term in terms}
    total = sum(sum(row.weights) for row in tiny_rows)
    assert divisors == {total / 4}


def test_a_small_budget_gives_several_trees_of_the_same_rows(
    tiny_rows: list[Encoded], source_of: Callable[..., Source]
):
    whole = source_of(tiny_rows, [(sft(), 1.0)])(1)
    split = source_of(tiny_rows, [(sft(), 1.0)], tokens=110)(1)
    assert [len(whole.work), len(split.work) > 1] == [1, True]
    names = [row.example for tree, _ in split.work for row in tree.rows]
    assert sorted(names) == sorted(row.example for row in whole.work[0][0].rows)


@pytest.mark.parametrize(
    ("kind", "without", "said"),
    [
        ("sft", "answer", "an answer to train on"),
        ("dpo", "answer", "both an answer and a rejected one"),
        ("dpo", "rejected", "both an answer and a rejected one"),
        ("kto", "", "an answer or a rejected one"),
    ],
)
def test_data_in_which_an_objective_finds_nothing_are_refused_and_named(kind: str, without: str, said: str):
    rows = [replace(row, role="rejected" if without == "answer" else "answer") for row in ROWS]
    units = [Unit(row.example, (1, 2), (row,) if without else ()) for row in rows]
    with pytest.raises(DataError, match=rf"None of the 2 examples has {said}: .*\(a, b\)") as caught:
        check_units(objectives.build(kind, {}), units, "train.objective.0")
    assert caught.value.where == "train.objective.0"
    assert "train.data" in caught.value.hint


def foreign(kind: str, monkeypatch: pytest.MonkeyPatch) -> Objective:
    """Build an objective of a module from outside that gives what `kind` says."""

    def loss(own: Edges, tree: Tree) -> object:
        sums = {"total": LossSum(3.0, 1.0, {}), "sum": LossSum(own.logprobs.sum(), 1.0, {})}  # pyright: ignore[reportArgumentType]
        return sums.get(kind, 3.0)

    def part(number: int, units: Sequence[Unit]) -> object:
        return 3.0 if kind == "part" else Part(ROWS, cast("Any", loss), 1.0)

    made = ModuleType("theirs")
    begin = cast("Any", lambda units, tools: part)
    result = 3.0 if kind == "objective" else Objective(begin, lambda unit: ROWS)
    monkeypatch.setattr(made, "own", lambda: result, raising=False)
    monkeypatch.setitem(sys.modules, "theirs", made)
    made.own.__module__ = "theirs"
    return objectives.build("theirs:own", {})


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("objective", "The objective 'theirs:own' gave a float, where Objective was expected"),
        ("part", "The objective 'theirs:own' gave a float, where Part was expected"),
        ("loss", "The loss of 'theirs:own' gave a float, where LossSum was expected"),
        ("total", "The loss of 'theirs:own', as its total, gave a float, where Tensor was expected"),
    ],
)
def test_an_objective_from_outside_that_gives_a_number_is_refused(
    kind: str, said: str, monkeypatch: pytest.MonkeyPatch, source_of: Callable[..., Source]
):
    def loss() -> LossSum:
        ((tree, (term,)),) = source_of(ROWS, [(foreign(kind, monkeypatch), 1.0)])(0).work
        return term.loss(edges(), tree)

    with pytest.raises(RecipeError, match=re.escape(said)):
        loss()


def test_an_objective_from_outside_that_keeps_to_the_form_is_taken(
    monkeypatch: pytest.MonkeyPatch, source_of: Callable[..., Source]
):
    ((tree, (term,)),) = source_of(ROWS, [(foreign("sum", monkeypatch), 1.0)])(0).work
    assert term.loss(edges(), tree).total.item() == -111.0
