"""How much each training row has taught a model of each query: their gradients, at the states it kept.

A step on a row alone moves the weights by -rate * D * g(row), where D = 1 / (sqrt(v) + eps) and v are Adam's
second moments with the bias of their beginning undone, v = squares / (1 - beta ** step). So the query's
log-probability gains rate * <g(query), D g(row)>, to first order. Summed over the training that is TracIn
(Pruthi and others 2020, arXiv 2002.08484) in Adam's metric, as LESS has it (Xia and others 2024, arXiv
2402.04333), whose code leaves the bias in and puts eps under the root. What differs here, and why:

- A state stands for the steps around it: their rates are added up, and a row is taken to be seen in them as
  often as all others. A row's share in a step is its loss over the mean weight of a step, as in training.
- Gradients are of the sum over a row's trained tokens, which is what training adds up. So long answers count
  for more; `cosine` takes the lengths out.
- D does not hold the row's own gradient, so that a score is the same whoever else is asked. Weights whose
  second moment is zero have not moved yet, and count for nothing.
- What a step's gradient was clipped by is counted, Adam's momentum is not: over a training it adds up to one.

A score is thus in nats: what the query's log-probability has gained by the row, to first order.

What a row taught of itself is told in another measure. Before anything is learned, all rows teach themselves
thousands of times what they do later, when only those still do whose answers no other row teaches: the odd
and the mislabelled. A sum would hear the first states alone. So at each state a row is measured by the mean
row, and the states, which stand for equally many steps each, count the same.

The queries are the few directions that rows' gradients are multiplied with, so that none of these is needed
whole (`row_products`). The length of a row's gradient, for cosines and for what a row taught of itself, needs
it whole: `norms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from espalier.attribution.influence.gradients import Directions, row_gradients, row_products
from espalier.attribution.influence.sketch import sketcher
from espalier.core.errors import RunError
from espalier.core.files import replacing
from espalier.models.allocator import give_back
from espalier.train.states import tensors_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor
    from transformers import PreTrainedModel

    from espalier.core.records import Encoded
    from espalier.train.objectives import Loss
    from espalier.train.states import State

    Floats = NDArray[np.float64]

TINY = np.finfo(float).tiny
MOST = 1 << 30  # bytes of the queries' gradients that are held at a time


@dataclass(frozen=True)
class Table:
    """Scores of rows for queries.

    Attributes:
        tracin: what each query's log-probability gained by each row, in nats [Q, R].
        cosine: of their gradients in Adam's metric, in the mean over the states [Q, R]; NaN without norms.
        itself: what each row's own log-probability gained by it, times what the mean row's did, in the mean
            over the states [R]; NaN without norms.
    """

    tracin: Floats
    cosine: Floats
    itself: Floats


@dataclass(frozen=True)
class Asked:
    """What is asked of a state: rows and queries, each the rows of tokens of one example, and the losses.

    Attributes:
        queries, rows: of each example its rows of tokens.
        query_loss, row_loss: from what the model says to a sum over tokens.
        dims: numbers that a gradient is sketched in; 0 takes all of them.
        shared: whether rows may share what they begin with.
        weight: sum of the weights of all trained tokens.
        norms: whether the lengths of rows' gradients are wanted, which takes a whole backward of each.
    """

    queries: Sequence[Sequence[Encoded]]
    rows: Sequence[Sequence[Encoded]]
    query_loss: Loss
    row_loss: Loss
    dims: int
    shared: bool
    weight: float
    norms: bool


def check_size(size: int, queries: int, dims: int) -> None:
    """Refuse to hold the gradients of so many queries by so many trained weights. Raises RunError."""
    needed = 4 * queries * (dims or size)
    if needed > MOST:
        raise RunError(
            f"The gradients of {queries} queries by {size:,} trained weights take {needed / 1e9:.1f} GB; "
            f"{MOST / 1e9:.1f} GB are held at most.",
            where="--query",
            hint="Sketch them with --project 8192, ask fewer queries, or tune an adapter "
            "(train.method = 'lora'), which has hundreds of times fewer weights.",
        )


def scored(
    model: PreTrainedModel,
    states: Sequence[tuple[Path, State]],
    asked: Asked,
    folder: Path,
    tell: Callable[[int], object] = lambda _: None,
) -> Table:
    """Return the scores over all states; each state's lie in `folder` until then, so that a kill costs one.

    Raises:
        RunError: a state is damaged or of another model, or the gradients do not fit.
    """
    shares = np.array([state.rate * state.clip for _, state in states])
    count = len(asked.queries)
    (sums, cosine), itself = np.zeros((2, count, len(asked.rows))), np.zeros(len(asked.rows))
    for (path, state), share in zip(states, shares, strict=True):
        file = folder / f"{path.stem}.npy"
        if not file.exists():
            give_back()
            root = _put(model, path, state)
            with replacing(file) as new, new.open("wb") as opened:
                np.save(opened, _of_state(model, root, asked, tell))
        part: Floats = np.load(file)
        sums += share * part[:count, :-1]
        cosine += share / shares.sum() * _cosine(part)
        itself += part[count, :-1] / max(part[count, :-1].mean(), TINY) / len(states)
    return Table(sums / asked.weight, cosine, itself)


def _put(model: PreTrainedModel, path: Path, state: State) -> Tensor:
    """Give the model a state's weights, and return the root of D for each of them [P]. Raises RunError."""
    weights, squares = tensors_of(path)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if {name: weight.shape for name, weight in trained.items()} != {n: w.shape for n, w in weights.items()}:
        raise RunError("The state is of another model or method.", where=str(path), hint="Train again.")
    roots: list[Tensor] = []
    for name, weight in trained.items():
        with torch.no_grad():
            weight.copy_(weights[name])
        moment = squares[name].to(weight.device, torch.float32) / (1 - state.beta**state.step)
        root = (moment.sqrt() + state.eps).rsqrt()
        roots.append(root.masked_fill_(moment == 0, 0.0).reshape(-1))
    return torch.cat(roots)


def _of_state(model: PreTrainedModel, root: Tensor, asked: Asked, tell: Callable[[int], object]) -> Floats:
    """Return [Q + 1, R + 1]: inner products; squared norms of rows below them, of queries beside."""
    sketch = sketcher(len(root), asked.dims)
    count = len(asked.queries)
    held = root.new_zeros(count, sketch.width)
    whole = partial(row_gradients, model, shared=asked.shared)
    for place, vector in _sums(asked.queries, asked.query_loss, whole, tell):
        held[place] = sketch.of(vector.mul_(root))
    give_back()  # the graph of what queries begin with
    found = np.full((count + 1, len(asked.rows) + 1), np.nan)
    found[:count, -1] = held.square().sum(1, dtype=torch.float64).cpu().numpy()
    if asked.norms:
        for place, vector in _sums(asked.rows, asked.row_loss, whole, tell):
            own = sketch.of(vector.mul_(root))
            found[:count, place] = (held @ own).double().cpu().numpy()
            found[count, place] = float(own.square().sum(dtype=torch.float64))
        return found
    directions = Directions(
        count,
        lambda number: sketch.back(held[number]) * root,
        lambda vectors: sketch.of(vectors.mul_(root)) @ held.T,
    )
    products = partial(row_products, model, directions=directions, shared=asked.shared)
    for place, one in _sums(asked.rows, asked.row_loss, products, tell):
        found[:count, place] = one.double().cpu().numpy()
    return found


def _sums(
    examples: Sequence[Sequence[Encoded]],
    loss: Loss,
    ask: Callable[[Sequence[tuple[Encoded, Loss]]], Iterator[tuple[int, Tensor]]],
    tell: Callable[[int], object],
) -> Iterator[tuple[int, Tensor]]:
    """Yield each example's place and what is asked of its rows, added up, once all of them are there."""
    owners = [place for place, rows in enumerate(examples) for _ in rows]
    left = [len(rows) for rows in examples]
    sums: dict[int, Tensor] = {}
    for row, vector in ask([(row, loss) for rows in examples for row in rows]):
        place = owners[row]
        tell(1)
        left[place] -= 1
        total = sums.pop(place).add_(vector) if place in sums else vector
        if left[place]:
            sums[place] = total.clone()  # and not the batch that it may be a part of
        else:
            yield place, total


def _cosine(part: Floats) -> Floats:
    """Return the cosines of a state's inner products; of what has no gradient 0."""
    norms = np.sqrt(np.outer(part[:-1, -1], part[-1, :-1]))
    return np.divide(part[:-1, :-1], norms, out=np.where(norms == 0, 0.0, np.nan), where=norms > 0)
