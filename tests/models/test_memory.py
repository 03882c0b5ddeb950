"""Computing activations again changes the memory, and no bit of a gradient."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from espalier.core.errors import ModelError
from espalier.encode.tree import build_tree
from espalier.models.adapters import methods
from espalier.models.forward import edge_logprobs
from espalier.models.memory import recompute_activations
from espalier.models.support import unsupported

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedModel

    from espalier.core.records import Encoded


def gradients(model: PreTrainedModel, rows: list[Encoded], *, shared: bool) -> dict[str, torch.Tensor]:
    model.train()
    edge_logprobs(model, build_tree(rows), shared=shared).logprobs.sum().backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_gradients_are_the_same_bitwise(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], method: str, shared: bool
):
    model = methods.build(method, {})(tiny_llama)
    for weight in model.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight)  # an adapter's zeros would hide what is behind them
    calls: list[bool] = []
    layer = tiny_llama.model.layers[0].mlp.act_fn
    expected = gradients(model, tiny_rows, shared=shared)
    layer.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    gradients(model, tiny_rows, shared=shared)
    once = len(calls)
    recompute_activations(model)
    model = copy.deepcopy(model)  # as `espalier verify` does
    found = gradients(model, tiny_rows, shared=shared)
    assert len(calls) == 3 * once
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_is_kept_is_the_inputs_of_the_layers(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]):
    tree = build_tree(tiny_rows)

    def kept() -> int:
        sizes: dict[int, int] = {}
        held = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            held.append(tensor)
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            edge_logprobs(tiny_llama.train(), tree).logprobs.sum()
        return sum(sizes.values())

    before = kept()
    recompute_activations(tiny_llama)
    assert kept() < before / 2


def test_nothing_is_computed_again_where_nothing_is_trained(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]
):
    tree = build_tree(tiny_rows)
    expected = edge_logprobs(tiny_llama, tree).logprobs
    recompute_activations(tiny_llama)
    tiny_llama.model.layers[0]._gradient_checkpointing_func = None
    assert torch.equal(edge_logprobs(tiny_llama, tree).logprobs, expected)


def test_a_model_that_recomputes_still_shares(tiny_llama: LlamaForCausalLM):
    recompute_activations(tiny_llama)
    assert unsupported(tiny_llama) is None
    tiny_llama._set_gradient_checkpointing(True, gradient_checkpointing_func=partial(checkpoint))
    assert "gradient checkpointing" in (unsupported(tiny_llama) or "")


def test_a_model_that_cannot_is_named(tiny_llama: LlamaForCausalLM):
    tiny_llama.supports_gradient_checkpointing = False
    with pytest.raises(ModelError, match=r"train\.recompute: LlamaForCausalLM cannot"):
        recompute_activations(tiny_llama)
