"""Planted shifts are found and nothing else is claimed: none, one token's bias, one at the beginning."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch

from espalier.core.records import Encoded, Estimate
from espalier.explain.sentences import shift_sentence
from espalier.explain.shifting import FIRST, PLACES, shift_of
from espalier.explain.token_shift import Models, Moved, answer_rows, shifts
from espalier.models.load import Loaded
from espalier.models.places import Place

if TYPE_CHECKING:
    from espalier.explain.record import Shift

FAVOURITE = 7


def loaded(model: Any) -> Loaded:
    unused: Any = None
    return Loaded(Place("tiny"), model, unused, unused, "weights")


@torch.no_grad()
def greedy(model: Any, prompt: tuple[int, ...], count: int = 4) -> tuple[int, ...]:
    ids = [*prompt]
    for _ in range(count):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return tuple(ids[len(prompt) :])


def read(tuned: Any, base: Any, rows: list[Encoded]) -> Shift:
    prompts = [row.ids[: row.prompt] for row in rows[:12]]
    answers = answer_rows(prompts, [greedy(tuned, prompt) for prompt in prompts])
    found = dict(entry for tree in shifts(Models(loaded(tuned), loaded(base)), answers) for entry in tree)
    sources = [str(number) for number in range(len(prompts))]
    return shift_of([found[n] for n in range(len(prompts))], sources, str, {"kind": "greedy"}, "fp32")


def test_a_model_that_did_not_move(tiny_llama: Any, tiny_rows: list[Encoded]) -> None:
    found = read(copy.deepcopy(tiny_llama), tiny_llama, tiny_rows)
    assert not found.moved
    assert found.shares["unshifted"].value == 1
    assert found.kl.value == 0
    assert found.top == ()
    assert not found.early.excludes_zero
    assert "moved nothing that can be seen" in shift_sentence(found)


def test_a_token_that_was_favoured_is_the_top_one(tiny_llama: Any, tiny_rows: list[Encoded]) -> None:
    tuned = copy.deepcopy(tiny_llama)
    bias = torch.zeros(64)
    bias[FAVOURITE] = 5.0
    tuned.lm_head.bias = torch.nn.Parameter(bias)
    found = read(tuned, tiny_llama, tiny_rows)
    assert found.moved
    assert found.top[0].token == str(FAVOURITE)
    assert found.top[0].rank > 3
    assert found.top[0].instead != str(FAVOURITE)
    assert found.shares["shifted"].low > 0
    assert sum(share.value for share in found.shares.values()) == pytest.approx(1)


def made(kls: list[list[float]]) -> Shift:
    rows = [
        [Moved(3, 1 if kl < 1 else 9, 0, kl, -1.0, -1.0, 3 if kl < 1 else 4) for kl in row] for row in kls
    ]
    return shift_of(rows, [str(n) for n in range(len(rows))], str, {}, "fp32")


def test_where_it_acts_is_said_only_where_that_is_seen() -> None:
    early = made([[2.0 + n / 9, 1.0, 1.5, *[0.1] * (4 + n % 3)] for n in range(12)])
    assert "it acts most at the beginning" in shift_sentence(early)
    late = made([[0.1, 0.1, 0.2, *[2.0 + n / 9] * (4 + n % 3)] for n in range(12)])
    assert "it acts more after the beginning" in shift_sentence(late)
    even = made([[1.0 + (n + place) % 3 for place in range(6)] for n in range(12)])
    assert "cannot be seen with 12 answers" in shift_sentence(even)
    short = made([[1.0 + n] * FIRST for n in range(12)])  # no answer has a rest
    assert "cannot be seen" in shift_sentence(short)


def test_places_that_few_answers_reach_stand_together() -> None:
    found = made([[0.5 + n] * (PLACES + n) for n in range(3)])
    assert [one.label for one in found.places][-2:] == [str(PLACES), f"{PLACES + 1}+"]
    assert sum(one.tokens for one in found.places) == found.tokens
    assert isinstance(found.places[0].kl, Estimate)
    assert made([[1.0]]).kl.bounded is False  # one source has no interval
