"""The gradient of each row's loss by itself, exactly, with what rows have before them computed once.

A backward over a tree gives the sum over its rows. So every row has a backward of its own, but rows that
begin alike have their common beginning's forward in common: it is computed once with its graph, and each row
computes its own tokens behind the keys and values of it. The gradient is that of the naive computation to
rounding. Of an adapter, whose frozen weights need no gradient, that is half of a row's work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import DynamicCache

from espalier.encode.tree import build_tree, common_prefix
from espalier.models.forward import Edges, edge_logprobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from espalier.core.records import Encoded
    from espalier.encode.tree import Tree
    from espalier.train.objectives import Loss

SHORTEST = 16  # tokens of a beginning that is worth a pass of its own


def row_gradients(
    model: PreTrainedModel, rows: Sequence[tuple[Encoded, Loss]], *, shared: bool = True
) -> Iterator[tuple[int, Tensor]]:
    """Yield each row's place and the gradient of its loss, a sum over its tokens: [P], in fp32 at least.

    P counts the trained weights in the order of `model.named_parameters()`; one that plays no part in the
    loss has zeros. Rows come in the order of their tokens.

    Args:
        model: in the mode for evaluation, so that nothing is dropped at random.
        rows: each with what is taken of the log-probabilities of its tokens.
        shared: compute common beginnings once; False computes every row by itself.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for trunk, places in families([row for row, _ in rows]) if shared else [(0, [*range(len(rows))])]:
        held = _keys_and_values(model, rows[places[0]][0].ids[:trunk]) if trunk else []
        for place in places:
            row, loss = rows[place]
            tree = build_tree([row])
            edges = _behind(model, tree, held, trunk) if trunk else edge_logprobs(model, tree, shared=False)
            found = torch.autograd.grad(
                loss(edges, tree).total, weights, retain_graph=bool(trunk), materialize_grads=True
            )
            yield place, torch.cat([one.reshape(-1) for one in found])


def families(rows: Sequence[Encoded]) -> list[tuple[int, list[int]]]:
    """Return groups of rows that begin alike, each as how many tokens its rows share, and their places.

    A row joins those before it, in the order of tokens, where that costs them at most half of what they
    share. The token that predicts a row's first weighted one is the row's own.
    """
    order = sorted(range(len(rows)), key=lambda place: rows[place].ids)
    found: list[tuple[int, list[int]]] = []
    for place in order:
        row = rows[place]
        own = next(index for index, weight in enumerate(row.weights) if weight) - 1
        if found:
            trunk, places = found[-1]
            shared = min(trunk, own, common_prefix(rows[places[0]].ids, row.ids))
            if shared >= max(SHORTEST, trunk // 2):
                found[-1] = (shared, [*places, place])
                continue
        found.append((max(0, own), [place]))
    return [(trunk if len(places) > 1 and trunk >= SHORTEST else 0, places) for trunk, places in found]


def _keys_and_values(model: PreTrainedModel, ids: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Return each layer's keys and values of some first tokens, with their graph."""
    cache = DynamicCache()
    _call(model, np.array(ids), np.arange(len(ids)), cache, np.array([len(ids) - 1]))
    layers: list[Any] = cache.layers
    return [(layer.keys, layer.values) for layer in layers]


def _behind(model: PreTrainedModel, tree: Tree, held: list[tuple[Tensor, Tensor]], trunk: int) -> Edges:
    """Return what the model says at the edges of a single row, of which the first tokens are computed."""
    sources, rows = np.unique(tree.positions[tree.sources], return_inverse=True)
    positions = np.arange(trunk, len(tree.ids))
    logits = _call(model, tree.ids[trunk:], positions, DynamicCache(held), sources - trunk)
    said = logits.squeeze(0).to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    places = torch.from_numpy(rows.reshape(-1)).to(said.device)
    return Edges(said[places, torch.from_numpy(tree.targets).to(said.device)], said.mean(-1)[places])


def _call(model: PreTrainedModel, ids: Any, positions: Any, cache: DynamicCache, keep: Any) -> Tensor:
    def tensor(array: Any) -> Tensor:
        return torch.from_numpy(array).to(model.device)

    wanted = tensor(keep)
    logits: Tensor = model(
        input_ids=tensor(ids)[None],
        position_ids=tensor(positions)[None],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=wanted,
    ).logits
    return logits if logits.shape[1] == len(keep) else logits[:, wanted]
