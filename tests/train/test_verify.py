"""The checks pass for what is right and fail for what is wrong."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch

from espalier.models.adapters import methods
from espalier.models.forward import edge_logprobs
from espalier.train.verify import Check, sample, verify

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from espalier.core.records import Encoded


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


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_is_right_passes(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], method: str):
    model = methods.build(method, {})(tiny_llama)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    checks = list(verify(model, tiny_rows, generate=greedy, reload=copy.deepcopy))
    assert [check.name for check in checks if not check.ok] == []
    assert len(checks) == 10
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    exact = {check.name: check.gap for check in checks}
    assert 0 < exact["prefix sharing, each gradient, fp64"] < 1e-12
    assert exact["bf16 against fp32, gradient"] > 1e-4


def test_a_wrong_forward_fails(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]):
    def blind(model, tree):
        """Forget 1 part in 10,000 of one edge."""
        logprobs = edge_logprobs(model, tree)
        return torch.cat([logprobs[:1] * 0.9999, logprobs[1:]])

    failed = [check.name for check in verify(tiny_llama, tiny_rows, forward=blind) if not check.ok]
    assert "prefix sharing, loss, fp64" in failed
    assert "prefix sharing, each gradient, fp64" in failed
    assert "prefix sharing, gradient, fp32" in failed


def test_wrong_decoding_and_loading_fail(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]):
    def stuck(model, prompts, tokens: int):
        return [(7,) * tokens for _ in prompts]

    def rounding(model):
        return copy.deepcopy(model).bfloat16().float()

    checks = {c.name: c for c in verify(tiny_llama, tiny_rows, generate=stuck, reload=rounding)}
    assert not checks["cached decoding, logits, fp32"].ok
    assert not checks["save and load, logits"].ok


def test_a_gap_that_is_no_number_is_not_ok():
    assert not Check("x", float("nan"), 1.0).ok


def test_the_sample_shares_and_differs(tiny_rows: list[Encoded]):
    taken = sample(tiny_rows)
    assert len(taken) == len({row.example for row in taken}) == 6
    heads = [row.ids[:30] for row in taken]
    assert 1 < len(set(heads)) < 6
    assert len(sample(tiny_rows[:1])) == 1
