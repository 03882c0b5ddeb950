"""Beams on models that share nothing: in the model's own cache, or without any where that is not right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM

from espalier.decode import stepping
from espalier.decode.engine import decode_tokens
from espalier.decode.requests import Request
from espalier.decode.stepping import rows_by_steps
from espalier.decode.strategies.beam import beam
from espalier.decode.strategies.sampling import greedy

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import LlamaForCausalLM, PreTrainedModel

    from espalier.decode.strategy import Strategy

PROMPTS = [(5, 6, 7), (5, 6), (9, 8, 7), (1, 2, 3, 4), (3, 3, 3)]
STOPS = frozenset({2, 11})


def answers(model: PreTrainedModel, strategy: Strategy, **own: Any) -> dict[tuple[int, int], list[int]]:
    requests = [Request(str(number), prompt, 0, ()) for number, prompt in enumerate(PROMPTS)]
    found: dict[tuple[int, int], list[int]] = {}
    for token in decode_tokens(model, requests, strategy, STOPS, **own):
        found.setdefault((token.row, token.sample), []).append(token.id)
    return found


@pytest.fixture
def small(llama: Callable[..., LlamaForCausalLM], one_thread: None) -> LlamaForCausalLM:
    return llama(24, initializer_range=0.3, eos_token_id=None, bos_token_id=None)


@pytest.mark.parametrize("right", [True, False])
def test_beams_are_the_same_with_nothing_shared(
    small: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, right: bool
):
    assert stepping._is_cached(small)
    monkeypatch.setitem(stepping._CACHED, small, right)
    strategy = beam(beams=3, limit=7, samples=2)
    assert answers(small, strategy, shared=False) == answers(small, strategy)


def test_states_and_windows_are_searched_too(one_thread: None):
    sizes: dict[str, Any] = {"vocab_size": 24, "hidden_size": 16, "num_hidden_layers": 2}
    sizes |= {"initializer_range": 0.5, "eos_token_id": None, "bos_token_id": None, "pad_token_id": 0}
    torch.manual_seed(0)
    window = {
        "sliding_window": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 24,
    }
    for model in (
        MistralForCausalLM(MistralConfig(**sizes, **window)).eval(),
        MambaForCausalLM(MambaConfig(**sizes, state_size=4)).eval(),
    ):
        found = answers(model, beam(beams=3, limit=6), shared=False)
        rows = [greedy(limit=6).begin(n, Request("", p, 0, ()), STOPS) for n, p in enumerate(PROMPTS)]
        strategy = beam(beams=3, limit=6)
        slow = {
            ended[0].number: strategy.answers(ended)[0].ids
            for ended in rows_by_steps(model, rows, strategy, cached=False)
        }
        assert {number: ids for (number, _), ids in found.items()} == slow
        one = answers(model, beam(beams=1, limit=6), shared=False)
        assert one == answers(model, greedy(limit=6), shared=False)


def test_a_cache_that_is_wrong_is_not_used(small: LlamaForCausalLM):
    def mix(_: torch.nn.Module, __: object, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + 0.5 * (hidden - hidden[:1])

    small.model.layers[0].mlp.register_forward_hook(mix)
    assert not stepping._is_cached(small)
