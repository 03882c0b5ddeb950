"""What is minimised: each objective is one function from a tree's log-probabilities to a `LossSum`.

Sums, never means. A step's rows may lie in one tree, in several, or on several ranks: the sums of the parts
add up to the sum of the whole, so all of these train the same. The divisor is known before the forward and is
the same for every step of an epoch (`Term.divisor`), so a tree's backward can run once its loss is there.

To add an objective, write one factory with `@objectives.register("name")`; what it needs besides the tree
(reference log-probabilities, rewards) its closure keeps by example id, the names in `tree.rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from espalier.core.errors import DataError
from espalier.core.records import Encoded
from espalier.core.registry import Registry
from espalier.encode.batches import build_trees, schedule_rows, steps_per_epoch
from espalier.encode.tree import Tree

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LossSum:
    """A loss as a sum over what was weighed.

    Attributes:
        total: the weighted sum, a scalar with its graph.
        weight: the sum of the weights (SFT: trained tokens), so that `total / weight` is the mean.
        parts: further sums for the log, by name.
    """

    total: Tensor
    weight: float
    parts: dict[str, float]

    def __add__(self, other: LossSum) -> LossSum:
        """Return the loss over both."""
        names = {**self.parts, **other.parts}
        parts = {name: self.parts.get(name, 0.0) + other.parts.get(name, 0.0) for name in names}
        return LossSum(self.total + other.total, self.weight + other.weight, parts)

    def detach(self) -> LossSum:
        """Return the numbers without the graph."""
        return LossSum(self.total.detach(), self.weight, self.parts)


Loss: TypeAlias = "Callable[[Tensor, Tree], LossSum]"


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        loss: from the edges' log-probabilities [E] and their tree to the loss.
        weight: what `LossSum.weight` will be in all for these rows; known without a forward.
    """

    loss: Loss
    weight: Callable[[Sequence[Encoded]], float]


@dataclass(frozen=True, eq=False)
class Term:
    """One objective in a run's sum: `share` times its loss over `divisor`, its mean weight in a step."""

    loss: Loss
    share: float
    divisor: float


@dataclass(frozen=True)
class Step:
    """The work of one optimizer step: its rows, and their trees, each with the terms that apply to it."""

    rows: Sequence[Encoded]
    work: Sequence[tuple[Tree, Sequence[Term]]]


# From a step's number to its work. It is called when the step's turn comes, so that a source may sample from
# the model as it is then.
Source: TypeAlias = Callable[[int], Step]

objectives: Registry[Objective] = Registry("objective")


@objectives.register("sft")
def sft() -> Objective:
    """Cross-entropy of the trained tokens, each weighed as its row says."""

    def loss(logprobs: Tensor, tree: Tree) -> LossSum:
        counts = np.bincount(tree.entry_edges, weights=tree.weights, minlength=len(tree.sources))
        edge_weights = torch.from_numpy(counts).to(logprobs)
        return LossSum(-(logprobs * edge_weights).sum(), float(tree.weights.sum()), {})

    return Objective(loss, lambda rows: sum(sum(row.weights) for row in rows))


def row_steps(
    rows: Sequence[Encoded], shared: Sequence[tuple[Objective, float]], *, size: int, tokens: int, seed: int
) -> Source:
    """Return the steps of training on `rows`, `size` a step, with each of the objectives at its share.

    A term is divided by the mean weight of a step over the epoch, not by the step's own: a token then counts
    the same whichever rows share its step, and how rows are grouped biases nothing.

    Raises:
        DataError: no row, or no weight on any token of any row: nothing would be learned.
    """
    rows_at = schedule_rows(rows, size, seed)
    steps = steps_per_epoch(len(rows), size)
    terms: list[Term] = []
    for objective, share in shared:
        weight = objective.weight(rows)
        if not weight > 0:
            first = ", ".join(row.example for row in rows[:5])
            raise DataError(
                f"None of the {len(rows)} rows has a trained token: nothing would be learned.", where=first
            )
        terms.append(Term(objective.loss, share, weight / steps))

    def step(number: int) -> Step:
        taken = rows_at(number)
        return Step(taken, [(tree, terms) for tree in build_trees(taken, tokens)])

    return step
