"""Comparing an exported model with the trained one: what a gap explains, and what it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from espalier.core.errors import ModelError
from espalier.encode.template import Template
from espalier.models.adapters import methods, save_weights
from espalier.models.export import (
    Seen,
    check_plain,
    compare_outputs,
    copy_adapter,
    load_adapter,
    load_hf,
    logits_of,
    save_hf,
    witness,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import LlamaForCausalLM

# One prompt, an answer of two tokens out of four; the second choice is close.
LOGITS = np.array([[9.0, 1.0, 0.0, 0.0], [1.0, 5.0, 4.9, 0.0]], np.float32)
TRAINED = Seen(LOGITS, (0, 1))


def compared(logits: np.ndarray, answer: tuple[int, ...], share: float = 0.01) -> Any:
    return compare_outputs("test", ["row"], [TRAINED], [Seen(logits.astype(np.float32), answer)], share)


def test_the_same_is_the_same() -> None:
    found = compared(LOGITS, (0, 1))
    assert found.ok
    assert (found.gap, found.rows[0].parted, found.rows[0].margin) == (0.0, None, None)


def test_a_gap_beyond_the_bound_is_too_large_and_so_is_no_number() -> None:
    assert compared(LOGITS + 0.08, (0, 1)).ok
    assert not compared(LOGITS + 0.1, (0, 1)).ok
    assert not compared(LOGITS * np.nan, (0, 1)).ok


def test_another_token_is_explained_by_a_gap_of_half_the_margin() -> None:
    near = np.where(np.float32(4.9) == LOGITS, 4.96, LOGITS)
    found = compared(near, (0, 2))
    assert found.ok
    assert found.rows[0].parted == 1
    assert found.rows[0].margin == pytest.approx(0.1, abs=1e-6)
    assert not compared(LOGITS + 0.01, (0, 2)).ok  # within the bound, but nothing that swaps the two
    assert not compared(near, (0, 3)).ok


@pytest.mark.parametrize("answer", [(0,), (0, 1, 3)])
def test_an_answer_that_ends_elsewhere_is_not_explained(answer: tuple[int, ...]) -> None:
    found = compared(LOGITS + 0.01, answer)
    assert not found.ok
    assert found.rows[0].margin == float("inf")


@pytest.fixture
def tokenizer(chat_tokenizer: Callable[[str], Any]) -> Any:
    return chat_tokenizer("chatml")


@pytest.fixture
def model(tiny_llama: LlamaForCausalLM, tokenizer: Any) -> LlamaForCausalLM:
    tiny_llama.resize_token_embeddings(len(tokenizer))
    return tiny_llama


def test_a_folder_stops_where_the_template_stops(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    template = Template(tokenizer)
    prompts = [[9, 8, 7, 6]]
    own = witness(model, prompts, [[5, 5]], 6, template.stop_ids)
    save_hf(tmp_path, model, tokenizer, template, "f32", {"do_sample": True, "temperature": 0.5})
    settings = json.loads((tmp_path / "generation_config.json").read_text())
    assert settings["eos_token_id"] == sorted(template.stop_ids)
    assert settings["temperature"] == 0.5
    again = witness(load_hf(tmp_path), prompts, [[5, 5]], 6)
    assert again[0].answer == own[0].answer
    assert np.array_equal(again[0].logits, own[0].logits)
    first = own[0].answer[0]
    assert witness(model, prompts, [[5, 5]], 6, {first})[0].answer == (first,)


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_peft_by_itself_computes_the_adapter(method: str, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    save_hf(tmp_path / "base", model, tokenizer, Template(tokenizer), "f32", {})
    tuned: Any = methods.build(method, {})(model).eval()
    for weight in tuned.parameters():
        if weight.requires_grad:
            weight.data += 0.05 * torch.randn_like(weight)
    save_weights(tuned, tmp_path / "run")
    copy_adapter(tmp_path / "run", tmp_path / "out", "owner/model")
    assert (
        json.loads((tmp_path / "out/adapter_config.json").read_text())["base_model_name_or_path"]
        == "owner/model"
    )
    virtual = list(range(len(tokenizer), len(tokenizer) + 20)) if method == "prompt" else []
    (own,) = logits_of(tuned, [[*virtual, 9, 8, 7]], [[5, 4]])
    (again,) = logits_of(load_adapter(str(tmp_path / "base"), tmp_path / "out"), [[9, 8, 7]], [[5, 4]])
    assert np.abs(own - again).max() < 1e-5


def test_what_is_no_adapter_and_what_is_not_pefts_is_refused(model: Any, tmp_path: Path) -> None:
    save_weights(model, tmp_path / "full")
    with pytest.raises(ModelError, match=r"there is no adapter to export\. Use --to hf"):
        copy_adapter(tmp_path / "full", tmp_path / "out", "base")
    save_weights(methods.build("adapter", {"size": 4})(model), tmp_path / "ours")
    with pytest.raises(ModelError, match="peft knows no adapter of the type 'BOTTLENECK'"):
        copy_adapter(tmp_path / "ours", tmp_path / "out", "base")


def test_what_cannot_be_folded_in_is_refused(model: Any) -> None:
    check_plain(model)
    with pytest.raises(ModelError, match="cannot be folded into the model's weights"):
        check_plain(methods.build("prompt", {})(model))  # type: ignore[arg-type]
