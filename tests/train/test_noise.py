"""The noise is NEFTune's in size, the same however rows are batched, and nowhere but in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from espalier.encode.tree import build_tree, path_length, row_path
from espalier.models.forward import edge_logprobs
from espalier.train.noise import noisy
from espalier.train.steps import Step

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from espalier.core.records import Encoded

ALPHA = 5.0


def gradient(
    model: LlamaForCausalLM, rows: list[Encoded], sizes: int, *, shared: bool = True
) -> torch.Tensor:
    """Return the gradient of the embeddings over all rows, `sizes` at a time, at step 3 of a noisy source."""
    model.train()
    with noisy(model, lambda number: Step(rows, ()), ALPHA, seed=7) as source:
        source(3)
        for start in range(0, len(rows), sizes):
            tree = build_tree(rows[start : start + sizes])
            counts = torch.from_numpy(np.bincount(tree.entry_edges, minlength=len(tree.sources)))
            (edge_logprobs(model, tree, shared=shared).logprobs * counts).sum().backward()
    weight = model.get_input_embeddings().weight
    found, weight.grad = weight.grad, None
    assert found is not None
    return found


@pytest.mark.parametrize("shared", [True, False])
def test_one_tree_several_and_row_by_row_are_the_same(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], shared: bool
):
    model = tiny_llama.double()
    expected = gradient(model, tiny_rows, 1, shared=False)
    with torch.no_grad():
        tree = build_tree(tiny_rows)
        clean = edge_logprobs(model, tree).logprobs
    for sizes in (5, len(tiny_rows)):
        found = gradient(model, tiny_rows, sizes, shared=shared)
        # transformers casts norms and rotary embeddings to fp32 along the way
        assert float((found - expected).norm() / expected.norm()) < 1e-5
    assert torch.equal(edge_logprobs(model.eval(), tree).logprobs, clean)


def seen(model: LlamaForCausalLM, rows: list[Encoded], number: int, alpha: float = ALPHA) -> torch.Tensor:
    """Return the noise on the tokens of one tree [T, d]."""
    outputs: list[torch.Tensor] = []
    embedding = model.get_input_embeddings()
    with noisy(model, lambda number: Step(rows, ()), alpha, seed=7) as source:
        hook = embedding.register_forward_hook(lambda _, __, output: outputs.append(output[0]))
        source(number)
        tree = build_tree(rows)
        edge_logprobs(model, tree)
        hook.remove()
    return (outputs[0] - embedding(torch.from_numpy(tree.ids))).detach()


def test_it_is_of_the_papers_size_by_row(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]):
    noise = seen(tiny_llama.train(), tiny_rows, 0)
    tree = build_tree(tiny_rows)
    lengths = torch.zeros(len(tree.ids))
    for number, row in enumerate(tiny_rows):
        path = torch.from_numpy(row_path(tree, number))
        lengths[path] = lengths[path].clamp(min=path_length(row))
    uniform = noise * (lengths * 32).sqrt()[:, None] / ALPHA
    assert uniform.abs().max() <= 1 + 1e-5
    assert uniform.mean().abs() < 0.02
    assert abs(uniform.square().mean() - 1 / 3) < 0.01
    assert uniform.unique().numel() > 0.9 * uniform.numel()  # but for rounding


def test_it_differs_by_step_and_not_by_run(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]):
    model = tiny_llama.train()
    first, again, other = (seen(model, tiny_rows, number) for number in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).any(1).all()


def test_there_is_none_outside_training(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]):
    assert not seen(tiny_llama.train(), tiny_rows, 0, alpha=0.0).any()
    with torch.no_grad():
        assert not seen(tiny_llama.train(), tiny_rows, 0).any()
    assert not seen(tiny_llama.eval(), tiny_rows, 0).any()
