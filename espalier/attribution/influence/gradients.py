"""The gradient of each row's loss by itself, exactly, with what rows have before them computed once.

A backward over a tree gives the sum over its rows. So every row has a backward of its own, but rows that
begin alike have their common beginning's forward in common: it is computed once with its graph, and each row
computes its own tokens behind the keys and values of it. The gradient is that of the naive computation to
rounding.

Where only inner products with a few directions v are wanted, the backward through the beginning is shared,
too. A row's gradient is g + J' u: g of its own tokens, u of its loss by the beginning's keys and values, and
J the derivative of these by the weights. And <v, J' u> = <J v, u>, where J v is one pass in forward mode
over the beginning for each direction, however many rows there are. Then a row costs no more than its own
tokens, and where all trained weights are linear layers' (adapters), several rows have one backward
(`batched.py`).
"""

from __future__ import annotations

import warnings
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.func import functional_call, jvp, vmap
from transformers import DynamicCache

from espalier.attribution.influence.batched import cut, gradients_by_row, linear_layers, sums_agree
from espalier.encode.tree import build_tree, common_prefix
from espalier.models.allocator import give_back
from espalier.models.attention import attending_by_tree
from espalier.models.forward import edge_logprobs, logprobs_at

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
        products: from gradients [B, P], which it may write over, to their inner products with all [B, Q].
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
        with torch.no_grad():
            held = _keys_and_values(model, ids) if ids else []
        pushed = _pushed(model, ids, held, directions) if held else None
        if pushed is None:
            whole = row_gradients(model, family, shared=shared)
            found = ((place, directions.products(gradient[None])[0]) for place, gradient in whole)
        else:
            give_back()
            found = _own_products(model, family, trunk, held, pushed, directions)
        for place, products in found:
            yield places[place], products


def row_gradients(
    model: PreTrainedModel, rows: Sequence[tuple[Encoded, Loss]], *, shared: bool = True
) -> Iterator[tuple[int, Tensor]]:
    """Yield each row's place and the gradient of its loss, a sum over its tokens: [P], in fp32 at least.

    P counts the trained weights in the order of `model.named_parameters()`; one that plays no part in the
    loss has zeros.

    Args:
        model: in the mode for evaluation, so that nothing is dropped at random.
        rows: each with what is taken of the log-probabilities of its tokens.
        shared: compute common beginnings once; False computes every row by itself.
    """
    weights = _trained(model)
    for trunk, places in _groups(rows, shared=shared):
        family = [rows[place] for place in places]
        if shared and not trunk:
            for own, gradients, _ in _batches(model, family, 0, []):
                yield from zip([places[place] for place in own], gradients, strict=True)
            continue
        held = _keys_and_values(model, family[0][0].ids[:trunk]) if trunk else []
        for place, (row, loss) in zip(places, family, strict=True):
            tree = build_tree([row])
            if trunk:
                (total,) = _losses(model, [(tree, loss)], held, trunk)
            else:
                total = loss(edge_logprobs(model, tree, shared=False), tree).total
            found = torch.autograd.grad(
                total, [*weights.values()], retain_graph=bool(trunk), materialize_grads=True
            )
            yield place, _flat(found)


def _own_products(
    model: PreTrainedModel,
    rows: Sequence[tuple[Encoded, Loss]],
    trunk: int,
    held: Layers,
    pushed: Tensor,
    directions: Directions,
) -> Iterator[tuple[int, Tensor]]:
    """Yield each row's place and products [Q]: of its own tokens, and by `pushed` [Q, S] of the beginning."""
    for places, gradients, below in _batches(model, rows, trunk, held):
        yield from zip(places, directions.products(gradients) + below @ pushed.T, strict=True)


def _batches(
    model: PreTrainedModel, rows: Sequence[tuple[Encoded, Loss]], trunk: int, held: Layers
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield places of some rows, their own tokens' gradients [B, P], and those by what is `held` [B, S].

    Rows are computed one by one where trained weights are not linear layers'.
    """
    trees = [(build_tree([row]), loss) for row, loss in rows]
    size = sum(weight.numel() for weight in _trained(model).values())
    left = deque([[place] for place in range(len(rows))])
    if linear_layers(model):
        left = deque(cut([(len(tree.ids) - trunk, place) for place, (tree, _) in enumerate(trees)], size))
    while left:
        places = left.popleft()
        found = _together(model, [trees[place] for place in places], trunk, held)
        if found is None:  # as all others will be
            left = deque([[place] for group in [places, *left] for place in group])
        else:
            yield places, *found


def _together(
    model: PreTrainedModel, trees: Sequence[tuple[Tree, Loss]], trunk: int, held: Layers
) -> tuple[Tensor, Tensor] | None:
    """Return rows' gradients [B, P] and those by what is held [B, S]; None where only their sum is known."""
    weights, count = [*_trained(model).values()], len(trees)
    leaves = [
        states.detach().expand(count, -1, -1, -1).requires_grad_() for layer in held for states in layer
    ]
    with gradients_by_row(model, count) if count > 1 else nullcontext() as own:
        total = torch.stack(_losses(model, trees, _pairs(leaves), trunk)).sum()
        found = torch.autograd.grad(total, [*weights, *leaves], materialize_grads=True)
    whole = _flat(found[: len(weights)])
    if own is not None and not sums_agree(own, whole):
        return None
    below = [states.flatten(1) for states in found[len(weights) :]]
    return whole[None] if own is None else own, torch.cat(below or [whole.new_empty(count, 0)], 1)


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


def _pairs(states: Sequence[Tensor]) -> Layers:
    return [*zip(states[::2], states[1::2], strict=True)]


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


def families(rows: Sequence[Encoded]) -> list[tuple[int, list[int]]]:
    """Return groups of rows that begin alike, each as how many tokens its rows share, and their places.

    A row joins those before it, in the order of tokens, where that costs them at most half of what they
    share. The token that predicts a row's first weighted one is the row's own. Rows that share with no other
    are the last group, which shares nothing.
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
    alike = [(trunk, places) for trunk, places in found if len(places) > 1 and trunk >= SHORTEST]
    alone = {*range(len(rows))}.difference(*(places for _, places in alike))
    return [*alike, (0, sorted(alone))] if alone else alike


def _keys_and_values(
    model: PreTrainedModel, ids: Sequence[int], weights: Mapping[str, Tensor] | None = None
) -> Layers:
    """Return each layer's keys and values of some first tokens, with their graph, under other `weights`."""
    cache = DynamicCache()
    _call(model, np.array([ids]), np.arange(len(ids)), cache, np.array([], np.int64), weights or {})
    layers: list[Any] = cache.layers
    return [(layer.keys, layer.values) for layer in layers]


def _losses(
    model: PreTrainedModel, trees: Sequence[tuple[Tree, Loss]], held: Layers, trunk: int
) -> list[Tensor]:
    """Return the loss of each single row, filled up to the longest; the first tokens of all are computed."""
    longest = max(len(tree.ids) for tree, _ in trees) - trunk
    ids = np.zeros((len(trees), longest), np.int64)
    for row, (tree, _) in zip(ids, trees, strict=True):
        row[: len(tree.ids) - trunk] = tree.ids[trunk:]
    sources = [tree.positions[tree.sources] - trunk for tree, _ in trees]
    kept = np.unique(np.concatenate(sources))
    logits = _call(model, ids, np.arange(trunk, trunk + longest), DynamicCache(held), kept)
    return [
        loss(logprobs_at(said, np.searchsorted(kept, own), tree.targets), tree).total
        for said, own, (tree, loss) in zip(logits, sources, trees, strict=True)
    ]


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
        "input_ids": tensor(ids),
        "position_ids": tensor(positions)[None].expand(len(ids), -1),
        "past_key_values": cache,
        "use_cache": True,
        "logits_to_keep": wanted,
    }
    said = functional_call(model, dict(weights), (), given) if weights else model(**given)
    logits: Tensor = said.logits
    return logits if logits.shape[1] == len(keep) else logits[:, wanted]
