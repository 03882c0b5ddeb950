"""Which rows a model is trained on again: all, all but those that a score names, and random halves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ALL = "all rows"


@dataclass(frozen=True, slots=True)
class Subset:
    """Rows that a model is trained on.

    Attributes:
        name: of the subset: `ALL`, a score's name, or "half N".
        places: of the rows that are trained on, ascending.
        seeds: of its trainings.
        judged: whether answers are scored; else only the queries' log-probabilities are.
    """

    name: str
    places: tuple[int, ...]
    seeds: tuple[int, ...]
    judged: bool


def without(
    scores: Mapping[str, Floats], by: str, tokens: Sequence[int], share: float
) -> dict[str, tuple[int, ...]]:
    """Return the rows that each score would take away: of `by` a share of all, of the others equal tokens.

    A score of several queries is their sum. Others take their best rows as long as these have no more tokens
    together than those of `by`; one that does not fit is passed over.

    Args:
        scores: by name [Q, R].
        by: the one that says how many tokens go.
        tokens: of each row.
        share: of the rows, over 0 and below 1.

    Raises:
        RecipeError: it takes no row, or all of them.
    """
    count = round(share * len(tokens))
    if not 0 < count < len(tokens):
        raise RecipeError(
            f"A share of {share:g} of {len(tokens)} rows is {count} rows, which is nothing to compare.",
            where="--remove",
            hint="Take 0.1, or another share above 0 and below 1.",
        )
    orders = {name: np.argsort(-found.sum(0), kind="stable").tolist() for name, found in scores.items()}
    taken = {by: orders[by][:count]}
    budget = sum(tokens[place] for place in taken[by])
    for name, order in orders.items():
        if name != by:
            taken[name], left = [], budget
            for place in order:
                if tokens[place] <= left:
                    taken[name].append(place)
                    left -= tokens[place]
    return {name: tuple(sorted(places)) for name, places in taken.items()}


def halves(rows: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """Return so many random halves of rows, each as ascending places."""
    rng = np.random.default_rng([seed, rows])
    return [tuple(sorted(rng.permutation(rows)[: (rows + 1) // 2].tolist())) for _ in range(count)]


def subsets(
    scores: Mapping[str, Floats], by: str, tokens: Sequence[int], *, share: float, seed: int,
    seeds: int, again: int, half: int,
) -> list[Subset]:  # fmt: skip
    """Return all that is trained: all rows with `seeds` seeds, some gone with `again`, halves with one.

    Raises:
        RecipeError: see `without`.
    """
    every = range(len(tokens))
    found = [Subset(ALL, tuple(every), tuple(range(seed, seed + seeds)), judged=True)]
    for name, gone in without(scores, by, tokens, share).items():
        kept = tuple(sorted({*every} - {*gone}))
        found.append(Subset(name, kept, tuple(range(seed, seed + again)), judged=True))
    for number, places in enumerate(halves(len(tokens), half, seed)):
        found.append(Subset(f"half {number + 1}", places, (seed,), judged=False))
    return found
