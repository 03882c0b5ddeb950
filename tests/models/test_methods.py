"""Every tuning method: where it starts, what it moves, the tree against the rows, saving, folding in."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from espalier.core.errors import MissingExtra
from espalier.core.records import message
from espalier.encode.tree import build_tree
from espalier.models.adapters import is_plain, merged, methods, peft_as_it_is
from espalier.models.forward import edge_logprobs
from espalier.models.load import load_model, load_tuned, save_tuned
from espalier.models.quantised import from_4_bits, to_4_bits
from espalier.models.soft_prompt import virtual_ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import LlamaForCausalLM

    from espalier.core.records import Encoded
    from espalier.models.load import Loaded

# What each method trains of a Llama of 2 blocks, by a part of the name, and how many tensors these are.
MOVED: dict[str, tuple[dict[str, Any], str, int]] = {
    "full": ({}, "", 21),
    "lora": ({"rank": 4}, ".lora_", 28),
    "rslora": ({"rank": 4, "rslora": True}, ".lora_", 28),
    "dora": ({"rank": 4, "dora": True}, ".lora_", 42),
    "layers": ({"count": 2}, "layers.", 18),
    "adapter": ({"size": 4}, "mlp.", 8),
    "ia3": ({}, ".ia3_l", 6),
    "prompt": ({"tokens": 3}, "embed_tokens.prompt", 1),
    "bitfit": ({}, "norm.weight", 5),
    "head": ({}, "lm_head.weight", 1),
}
KINDS = {"rslora": "lora", "dora": "lora"}
each_method = pytest.mark.parametrize("name", MOVED)


def prepared(name: str, model: Any) -> Any:
    torch.manual_seed(0)
    return methods.build(KINDS.get(name, name), MOVED[name][0])(model)


def trained(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def shaken(model: Any) -> Any:
    """Move the trained weights away from where they begin."""
    generator = torch.Generator().manual_seed(1)
    for weight in trained(model).values():
        weight.data += 0.05 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return model


def headed(rows: list[Encoded], ids: tuple[int, ...]) -> list[Encoded]:
    """The rows with `ids` before each, as `Template.prefixed` has them."""
    return [
        replace(row, ids=ids + row.ids, weights=(0.0,) * len(ids) + row.weights, prompt=row.prompt + len(ids))
        for row in rows
    ]


@torch.no_grad()
def logits(model: Any, ids: tuple[int, ...] = (1, 5, 9, 30)) -> torch.Tensor:
    return model.eval()(torch.tensor([(*virtual_ids(model), *ids)])).logits[:, -len(ids) :]


@each_method
def test_it_starts_as_the_base_and_an_update_moves_it(tiny_llama: LlamaForCausalLM, name: str) -> None:
    before = logits(tiny_llama)
    model = prepared(name, tiny_llama)
    start = logits(model)
    if name != "prompt":
        torch.testing.assert_close(start, before, atol=1e-6 if name == "dora" else 0.0, rtol=0.0)
    optimizer = torch.optim.AdamW(trained(model).values(), lr=1e-2)
    model(torch.tensor([(*virtual_ids(model), 1, 5, 9, 30)])).logits.log_softmax(-1)[
        0, -2, 30
    ].neg().backward()
    optimizer.step()
    assert not torch.equal(logits(model), start)
    assert virtual_ids(model) == ((64, 65, 66) if name == "prompt" else ())


@each_method
def test_the_tree_is_exact_and_only_what_is_meant_gets_gradients(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], name: str
) -> None:
    model = shaken(prepared(name, tiny_llama).double())
    rows = headed(tiny_rows, virtual_ids(model))
    tree = build_tree(rows)
    _, part, count = MOVED[name]
    assert len(trained(model)) == count
    assert all(part in weight for weight in trained(model))
    found = {shared: _loss(model, tree, shared=shared) for shared in (True, False)}
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-12)
    assert found[True][1].keys() == found[False][1].keys() == trained(model).keys()
    for weight, grad in found[False][1].items():
        assert grad.norm() > 0, weight
        assert (found[True][1][weight] - grad).norm() <= 1e-6 * grad.norm(), weight


def _loss(model: Any, tree: Any, *, shared: bool) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    weights = torch.from_numpy(np.bincount(tree.entry_edges, tree.weights))
    loss = -(edge_logprobs(model, tree, shared=shared).logprobs * weights).sum()
    loss.backward()
    return loss.item(), {
        n: part.grad.clone() for n, part in model.named_parameters() if part.grad is not None
    }


@each_method
def test_folded_in_it_is_the_same_model(tiny_llama: LlamaForCausalLM, name: str) -> None:
    model = shaken(prepared(name, tiny_llama).double())
    before = logits(model)
    plain = merged(copy.deepcopy(model))
    torch.testing.assert_close(logits(plain), before, atol=1e-12, rtol=0)
    assert is_plain(plain) == (name not in ("adapter", "prompt"))


@pytest.fixture
def base(tmp_path: Path, tiny_llama: LlamaForCausalLM, chat_tokenizer: Callable[[str], Any]) -> Loaded:
    """A model loaded from a folder, with its embedding tied to its head."""
    tokenizer = chat_tokenizer("chatml")
    tiny_llama.resize_token_embeddings(len(tokenizer))
    tiny_llama.config.tie_word_embeddings = True
    tiny_llama.tie_weights()
    tiny_llama.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return load_model(str(tmp_path / "base"))


@each_method
def test_it_comes_back_from_its_folder(base: Loaded, tmp_path: Path, name: str) -> None:
    plain = logits(base.model)
    model = shaken(prepared(name, base.model))
    save_tuned(model, base, tmp_path / "tuned")
    again = load_tuned(tmp_path / "tuned", base.place)
    assert torch.equal(logits(again.model), logits(model))
    assert not torch.equal(logits(again.model), plain)
    turn = [message("user", "Hello")]
    assert again.template.prompt_ids(turn) == virtual_ids(model) + base.template.prompt_ids(turn)


@pytest.mark.parametrize("name", ["full", "layers", "bitfit", "head"])
def test_what_stays_plain_loads_without_us(base: Loaded, tmp_path: Path, name: str) -> None:
    model = shaken(prepared(name, base.model))
    save_tuned(model, base, tmp_path / "tuned")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "tuned")), logits(model))


def test_peft_reads_a_soft_prompt(base: Loaded, tmp_path: Path) -> None:
    model = shaken(prepared("prompt", base.model))
    ours = logits(model)
    save_tuned(model, base, tmp_path / "tuned")
    with peft_as_it_is(), torch.no_grad():
        theirs = PeftModel.from_pretrained(load_model(base.place).model, str(tmp_path / "tuned"))
        found = theirs(torch.tensor([[1, 5, 9, 30]])).logits[:, 3:]
    torch.testing.assert_close(found, ours, atol=1e-6, rtol=0)


def test_4_bit_weights_train_come_back_and_fold_in(
    base: Loaded, tmp_path: Path, tiny_rows: list[Encoded]
) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    rounded = logits(from_4_bits(to_4_bits(copy.deepcopy(base.model))))
    model: Any = methods.build("qlora", {"rank": 4})(base.model)
    torch.testing.assert_close(logits(model), rounded, atol=1e-6, rtol=0)
    assert all(".lora_" in name for name in trained(shaken(model)))
    found = {shared: _loss(model, build_tree(tiny_rows), shared=shared) for shared in (True, False)}
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-6)
    for name, grad in found[False][1].items():
        assert (found[True][1][name] - grad).norm() <= 1e-5 * grad.norm(), name
    save_tuned(model, base, tmp_path / "tuned")
    again = load_tuned(tmp_path / "tuned", base.place)
    torch.testing.assert_close(logits(again.model), logits(model), atol=1e-6, rtol=0)
    plain = merged(copy.deepcopy(model))
    torch.testing.assert_close(logits(plain), logits(model), atol=1e-6, rtol=0)
    assert is_plain(plain)


def test_4_bit_weights_need_bitsandbytes(
    tiny_llama: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtra, match=r"pip install 'espalier-lm\[qlora\]'"):
        methods.build("qlora", {})(tiny_llama)


@pytest.mark.parametrize("targets", ["all-linear", ["c_attn", "lm_head"], ["wte"]])
def test_gpt2_takes_an_adapter_without_a_word(targets: Any, recwarn: pytest.WarningsRecorder) -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=16))
    methods.build("lora", {"targets": targets})(model)
    assert not recwarn.list
