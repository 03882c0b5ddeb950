"""The slow twin of a training step on a tree: a padded batch of rows, with transformers' own attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from espalier.encode.tree import build_tree
from espalier.models.forward import edge_logprobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import LlamaForCausalLM

    from espalier.core.records import Encoded


def naive_loss(model: LlamaForCausalLM, rows: Sequence[Encoded]) -> torch.Tensor:
    """Return the weighted sum of losses of a right-padded batch, as any trainer computes it."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    weights = torch.zeros(len(rows), longest, dtype=torch.float64)
    present = torch.zeros(len(rows), longest, dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.tensor(row.ids)
        weights[number, : len(row.ids)] = torch.tensor(row.weights)
        present[number, : len(row.ids)] = 1
    logits = model(input_ids=ids, attention_mask=present).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return (losses * weights[:, 1:]).sum()


def test_a_tree_gives_the_gradients_of_a_padded_batch(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]):
    model = tiny_llama.double()
    slow = naive_loss(model, tiny_rows)
    wanted = torch.autograd.grad(slow, list(model.parameters()))
    tree = build_tree(tiny_rows)
    weights = torch.from_numpy(np.bincount(tree.entry_edges, tree.weights))
    fast = -(edge_logprobs(model, tree).logprobs * weights).sum()
    found = torch.autograd.grad(fast, list(model.parameters()))
    assert fast.item() == pytest.approx(slow.item(), rel=1e-12)
    for one, two in zip(found, wanted, strict=True):
        assert float((one - two).norm()) <= 1e-6 * float(two.norm())
