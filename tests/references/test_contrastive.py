"""Contrastive search against the paper's few lines, which run whole rows for each token looked at."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from espalier.core.errors import ModelError, RecipeError
from espalier.decode import batch
from espalier.decode.batch import Batch
from espalier.decode.cache import plan_layout
from espalier.decode.engine import decode_tokens
from espalier.decode.requests import Request
from espalier.decode.strategies.registry import strategies
from tests.references.small import STOPS, answers, prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import LlamaForCausalLM

    from espalier.decode.batch import Token


@torch.no_grad()
def naively(
    model: LlamaForCausalLM, prompt: Sequence[int], limit: int, *, top_k: int, penalty: float
) -> list[int]:
    ids = [*prompt]
    while len(ids) < len(prompt) + limit and not (len(ids) > len(prompt) and ids[-1] in STOPS):
        best = model(torch.tensor([ids])).logits[0, -1].softmax(-1).topk(top_k)
        scores: list[float] = []
        for probability, token in zip(*best, strict=True):
            said = model(torch.tensor([[*ids, int(token)]]), output_hidden_states=True).hidden_states[-1][0]
            like = cosine_similarity(said[-1:], said[:-1]).max()
            scores.append(float((1 - penalty) * probability - penalty * like))
        ids.append(int(best.indices[int(np.argmax(scores))]))
    return ids[len(prompt) :]


@pytest.mark.parametrize("least", [1, 10**9])
@pytest.mark.parametrize("ended", [0.01, 1.0])
def test_tokens_are_those_of_the_paper(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, least: int, ended: float
):
    monkeypatch.setattr(batch, "plan_layout", partial(plan_layout, least=least))
    monkeypatch.setattr(batch, "ENDED", ended)
    params = {"top_k": 4, "penalty": 0.6}
    requests = [Request(str(n), prompt, 0, (), limit=5 + n) for n, prompt in enumerate(prompts(9))]
    strategy = strategies.build("contrastive", {**params, "limit": 12})
    found = answers(decode_tokens(model, requests, strategy, STOPS))
    assert found == {n: naively(model, prompt, 5 + n, **params) for n, prompt in enumerate(prompts(9))}
    assert found != answers(decode_tokens(model, requests, strategies.build("greedy", {"limit": 12}), STOPS))


def test_requests_join_and_leave(model: LlamaForCausalLM):
    some = Batch(model, strategies.build("contrastive", {"limit": 8, "top_k": 3}), STOPS)
    tokens: list[Token] = []
    for number, prompt in enumerate(prompts(9)):
        some.join([Request(str(number), prompt, 0, (), limit=4 + number % 5)])
        tokens += some.step()
        some.leave({0} if number == 1 else ())
    while some.rows:
        tokens += some.step()
    found = answers(tokens)
    wanted = {
        n: naively(model, prompt, 4 + n % 5, top_k=3, penalty=0.6) for n, prompt in enumerate(prompts(9))
    }
    assert found == {**wanted, 0: wanted[0][:2]}


@pytest.mark.parametrize("params", [{"penalty": 0.0}, {"top_k": 1}])
def test_without_a_choice_or_a_penalty_it_is_greedy(model: LlamaForCausalLM, params: dict[str, float]):
    requests = [Request(str(n), prompt, 0, ()) for n, prompt in enumerate(prompts(9))]
    greedily = list(decode_tokens(model, requests, strategies.build("greedy", {"limit": 9}), STOPS))
    found = list(
        decode_tokens(model, requests, strategies.build("contrastive", {"limit": 9, **params}), STOPS)
    )
    assert answers(found) == answers(greedily)
    logprobs = {(one.row, n): one.logprob for n, one in enumerate(sorted(found, key=lambda t: t.row))}
    wanted = {(one.row, n): one.logprob for n, one in enumerate(sorted(greedily, key=lambda t: t.row))}
    assert logprobs == pytest.approx(wanted, abs=1e-4)


def test_what_it_cannot_do_is_refused(model: LlamaForCausalLM):
    strategy = strategies.build("contrastive", {})
    with pytest.raises(ModelError, match="cannot look at what several tokens lead to"):
        list(decode_tokens(model, [Request("", (1, 2), 0, ())], strategy, STOPS, shared=False))
    with pytest.raises(RecipeError, match=r"decode\.penalty"):
        strategies.build("contrastive", {"penalty": 1.5}, "decode")
    assert replace(strategy, limit=3).look is strategy.look
