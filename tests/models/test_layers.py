"""Block expansion: where the new blocks go, what the configuration says of them, and when it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from espalier.core.errors import ModelError
from espalier.models.adapters import methods

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

# Blocks below which a window slides, from the configuration of a model with both sorts.
SORTS = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]


def expanded(**params: Any) -> Any:
    config = Qwen3Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        layer_types=SORTS,
        sliding_window=32,
        use_sliding_window=True,
    )
    return methods.build("layers", params)(Qwen3ForCausalLM(config).eval())


@pytest.mark.parametrize(
    ("params", "new"),
    [
        ({"count": 2}, [2, 5]),
        ({"count": 1}, [4]),
        ({"count": 2, "place": "top"}, [4, 5]),
        ({"count": 5}, [1, 3, 4, 6, 8]),
    ],
)
def test_new_blocks_are_where_they_were_asked_for(params: dict[str, Any], new: list[int]) -> None:
    model = expanded(**params)
    blocks = model.model.layers
    assert [i for i, block in enumerate(blocks) if next(block.parameters()).requires_grad] == new
    assert [block.self_attn.layer_idx for block in blocks] == list(range(4 + params["count"]))
    assert model.config.num_hidden_layers == len(blocks)
    assert model.config.layer_types == [
        "sliding_attention" if block.self_attn.sliding_window else "full_attention" for block in blocks
    ]


def test_a_new_block_learns_at_the_first_step(tiny_llama: LlamaForCausalLM) -> None:
    model: Any = methods.build("layers", {"count": 1})(tiny_llama)
    model(torch.tensor([[1, 5, 9]])).logits.log_softmax(-1)[0, 1, 9].neg().backward()
    moving = {name for name, w in model.model.layers[-1].named_parameters() if w.grad.abs().sum() > 0}
    assert moving == {"self_attn.o_proj.weight", "mlp.down_proj.weight"}


def test_blocks_that_do_not_become_the_identity_are_refused(
    tiny_llama: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espalier.models.layers.WRITERS", {"o_proj"})
    with pytest.raises(ModelError, match="does not become the identity"):
        methods.build("layers", {})(tiny_llama)
