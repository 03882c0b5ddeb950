"""Whether the first steps go wrong: a rate that is too high shows in a few steps, and not in the report only.

Where the loss is that of answers, in nats per token, there is a measure that knows no model: guessing at
random among the whole vocabulary costs ln(vocabulary). A model that does worse, step after step, has
lost what it knew, and no later step is worth its time. Of other losses only that they rise can be told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A sign has to be in all of the last steps: of so many rows, and of so many steps at least.
ROWS, STEPS = 16, 2
# Told of is a loss of answers that is so many times the first, and so far on the way from it to guessing.
TIMES, SHARE = 1.5, 1 / 3
# And any other that has risen by so much at least.
RISE = 1.0


@dataclass(frozen=True)
class Divergence:
    """That a training goes wrong: what is seen, and whether it is beyond hope."""

    said: str
    hopeless: bool


def divergence(steps: Sequence[Mapping[str, Any]], vocabulary: int | None = None) -> Divergence | None:
    """Return what is wrong with a training by its steps so far, from its first on, or None.

    Args:
        steps: the events of the loop.
        vocabulary: of the model, where the loss is the mean of -log p over the tokens of answers.
    """
    count = max(STEPS, math.ceil(ROWS / steps[0]["rows"]))
    if len(steps) <= count:
        return None
    first, last = steps[0], steps[-1]
    least = min(step["loss"] for step in steps[-count:])
    guess = math.log(vocabulary) if vocabulary else math.inf
    if least < _bound(first["loss"], guess):
        return None
    told = f"the loss is {last['loss']:.2f} at step {last['step']}, and was {first['loss']:.2f} at the first"
    norms = f"the norm of its gradient is {last['norm']:.3g}, and was {first['norm']:.3g}"
    guessing = f"; guessing among all {vocabulary:,} tokens gives {guess:.2f}" if vocabulary else ""
    return Divergence(f"{told}{guessing}; {norms}.", hopeless=least >= guess)


def _bound(first: float, guess: float) -> float:
    """Return what a loss has to reach to be told of."""
    if math.isinf(guess):
        return first + max(RISE, 2 * abs(first))
    return max(TIMES * first, first + SHARE * (guess - first))
