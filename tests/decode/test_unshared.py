"""Rows that are answered through transformers' own `generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from espalier.core.errors import ModelError
from espalier.decode.requests import Request
from espalier.decode.strategies.sampling import greedy
from espalier.decode.unshared import rows_with_generate

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

PROMPTS = [(5, 6, 7), (5, 6), (9, 8, 7), (1, 2, 3, 4), (3, 3, 3)]


def answers(model: LlamaForCausalLM, prompts: list[tuple[int, ...]]) -> list[list[int]]:
    likeliest = greedy(limit=5)
    requests = [Request(str(number), prompt, 0, ()) for number, prompt in enumerate(prompts)]
    rows = [likeliest.begin(number, request, (2,)) for number, request in enumerate(requests)]
    found = {row.number: row.ids for row in rows_with_generate(model, rows, likeliest)}
    return [found[row] for row in range(len(prompts))]


def test_no_row_is_padded(talker: LlamaForCausalLM):
    seen: list[torch.Tensor] = []

    def note(_: object, __: object, given: dict[str, torch.Tensor]) -> None:
        seen.append(given["input_ids"])

    talker.model.register_forward_pre_hook(note, with_kwargs=True)
    together = answers(talker, PROMPTS)
    asked = {tuple(row) for ids in seen for row in ids.tolist()}
    assert asked >= set(PROMPTS)
    assert together == [answers(talker, [prompt])[0] for prompt in PROMPTS]


def test_a_model_whose_batches_mix_rows_is_asked_for_one_at_a_time(talker: LlamaForCausalLM):
    alone = [answers(talker, [prompt])[0] for prompt in PROMPTS]

    def mix(_: torch.nn.Module, __: object, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + 0.5 * (hidden - hidden[:1])

    talker.model.layers[0].mlp.register_forward_hook(mix)
    assert answers(talker, PROMPTS) == alone


def test_what_transformers_cannot_write_is_said_in_words(
    talker: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
):
    def fail(**_: object) -> None:
        raise AttributeError("no such layers")

    monkeypatch.setattr(talker, "generate", lambda *_, **__: fail())
    with pytest.raises(ModelError, match=r"generate cannot write with LlamaForCausalLM: no such layers"):
        answers(talker, PROMPTS[:1])
