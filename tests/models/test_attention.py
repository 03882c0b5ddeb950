"""Tree attention as one layer: its parts, its overflow path, what it refuses; which models can have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from espalier.core.errors import ModelError
from espalier.core.records import Encoded
from espalier.encode.tree import build_tree, row_path
from espalier.models import attention_plan, tree_attention
from espalier.models.attention import NAME, attending_by_tree
from espalier.models.attention import tree_attention as attend
from espalier.models.attention_plan import make_plan
from espalier.models.support import drops, unsupported
from espalier.models.tree_attention import TreeAttention

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedModel

    from espalier.encode.tree import Tree

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TINY_GPT2: dict[str, Any] = {
    "vocab_size": 64,
    "n_embd": 32,
    "n_layer": 1,
    "n_head": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.fixture
def tree(tiny_rows: list[Encoded]) -> Tree:
    return build_tree(tiny_rows)


def inputs(tree: Tree, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = ((6, 8), (2, 8), (2, 8))
    arrays = [torch.randn(1, heads, len(tree.ids), width, dtype=torch.float64) for heads, width in shapes]
    return [(array * scale).to(dtype).requires_grad_() for array in arrays]


def dense(tree: Tree, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    mask = np.zeros((len(tree.ids), len(tree.ids)), bool)
    for row in range(len(tree.rows)):
        path = row_path(tree, row)
        mask[np.ix_(path, path)] |= np.tri(len(path), dtype=bool)
    keys, values = (array.repeat_interleave(3, 1) for array in (k, v))
    out = torch.nn.functional.scaled_dot_product_attention(q, keys, values, torch.from_numpy(mask), scale=0.3)
    return out.transpose(1, 2)


def gaps(tree: Tree, dtype: torch.dtype, scale: float = 1.0) -> list[float]:
    """Relative gaps of the outputs and of the three gradients, against a dense mask in fp64."""
    fast, slow = (
        inputs(tree, dtype, scale),
        [x.detach().double().requires_grad_() for x in inputs(tree, dtype, scale)],
    )
    out = TreeAttention.apply(*fast, make_plan(tree), 0.3, dtype)
    wanted = dense(tree, *slow)
    weight = torch.randn(wanted.shape, dtype=torch.float64)
    out.backward(weight.to(dtype))
    wanted.backward(weight)
    pairs = [
        (out.detach(), wanted.detach()),
        *((one.grad, two.grad) for one, two in zip(fast, slow, strict=True)),
    ]
    return [float((one.double() - two).norm() / two.norm()) for one, two in pairs]


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 2e-6), (torch.bfloat16, 1e-2)]
)
def test_it_equals_a_dense_mask(tree: Tree, dtype: torch.dtype, bound: float):
    assert max(gaps(tree, dtype)) < bound


def test_scores_beyond_the_range_of_exp_are_exact(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    calls: list[int] = []
    top = tree_attention._top
    monkeypatch.setattr(tree_attention, "_top", lambda *parts: (calls.append(1), top(*parts))[1])
    assert max(gaps(tree, torch.float32)) < 2e-6
    assert not calls
    assert max(gaps(tree, torch.float32, scale=30.0)) < 2e-3  # scores of thousands keep four digits in fp32
    assert calls


def test_memory_that_nothing_was_written_to_decides_nothing(monkeypatch: pytest.MonkeyPatch):
    rows = [Encoded(tuple(range(3, 3 + size)), (0.0,) + (1.0,) * (size - 1), 1, "row") for size in (16, 40)]
    monkeypatch.setattr(tree_attention, "_top", lambda *_: pytest.fail("no score is out of range"))
    torch.use_deterministic_algorithms(True)  # fills what is not written with nan
    try:
        for row in rows:  # a tree of one row has no padding
            assert max(gaps(build_tree([row]), torch.float32)) < 2e-6
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_plan_covers_each_pair_once(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    for longest, smallest in ((256, 4096), (16, 64), (16, 10**9)):
        monkeypatch.setattr(attention_plan, "LONGEST_NODE", longest)
        monkeypatch.setattr(attention_plan, "SMALLEST_CROSS", smallest)
        plan = make_plan(tree)
        pairs = np.zeros((plan.tokens + 1, plan.tokens + 1), int)
        for part in plan.cross:
            pairs[part.key_end : part.query_end, part.key_start : part.key_end] += 1
        for part in plan.local:
            for queries, keys, hidden in zip(part.queries, part.keys, part.hidden, strict=True):
                pairs[np.ix_(queries, keys)] += ~hidden.numpy()
        assert pairs[:-1].sum() == sum(int(position) + 1 for position in tree.positions)
        assert pairs[:-1].max() == 1


def test_small_inner_nodes_are_gathered_and_not_crossed():
    rows = [
        Encoded((1, *map(int, f"{number:06b}"), 9), (0.0,) * 7 + (1.0,), 7, "row") for number in range(64)
    ]
    plan = make_plan(build_tree(rows))
    assert plan.cross == ()
    assert len(plan.local) == 1


def test_a_long_node_is_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attention_plan, "LONGEST_NODE", 40)
    plan = make_plan(build_tree([Encoded(tuple(range(101)), (0.0,) * 100 + (1.0,), 100, "row")]))
    assert [(part.key_start, part.key_end, part.query_end) for part in plan.cross] == [
        (0, 40, 100),
        (40, 80, 100),
    ]


def call(tree: Tree, **settings: Any) -> torch.Tensor:
    q, k, v = inputs(tree)
    return attend(torch.nn.Module(), q, k, v, None, **{"tree_plan": make_plan(tree), **settings})[0]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"dropout": 0.1}, "dropout"),
        ({"softcap": 50.0}, "soft caps"),
        ({"s_aux": torch.zeros(4)}, "sinks"),
        ({"sliding_window": 10}, "sliding window of 10"),
    ],
)
def test_what_it_does_not_compute_is_refused(tree: Tree, settings: dict[str, Any], word: str):
    with pytest.raises(ModelError, match=word):
        call(tree, **settings)


def test_a_window_as_long_as_the_longest_path_hides_nothing(tree: Tree):
    assert torch.equal(call(tree, sliding_window=int(tree.positions.max()) + 1), call(tree))


def test_without_a_plan_it_says_so(tree: Tree):
    q, k, v = inputs(tree)
    with pytest.raises(ModelError, match="keyword arguments"):
        attend(torch.nn.Module(), q, k, v, None)


def test_a_model_gets_its_own_attention_back(tiny_llama: LlamaForCausalLM):
    before = tiny_llama.config._attn_implementation
    with attending_by_tree(tiny_llama):
        assert tiny_llama.config._attn_implementation == NAME
    assert tiny_llama.config._attn_implementation == before
    with pytest.raises(ModelError), attending_by_tree(tiny_llama):
        tiny_llama(torch.ones(1, 3, dtype=torch.long))
    assert tiny_llama.config._attn_implementation == before


def model(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(**SIZES),
        Qwen3Config(**SIZES, head_dim=12),
        Phi3Config(**SIZES),
        MistralConfig(**SIZES, sliding_window=None),
    ],
    ids=lambda config: config.model_type,
)
def test_models_of_full_attention_are_supported(config: PreTrainedConfig):
    assert unsupported(model(config)) is None


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (MistralConfig(**SIZES, sliding_window=16), "sliding window of 16"),
        (
            Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=16, max_window_layers=1),
            "sliding_attention",
        ),
        (Gemma2Config(**SIZES, head_dim=8), "sliding_attention"),
        (
            MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, state_size=4),
            "attention interface",
        ),
    ],
    ids=["mistral", "qwen2", "gemma2", "mamba"],
)
def test_other_models_are_told_by_what_they_are(config: PreTrainedConfig, word: str):
    assert word in str(unsupported(model(config)))


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(**SIZES, attention_dropout=0.1),
        Phi3Config(**SIZES, attention_dropout=0.1),
        GPT2Config(**TINY_GPT2, attn_pdrop=0.1),
    ],
    ids=lambda config: config.model_type,
)
def test_dropout_in_attention_matters_in_training_only(config: PreTrainedConfig):
    dropping = model(config)
    state = torch.get_rng_state()
    assert unsupported(dropping) is None
    assert "dropout" in str(unsupported(dropping, training=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert not dropping.training


def test_a_model_is_tried_once(tiny_llama: LlamaForCausalLM):
    forwards: list[int] = []
    tiny_llama.register_forward_hook(lambda *_: forwards.append(1))
    assert unsupported(tiny_llama) is None
    tried = len(forwards)
    tiny_llama.config._name_or_path = "copied/elsewhere"
    assert unsupported(tiny_llama, longest=9) is None
    assert 0 < tried == len(forwards)


def test_a_window_longer_than_all_rows_is_no_reason():
    windowed = model(MistralConfig(**SIZES, sliding_window=32))
    assert unsupported(windowed, longest=32) is None
    assert "window" in str(unsupported(windowed, longest=33))


def test_learned_positions_are_found_out_by_trial_or_work():
    assert unsupported(model(GPT2Config(**TINY_GPT2, attn_pdrop=0.0)), training=True) is None


def test_a_model_that_mixes_tokens_outside_attention_is_found_out(tiny_llama: LlamaForCausalLM):
    def mix(_: torch.nn.Module, __: tuple[torch.Tensor, ...], hidden: torch.Tensor) -> torch.Tensor:
        return hidden + hidden.roll(1, dims=1)

    tiny_llama.model.layers[0].mlp.register_forward_hook(mix)
    assert "computed once" in str(unsupported(tiny_llama))


def test_gradient_checkpointing_is_a_reason(tiny_llama: LlamaForCausalLM):
    tiny_llama.activation_checkpointing_enable()
    assert "checkpointing" in str(unsupported(tiny_llama))


def test_the_trial_leaves_the_mode_as_it_was(tiny_llama: LlamaForCausalLM):
    tiny_llama.train()
    assert unsupported(tiny_llama) is None
    assert tiny_llama.training


@pytest.mark.parametrize(
    ("config", "by_row", "chance"),
    [
        (GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, attn_pdrop=0.1), True, True),
        (
            GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, attn_pdrop=0, embd_pdrop=0.1),
            False,
            True,
        ),
        (
            GPT2Config(
                vocab_size=64, n_embd=32, n_layer=1, n_head=2, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0
            ),
            False,
            False,
        ),
        (LlamaConfig(**SIZES), False, False),
    ],
    ids=["attention", "hidden", "none", "llama"],
)
def test_dropout_is_known_whatever_its_name(config: PreTrainedConfig, by_row: bool, chance: bool):
    made = model(config)
    assert (unsupported(made, training=True) is not None) == by_row
    assert unsupported(made) is None
    before = torch.get_rng_state()
    assert drops(made) == chance
    assert torch.equal(torch.get_rng_state(), before)
    assert not made.training
