"""What an optimizer step consists of: the rows its objectives ask for, in trees, with the losses on them.

An example's own rows are computed in one tree, whichever objectives learn from them, so that a loss can
compare them and a prompt is computed once for all. What the model sampled is compared with nothing but its
own past, so samples may lie apart where a tree would grow too large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from espalier.core.errors import RecipeError
from espalier.encode.batches import build_trees, groups_of, in_turn, schedule, steps_per_epoch

if TYPE_CHECKING:
    from espalier.core.records import Encoded
    from espalier.encode.tokens import Unit
    from espalier.encode.tree import Tree
    from espalier.train.objectives import Loss, Objective, Resources


@dataclass(frozen=True, eq=False)
class Term:
    """One objective in a step's sum: `share` times its loss over `divisor`."""

    loss: Loss
    share: float
    divisor: float


@dataclass(frozen=True)
class Step:
    """The work of one optimizer step: its rows, and their trees, each with the terms that apply to it."""

    rows: Sequence[Encoded]
    work: Sequence[tuple[Tree, Sequence[Term]]]
    log: Mapping[str, float] = field(default_factory=dict[str, float])


# From a step's number to its work. It is called when the step's turn comes, so that a source may sample from
# the model as it is then.
Source: TypeAlias = Callable[[int], "Step"]


def steps_of(
    units: Sequence[Unit],
    shared: Sequence[tuple[Objective, float]],
    resources: Resources,
    *,
    size: int,
    tokens: int,
    seed: int,
) -> Source:
    """Return the steps of training on `units`, `size` a step, with each of the objectives at its share.

    Raises:
        DataError: no unit, or an objective finds nothing to learn from in them.
        RecipeError: several objectives learn from the model's own answers, of which there is one set.
    """
    if sum(bool(objective.rewards) for objective, _ in shared) > 1:
        raise RecipeError(
            "Two objectives of one stage sample answers.",
            where="train.objective",
            hint="Give one of them all the rewards, or make two stages.",
        )
    units_at = in_turn(units, size) if resources.nested else schedule(units, size, seed)
    begun = [(objective.begin(units, resources), share) for objective, share in shared]
    hold = _held(shared)

    def step(number: int) -> Step:
        taken = units_at(number // hold)
        parts = [(begin(number, taken), share) for begin, share in begun]
        rows = list(dict.fromkeys(row for part, _ in parts for row in part.rows))
        terms = [Term(part.loss, share, part.divisor) for part, share in parts]
        log = {name: value for part, _ in parts for name, value in part.log.items()}
        return Step(rows, [(tree, terms) for tree in build_trees(groups_of(rows), tokens)], log)

    return step


def step_count(units: int, size: int, epochs: float, shared: Sequence[tuple[Objective, float]]) -> int:
    """Return how many optimizer steps `epochs` passes over the units are; at least 1."""
    return max(1, math.ceil(epochs * steps_per_epoch(units, size))) * _held(shared)


def _held(shared: Sequence[tuple[Objective, float]]) -> int:
    return max(objective.hold for objective, _ in shared)
