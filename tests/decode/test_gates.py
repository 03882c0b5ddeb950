"""Gates find nothing where nothing is wrong, and what was planted where something is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from espalier.decode import cache, gates
from espalier.decode.draws import Draw
from espalier.decode.gates import GATES, Asked
from espalier.decode.strategies import beam as beams
from espalier.decode.strategies import sampling

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from espalier.core.records import Example
    from espalier.encode.template import Template


@pytest.fixture
def asked(talker: LlamaForCausalLM, template: Template, questions: list[Example], one_thread: None) -> Asked:
    return Asked(talker, template, questions, limit=6)


@pytest.mark.parametrize("name", GATES)
def test_nothing_differs(asked: Asked, name: str):
    assert GATES[name](asked) == []


def failed(asked: Asked) -> set[str]:
    return {name for name, gate in GATES.items() if gate(asked)}


def test_a_planted_difference_is_found(asked: Asked, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        largest = beams.largest
        patch.setattr(beams, "largest", lambda scores, count: largest(scores, count + 1)[:, 1:])
        assert failed(asked) == {"beam 1 = greedy"}
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "filtered", lambda scores, draw: (scores.double().softmax(-1), None))
        assert failed(asked) == {"top_k 1 = greedy", "min_p 1 = greedy"}
    with monkeypatch.context() as patch:
        attend = cache.RowCache.attend

        def mixed(held, layer, query, key, value, scaling):
            attended = attend(held, layer, query, key, value, scaling)
            return attended - attended[:1]

        patch.setattr(cache.RowCache, "attend", mixed)
        assert failed(asked) == {"batch 1 = batch 32", "cached = uncached"}


def test_a_difference_says_where_it_begins(asked: Asked, monkeypatch: pytest.MonkeyPatch):
    taken = sampling.likeliest

    def other(logits: torch.Tensor) -> torch.Tensor:
        return taken(logits) if len(logits) > 1 else taken(logits) ^ 1

    monkeypatch.setattr(sampling, "likeliest", other)
    found = gates.batch_of_one(asked)
    assert [one.example for one in found] == [example.id for example in asked.examples[:-1]]
    assert all(one.place == 0 and one.wanted[0] == one.found[0] ^ 1 for one in found)


def test_of_exact_equals_either_may_be_drawn(asked: Asked, monkeypatch: pytest.MonkeyPatch):
    last = asked.model.get_output_embeddings()
    with torch.no_grad():
        last.weight[1::2] = last.weight[0::2]
    assert gates.beam_of_one(asked) == gates.top_k_of_one(asked) == gates.min_p_of_one(asked) == []
    drawn = asked.written(sampling.sample(limit=6, draw=Draw(top_k=1)))
    greedily = asked.written(sampling.greedy(limit=6))
    assert any(drawn[row][0].id != greedily[row][0].id for row in drawn)
