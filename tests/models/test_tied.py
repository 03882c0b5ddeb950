"""Adapters on an embedding that is tied to the output layer: what is saved is what was trained."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch

from espalier.core.errors import RecipeError
from espalier.models.adapters import merged, methods
from espalier.models.load import load_model, load_tuned, save_tuned

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "head": ("lora", {"targets": ["lm_head", "q_proj"]}),
    "words": ("lora", {"targets": ["embed_tokens", "q_proj"]}),
    "both": ("lora", {"targets": ["embed_tokens", "lm_head"]}),
    "dora": ("lora", {"targets": ["lm_head"], "dora": True}),
    "all": ("lora", {}),
    "output layer": ("head", {}),
    "full": ("full", {}),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_model_that_is_saved_is_the_one_that_was_trained(
    name: str,
    llama: Callable[..., LlamaForCausalLM],
    chat_tokenizer: Callable[[str], PreTrainedTokenizerFast],
    tmp_path: Path,
):
    tokenizer = chat_tokenizer("chatml")
    llama(320, tie_word_embeddings=True).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    base = load_model(str(tmp_path / "base"))
    kind, parameters = METHODS[name]
    model: Any = methods.build(kind, parameters, "method")(base.model)
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.05 * torch.randn(weight.shape, generator=generator)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        wanted = model.eval()(ids).logits
        save_tuned(model, base, tmp_path / "tuned")
        again = load_tuned(tmp_path / "tuned", str(tmp_path / "base"))
        torch.testing.assert_close(again.model(ids).logits, wanted)
        plain = merged(again.model)
        torch.testing.assert_close(plain(ids).logits, wanted, rtol=1e-4, atol=1e-4)
        plain.save_pretrained(tmp_path / "plain")
        tokenizer.save_pretrained(tmp_path / "plain")
        exported = load_model(str(tmp_path / "plain")).model
        torch.testing.assert_close(exported(ids).logits, wanted, rtol=1e-4, atol=1e-4)


def test_layers_with_common_weights_take_no_adapters(llama: Callable[..., LlamaForCausalLM]):
    model = llama(64, num_hidden_layers=3)
    first, second, _ = model.model.layers
    second.mlp.up_proj.weight = first.mlp.up_proj.weight
    adapted: Any = methods.build("lora", {})(copy.deepcopy(model))
    taken = {name for name, _ in adapted.named_parameters() if ".mlp.up_proj.lora_A" in name}
    assert [".layers.2." in name for name in taken] == [True]
    for kind, parameters in (("lora", {"targets": ["up_proj"]}), ("ia3", {"targets": ["up_proj"]})):
        with pytest.raises(RecipeError, match=r"layers\.0\.mlp\.up_proj has its weights in common"):
            methods.build(kind, {**parameters, **({"inputs": []} if kind == "ia3" else {})})(
                copy.deepcopy(model)
            )
