"""The seam of strategies holds a beam search: it finds what transformers finds, and what trying all finds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import GenerationConfig, LlamaForCausalLM

from espalier.core.errors import ModelError
from espalier.decode import batch
from espalier.decode.batch import Batch
from espalier.decode.cache import plan_layout
from espalier.decode.engine import decode_tokens
from espalier.decode.requests import Request
from espalier.decode.strategies.registry import strategies
from espalier.decode.strategy import Strategy
from tests.references.small import STOPS, answers, prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from espalier.decode.batch import Token


@pytest.fixture
def beam_search(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Strategy]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return lambda **params: strategies.build("beams:beam_search", params, "decode")


def by_transformers(model: LlamaForCausalLM, prompt: Sequence[int], beams: int, limit: int) -> list[int]:
    config = GenerationConfig(
        max_new_tokens=limit,
        num_beams=beams,
        do_sample=False,
        early_stopping=True,
        eos_token_id=sorted(STOPS),
        pad_token_id=0,
    )
    ids = torch.tensor([prompt])
    row = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    answer = row[0, len(prompt) :].tolist()
    ends = [place for place, token in enumerate(answer) if token in STOPS]
    return answer[: ends[0] + 1] if ends else answer


@pytest.mark.parametrize("least", [1, 10**9])
def test_beams_end_where_those_of_transformers_do(
    model: LlamaForCausalLM, beam_search: Callable[..., Strategy], monkeypatch: pytest.MonkeyPatch, least: int
):
    monkeypatch.setattr(batch, "plan_layout", partial(plan_layout, least=least))
    requests = [Request(str(n), prompt, 0, ()) for n, prompt in enumerate(prompts(12))]
    found = answers(decode_tokens(model, requests, beam_search(beams=4, limit=9), STOPS))
    wanted = {n: by_transformers(model, prompt, 4, 9) for n, prompt in enumerate(prompts(12))}
    assert found == wanted
    assert len({len(answer) for answer in wanted.values()}) > 2
    greedily = answers(decode_tokens(model, requests, strategies.build("greedy", {"limit": 9}), STOPS))
    assert found != greedily


def test_requests_with_beams_join_others(model: LlamaForCausalLM, beam_search: Callable[..., Strategy]):
    some = Batch(model, beam_search(beams=3, limit=8), STOPS)
    tokens: list[Token] = []
    for number, prompt in enumerate(prompts(12)):
        some.join([Request(str(number), prompt, 0, (), limit=4 + number % 5)])
        tokens += some.step()
    while some.rows:
        tokens += some.step()
    wanted = {n: by_transformers(model, prompt, 3, 4 + n % 5) for n, prompt in enumerate(prompts(12))}
    assert answers(tokens) == wanted


def test_enough_beams_find_the_best_of_all_answers(
    model: LlamaForCausalLM, beam_search: Callable[..., Strategy]
):
    prompt, limit = prompts(12)[1], 3
    request = Request("", prompt, 0, ())
    (found,) = answers(decode_tokens(model, [request], beam_search(beams=600, limit=limit), STOPS)).values()
    ended: dict[tuple[int, ...], float] = {}
    going: dict[tuple[int, ...], float] = {(): 0.0}
    for size in range(1, limit + 1):
        rows = torch.tensor([[*prompt, *beginning] for beginning in going])
        with torch.no_grad():
            logprobs = model(rows, use_cache=False).logits[:, -1].log_softmax(-1).tolist()
        every = {
            (*beginning, token): total + one
            for (beginning, total), row in zip(going.items(), logprobs, strict=True)
            for token, one in enumerate(row)
        }
        done = {ids for ids in every if ids[-1] in STOPS or size == limit}
        ended |= {ids: every[ids] / size for ids in done}
        going = {ids: total for ids, total in every.items() if ids not in done}
    assert tuple(found) == max(ended, key=lambda ids: ended[ids])


def test_the_logprobs_are_those_of_the_answer(model: LlamaForCausalLM, beam_search: Callable[..., Strategy]):
    prompt = prompts(12)[0]
    tokens = list(decode_tokens(model, [Request("", prompt, 0, ())], beam_search(limit=6), STOPS))
    ids = [token.id for token in tokens]
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
    wanted = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0].tolist()
    assert [token.logprob for token in tokens] == pytest.approx(wanted, abs=1e-5)
    assert [token.finish is None for token in tokens] == [True] * (len(ids) - 1) + [False]


def test_a_strategy_of_one_row_that_names_parents_is_refused_where_nothing_is_shared(
    model: LlamaForCausalLM, beam_search: Callable[..., Strategy]
):
    request = Request("", prompts(12)[0], 0, ())
    alone = replace(beam_search(limit=2), rows=1)
    with pytest.raises(ModelError, match="by having `rows` above 1"):
        list(decode_tokens(model, [request], alone, STOPS, shared=False))
