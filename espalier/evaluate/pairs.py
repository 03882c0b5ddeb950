"""Scoring what rates answers: how often the better answer of a held-out pair gets the higher number.

The result has the form of `scores.json` (see `harness.py`) as far as it goes: systems with a `scores` entry
"pair_accuracy", differences and examples. There are no checks and no texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError
from espalier.evaluate.compare import compare
from espalier.evaluate.statistics import mean, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.records import Example

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
) -> dict[str, Any]:
    """Score systems by the numbers that they give to the answers of each example.

    Of an example with several rejected answers the share of pairs in the right order counts; a tie is half.

    Args:
        systems: by name, for each example the number of its answer and then of each rejected one. The first
            system is the one that the others are compared with.
    """
    values = {name: [_share(row[0], row[1:]) for row in numbers] for name, numbers in systems.items()}
    sources = [example.source for example in examples]
    by_id = {name: dict(zip([e.id for e in examples], row, strict=True)) for name, row in values.items()}
    first, *others = systems
    where = {example.id: example.source for example in examples}
    return {
        "rows": len(examples),
        "sources": len(set(sources)),
        "seed": seed,
        "rewarded": [],
        "systems": {
            name: {"scores": {NAME: plain(mean(row, sources, seed))}, "checks": {}, "all_checks": None}
            for name, row in values.items()
        },
        "differences": [
            {
                "a": first,
                "b": other,
                "values": {NAME: compare(by_id[first], by_id[other], where, seed).plain()},
            }
            for other in others
        ],
        "examples": [
            {
                "id": example.id,
                "source": example.source,
                "systems": {name: {"values": {NAME: by_id[name][example.id]}, "why": {}} for name in systems},
            }
            for example in examples
        ],
    }


def _share(chosen: float, rejected: Sequence[float]) -> float:
    return sum((chosen > other) + (chosen == other) / 2 for other in rejected) / len(rejected)
