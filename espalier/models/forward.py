"""From a model and a tree to the log-probability of every edge: with prefix sharing, or row by row.

The output head runs at the tokens that are sources and nowhere else, through the model's own
`logits_to_keep`, so that what a model does to its logits (scales, caps, adapters on the head) is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from espalier.encode.tree import row_path
from espalier.models.call import call_model, call_on_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

    from espalier.encode.tree import Ints, Tree

    Read = Callable[[torch.Tensor, Ints, Ints], "Edges"]

# Logits that are held in fp32 at a time: they should stay in the cache.
CHUNK = 1_000_000


class Edges(NamedTuple):
    """What the model says at each edge, in nats, fp32 at least.

    Attributes:
        logprobs: log-probability of the edge's target at its source [E]; of a reward model its number there.
        means: mean log-probability of all tokens of the vocabulary there [E], for label smoothing.
    """

    logprobs: torch.Tensor
    means: torch.Tensor


def edge_logprobs(
    model: PreTrainedModel, tree: Tree, *, shared: bool = True, read: Read | None = None
) -> Edges:
    """Return the log-probabilities at each edge of the tree.

    Args:
        model: a causal language model of transformers, with or without adapters.
        tree: the rows.
        shared: compute the tree in one pass, each token once; otherwise the rows one by one, with the model's
            own attention: for models that cannot share, and as the reference of those that can.
        read: from logits [S, V], and of each edge its source among them and its target, to what is returned,
            such as `with_likeliest`.
    """
    return (_by_tree if shared else _by_row)(model, tree, read or logprobs_at)


def with_likeliest(logits: torch.Tensor, rows: Ints, targets: Ints) -> Edges:
    """Return the log-probabilities, and in place of the means 1 where a target is the likeliest, else 0."""
    found, device = logprobs_at(logits, rows, targets), logits.device
    best = logits.argmax(-1)[_tensor(rows.reshape(-1), device)] == _tensor(targets, device)
    return Edges(found.logprobs, best.to(found.logprobs))


def _by_tree(model: PreTrainedModel, tree: Tree, read: Read) -> Edges:
    sources, rows = np.unique(tree.sources, return_inverse=True)
    logits = call_on_tree(model, tree, keep=sources)
    return read(logits.squeeze(0), rows, tree.targets)


def _by_row(model: PreTrainedModel, tree: Tree, read: Read) -> Edges:
    """Compute every edge in the first row that has it."""
    found: list[Edges] = []
    order: list[Ints] = []
    seen = np.zeros(len(tree.sources), bool)
    for row in range(len(tree.rows)):
        edges = np.unique(tree.entry_edges[tree.entry_rows == row])
        edges = edges[~seen[edges]]
        if not len(edges):
            continue
        seen[edges] = True
        order.append(edges)
        path = row_path(tree, row)
        sources, rows = np.unique(tree.positions[tree.sources[edges]], return_inverse=True)
        logits = call_model(model, tree.ids[path][None], keep=sources)
        found.append(read(logits.squeeze(0), rows, tree.targets[edges]))
    back = _tensor(np.argsort(np.concatenate(order)), model.device)
    logprobs, means = zip(*found, strict=True)
    return Edges(torch.cat(logprobs)[back], torch.cat(means)[back])


def logprobs_at(logits: torch.Tensor, rows: Ints, targets: Ints) -> Edges:
    """Return the log-probabilities of targets [E] at rows [E] of logits [S, V]; no pair comes twice."""
    device = logits.device
    out = _Logprobs.apply(logits, _tensor(rows.reshape(-1), device), _tensor(targets, device))
    return Edges(*cast("tuple[torch.Tensor, torch.Tensor]", out))


def _tensor(array: Ints, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(array).to(device)


class _Logprobs(torch.autograd.Function):
    """log softmax(logits [S, V]) at distinct (row, target) pairs, in fp32 at least, a few rows at a time.

    Nothing of the logits' size is kept but the logits themselves, and only the gradient is as large.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        exact = torch.promote_types(logits.dtype, torch.float32)
        norm = logits.new_empty(len(logits), dtype=exact)
        means = torch.empty_like(norm)
        step = _step(logits)
        for start in range(0, len(logits), step):
            block = logits[start : start + step].to(exact)
            norm[start : start + step] = block.logsumexp(-1)
            means[start : start + step] = block.mean(-1)
        means -= norm
        ctx.save_for_backward(logits, rows, targets, norm)
        ctx.set_materialize_grads(False)
        return logits[rows, targets].to(exact) - norm[rows], means[rows]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        logits, rows, targets, norm = ctx.saved_tensors
        chosen, means = grads
        weight = torch.zeros_like(norm)
        each = torch.zeros_like(norm)  # what the mean adds to every token of the vocabulary
        if chosen is not None:
            weight.index_add_(0, rows, chosen)
        if means is not None:
            weight.index_add_(0, rows, means)
            each.index_add_(0, rows, means / logits.shape[1])
        out = torch.empty_like(logits)
        step = _step(logits)
        for start in range(0, len(logits), step):
            block = slice(start, start + step)
            chances = (logits[block] - norm[block, None]).exp_().mul_(weight[block, None])
            out[block] = chances.neg_() if means is None else each[block, None] - chances
        if chosen is not None:
            out[rows, targets] += chosen.to(out.dtype)
        return out, None, None


def _step(logits: torch.Tensor) -> int:
    return max(1, CHUNK // logits.shape[1])
