"""Scores of influence against their definition: one row and query at a time, by plain torch."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from espalier.explain.influence.gradients import families, row_gradients
from espalier.explain.influence.scores import Asked, scored
from espalier.explain.influence.sketch import sketcher
from espalier.models.adapters import method_on
from espalier.train.loop import Settings, train
from espalier.train.objectives import answer_loss, sft
from espalier.train.states import keeper, states_in, tensors_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import LlamaForCausalLM, PreTrainedModel

    from espalier.core.records import Encoded
    from espalier.train.steps import Source

SETTINGS = Settings(steps=4, rate=1e-2, warmup=0.0)


def naive_gradient(model: PreTrainedModel, row: Encoded) -> dict[str, torch.Tensor]:
    """The gradient of the summed cross-entropy of a row's weighted tokens, by the model's own forward."""
    model.zero_grad(set_to_none=True)
    ids = torch.tensor(row.ids)
    logits = model(input_ids=ids[None]).logits[0]
    losses = cross_entropy(logits[:-1], ids[1:], reduction="none")
    (losses * torch.tensor(row.weights)[1:]).sum().backward()
    return {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("method", [("lora", {"rank": 2}), ("full", {})], ids=["lora", "full"])
def test_scores_are_those_of_naive_loops(
    method: tuple[str, dict],
    tiny_llama: LlamaForCausalLM,
    tiny_rows: list[Encoded],
    source_of: Callable[..., Source],
    tmp_path: Path,
) -> None:
    rows = [*tiny_rows[:5], *tiny_rows[10:13], *tiny_rows[-2:]]
    queries = [tiny_rows[6], tiny_rows[0]]
    model = method_on(tiny_llama, *method, seed=0)
    keep = keeper(tmp_path, model, SETTINGS, "key", 2)
    list(train(model, source_of(rows, [(sft(), 1.0)]), SETTINGS, tmp_path, recipe={}, keep=keep))
    model.eval()
    states, weight = states_in(tmp_path, "key"), sum(sum(row.weights) for row in rows)
    asked = Asked(
        [[query] for query in queries], [[row] for row in rows], answer_loss(), answer_loss(), 0, True, weight
    )
    found = scored(copy.deepcopy(model), states, asked, tmp_path / "parts")

    tracin, itself = np.zeros((len(queries), len(rows))), np.zeros(len(rows))
    cosine = np.zeros_like(tracin)
    total = sum(state.rate * state.clip for _, state in states)
    for path, state in states:
        kept, squares = tensors_of(path)
        model.load_state_dict(kept, strict=False)
        scale = {
            name: 1 / ((square / (1 - 0.999**state.step)).sqrt() + 1e-8) for name, square in squares.items()
        }

        def product(one: dict, other: dict, scale: dict = scale) -> float:
            return sum(float((one[n].double() * other[n].double() * scale[n].double()).sum()) for n in scale)

        asked_gradients = [naive_gradient(model, query) for query in queries]
        for place, row in enumerate(rows):
            own = naive_gradient(model, row)
            itself[place] += state.rate * state.clip * product(own, own) / weight
            for number, query in enumerate(asked_gradients):
                both = product(query, own)
                tracin[number, place] += state.rate * state.clip * both / weight
                lengths = (product(query, query) * product(own, own)) ** 0.5
                cosine[number, place] += state.rate * state.clip / total * both / lengths
    assert np.allclose(found.tracin, tracin, rtol=1e-5, atol=1e-5 * np.abs(tracin).max())
    assert np.allclose(found.itself, itself, rtol=1e-5)
    assert np.allclose(found.cosine, cosine, atol=1e-5)
    assert found.cosine[1, 0] == pytest.approx(1)  # the query itself
    assert found.itself[0] == pytest.approx(found.tracin[1, 0])


def test_common_beginnings_change_no_gradient(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]) -> None:
    rows = [*tiny_rows, tiny_rows[0]]  # one twice
    groups = families(rows)
    assert sorted(place for _, places in groups for place in places) == list(range(len(rows)))
    assert sorted(trunk for trunk, _ in groups if trunk) == [71, 81]
    asked = [(row, answer_loss(0.1)) for row in rows]
    shared, alone = (dict(row_gradients(tiny_llama, asked, shared=way)) for way in (True, False))
    for place, gradient in alone.items():
        assert (shared[place] - gradient).norm() < 1e-5 * gradient.norm()


def test_sketches_keep_inner_products() -> None:
    generator = torch.Generator().manual_seed(1)
    one, noise = torch.randn(2, 20_000, generator=generator)
    other = one + noise
    sketch = sketcher(20_000, 4096)
    gap = float(sketch(one) @ sketch(other) - one @ other) / float(one.norm() * other.norm())
    assert 0 < abs(gap) < 4 * (2 / 4096) ** 0.5
    assert sketch(one).equal(sketcher(20_000, 4096)(one))
    assert sketcher(20_000, 0)(one) is one
