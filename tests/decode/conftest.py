"""A tiny model that has something to say, with a tokenizer of bytes, and prompts that share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from espalier.core.records import Example, message
from espalier.encode.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerFast


@pytest.fixture
def template(chat_tokenizer: Callable[[str], PreTrainedTokenizerFast]) -> Template:
    return Template(chat_tokenizer("chatml"))


@pytest.fixture
def talker() -> LlamaForCausalLM:
    """A random Llama for `template` whose logits are far apart, and whose answers differ by prompt."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def questions() -> list[Example]:
    """Nine prompts under one instruction, the last the same as the first."""
    words = ["cat", "mat", "sat", "hours", "meeting", "long", "on", "two", "the"]
    texts = [
        f"How long did it last?\n\nInput: the {word} {'sat on ' * (i % 3)}" for i, word in enumerate(words)
    ]
    texts[-1] = texts[0]
    return [
        Example(f"row-{number}", "task", text, (message("user", text),), references=("two hours",))
        for number, text in enumerate(texts)
    ]
