"""Tuned models write the same answers by tree as through transformers' own `generate`."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch

from espalier.decode.engine import decode_tokens
from espalier.decode.requests import Request
from espalier.decode.strategies.sampling import greedy
from espalier.models.adapters import merged, methods
from espalier.models.soft_prompt import virtual_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import LlamaForCausalLM

    from espalier.core.records import Example
    from espalier.encode.template import Template


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """At this size threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["lora", "ia3", "layers", "adapter", "prompt"])
def test_answers_are_those_of_generate(
    talker: LlamaForCausalLM, template: Template, questions: list[Example], name: str
) -> None:
    torch.manual_seed(0)
    model: Any = methods.build(name, {})(talker)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.1 * torch.randn(weight.shape)
    prefixed = template.prefixed(virtual_ids(model))
    requests = [Request(one.id, prefixed.prompt_ids(one.prompt), 0, ()) for one in questions[:4]]

    def answers(model: Any, *, shared: bool) -> list[list[int]]:
        ids: list[list[int]] = [[] for _ in requests]
        for token in decode_tokens(model, requests, greedy(limit=5), template.stop_ids, shared=shared):
            ids[token.row].append(token.id)
        return ids

    wanted = answers(model, shared=False)
    assert len({tuple(answer) for answer in wanted}) > 1
    assert answers(merged(copy.deepcopy(model)), shared=True) == wanted
