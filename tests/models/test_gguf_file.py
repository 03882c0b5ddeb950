"""GGUF: what is written is read back by transformers, and what cannot be written is refused by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from gguf import GGUFReader
from tokenizers import Regex, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from espalier.core.errors import ModelError
from espalier.encode.template import Template
from espalier.models.gguf_file import WORDS, read_gguf, stop_ids, write_gguf

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES: dict[str, Any] = {
    "vocab_size": 336,  # more than the tokenizer has, as most models' are
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
LONGER = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "tied": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "wide heads": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, head_dim=32)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
}
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
IDS = torch.arange(40)[None] * 7 % 300


@pytest.fixture
def tokenizer(chat_tokenizer: Callable[[str], Any]) -> Any:
    return chat_tokenizer("chatml")


def written(model: Any, tokenizer: Any, path: Path, kind: str = "f32") -> Path:
    write_gguf(path, model, tokenizer, Template(tokenizer), kind)
    return path


def random(name: str) -> Any:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    for weight in model.parameters():  # biases and norms too, which begin as zeros and ones
        weight.data += 0.02 * torch.randn_like(weight)
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_comes_back_in_f32(name: str, tokenizer: Any, tmp_path: Path) -> None:
    model = random(name)
    again = read_gguf(written(model, tokenizer, tmp_path / "model.gguf"))
    assert torch.equal(again(IDS).logits, model(IDS).logits)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "share"), [("f16", 1e-3), ("bf16", 1e-2), ("q8_0", 2e-2)])
def test_smaller_formats_round_and_nothing_else(
    kind: str, share: float, tokenizer: Any, tmp_path: Path
) -> None:
    model = random("llama")
    path = written(model, tokenizer, tmp_path / "model.gguf", kind)
    logits = model(IDS).logits
    gap = (read_gguf(path)(IDS).logits - logits).abs().max()
    assert 0 < gap < share * logits.abs().max()
    types = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(path).tensors}
    assert types["blk.0.attn_q.weight"] == kind.upper()
    assert types["blk.0.attn_norm.weight"] == "F32"


def test_the_file_tells_the_vocabulary_the_template_and_where_to_stop(tokenizer: Any, tmp_path: Path) -> None:
    path = written(random("llama"), tokenizer, tmp_path / "model.gguf")
    fields = GGUFReader(path).fields
    tokens = cast("list[str]", fields["tokenizer.ggml.tokens"].contents())
    assert {name: tokens.index(name) for name in tokenizer.get_vocab()} == tokenizer.get_vocab()
    assert len(tokens) == SIZES["vocab_size"]
    assert fields["tokenizer.ggml.pre"].contents() == "gpt-2"
    assert fields["tokenizer.chat_template"].contents() == tokenizer.chat_template
    assert stop_ids(path) == Template(tokenizer).stop_ids


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=32)),
            "mistral model uses a sliding",
        ),
        (lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=LONGER)), "'linear' rotary scaling"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(
    model: Callable[[], Any], said: str, tokenizer: Any, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=said):
        written(model(), tokenizer, tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


def test_another_architecture_is_refused_by_name(tokenizer: Any, tmp_path: Path) -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=336, n_embd=32, n_layer=1, n_head=2))
    with pytest.raises(ModelError, match=r"A 'gpt2' model cannot .* supported: llama, mistral, qwen2"):
        written(model, tokenizer, tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_without_a_name_in_gguf_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ModelError, match=r"no name in GGUF here: Whitespace.*--to hf"):
        written(random("llama"), other, tmp_path / "model.gguf")


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)], "smollm"),
        ([pre_tokenizers.Split(Regex(WORDS % r"\p{N}{1,3}"), "isolated"), BYTES], "llama-bpe"),
        ([pre_tokenizers.Split(Regex(WORDS % r"\p{N}"), "isolated"), BYTES], "qwen2"),
    ],
)
def test_known_ways_of_cutting_text_are_named(
    steps: list[Any], name: str, tokenizer: Any, tmp_path: Path
) -> None:
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    path = written(random("llama"), other, tmp_path / "model.gguf")
    assert GGUFReader(path).fields["tokenizer.ggml.pre"].contents() == name
