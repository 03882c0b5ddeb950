"""A model is called in one place, with ids or with embeddings, and with the tree's positions or others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from espalier.core.records import Encoded
from espalier.encode.tree import Tree, build_tree, row_path
from espalier.models.call import call_model, call_on_tree

if TYPE_CHECKING:
    import pytest
    from transformers import LlamaForCausalLM


def branching() -> Tree:
    rows = [(5, 6, 7, 8, 0), (5, 6, 9, 0), (5, 6, 7, 3, 4, 0)]
    return build_tree(
        [Encoded(ids, (0.0,) * (len(ids) - 1) + (1.0,), len(ids) - 1, str(n)) for n, ids in enumerate(rows)]
    )


@torch.no_grad()
def test_a_tree_is_what_its_rows_are(tiny_llama: LlamaForCausalLM):
    tree = branching()
    logits = call_on_tree(tiny_llama, tree)
    for row in range(len(tree.rows)):
        path = row_path(tree, row)
        torch.testing.assert_close(logits[:, path], call_model(tiny_llama, tree.ids[path][None]))
    assert tiny_llama.config._attn_implementation != "espalier_tree"


@torch.no_grad()
def test_embeddings_stand_for_ids(tiny_llama: LlamaForCausalLM):
    tree = branching()
    look_up: Any = tiny_llama.get_input_embeddings()
    embeddings = look_up(torch.from_numpy(tree.ids))[None]
    wanted = call_on_tree(tiny_llama, tree)
    # As media have them: what stands behind an id is known to the caller alone.
    tree.ids[:] = 10**9
    assert torch.equal(call_on_tree(tiny_llama, tree, embeddings=embeddings), wanted)
    assert not torch.equal(call_on_tree(tiny_llama, tree, embeddings=embeddings + 1.0), wanted)


@torch.no_grad()
def test_positions_may_be_the_callers(tiny_llama: LlamaForCausalLM):
    tree = branching()
    wanted = call_on_tree(tiny_llama, tree)
    assert torch.equal(call_on_tree(tiny_llama, tree, positions=tree.positions[None]), wanted)
    # Rotary embeddings see distances only.
    torch.testing.assert_close(call_on_tree(tiny_llama, tree, positions=tree.positions[None] + 7), wanted)
    assert not torch.allclose(call_on_tree(tiny_llama, tree, positions=2 * tree.positions[None]), wanted)


@torch.no_grad()
def test_logits_are_kept_by_models_that_cannot_keep_some(
    tiny_llama: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
):
    tree = branching()
    keep = np.array([1, 3])
    wanted = call_on_tree(tiny_llama, tree)[:, keep]
    torch.testing.assert_close(call_on_tree(tiny_llama, tree, keep=keep), wanted)
    forward = type(tiny_llama).forward

    def every(self: Any, logits_to_keep: object = 0, **given: Any) -> Any:
        return forward(self, **given)

    monkeypatch.setattr(type(tiny_llama), "forward", every)
    assert torch.equal(call_on_tree(tiny_llama, tree, keep=keep), wanted)
