"""Tuning methods: which weights move, and what a recipe can get wrong about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from espalier.core.errors import RecipeError
from espalier.models.adapters import methods

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def moving(model: Any) -> list[str]:
    return [name for name, weight in model.named_parameters() if weight.requires_grad]


def test_full_moves_every_weight(tiny_llama: LlamaForCausalLM) -> None:
    tiny_llama.requires_grad_(False)
    model: Any = methods.build("full", {})(tiny_llama)
    assert len(moving(model)) == len(list(model.parameters()))


def test_lora_moves_two_matrices_a_linear_layer_and_starts_as_the_base(tiny_llama: LlamaForCausalLM) -> None:
    ids = torch.tensor([[1, 5, 9]])
    with torch.no_grad():
        before = tiny_llama(ids).logits
        model: Any = methods.build("lora", {"rank": 4})(tiny_llama)
        assert torch.equal(model(ids).logits, before)
    assert len(moving(model)) == 2 * 7 * tiny_llama.config.num_hidden_layers
    assert all(".lora_" in name for name in moving(model))
    assert min(weight.shape[0] for weight in model.parameters() if weight.requires_grad) == 4


def test_lora_takes_the_layers_that_it_is_given(tiny_llama: LlamaForCausalLM) -> None:
    model = methods.build("lora", {"targets": ["q_proj", "v_proj"]})(tiny_llama)
    assert {name.split(".")[-4] for name in moving(model)} == {"q_proj", "v_proj"}


@pytest.mark.parametrize(
    ("params", "said"),
    [({"targets": ["nowhere"]}, "nowhere"), ({"rank": 0}, "positive"), ({"targets": "nowhere"}, "nowhere")],
)
def test_an_adapter_that_cannot_be_made(
    tiny_llama: LlamaForCausalLM, params: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=rf"train\.method: The adapter cannot be made: .*{said}"):
        methods.build("lora", params)(tiny_llama)
