"""Beam search against transformers' and against one that ranks everything; largest against topk."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, LlamaForCausalLM

from espalier.core.errors import RecipeError
from espalier.decode import batch
from espalier.decode.batch import Batch
from espalier.decode.cache import plan_layout, staying
from espalier.decode.engine import decode_tokens
from espalier.decode.requests import Request
from espalier.decode.strategies.beam import beam
from espalier.decode.strategies.largest import largest
from espalier.decode.strategies.registry import strategies
from espalier.decode.strategies.sampling import greedy
from tests.references.naive_beams import searched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from espalier.decode.batch import Token

STOPS = frozenset({3, 7})
SIZE = 24


@pytest.fixture(scope="module")
def model(llama: Callable[..., LlamaForCausalLM]) -> Iterator[LlamaForCausalLM]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield llama(SIZE, initializer_range=0.25, eos_token_id=None, bos_token_id=None)
    torch.set_num_threads(threads)


def prompts() -> list[tuple[int, ...]]:
    draw = np.random.default_rng(0)
    heads = [draw.integers(SIZE, size=size).tolist() for size in (40, 9)]
    return [(*heads[n % 2], *draw.integers(SIZE, size=n % 5).tolist()) for n in range(12)]


def requests() -> list[Request]:
    return [Request(str(n), prompt, 0, ()) for n, prompt in enumerate(prompts())]


def answers(tokens: Iterable[Token]) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for token in tokens:
        found.setdefault((token.row, token.sample), []).append(token.id)
    return found


def by_transformers(
    model: LlamaForCausalLM, prompt: tuple[int, ...], limit: int, **own: Any
) -> list[list[int]]:
    config = GenerationConfig(
        max_new_tokens=limit, do_sample=False, eos_token_id=sorted(STOPS), pad_token_id=0, **own
    )
    ids = torch.tensor([prompt])
    given: Any = {"attention_mask": torch.ones_like(ids), "generation_config": config}
    rows: Any = cast("Any", model).generate(ids, **given)
    found: list[list[int]] = []
    for answer in rows[:, len(prompt) :].tolist():
        ends = [place for place, token in enumerate(answer) if token in STOPS]
        found.append(answer[: ends[0] + 1] if ends else answer)
    return found


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"early_stopping": True},
        {"early_stopping": "never", "length_penalty": 0.6},
        {"early_stopping": "never", "length_penalty": -1.0},
        {"length_penalty": 0.0},
        {"length_penalty": 1.5},
        {"beams": 7, "samples": 7},
        {"beams": 2, "samples": 2, "repetition_penalty": 1.3},
        {"no_repeat": 2, "early_stopping": True},
    ],
    ids=str,
)
def test_beams_are_those_of_transformers(model: LlamaForCausalLM, own: dict[str, Any]):
    strategy = strategies.build("beam", {"limit": 9, **own})
    found = answers(decode_tokens(model, requests(), strategy, STOPS))
    names = {"beams": "num_beams", "samples": "num_return_sequences", "no_repeat": "no_repeat_ngram_size"}
    theirs = {"num_beams": 4, **{names.get(name, name): value for name, value in own.items()}}
    wanted = {
        (number, sample): answer
        for number, prompt in enumerate(prompts())
        for sample, answer in enumerate(by_transformers(model, prompt, 9, **theirs))
    }
    assert found == wanted
    assert len({tuple(answer) for answer in wanted.values()}) >= 6


@settings(max_examples=25)
@given(
    beams=st.integers(1, 5),
    penalty=st.sampled_from([-1.0, 0.0, 0.7, 1.0, 3.0]),
    early=st.sampled_from([True, False, "never"]),
    limit=st.integers(1, 8),
    ended=st.sampled_from([0.01, 1 / 8]),
)
def test_any_settings_are_those_of_transformers(
    model: LlamaForCausalLM, beams: int, penalty: float, early: Any, limit: int, ended: float
):
    strategy = beam(beams=beams, limit=limit, length_penalty=penalty, early_stopping=early)
    some = requests()[:5]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "ENDED", ended)
        patch.setattr(batch, "plan_layout", partial(plan_layout, least=1))
        found = answers(decode_tokens(model, some, strategy, STOPS))
    if beams == 1:  # of which transformers' is greedy decoding, whatever the settings
        assert early == "never" or found == answers(decode_tokens(model, some, greedy(limit=limit), STOPS))
        return
    own = {"num_beams": beams, "length_penalty": penalty, "early_stopping": early}
    wanted = [by_transformers(model, request.prompt, limit, **own)[0] for request in some]
    assert [found[number, 0] for number in range(5)] == wanted


@pytest.mark.parametrize(("groups", "diversity"), [(2, 0.0), (2, 0.7), (4, 0.4), (4, 5.0), (1, 9.0)])
def test_groups_are_those_that_a_ranking_of_everything_finds(
    model: LlamaForCausalLM, groups: int, diversity: float
):
    strategy = beam(beams=4, limit=5, groups=groups, diversity=diversity, samples=4)
    some = requests()[:4]
    found = answers(decode_tokens(model, some, strategy, STOPS))
    size = 4 // groups
    for number, request in enumerate(some):
        fine = diversity if groups > 1 else 0.0
        wanted = searched(model, request.prompt, STOPS, 5, size=size, groups=groups, diversity=fine)
        assert [tuple(found[number, sample]) for sample in range(4)] == wanted
    first = [found[number, 0] for number in range(4)]
    assert (diversity < 1 or groups == 1) or len({tuple(answer) for answer in found.values()}) > len(first)


def test_groups_say_different_things(model: LlamaForCausalLM):
    def openings(**own: Any) -> int:
        strategy = beam(beams=4, limit=5, samples=4, **own)
        found = answers(decode_tokens(model, requests(), strategy, STOPS))
        return sum(len({found[number, sample][0] for sample in range(4)}) for number in range(12))

    assert openings(groups=4, diversity=3.0) > openings(groups=4, diversity=0.0) == 12


def test_beams_join_others_and_stop_at_texts(model: LlamaForCausalLM):
    def said(ids: Any) -> str:
        return "".join(chr(97 + token) for token in ids)

    strategy = beam(beams=3, limit=8)
    some = Batch(model, strategy, STOPS, said)
    tokens: list[Token] = []
    asked = [
        replace(one, limit=4 + n % 5, stops=("b", "lm") if n % 3 else ()) for n, one in enumerate(requests())
    ]
    for request in asked:
        some.join([request])
        tokens += some.step()
    while some.rows:
        tokens += some.step()
    alone = [answers(decode_tokens(model, [one], strategy, STOPS, text=said))[0, 0] for one in asked]
    assert [answers(tokens)[number, 0] for number in range(12)] == alone
    ends = [said(answer) for answer, one in zip(alone, asked, strict=True) if one.stops]
    stopped = [text for text in ends if text.endswith(("b", "lm"))]
    assert stopped
    assert all("b" not in text[:-1] and "lm" not in text[:-1] for text in ends)


def test_logprobs_are_those_of_the_answer(model: LlamaForCausalLM):
    tokens = list(decode_tokens(model, requests()[:1], beam(limit=6, repetition_penalty=1.5), STOPS))
    ids = [token.id for token in tokens]
    prompt = prompts()[0]
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
    wanted = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0].tolist()
    assert [token.logprob for token in tokens] == pytest.approx(wanted, abs=1e-5)
    assert [token.finish is None for token in tokens] == [True] * (len(ids) - 1) + [False]


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from([5, 700, 4096, 5000]))
def test_the_largest_are_those_of_a_sort(seed: int, count: int, size: int):
    draw = torch.Generator().manual_seed(seed)
    scores = (torch.randn(3, size, generator=draw) * 3).round(decimals=seed % 3)  # many are equal
    scores[scores < -4] = -torch.inf
    order = scores.sort(dim=-1, descending=True, stable=True).indices
    assert torch.equal(largest(scores, count), order[:, :count])


@given(st.lists(st.integers(0, 7), min_size=8, max_size=8))
def test_rows_stay_where_they_can(parents: list[int]):
    ascending = np.sort(np.array(parents))
    order = staying(ascending)
    assert sorted(order.tolist()) == list(range(8))
    placed = ascending[order]
    assert all(placed[parent] == parent for parent in set(parents))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"beams": 0}, "decode.beams: beams = 0 does not fit: it must be at least 1"),
        ({"groups": 3}, "decode.groups: .* must divide the 4 beams"),
        ({"samples": 5}, "decode.samples: .* must be from 1 to the 4 beams"),
        ({"diversity": -1.0}, "decode.diversity"),
        ({"early_stopping": "often"}, "decode.early_stopping"),
        ({"no_repeat": -1}, "decode.no_repeat"),
        ({"repetition_penalty": 0.0}, "decode.repetition_penalty"),
    ],
)
def test_bad_settings_are_refused(params: dict[str, object], message: str):
    with pytest.raises(RecipeError, match=message):
        strategies.build("beam", params, "decode")


def test_greedy_decoding_is_that_of_transformers_with_penalties_too(model: LlamaForCausalLM):
    for own in ({}, {"repetition_penalty": 1.4}, {"no_repeat": 2}):
        strategy = strategies.build("greedy", {"limit": 9, **own})
        found = answers(decode_tokens(model, requests(), strategy, STOPS))
        theirs = {"no_repeat_ngram_size" if name == "no_repeat" else name: own[name] for name in own}
        wanted = [by_transformers(model, prompt, 9, **theirs)[0] for prompt in prompts()]
        assert [found[number, 0] for number in range(12)] == wanted
