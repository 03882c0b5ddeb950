"""The gradient of each row's loss by itself, exactly, with what rows have before them computed once.

A backward over a tree gives the sum over its rows. So every row has a backward of its own, but rows that
begin alike have their common beginning's forward in common: it is computed once with its graph, and each row
computes its own tokens behind the keys and values of it. The gradient is that of the naive computation to
rounding.

Where only inner products with a few directions v are wanted, the backward through the beginning is shared,
too. A row's gradient is g + J' u: g of its own tokens, u of its loss by the beginning's keys and values, and
J the derivative of these by the weights. And <v, J' u> = <J v, u>, where J v is one pass in forward mode
over the beginning for each direction, however many rows there are.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.func import functional_call, jvp, vmap
from transformers import DynamicCache

from espalier.encode.tree import build_tree, common_prefix
from espalier.models.attention import attending_by_tree
from espalier.models.forward import Edges, edge_logprobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from espalier.core.records import Encoded
    from espalier.encode.tree import Tree
    from espalier.train.objectives import Loss

    Layers = list[tuple[Tensor, Tensor]]  # keys and values of each layer

SHORTEST = 16  # tokens of a beginning that is worth a pass of its own
DEAR = 2  # backwards through a beginning that a pass in forward mode costs, at most
MOST = 1 << 28  # numbers that are held for all directions at a time: 1 GiB
ATONCE = 1 << 25  # numbers of the directions that go through the model at once, and at most so many of them:
FEW = 5


@dataclass(frozen=True)
class Directions:
    """What inner products of gradients are asked with: Q vectors in the space of the trained weights.

    Attributes:
        count: Q.
        one: from a number to its vector [P], of which not all need to be held.
        products: from a gradient [P], which it may write over, to its inner products with all [Q].
    """

    count: int
    one: Callable[[int], Tensor]
    products: Callable[[Tensor], Tensor]


def row_products(
    model: PreTrainedModel,
    rows: Sequence[tuple[Encoded, Loss]],
    directions: Directions,
    *,
    shared: bool = True,
) -> Iterator[tuple[int, Tensor]]:
    """Yield each row's place and the inner products [Q] of its gradient with directions; see `row_gradients`.

    A beginning of so few rows that forward mode saves nothing, or one that does not fit, or of a model whose
    layers have no forward mode, is gone through backward for each row.
    """
    for trunk, places in _groups(rows, shared=shared):
        family = [rows[place] for place in places]
        ids = family[0][0].ids[: trunk if len(places) > DEAR * directions.count else 0]
        held = _leaves(model, ids) if ids else []
        pushed = _pushed(model, ids, held, directions) if held else None
        if pushed is None:
            whole = row_gradients(model, family, shared=shared)
            found = ((place, directions.products(gradient)) for place, gradient in whole)
        else:
            found = enumerate(_own_products(model, family, trunk, held, pushed, directions))
        for place, products in found:
            yield places[place], products


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
    weights = _trained(model)
    for trunk, places in _groups(rows, shared=shared):
        held = _keys_and_values(model, rows[places[0]][0].ids[:trunk]) if trunk else []
        for place in places:
            row, loss = rows[place]
            tree = build_tree([row])
            edges = _behind(model, tree, held, trunk) if trunk else edge_logprobs(model, tree, shared=False)
            found = torch.autograd.grad(
                loss(edges, tree).total, [*weights.values()], retain_graph=bool(trunk), materialize_grads=True
            )
            yield place, _flat(found)


def _own_products(
    model: PreTrainedModel,
    rows: Sequence[tuple[Encoded, Loss]],
    trunk: int,
    held: Layers,
    pushed: Tensor,
    directions: Directions,
) -> Iterator[Tensor]:
    """Yield each row's products [Q]: of its own tokens' gradient, and of what `pushed` [Q, S] does to it."""
    weights = [*_trained(model).values()]
    leaves = [states for layer in held for states in layer]
    for row, loss in rows:
        tree = build_tree([row])
        total = loss(_behind(model, tree, held, trunk), tree).total
        found = torch.autograd.grad(total, [*weights, *leaves], materialize_grads=True)
        own = directions.products(_flat(found[: len(weights)]))
        yield own + pushed @ _flat(found[len(weights) :])


def _leaves(model: PreTrainedModel, ids: Sequence[int]) -> Layers:
    """Return each layer's keys and values of some first tokens, by which gradients can be taken."""
    with torch.no_grad():
        held = _keys_and_values(model, ids)
    return [(keys.requires_grad_(), values.requires_grad_()) for keys, values in held]


@torch.no_grad()
def _pushed(model: PreTrainedModel, ids: Sequence[int], held: Layers, asked: Directions) -> Tensor | None:
    """Return J v for each direction [Q, S]: how keys and values `held` of first tokens change along it.

    None where they do not fit, or where a layer of the model has no forward mode.
    """
    size = sum(states.numel() for layer in held for states in layer)
    if asked.count * size > MOST:
        return None
    weights = {name: weight.detach() for name, weight in _trained(model).items()}
    sizes = [weight.numel() for weight in weights.values()]
    pushed = held[0][0].new_empty(asked.count, size)
    step = min(FEW, max(1, ATONCE // sum(sizes)))

    def along(direction: Mapping[str, Tensor]) -> Layers:
        return jvp(partial(_keys_and_values, model, ids), (weights,), (direction,))[1]

    for start in range(0, asked.count, step):
        block = pushed[start : start + step]
        parts = torch.stack([asked.one(start + number) for number in range(len(block))]).split(sizes, dim=1)
        tangents = {
            name: part.view(-1, *weights[name].shape) for name, part in zip(weights, parts, strict=True)
        }
        try:
            # The kernels of other attention functions have no forward mode.
            with attending_by_tree(model, "eager"), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "`torch.jit.script` is", DeprecationWarning)  # torch's own
                found = vmap(along)(tangents)
        except RuntimeError:
            return None
        torch.cat([states.flatten(1) for layer in found for states in layer], dim=1, out=block)
    return pushed


def _groups(rows: Sequence[tuple[Encoded, Loss]], *, shared: bool) -> list[tuple[int, list[int]]]:
    return families([row for row, _ in rows]) if shared else [(0, [*range(len(rows))])]


def _trained(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


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


def _keys_and_values(
    model: PreTrainedModel, ids: Sequence[int], weights: Mapping[str, Tensor] | None = None
) -> Layers:
    """Return each layer's keys and values of some first tokens, with their graph, under other `weights`."""
    cache = DynamicCache()
    _call(model, np.array(ids), np.arange(len(ids)), cache, np.array([len(ids) - 1]), weights or {})
    layers: list[Any] = cache.layers
    return [(layer.keys, layer.values) for layer in layers]


def _behind(model: PreTrainedModel, tree: Tree, held: Layers, trunk: int) -> Edges:
    """Return what the model says at the edges of a single row, of which the first tokens are computed."""
    sources, rows = np.unique(tree.positions[tree.sources], return_inverse=True)
    positions = np.arange(trunk, len(tree.ids))
    logits = _call(model, tree.ids[trunk:], positions, DynamicCache(held), sources - trunk)
    said = logits.squeeze(0).to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    places = torch.from_numpy(rows.reshape(-1)).to(said.device)
    return Edges(said[places, torch.from_numpy(tree.targets).to(said.device)], said.mean(-1)[places])


def _call(
    model: PreTrainedModel,
    ids: Any,
    positions: Any,
    cache: DynamicCache,
    keep: Any,
    weights: Mapping[str, Tensor] = {},
) -> Tensor:
    def tensor(array: Any) -> Tensor:
        return torch.from_numpy(array).to(model.device)

    wanted = tensor(keep)
    given = {
        "input_ids": tensor(ids)[None],
        "position_ids": tensor(positions)[None],
        "past_key_values": cache,
        "use_cache": True,
        "logits_to_keep": wanted,
    }
    said = functional_call(model, dict(weights), (), given) if weights else model(**given)
    logits: Tensor = said.logits
    return logits if logits.shape[1] == len(keep) else logits[:, wanted]
