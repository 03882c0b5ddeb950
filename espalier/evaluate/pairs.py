"""Scoring what rates answers: how often the better answer of a held-out pair gets the higher number.

There are no checks and no texts: the one measure is "pair_accuracy".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.core.errors import DataError
from espalier.core.records import Score
from espalier.evaluate.harness import estimated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.records import Example
    from espalier.evaluate.scores import Scores

NAME = "pair_accuracy"


def pairs_of(examples: Sequence[Example]) -> list[Example]:
    """Return the examples that have both a trained answer and a rejected one.

    Raises:
        DataError: none has.
    """
    found = [e for e in examples if e.rejected and any(turn.trained for turn in e.messages)]
    if not found:
        raise DataError(
            f"None of the {len(examples)} test rows has both an answer and a rejected one: a reward model "
            "could not be scored.",
            where="task.path",
            hint="Name the file of pairs as task.path; a part of it is then kept for the scores.",
        )
    return found


def evaluate_pairs(
    examples: Sequence[Example], systems: Mapping[str, Sequence[Sequence[float]]], seed: int = 0
) -> Scores:
    """Score systems by the numbers that they give to the answers of each example.

    Of an example with several rejected answers the share of pairs in the right order counts; a tie is half.

    Args:
        systems: by name, for each example the number of its answer and then of each rejected one. The first
            system is the one that the others are compared with.
    """
    scored = {
        name: {NAME: [Score(_share(row[0], row[1:])) for row in numbers]} for name, numbers in systems.items()
    }
    return estimated(examples, scored, {}, seed=seed)


def _share(chosen: float, rejected: Sequence[float]) -> float:
    return sum((chosen > other) + (chosen == other) / 2 for other in rejected) / len(rejected)
