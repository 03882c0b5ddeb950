"""Tuning methods: which weights move, and what a recipe can get wrong about them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from espalier.core.errors import ModelError, RecipeError
from espalier.models.adapters import methods


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


def test_bitfit_moves_biases_where_there_are_some() -> None:
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=24, num_attention_heads=2, num_hidden_layers=2
    )
    config.attention_bias = True
    model: Any = methods.build("bitfit", {})(LlamaForCausalLM(config))
    assert len(moving(model)) == 2 * 4
    assert all(name.endswith("_proj.bias") for name in moving(model))


def test_a_model_without_an_mlp_of_its_own_takes_no_bottlenecks() -> None:
    config = OPTConfig(
        vocab_size=64,
        hidden_size=16,
        word_embed_proj_dim=16,
        ffn_dim=24,
        num_attention_heads=2,
        num_hidden_layers=2,
    )
    with pytest.raises(ModelError, match="no part named mlp or feed_forward or ffn"):
        methods.build("adapter", {})(OPTForCausalLM(config))


@pytest.mark.parametrize(
    ("kind", "params", "said"),
    [
        ("ia3", {"targets": ["v_proj"], "inputs": ["down_proj"]}, "cannot be made: .*subset"),
        ("prompt", {"tokens": 0}, r"train\.method\.tokens: 0 does not fit"),
        ("layers", {"place": "below"}, r"train\.method\.place: 'below' does not fit"),
    ],
)
def test_parameters_that_do_not_fit(
    tiny_llama: LlamaForCausalLM, kind: str, params: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        methods.build(kind, params, "train.method")(tiny_llama)
