"""The gradients of several rows by one backward, where all trained weights are those of linear layers.

The gradient of a linear layer's weight is a sum over tokens of the output's gradient times the input, so a
row's is the sum over the row's own tokens (Goodfellow 2015, arXiv 1510.01799). Rows lie side by side, filled
up behind; no token sees what comes after it, so that what fills a row up has no part in its loss. What the
layers add up to over the rows is held to what autograd says of the sum: a weight that works in another way,
too, such as one that is tied to an embedding, is found so, and such rows are computed one by one.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

Item = TypeVar("Item")

TOKENS = 128  # of a batch: twice as many are hardly quicker, and take twice the memory
NUMBERS = 1 << 25  # of a batch's gradients: 128 MiB
CLOSE = 1e-4  # of what rows' gradients have in length: how far their sum may be from autograd's


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers that hold all weights that are trained; none where others hold some."""
    layers = {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and any(weight.requires_grad for weight in part.parameters())
    }
    held = {id(weight) for layer in layers.values() for weight in layer.parameters()}
    others = any(id(weight) not in held for weight in model.parameters() if weight.requires_grad)
    return {} if others else layers


def cut(items: Sequence[tuple[int, Item]], size: int) -> Iterator[list[Item]]:
    """Yield items, each with its tokens, in batches of about equal length that fit; one alone always does.

    Args:
        items: each after its number of tokens.
        size: numbers of a gradient.
    """
    most = max(1, NUMBERS // size)
    batch: list[Item] = []
    for length, item in sorted(items, key=lambda one: one[0]):
        if batch and (len(batch) == most or (len(batch) + 1) * length > TOKENS):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


@contextmanager
def gradients_by_row(model: nn.Module, rows: int) -> Iterator[Tensor]:
    """Yield what a backward inside the block fills with the gradients of rows that lie side by side [B, P].

    P counts the trained weights in the order of `model.named_parameters()`. They have to be of
    `linear_layers`; see `sums_agree`.
    """
    trained = {id(weight): weight for weight in model.parameters() if weight.requires_grad}
    ends = torch.tensor([weight.numel() for weight in trained.values()]).cumsum(0).tolist()
    places = {
        key: slice(end - weight.numel(), end)
        for (key, weight), end in zip(trained.items(), ends, strict=True)
    }
    found = next(iter(trained.values())).new_zeros(rows, ends[-1])

    def watch(layer: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if output.ndim != 3 or len(output) != rows or not output.requires_grad:
            return  # what it adds is missing then in the sum
        given = inputs[0].detach()

        def add(gradient: Tensor) -> None:
            if (place := places.get(id(layer.weight))) is not None:
                found[:, place] += torch.bmm(gradient.mT, given).flatten(1)
            if (place := places.get(id(layer.bias))) is not None:
                found[:, place] += gradient.sum(1)

        output.register_hook(add)

    watching: list[Any] = [layer.register_forward_hook(watch) for layer in linear_layers(model).values()]
    try:
        yield found
    finally:
        for one in watching:
            one.remove()


def sums_agree(found: Tensor, whole: Tensor) -> bool:
    """Whether rows' gradients [B, P] add up to that of the rows together [P]."""
    return bool((found.sum(0) - whole).norm() <= CLOSE * found.norm(dim=1).sum())
