"""The model that the slow twins of strategies are tried on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.references.small import SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import LlamaForCausalLM


@pytest.fixture
def model(llama: Callable[..., LlamaForCausalLM], one_thread: None) -> LlamaForCausalLM:
    return llama(SIZE, initializer_range=0.25, eos_token_id=None, bos_token_id=None)
