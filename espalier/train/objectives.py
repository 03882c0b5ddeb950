"""What is minimised: each objective is one function from a tree's log-probabilities to a `LossSum`.

Sums, never means. A step's rows may lie in one tree, in several, or on several ranks: the sums of the parts
add up to the sum of the whole, so all of these train the same. The divisor is known before the forward, so a
tree's backward can run once its loss is there.

An objective begins once a run, with all rows and the `Resources`, and is then asked at each step for its
`Part`: the rows it learns from, its loss over their trees, and the divisor. So it may compute what a frozen
model says of the rows beforehand (`preference.py`), or sample rows from the model as it is at that step
(`reinforcement.py`). To add one, write one factory with `@objectives.register("name")`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
import torch

from espalier.core.errors import DataError, RecipeError
from espalier.core.records import Encoded, RowRole
from espalier.core.registry import Registry
from espalier.encode.tokens import Unit
from espalier.encode.tree import Tree
from espalier.models.forward import Edges

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class LossSum:
    """A loss as a sum over what was weighed.

    Attributes:
        total: the weighted sum, a scalar with its graph.
        weight: the sum of the weights (SFT: trained tokens), so that `total / weight` is the mean.
        parts: further sums for the log, by name; also to be divided by `weight`.
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


Loss: TypeAlias = Callable[[Edges, Tree], LossSum]


@dataclass(frozen=True)
class Part:
    """What one objective gives to a step.

    Attributes:
        rows: those it learns from.
        loss: from what the model says at the edges of a tree, in which some of the rows are, to the loss.
        divisor: what the step's loss is divided by.
        log: what there is to say of the step besides.
    """

    rows: Sequence[Encoded]
    loss: Loss
    divisor: float
    log: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Sampled:
    """An answer that the model has just written: its tokens, their log-probabilities in nats, its reward.

    `rewards` holds what each part of the reward said, None where it could not judge; `reward` their weighted
    sum.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish: str
    rewards: Mapping[str, float | None]
    reward: float


# From a round's number and its units to `samples` answers of at most `limit` tokens for each, rewarded.
Sampler: TypeAlias = Callable[[int, Sequence[Unit], int, int], list[list[Sampled]]]


@dataclass(frozen=True)
class Resources:
    """What an objective may use besides the rows.

    Attributes:
        steps: optimizer steps in which all units are seen once.
        kept: the log-probability of each row's weighted tokens [R] under the model as the stage found it.
        policy: the same under the model as it is now.
        reference: freezes the model as the stage found it, and returns the function that tells the
            log-probability of each weighted token of each row under it.
        sampler: for objectives that learn from the model's own answers, by their rewards' names and weights.
        nested: whether steps come in nested order, see `encode/batches.py`.
    """

    steps: int
    kept: Callable[[Sequence[Encoded]], list[float]]
    policy: Callable[[Sequence[Encoded]], list[float]]
    reference: Callable[[], Callable[[Sequence[Encoded]], list[tuple[float, ...]]]]
    sampler: Callable[[Mapping[str, float]], Sampler]
    nested: bool = False

    def divisor(
        self, weigh: Callable[[Sequence[Unit]], float], units: Sequence[Unit]
    ) -> Callable[[Sequence[Unit]], float]:
        """Return what tells the divisor of a step's loss from the step's units.

        It is the mean weight of a step over the epoch. In nested order no step may depend on what comes after
        it, and it is the step's own weight.
        """
        if self.nested:
            return lambda taken: weigh(taken) or 1.0
        mean = weigh(units) / self.steps
        return lambda taken: mean


Begun: TypeAlias = Callable[[int, Sequence[Unit]], Part]


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        begin: from all units of the run and the tools to the function from a step's number and its units to
            its part.
        learns: which of an example's own rows it learns from; none where it learns from samples alone.
        needs: what an example must have for that, as a sentence says it.
        rewards: by their names, the weights of what its samples are judged by.
        hold: how many steps in turn learn from the same units.
        limit: most tokens of an answer that it samples.
        rates: whether it trains a reward model: its edges then hold numbers, see `models/reward.py`.
        apart: whether its part of a step depends on that step's own rows alone.
    """

    begin: Callable[[Sequence[Unit], Resources], Begun]
    learns: Callable[[Unit], Sequence[Encoded]]
    needs: str = "an answer to train on"
    rewards: Mapping[str, float] = field(default_factory=dict[str, float])
    hold: int = 1
    limit: int = 0
    rates: bool = False
    apart: bool = True


def _held(made: object, sort: type[T], who: str) -> T:
    """Return what somebody else's code gave, where it is of this sort. Raises RecipeError."""
    if not isinstance(made, sort):
        gave = "nothing" if made is None else f"a {type(made).__name__}"
        raise RecipeError(
            f"{who} gave {gave}, where {sort.__name__} was expected.", hint="See docs/seams.md."
        )
    return made


def watched(made: object, kind: str) -> Objective:
    """Return somebody else's objective, each of whose parts and losses is held to what the loop takes."""
    who = f"The objective '{kind}'"
    objective = _held(made, Objective, who)

    def begin(units: Sequence[Unit], resources: Resources) -> Begun:
        begun = objective.begin(units, resources)

        def part(number: int, taken: Sequence[Unit]) -> Part:
            found = _held(begun(number, taken), Part, who)

            def loss(edges: Edges, tree: Tree) -> LossSum:
                one = _held(found.loss(edges, tree), LossSum, f"The loss of '{kind}'")
                _held(one.total, torch.Tensor, f"The loss of '{kind}', as its total,")
                return one

            return replace(found, loss=loss)

        return part

    return replace(objective, begin=begin)


objectives: Registry[Objective] = Registry(
    "objective", "espalier.train.preference", "espalier.train.reinforcement", foreign=watched
)


@objectives.register("sft")
def sft(*, smoothing: float = 0.0) -> Objective:
    """Cross-entropy of the trained tokens; `smoothing` of the target's weight is spread over all tokens.

    A loss is divided by the mean weight of a step over the epoch, not by the step's own: a token then counts
    the same whichever rows share its step, and how rows are grouped biases nothing. Label smoothing is that
    of Szegedy et al. 2016 (arXiv 1512.00567).
    """
    if not 0 <= smoothing < 1:
        raise RecipeError(f"smoothing = {smoothing} does not fit: it must be at least 0 and below 1.")
    return of_answers(answer_loss(smoothing))


def answer_loss(smoothing: float = 0.0) -> Loss:
    """Return the loss of `sft`: the cross-entropy of the answers' tokens, summed; see there."""

    def loss(edges: Edges, tree: Tree) -> LossSum:
        weights = tree.weights * of_role(tree, "answer")[tree.entry_rows]
        counts = np.bincount(tree.entry_edges, weights=weights, minlength=len(tree.sources))
        scored = edges.logprobs
        if smoothing:
            scored = (1 - smoothing) * scored + smoothing * edges.means
        return LossSum(-(scored * torch.from_numpy(counts).to(scored)).sum(), float(weights.sum()), {})

    return loss


def of_answers(loss: Loss) -> Objective:
    """Return the objective of a loss over the trained answers, divided by its mean weight in a step."""

    def learns(unit: Unit) -> list[Encoded]:
        return rows_of(unit, "answer")

    def begin(units: Sequence[Unit], resources: Resources) -> Begun:
        divisor = resources.divisor(
            lambda some: sum(sum(row.weights) for unit in some for row in learns(unit)), units
        )
        return lambda number, taken: Part(
            [row for unit in taken for row in learns(unit)], loss, divisor(taken)
        )

    return Objective(begin, learns)


def rows_of(unit: Unit, *roles: RowRole) -> list[Encoded]:
    """Return the rows of a unit that have one of the roles."""
    return [row for row in unit.rows if row.role in roles]


def of_role(tree: Tree, role: RowRole) -> np.ndarray:
    """Return which rows of a tree have the role, as booleans [R]."""
    return np.array([row.role == role for row in tree.rows])


def row_sums(edges: Edges, tree: Tree) -> Tensor:
    """Return the log-probability of each row's weighted tokens, each times its weight [R]."""
    logprobs = edges.logprobs
    device = logprobs.device
    taken = logprobs[torch.from_numpy(tree.entry_edges).to(device)]
    weighted = taken * torch.from_numpy(tree.weights).to(taken)
    rows = torch.from_numpy(tree.entry_rows).to(device)
    return weighted.new_zeros(len(tree.rows)).index_add(0, rows, weighted)


def check_units(objective: Objective, units: Sequence[Unit], where: str) -> None:
    """Refuse examples in which an objective finds nothing to learn from. Raises DataError."""
    if not objective.rewards and not any(objective.learns(unit) for unit in units):
        first = ", ".join(unit.example for unit in units[:5])
        raise DataError(
            f"None of the {len(units)} examples has {objective.needs}: nothing would be learned ({first}).",
            where=where,
            hint="Give the stage other rows with train.data, or another objective; see docs/training.md.",
        )
