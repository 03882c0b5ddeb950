"""The checks pass for what is right and fail for what is wrong."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from espalier.core.records import Encoded
from espalier.encode.batches import groups_of
from espalier.encode.tokens import Unit
from espalier.models.adapters import merged, methods
from espalier.models.forward import Edges, edge_logprobs
from espalier.train.loop import Settings
from espalier.train.objectives import Resources, sft
from espalier.train.preference import dpo
from espalier.train.verify import TOKENS, Check, VerifyHooks, few, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import LlamaForCausalLM

    from espalier.train.objectives import Objective
    from espalier.train.steps import Source, Step

SETTINGS = Settings(steps=10, rate=1e-3, precision="fp32")
FP64 = ["prefix sharing, loss, fp64", "prefix sharing, each gradient, fp64"]


def greedy(model, prompts, tokens: int) -> list[tuple[int, ...]]:
    """Decode by recomputing everything."""
    answers = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(tokens):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        answers.append(tuple(ids[len(prompt) :]))
    return answers


def fold(model):
    return merged(copy.deepcopy(model))


RIGHT = VerifyHooks(generate=greedy, reload=copy.deepcopy, merge=fold, export=fold)


@pytest.fixture
def step_of(tiny_rows: list[Encoded], source_of: Callable[..., Source]) -> Callable[..., Step]:
    """Make a step of the rows as pairs."""
    rng = np.random.default_rng(0)
    units = []
    for row in tiny_rows:
        ids = (*row.ids[: row.prompt], *rng.integers(3, 64, 4).tolist())
        weights = (0.0,) * row.prompt + (1.0,) * 4
        rejected = Encoded(ids, weights, row.prompt, row.example, "rejected")
        units.append(Unit(row.example, row.ids[: row.prompt], (row, rejected)))
    tools = Resources(3, lambda rows: [-9.0] * len(rows), *[lambda *_: pytest.fail("not needed")] * 3)

    def make(*objectives: Objective) -> Step:
        shared = [(objective, 1.0) for objective in objectives]
        return source_of(units, shared, tools=tools)(0)

    return make


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("objectives", [[sft()], [sft(smoothing=0.1), dpo()]], ids=["sft", "sft+dpo"])
def test_what_is_right_passes(
    tiny_llama: LlamaForCausalLM, step_of: Callable[..., Step], method: str, objectives: list[Objective]
):
    model = methods.build(method, {})(tiny_llama)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    checks = list(verify(model, step_of(*objectives), hooks=RIGHT, settings=SETTINGS))
    assert [check.name for check in checks if not check.ok] == []
    assert len(checks) == len({check.name for check in checks}) == 16
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    exact = {check.name: check.gap for check in checks}
    assert 0 < exact["prefix sharing, each gradient, fp64"] < 1e-12
    assert exact["bf16 against fp32, gradient"] > 1e-4
    assert (exact["merged adapter, logits, fp32"] > 0) is (method == "lora")


def test_what_drops_at_random_goes_on_as_if_it_had_not_stopped(
    llama: Callable[..., LlamaForCausalLM], one_thread: None, step_of: Callable[..., Step]
):
    model = llama(64, attention_dropout=0.3)
    assert failed(model, step_of(sft()), forward=partial(edge_logprobs, shared=False)) == []


def failed(model: Any, step: Step, hooks: VerifyHooks = RIGHT, **more: Any) -> list[str]:
    checks = verify(model, step, hooks=hooks, settings=SETTINGS, **more)
    return [check.name for check in checks if not check.ok]


def test_a_wrong_forward_fails(tiny_llama: LlamaForCausalLM, step_of: Callable[..., Step]):
    def blind(model, tree):
        """Forget 1 part in 10,000 of one edge."""
        logprobs, means = edge_logprobs(model, tree)
        return Edges(torch.cat([logprobs[:1] * 0.9999, logprobs[1:]]), means)

    found = failed(tiny_llama, step_of(sft()), forward=blind)
    assert {*FP64, "prefix sharing, gradient, fp32"} <= set(found)


def test_a_wrong_mean_fails_where_it_is_learned_from(
    tiny_llama: LlamaForCausalLM, step_of: Callable[..., Step]
):
    def blind(model, tree):
        logprobs, means = edge_logprobs(model, tree)
        return Edges(logprobs, means * 1.0001)

    assert set(FP64) <= set(failed(tiny_llama, step_of(sft(smoothing=0.2)), forward=blind))
    assert failed(tiny_llama, step_of(sft()), forward=blind) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("generate", {"cached decoding, logits, fp32"}),
        ("reload", {"save and load, weights", "save and load, logits"}),
        ("merge", {"merged adapter, logits, fp32"}),
        ("export", {"exported, logits"}),
    ],
)
def test_what_is_wrong_elsewhere_fails(
    tiny_llama: LlamaForCausalLM, step_of: Callable[..., Step], wrong: str, said: set[str]
):
    def stuck(model, prompts, tokens: int):
        return [(7,) * tokens for _ in prompts]

    def rounding(model):
        return copy.deepcopy(model).bfloat16().float()

    hooks = replace(RIGHT, **{wrong: stuck if wrong == "generate" else rounding})
    assert said <= set(failed(tiny_llama, step_of(sft()), hooks))


def test_a_gap_that_is_no_number_is_not_ok():
    assert not Check("x", float("nan"), 1.0).ok


def test_a_few_groups_share_and_differ(tiny_rows: list[Encoded]):
    groups = groups_of([*tiny_rows, *(replace(row, role="rejected") for row in tiny_rows)])
    taken = few(groups)
    names = [{row.example for row in group} for group in taken]
    assert len(taken) == 6
    assert [len(group) for group in taken] == [2] * 6
    assert len(set(map(frozenset, names))) == 6
    heads = [group[0].ids[:30] for group in taken]
    assert 1 < len(set(heads)) < 6
    assert len(few(groups[:1])) == 1


def test_long_rows_are_two_at_least_and_few_at_most(tiny_rows: list[Encoded]):
    long = [replace(row, ids=row.ids * 12, weights=row.weights * 12) for row in tiny_rows]
    taken = few(groups_of(long))
    assert 2 <= len(taken) < 6
    assert sum(len(row.ids) for row in itertools.chain(*taken[2:])) <= TOKENS
